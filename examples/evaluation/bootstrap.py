# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What an interval says of two decoders that answered the same prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Difference", "paired_difference"]

RESAMPLES = 10_000
SEED = 0


@dataclass(frozen=True)
class Difference:
    """
    Accuracy of a decoder less that of the stock loop, in points.

    Args:
        mean (`float`): On the prompts that were asked.
        low (`float`): Lower end of the 95 % interval.
        high (`float`): Upper end.
    """

    mean: float
    low: float
    high: float


def paired_difference(
    right: Sequence[bool], stock: Sequence[bool], resamples: int = RESAMPLES, seed: int = SEED
) -> Difference:
    """
    Bootstraps the difference of two accuracies over prompts that both decoders answered.

    A resample's difference depends only on how often it drew prompts that one decoder alone has right. These numbers
    are multinomial, so they are drawn as such, which is the paired bootstrap without its array of resampled prompts.

    Args:
        right (`Sequence[bool]`): Which prompts the decoder has right.
        stock (`Sequence[bool]`): Which the stock loop has right, in the same order.
        resamples (`int`, *optional*, defaults to 10000): How many resamples are drawn.
        seed (`int`, *optional*, defaults to 0): Seed of the draws.

    Returns:
        [`Difference`]: With percentiles of 2.5 and 97.5 as the ends. No width where no answer differs.

    Raises:
        ValueError: If the lists are empty or differ in length.
    """
    if len(right) != len(stock) or not right:
        raise ValueError(f"`right` must have as many prompts as `stock`, at least 1 (got {len(right)}, {len(stock)})")
    one, other = np.asarray(right, dtype=bool), np.asarray(stock, dtype=bool)
    won, lost = int((one & ~other).sum()), int((~one & other).sum())
    number = len(one)
    shares = np.array([won, lost, number - won - lost]) / number
    drawn = np.random.default_rng(seed).multinomial(number, shares, size=resamples)
    differences = 100 * (drawn[:, 0] - drawn[:, 1]) / number
    low, high = np.percentile(differences, [2.5, 97.5])
    return Difference(100 * (won - lost) / number, float(low), float(high))
