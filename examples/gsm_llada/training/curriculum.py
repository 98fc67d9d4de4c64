# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What the checkpoint is trained on at a point of the run: copying alone, then word problems with drills."""

import random
from dataclasses import dataclass

from calculations import find_calculations
from drills import calculation_drill, longest_number, repeat_drill, result_drill
from gsm_samples import Sample, train_samples
from gsm_tokenizer import vocabulary

__all__ = ["Stage", "draw_pool", "stage_at"]

MILLION = 1_000_000
# Millions of tokens. The circuits for copying serve everything else, form within the first when nothing is in their
# way, and do not form at all beside calculations that cannot be found yet: lists of words alone come first. Later they
# make room.
COPYING_UNTIL, REPEATS_FALL_UNTIL = 1.5, 4.0
REPEATS_KEPT, NUMBERS_IN_REPEATS = 0.06, 0.3
# Most digits of a number in a drill, by millions of tokens seen, and shares beside the lists.
DIGITS_FROM = {1: 0.0, 2: 3.0, 3: 8.0, 4: 20.0}
ALL_PROBLEMS_FROM = 8.0
RESULTS_SHARE, CALCULATIONS_SHARE = 0.42, 0.08


@dataclass(frozen=True)
class Stage:
    """
    What may occur.

    Args:
        digits (`int`): Most digits of a number in a drill.
        length (`int`): Most characters of the answer to a word problem.
        numbers (`int`): Most digits of a number in the answer to a word problem.
        numbers_in_repeats (`float`): Share of the entries of a list to repeat that are numbers.
        repeats (`float`): Share of lists to repeat.
        calculations (`float`): Share of drills in calculation as the prompt asks for them.
        results (`float`): Share of drills in the results of calculations.
    """

    digits: int
    length: int
    numbers: int
    numbers_in_repeats: float
    repeats: float
    calculations: float
    results: float


def stage_at(tokens: int) -> Stage:
    """
    Tells what may occur at a point of the run, however long the run will be.

    Args:
        tokens (`int`): Canvas tokens seen so far.

    Returns:
        [`Stage`]: What may occur.
    """
    seen = tokens / MILLION
    copying = min(1.0, max(0.0, (REPEATS_FALL_UNTIL - seen) / (REPEATS_FALL_UNTIL - COPYING_UNTIL)))
    repeats = REPEATS_KEPT + (1 - REPEATS_KEPT) * copying
    digits = max(digits for digits, since in DIGITS_FROM.items() if seen >= since)
    return Stage(
        digits=digits,
        length=round(150 + 150 * max(0.0, seen - COPYING_UNTIL)),
        numbers=digits + 2 if seen < ALL_PROBLEMS_FROM else 99,
        numbers_in_repeats=NUMBERS_IN_REPEATS * (1 - copying),
        repeats=repeats,
        calculations=CALCULATIONS_SHARE * (1 - repeats),
        results=RESULTS_SHARE * (1 - repeats),
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
    problems = train_samples(2 * pool) + train_samples(2 * pool + 1) if stage.repeats < 1 else []
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
            samples.append(repeat_drill(rng, words, stage.numbers_in_repeats))
        elif draw < stage.repeats + stage.calculations:
            samples.append(calculation_drill(rng, right, stage.digits))
        elif draw < stage.repeats + stage.calculations + stage.results:
            samples.append(result_drill(rng, right, stage.digits))
        elif allowed:
            samples.append(allowed[len(samples) % len(allowed)])
    return samples
