# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What the checkpoint is trained on at a point of the run: copying first, then word problems with drills."""

import random
from dataclasses import dataclass

from calculations import find_calculations
from drills import calculation_drill, longest_number, repeat_drill
from gsm_samples import Sample, train_samples
from gsm_tokenizer import vocabulary

__all__ = ["Stage", "draw_pool", "stage_at"]

MILLION = 1_000_000
# Most digits of a number, by millions of tokens seen.
DIGITS_FROM = {1: 0.0, 2: 4.0, 3: 7.0, 4: 10.0, 6: 14.0}
# Millions of tokens: until the first, most samples are lists to repeat and easy calculations, because the circuits
# for copying serve everything else and form late beside longer samples. Until the second, the lists make room.
COPYING_UNTIL, REPEATS_FALL_UNTIL = 4.0, 7.0
FEWER_DRILLS_FROM = 40.0


@dataclass(frozen=True)
class Stage:
    """
    What may occur.

    Args:
        digits (`int`): Most digits of a number in a drill.
        length (`int`): Most characters of the answer to a word problem.
        repeats (`float`): Share of lists to repeat.
        calculations (`float`): Share of drills in calculation.
    """

    digits: int
    length: int
    repeats: float
    calculations: float


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
    return Stage(
        digits=max(digits for digits, since in DIGITS_FROM.items() if seen >= since),
        length=round(120 + 130 * max(0.0, seen - COPYING_UNTIL)),
        repeats=0.03 + 0.67 * copying,
        calculations=(0.3 if seen >= FEWER_DRILLS_FROM else 0.45) - 0.2 * copying,
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
    problems = train_samples(2 * pool) + train_samples(2 * pool + 1)
    rng.shuffle(problems)
    right = [entry for problem in problems for entry in find_calculations(problem.answer) if entry.is_right]
    # The word problem's own length counts, and in the first stages its numbers.
    allowed = [
        problem
        for problem in problems
        if len(problem.answer) <= stage.length and longest_number(problem.answer) <= stage.digits + 2
    ]
    words = [word for word in vocabulary() if word.isalpha()]
    samples = []
    for _ in range(size):
        draw = rng.random()
        if draw < stage.repeats:
            samples.append(repeat_drill(rng, words, stage.digits))
        elif draw < stage.repeats + stage.calculations:
            samples.append(calculation_drill(rng, right, stage.digits))
        elif allowed:
            samples.append(allowed[len(samples) % len(allowed)])
    return samples
