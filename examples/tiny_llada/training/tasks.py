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

from number_tasks import best, compare, total
from text_tasks import alphabet, latest, reverse, shift, turns

__all__ = [
    "FAMILIES",
    "Family",
    "Sample",
    "final_answer",
    "is_correct",
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


FAMILIES: dict[str, Family] = {
    "reverse": Family(reverse, 4, 12, weight=0.6, copying=True),
    "shift": Family(shift, 4, 12, weight=0.6, copying=True),
    "turns": Family(turns, 4, 12),
    "total": Family(total, 4, 12, weight=1.2),
    "compare": Family(compare, 2, 8),
    "best": Family(best, 4, 10),
    "alphabet": Family(alphabet, 4, 12),
    "latest": Family(latest, 5, 13, weight=1.2),
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
