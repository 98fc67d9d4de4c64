# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Worked-step tasks with checkable answers: what the small checkpoint is trained on and tested with.

Every sample is a short question and an answer of several steps that closes with "the answer is ...". Two kinds of
tokens make the answers a test of decoding. *Computed* tokens (totals, directions, letters) follow from earlier steps
and cannot be guessed before those. *Free wording* (so / thus / hence) is drawn at random with skewed probabilities, as
in natural text: a model is never sure of it, yet its favourite never changes.

A sample is a pure function of (seed, index, split). Whether a prompt may occur in training is decided by a hash of its
text, so no prompt is ever in both splits, whatever the seeds.
"""

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from task_words import (
    DIGITS,
    DIRECTIONS,
    KINDS,
    LETTERS,
    NAMES,
    ORDINALS,
    PLURALS,
    THINGS,
    TURNS,
    WORDINGS,
)

__all__ = [
    "FAMILIES",
    "Family",
    "Sample",
    "drill_sample",
    "final_answer",
    "is_correct",
    "repeat_sample",
    "split_of",
    "task_sample",
]

# One prompt in this many is held out of training.
HELD_OUT_SHARE = 16


@dataclass(frozen=True)
class Sample:
    """
    One question with its worked answer.

    Args:
        family (`str`): Name of the task family.
        prompt (`str`): The question.
        answer (`str`): The worked steps, closed by "the answer is ...".
    """

    family: str
    prompt: str
    answer: str


@dataclass(frozen=True)
class Family:
    """
    One kind of task.

    Args:
        build (`Callable[[random.Random, int], tuple[str, str]]`): Writes prompt and answer of a given size.
        smallest (`int`): Fewest steps.
        largest (`int`): Most steps.
        weight (`float`, defaults to 1.0): Relative frequency in the mix.
        copying (`bool`, defaults to `False`): Whether the answer mostly copies the prompt; such families come first in
            the curriculum, because the circuits for copying serve all others.
    """

    build: Callable[[random.Random, int], tuple[str, str]]
    smallest: int
    largest: int
    weight: float = 1.0
    copying: bool = False


def _say(rng: random.Random, meaning: str) -> str:
    words, weights = WORDINGS[meaning]
    return rng.choices(words, weights)[0]


def _close(rng: random.Random, answer: str) -> str:
    return f"{_say(rng, 'so')} the answer is {answer}."


def _reverse(rng: random.Random, size: int) -> tuple[str, str]:
    items = rng.sample(THINGS, size)
    backwards = items[::-1]
    steps = [f"the last is {backwards[0]}"]
    steps += [f"before it {_say(rng, 'stands')} {item}" for item in backwards[1:]]
    return f"reverse the list {', '.join(items)}.", f"{', '.join(steps)}. {_close(rng, ' '.join(backwards))}"


def _change(rng: random.Random, value: int) -> tuple[bool, int, int]:
    """Draws an addition or subtraction that keeps `value` within one digit: (is an addition, amount, result)."""
    adds = rng.random() < (9 - value) / 9
    amount = rng.randint(1, 9 - value if adds else value)
    return adds, amount, value + amount if adds else value - amount


def _total(rng: random.Random, size: int) -> tuple[str, str]:
    value = rng.randint(0, 9)
    orders, steps = [], []
    start = value
    for ordinal in ORDINALS[:size]:
        adds, amount, result = _change(rng, value)
        order = f"{ordinal} {'add' if adds else 'take'} {amount}"
        orders.append(order)
        steps.append(f"{order}: {value} {'plus' if adds else 'minus'} {amount} {_say(rng, 'is')} {result}.")
        value = result
    prompt = f"start at {start}. {', '.join(orders)}. what is the total?"
    return prompt, f"{' '.join(steps)} {_close(rng, str(value))}"


def _compare(rng: random.Random, size: int) -> tuple[str, str]:
    names = rng.sample(NAMES, size + 1)
    things = rng.choice(PLURALS)
    value = rng.randint(1, 9)
    facts, steps = [f"{names[0]} has {value} {things}."], [f"{names[0]} has {value}."]
    for before, name in pairwise(names):
        adds, amount, result = _change(rng, value)
        fact = f"{name} has {amount} {'more' if adds else 'fewer'} than {before}"
        facts.append(f"{fact}.")
        sign = "plus" if adds else "minus"
        steps.append(f"{fact}, {_say(rng, 'so')} {value} {sign} {amount} {_say(rng, 'is')} {result}.")
        value = result
    return f"{' '.join(facts)} how many has {names[-1]}?", f"{' '.join(steps)} {_close(rng, str(value))}"


def _turned(direction: str, turn: str) -> str:
    return DIRECTIONS[(DIRECTIONS.index(direction) + TURNS[turn]) % len(DIRECTIONS)]


def _turns(rng: random.Random, size: int) -> tuple[str, str]:
    name, direction = rng.choice(NAMES), rng.choice(DIRECTIONS)
    start = direction
    orders, steps = [], []
    for ordinal in ORDINALS[:size]:
        turn = rng.choice(list(TURNS))
        orders.append(f"{ordinal} turn {turn}")
        steps.append(f"{ordinal} turn {turn}, {_say(rng, 'so')} from {direction} to {_turned(direction, turn)}.")
        direction = _turned(direction, turn)
    prompt = f"{name} faces {start}. {', '.join(orders)}. where does {name} face?"
    return prompt, f"{' '.join(steps)} {_close(rng, direction)}"


def _best(rng: random.Random, size: int) -> tuple[str, str]:
    names, scores = rng.sample(NAMES, size), rng.sample(range(10), size)
    leader, most = names[0], scores[0]
    steps = [f"{leader} has {most}, {_say(rng, 'so')} {leader} {_say(rng, 'leads')} with {most}."]
    for name, score in zip(names[1:], scores[1:], strict=True):
        relation = f"{'more' if score > most else 'fewer'} than {most}"
        if score > most:
            leader, most = name, score
        steps.append(f"{name} has {score}, {relation}, {_say(rng, 'so')} {leader} {_say(rng, 'leads')} with {most}.")
    facts = [f"{name} has {score}" for name, score in zip(names, scores, strict=True)]
    return f"{', '.join(facts)}. who has the most?", f"{' '.join(steps)} {_close(rng, leader)}"


def _latest(rng: random.Random, size: int) -> tuple[str, str]:
    wanted = rng.choice(list(KINDS))
    latest = rng.choice(KINDS[wanted])
    # The first item is of the wanted kind, so that there is a latest one from the first step on.
    items = [latest, *rng.sample([thing for thing in THINGS if thing != latest], size - 1)]
    steps = []
    for item in items:
        kind = next(kind for kind, words in KINDS.items() if item in words)
        latest = item if kind == wanted else latest
        steps.append(f"{item} is {kind}, {_say(rng, 'so')} the {wanted} is {latest}.")
    return f"what is the last {wanted}? {', '.join(items)}.", f"{' '.join(steps)} {_close(rng, latest)}"


def _neighbour(letter: str, side: str) -> str:
    return LETTERS[(LETTERS.index(letter) + (1 if side == "after" else -1)) % len(LETTERS)]


def _shift(rng: random.Random, size: int) -> tuple[str, str]:
    letters = rng.sample(LETTERS, size)
    shifted = [_neighbour(letter, "after") for letter in letters]
    steps = [f"{new} {_say(rng, 'follows')} {old}." for old, new in zip(letters, shifted, strict=True)]
    return f"shift the letters {' '.join(letters)}.", f"{' '.join(steps)} {_close(rng, ' '.join(shifted))}"


def _alphabet(rng: random.Random, size: int) -> tuple[str, str]:
    letter = rng.choice(LETTERS)
    start = letter
    orders, steps = [], []
    for ordinal in ORDINALS[:size]:
        side = rng.choice(["after", "before"])
        orders.append(f"{ordinal} {side}")
        neighbour = _neighbour(letter, side)
        steps.append(f"{ordinal} {side} {letter} {_say(rng, 'is')} {neighbour}.")
        letter = neighbour
    prompt = f"start at {start}. {', '.join(orders)}. what is the letter?"
    return prompt, f"{' '.join(steps)} {_close(rng, letter)}"


FAMILIES: dict[str, Family] = {
    "reverse": Family(_reverse, 4, 12, weight=0.6, copying=True),
    "shift": Family(_shift, 4, 12, weight=0.6, copying=True),
    "turns": Family(_turns, 4, 12),
    "total": Family(_total, 4, 12, weight=1.2),
    "compare": Family(_compare, 2, 8),
    "best": Family(_best, 4, 10),
    "alphabet": Family(_alphabet, 4, 12),
    "latest": Family(_latest, 5, 13, weight=1.2),
}


def split_of(prompt: str) -> str:
    """
    Tells which split a prompt belongs to, from its text alone.

    Args:
        prompt (`str`): The question.

    Returns:
        `str`: `"train"` or `"test"`.
    """
    digest = hashlib.sha256(prompt.encode()).digest()
    return "test" if digest[0] % HELD_OUT_SHARE == 0 else "train"


def task_sample(
    seed: int,
    index: int,
    split: str = "train",
    family: str | None = None,
    difficulty: float = 1.0,
) -> Sample:
    """
    Writes one sample; the same arguments always give the same one.

    Args:
        seed (`int`): Names the stream of samples.
        index (`int`): Position in the stream.
        split (`str`, defaults to `"train"`): `"train"` or `"test"`; their prompts are disjoint.
        family (`str`, *optional*): A key of `FAMILIES`. Drawn by weight when not given.
        difficulty (`float`, defaults to 1.0): From 0 (the fewest steps only) to 1 (all numbers of steps).

    Returns:
        [`Sample`]: The question and its worked answer.
    """
    rng = random.Random(f"{seed}/{split}/{index}")
    if family is None:
        family = rng.choices(list(FAMILIES), [entry.weight for entry in FAMILIES.values()])[0]
    entry = FAMILIES[family]
    largest = entry.smallest + round((entry.largest - entry.smallest) * difficulty)
    while True:
        prompt, answer = entry.build(rng, rng.randint(entry.smallest, largest))
        if split_of(prompt) == split:
            return Sample(family, prompt, answer)


def _fact(rng: random.Random) -> tuple[str, str]:
    """Draws one fixed fact: what to ask, and its statement in the words that the task answers use."""
    kinds = {"change": 4, "letter": 1, "neighbour": 3, "turn": 2, "kind": 2, "order": 1}
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    if kind == "change":
        value = rng.randint(0, 9)
        adds, amount, result = _change(rng, value)
        question = f"{value} {'plus' if adds else 'minus'} {amount}"
        return question, f"{question} {_say(rng, 'is')} {result}"
    if kind == "letter":
        letter = rng.choice(LETTERS)
        return f"shift {letter}", f"{_neighbour(letter, 'after')} {_say(rng, 'follows')} {letter}"
    if kind == "neighbour":
        letter, side = rng.choice(LETTERS), rng.choice(["after", "before"])
        return f"{side} {letter}", f"{side} {letter} {_say(rng, 'is')} {_neighbour(letter, side)}"
    if kind == "turn":
        direction, turn = rng.choice(DIRECTIONS), rng.choice(list(TURNS))
        question = f"turn {turn}, {_say(rng, 'so')} from {direction}"
        return question, f"{question} to {_turned(direction, turn)}"
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


def final_answer(text: str) -> str | None:
    """
    Finds the final answer of a worked text.

    Args:
        text (`str`): Worked steps in any wording.

    Returns:
        `str | None`: What stands between the last "answer is" and its full stop, in lower case and single spaces;
        `None` when there is no such statement.
    """
    found = re.findall(r"answer is ([^.]*)\.", text.lower())
    return " ".join(found[-1].split()) if found else None


def is_correct(sample: Sample, text: str) -> bool:
    """
    Checks a worked text by its final answer.

    Args:
        sample ([`Sample`]): The question with its gold answer.
        text (`str`): What a model wrote.

    Returns:
        `bool`: Whether the final answers agree word by word; the steps before may be worded freely.
    """
    return final_answer(text) == final_answer(sample.answer)
