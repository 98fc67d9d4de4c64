# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Questions to decode, and how to tell whether an answer is right."""

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

for checkpoint in ("tiny_llada", "gsm_llada"):
    sys.path.insert(0, str(Path(__file__).parents[1] / checkpoint / "training"))

from tasks import is_correct, task_sample

__all__ = ["ends_with", "load_questions"]

# Of the stream of held-out samples, apart from those of the other scripts.
TASK_SEED = 4096

Checks = list[Callable[[str], bool]]


def ends_with(answer: str, text: str) -> bool:
    """
    Tells whether a text ends with an answer: by the last number of both, or else by the last words.

    Args:
        answer (`str`): The known answer.
        text (`str`): What a model wrote.

    Returns:
        `bool`
    """
    numbers = [re.findall(r"-?\d[\d,]*\.?\d*", words) for words in (answer, text)]
    if all(numbers):
        one, other = (found[-1].replace(",", "").rstrip(".") for found in numbers)
        return float(one) == float(other)
    return text.strip().rstrip(".").endswith(answer.strip().rstrip("."))


def load_questions(data: str, num_prompts: int) -> tuple[list[str], Checks]:
    """
    Reads held-out questions.

    Args:
        data (`str`): `"tasks"`, `"gsm"` (needs the package reasoning-gym), or a JSONL file with `prompt` and `answer`.
        num_prompts (`int`): How many.

    Returns:
        `tuple[list[str], list[Callable[[str], bool]]]`: Prompts, and for each whether a text answers it.

    Raises:
        ValueError: If the file is not there, is damaged, or has fewer questions.
    """
    if data == "tasks":
        samples = [task_sample(TASK_SEED, index, "test") for index in range(num_prompts)]
        return [sample.prompt for sample in samples], [partial(is_correct, sample) for sample in samples]
    if data == "gsm":
        from gsm_samples import held_out_samples
        from scores import is_correct as is_number_correct

        problems = held_out_samples(num_prompts)
        return [each.prompt for each in problems], [partial(is_number_correct, each) for each in problems]
    if not Path(data).is_file():
        raise ValueError(f"`--data` must be 'tasks', 'gsm' or a JSONL file (got {data!r})")
    lines = []
    # As bytes: text would also be split at the line separators that JSON strings may hold.
    for number, line in enumerate(Path(data).read_bytes().splitlines(), 1):
        if line.strip():
            try:
                found = json.loads(line)
                lines.append({"prompt": found["prompt"], "answer": found["answer"]})
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"`--data` must hold `prompt` and `answer` in every line (got {error!r} in {data}:{number})"
                ) from error
    if len(lines) < num_prompts:
        raise ValueError(f"`--num-prompts` must be at most the questions of the file, {len(lines)} (got {num_prompts})")
    lines = lines[:num_prompts]
    return [line["prompt"] for line in lines], [partial(ends_with, str(line["answer"])) for line in lines]
