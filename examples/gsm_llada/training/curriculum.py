# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What the checkpoint is trained on at a point of the run: arithmetic, then copying, then word problems as well."""

import random
from dataclasses import dataclass

from calculations import find_calculations
from drills import calculation_drill, longest_number, repeat_drill, result_drill
from gsm_samples import Sample, train_samples
from gsm_tokenizer import vocabulary

__all__ = ["Stage", "draw_pool", "stage_at"]

MILLION = 1_000_000
# Shares of lists to repeat, calculations and word problems by millions of tokens seen, with straight lines between; the
# rest are results. What forms within a million tokens alone does not form at all beside what cannot be learned yet, and
# is lost again where it is given up too early: so results come first, then lists join them, then word problems.
SHARES = {
    0.0: (0.0, 0.0, 0.0),
    1.5: (0.0, 0.0, 0.0),
    1.6: (0.6, 0.0, 0.0),
    9.6: (0.6, 0.0, 0.0),
    10.6: (0.25, 0.1, 0.35),
    13.0: (0.12, 0.1, 0.55),
    20.0: (0.08, 0.08, 0.65),
}
# Most digits of a number in a drill, by millions of tokens seen.
DIGITS_FROM = {1: 0.0, 2: 0.8, 3: 9.6, 4: 15.0}
PROBLEMS_FROM, ALL_PROBLEMS_FROM = 9.6, 13.0
NUMBERS_IN_REPEATS = 0.2


@dataclass(frozen=True)
class Stage:
    """
    What may occur.

    Args:
        digits (`int`): Most digits of a number in a drill.
        length (`int`): Most characters of the answer to a word problem.
        numbers (`int`): Most digits of a number in the answer to a word problem.
        repeats (`float`): Share of lists to repeat.
        calculations (`float`): Share of drills in calculation as the prompt asks for them.
        problems (`float`): Share of word problems; the rest are drills in the results of calculations.
    """

    digits: int
    length: int
    numbers: int
    repeats: float
    calculations: float
    problems: float


def stage_at(tokens: int) -> Stage:
    """
    Tells what may occur at a point of the run, however long the run will be.

    Args:
        tokens (`int`): Canvas tokens seen so far.

    Returns:
        [`Stage`]: What may occur.
    """
    seen = tokens / MILLION
    before = max(point for point in SHARES if point <= seen)
    after = min((point for point in SHARES if point > seen), default=before)
    part = (seen - before) / (after - before) if after > before else 0.0
    shares = [one + part * (other - one) for one, other in zip(SHARES[before], SHARES[after], strict=True)]
    digits = max(digits for digits, since in DIGITS_FROM.items() if seen >= since)
    return Stage(
        digits,
        round(200 + 200 * max(0.0, seen - PROBLEMS_FROM)),
        digits + 2 if seen < ALL_PROBLEMS_FROM else 99,
        *shares,
    )


def draw_pool(seed: int, pool: int, size: int, tokens: int) -> list[Sample]:
    """
    Draws samples of all kinds; the same arguments always give the same ones.

    Args:
        seed (`int`): Seed of the run.
        pool (`int`): Number of the pool.
        size (`int`): Number of samples.
        tokens (`int`): Canvas tokens seen when the pool begins.

    Returns:
        `list[Sample]`: The samples.
    """
    rng = random.Random(f"{seed}/pool/{pool}")
    stage = stage_at(tokens)
    # Two chunks a pool, so that no seed of the generator is used twice in 15 billion tokens.
    problems = train_samples(2 * pool) + train_samples(2 * pool + 1) if stage.problems > 0 else []
    rng.shuffle(problems)
    right = [entry for problem in problems for entry in find_calculations(problem.answer) if entry.is_right]
    # In the first stages neither the answer nor its numbers may be long.
    allowed = [
        problem
        for problem in problems
        if len(problem.answer) <= stage.length and longest_number(problem.answer) <= stage.numbers
    ]
    words = [word for word in vocabulary() if word.isalpha()]
    samples = []
    for _ in range(size):
        draw = rng.random()
        if draw < stage.repeats:
            samples.append(repeat_drill(rng, words, NUMBERS_IN_REPEATS))
        elif draw < stage.repeats + stage.calculations:
            samples.append(calculation_drill(rng, right, stage.digits))
        elif draw >= stage.repeats + stage.calculations + stage.problems:
            samples.append(result_drill(rng, right, stage.digits))
        elif allowed:
            samples.append(allowed[len(samples) % len(allowed)])
    return samples
