# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Questions that a filter learns from."""

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from hf_learn2pd.training.prompts import read_prompts

for checkpoint in ("tiny_llada", "gsm_llada"):
    sys.path.insert(0, str(Path(__file__).parents[1] / checkpoint / "training"))

from tasks import is_correct, task_sample

__all__ = ["questions"]

# Of a stream of training samples of its own, apart from the one the model was trained on.
SEED = 188

# Chunks of word problems from which the training of gsm_llada is far away.
GSM_CHUNK = 900_000


def questions(source: str) -> Iterator[tuple[Any, Callable[[str], bool] | None]]:
    """
    Finds training questions.

    Args:
        source (`str`): `"tasks"`, `"gsm"`, or a file as [`read_prompts`] takes it.

    Returns:
        `Iterator[tuple[Any, Callable[[str], bool] | None]]`: Chats, and what checks an answer, if known.
    """
    if source not in ("tasks", "gsm"):
        yield from ((chat, None) for chat in read_prompts(source))
        return
    samples: Iterable[Any] = (task_sample(SEED, index, "train") for index in range(1_000_000))
    check: Callable[[Any, str], bool] = is_correct
    if source == "gsm":
        import scores
        from gsm_samples import train_samples

        samples = chain.from_iterable(map(train_samples, range(GSM_CHUNK, GSM_CHUNK + 1000)))
        check = scores.is_correct
    for sample in samples:
        yield [{"role": "user", "content": sample.prompt}], partial(check, sample)
