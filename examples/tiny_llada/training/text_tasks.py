# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Families of tasks with words: lists, directions, kinds and letters.

A family is a function of a source of randomness and a number of steps, and returns a question and its worked answer.
"""

import random

from task_words import DIRECTIONS, KINDS, LETTERS, NAMES, ORDINALS, THINGS, TURNS, close, say

__all__ = ["alphabet", "latest", "neighbour", "reverse", "shift", "turned", "turns"]


def reverse(rng: random.Random, size: int) -> tuple[str, str]:
    """Asks for a list from its end."""
    items = rng.sample(THINGS, size)
    backwards = items[::-1]
    steps = [f"the last is {backwards[0]}"]
    steps += [f"before it {say(rng, 'stands')} {item}" for item in backwards[1:]]
    return f"reverse the list {', '.join(items)}.", f"{', '.join(steps)}. {close(rng, ' '.join(backwards))}"


def turned(direction: str, turn: str) -> str:
    """The direction after a turn."""
    return DIRECTIONS[(DIRECTIONS.index(direction) + TURNS[turn]) % len(DIRECTIONS)]


def turns(rng: random.Random, size: int) -> tuple[str, str]:
    """Asks where somebody faces after turns."""
    name, direction = rng.choice(NAMES), rng.choice(DIRECTIONS)
    start = direction
    orders, steps = [], []
    for ordinal in ORDINALS[:size]:
        turn = rng.choice(list(TURNS))
        orders.append(f"{ordinal} turn {turn}")
        steps.append(f"{ordinal} turn {turn}, {say(rng, 'so')} from {direction} to {turned(direction, turn)}.")
        direction = turned(direction, turn)
    prompt = f"{name} faces {start}. {', '.join(orders)}. where does {name} face?"
    return prompt, f"{' '.join(steps)} {close(rng, direction)}"


def latest(rng: random.Random, size: int) -> tuple[str, str]:
    """Asks for the last item of a kind in a list."""
    wanted = rng.choice(list(KINDS))
    latest = rng.choice(KINDS[wanted])
    # The first item is of the wanted kind, so that there is a latest one from the first step on.
    items = [latest, *rng.sample([thing for thing in THINGS if thing != latest], size - 1)]
    steps = []
    for item in items:
        kind = next(kind for kind, words in KINDS.items() if item in words)
        latest = item if kind == wanted else latest
        steps.append(f"{item} is {kind}, {say(rng, 'so')} the {wanted} is {latest}.")
    return f"what is the last {wanted}? {', '.join(items)}.", f"{' '.join(steps)} {close(rng, latest)}"


def neighbour(letter: str, side: str) -> str:
    """The letter after or before another one; the alphabet is a ring."""
    return LETTERS[(LETTERS.index(letter) + (1 if side == "after" else -1)) % len(LETTERS)]


def shift(rng: random.Random, size: int) -> tuple[str, str]:
    """Asks for the next letter of each."""
    letters = rng.sample(LETTERS, size)
    shifted = [neighbour(letter, "after") for letter in letters]
    steps = [f"{new} {say(rng, 'follows')} {old}." for old, new in zip(letters, shifted, strict=True)]
    return f"shift the letters {' '.join(letters)}.", f"{' '.join(steps)} {close(rng, ' '.join(shifted))}"


def alphabet(rng: random.Random, size: int) -> tuple[str, str]:
    """Asks where steps in the alphabet end."""
    letter = rng.choice(LETTERS)
    start = letter
    orders, steps = [], []
    for ordinal in ORDINALS[:size]:
        side = rng.choice(["after", "before"])
        orders.append(f"{ordinal} {side}")
        reached = neighbour(letter, side)
        steps.append(f"{ordinal} {side} {letter} {say(rng, 'is')} {reached}.")
        letter = reached
    prompt = f"start at {start}. {', '.join(orders)}. what is the letter?"
    return prompt, f"{' '.join(steps)} {close(rng, letter)}"
