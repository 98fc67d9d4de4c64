# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Short training samples beside the tasks: fixed facts, and lists to repeat."""

import random

from number_tasks import change
from task_words import DIGITS, DIRECTIONS, KINDS, LETTERS, NAMES, THINGS, TURNS, say
from tasks import Sample
from text_tasks import neighbour, turned

__all__ = ["drill_sample", "repeat_sample"]


def _fact(rng: random.Random) -> tuple[str, str]:
    """Draws one fixed fact: what to ask, and its statement in the words that the task answers use."""
    kinds = {"change": 4, "letter": 1, "neighbour": 3, "turn": 2, "kind": 2, "order": 1}
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    if kind == "change":
        value = rng.randint(0, 9)
        adds, amount, result = change(rng, value)
        question = f"{value} {'plus' if adds else 'minus'} {amount}"
        return question, f"{question} {say(rng, 'is')} {result}"
    if kind == "letter":
        letter = rng.choice(LETTERS)
        return f"shift {letter}", f"{neighbour(letter, 'after')} {say(rng, 'follows')} {letter}"
    if kind == "neighbour":
        letter, side = rng.choice(LETTERS), rng.choice(["after", "before"])
        return f"{side} {letter}", f"{side} {letter} {say(rng, 'is')} {neighbour(letter, side)}"
    if kind == "turn":
        direction, turn = rng.choice(DIRECTIONS), rng.choice(list(TURNS))
        question = f"turn {turn}, {say(rng, 'so')} from {direction}"
        return question, f"{question} to {turned(direction, turn)}"
    if kind == "kind":
        name = rng.choice(list(KINDS))
        thing = rng.choice(KINDS[name])
        return thing, f"{thing} is {name}"
    one, other = rng.sample(range(10), 2)
    return f"{one} and {other}", f"has {one}, {'more' if one > other else 'fewer'} than {other}"


def drill_sample(seed: int, index: int) -> Sample:
    """
    Writes a handful of fixed facts (sums, next letters, turns, ...) as one short training sample.

    Args:
        seed (`int`): Names the stream of samples.
        index (`int`): Position in the stream.

    Returns:
        [`Sample`]: A sample of family `"drill"`, which is no part of the evaluation mix.
    """
    rng = random.Random(f"{seed}/drill/{index}")
    facts = [_fact(rng) for _ in range(rng.randint(2, 6))]
    questions, statements = zip(*facts, strict=True)
    return Sample("drill", f"facts: {', '.join(questions)}.", " ".join(f"{statement}." for statement in statements))


def repeat_sample(seed: int, index: int) -> Sample:
    """
    Writes a list to be repeated word by word, the shortest way to learn how to copy.

    Args:
        seed (`int`): Names the stream of samples.
        index (`int`): Position in the stream.

    Returns:
        [`Sample`]: A sample of family `"repeat"`, which is no part of the evaluation mix.
    """
    rng = random.Random(f"{seed}/repeat/{index}")
    pool = rng.choice([THINGS, LETTERS, NAMES, DIGITS, THINGS + LETTERS + NAMES])
    items = ", ".join(rng.sample(pool, rng.randint(3, min(12, len(pool)))))
    return Sample("repeat", f"repeat {items}.", f"{items}.")
