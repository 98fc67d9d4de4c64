# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""How far a count of failures can be trusted: exact bounds of a binomial share."""

import math

__all__ = ["allowed_failures", "trials_needed", "upper_bound"]


def trials_needed(share: float, confidence: float) -> int:
    """The fewest trials that bound a share of failures by `share` with this confidence, if none of them fails."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-share))


def allowed_failures(trials: int, share: float, confidence: float) -> int:
    """The most failures among so many trials whose `upper_bound` is at most `share`; -1 if none is too many."""
    failures = -1
    while failures + 1 < trials and _at_most(failures + 1, trials, share) <= 1 - confidence:
        failures += 1
    return failures


def upper_bound(failures: int, trials: int, confidence: float) -> float:
    """
    The one-sided bound of Clopper and Pearson: no larger share would give so few failures with more than `1 -
    confidence`.

    Args:
        failures (`int`): How many trials have failed.
        trials (`int`): Of how many.
        confidence (`float`): How often the bound has to hold, over repetitions.

    Returns:
        `float`: Rounded up by at most 1e-15.
    """
    if failures >= trials:
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-15:
        middle = (low + high) / 2
        if _at_most(failures, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(failures: int, trials: int, share: float) -> float:
    """How probable at most so many failures are where each trial fails with a probability of `share`."""
    passed, failed = math.log1p(-share), math.log(share)

    def exactly(count: int) -> float:
        ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
        return math.exp(ways + count * failed + (trials - count) * passed)

    return math.fsum(map(exactly, range(failures + 1)))
