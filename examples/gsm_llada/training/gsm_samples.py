# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""GSM-Symbolic word problems as the package reasoning-gym generates them, in two splits.

The splits come from different generator seeds. The generator repeats itself now and then, so a hash of the question
decides as well: no question of one split is ever in the other, whatever the seeds.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

__all__ = ["Sample", "held_out_samples", "split_of", "train_samples"]

# The generator draws question i of seed s from s + i. Training stays below the first number, the rest is held out.
HELD_OUT_SEED = 1_000_000_000
# One question text in this many is held out.
HELD_OUT_SHARE = 16
CHUNK = 1024


@dataclass(frozen=True)
class Sample:
    """
    One word problem with its worked answer.

    Args:
        template (`int`): Number of the generator's template.
        prompt (`str`): The question.
        answer (`str`): The worked steps, closed by "#### " and the number.
    """

    template: int
    prompt: str
    answer: str


def split_of(prompt: str) -> str:
    """
    Tells which split a question belongs to, from its text alone.

    Args:
        prompt (`str`): The question.

    Returns:
        `str`: `"train"` or `"test"`.
    """
    return "test" if hashlib.sha256(prompt.encode()).digest()[0] % HELD_OUT_SHARE == 0 else "train"


def _generate(seed: int, split: str) -> Iterator[Sample]:
    """Yields the samples of one chunk of the generator's stream that are of a split."""
    import reasoning_gym

    dataset = reasoning_gym.create_dataset("gsm_symbolic", size=CHUNK, seed=seed)
    for template, entry in zip(dataset.task_indices, dataset, strict=True):
        if split_of(entry["question"]) == split:
            yield Sample(template, entry["question"], entry["metadata"]["answer_cot"])


def train_samples(chunk: int) -> list[Sample]:
    """
    Generates training samples; the same chunk always holds the same ones.

    Args:
        chunk (`int`): Number of the chunk, from 0.

    Returns:
        `list[Sample]`: About 960 samples.

    Raises:
        ValueError: When the chunk would reach into the held-out seeds.
    """
    if not 0 <= chunk < HELD_OUT_SEED // CHUNK:
        raise ValueError(f"`chunk` must be from 0 to {HELD_OUT_SEED // CHUNK - 1} (got {chunk}).")
    return list(_generate(chunk * CHUNK, "train"))


def held_out_samples(number: int, skip: int = 0) -> list[Sample]:
    """
    Generates held-out samples, none of which is twice among them; they are the same at every call.

    Args:
        number (`int`): How many.
        skip (`int`, defaults to 0): How many to leave out first.

    Returns:
        `list[Sample]`: The samples, templates mixed.
    """
    seen: set[str] = set()

    def stream() -> Iterator[Sample]:
        for chunk in count():
            for sample in _generate(HELD_OUT_SEED + chunk * CHUNK, "test"):
                if sample.prompt not in seen:
                    seen.add(sample.prompt)
                    yield sample

    return list(islice(stream(), skip, skip + number))
