# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The questions of the small checkpoint as a task of lm-eval, which needs no download.

python -m hf_learn2pd.evaluation --model learn2pd --model_args pretrained=examples/tiny_llada --tasks worked_steps \
    --include_path examples/evaluation/harness --apply_chat_template --batch_size 16 --limit 100
"""

import sys
from pathlib import Path
from typing import Any

from datasets import Dataset

sys.path.insert(0, str(Path(__file__).parents[2] / "tiny_llada" / "training"))

from tasks import Sample, is_correct, task_sample

__all__ = ["load", "score"]

# Those of the other evaluations here.
SEED = 4096


def load(num_questions: int = 1000, **kwargs: Any) -> dict[str, Dataset]:
    """
    Writes held-out questions.

    Args:
        num_questions (`int`, *optional*, defaults to 1000): How many.
        kwargs: What lm-eval hands to every task; not used.

    Returns:
        `dict[str, Dataset]`: The split `"test"`, with the fields of a [`Sample`].
    """
    return {"test": Dataset.from_list([vars(task_sample(SEED, index, "test")) for index in range(num_questions)])}


def score(doc: dict[str, str], results: list[str]) -> dict[str, float]:
    """
    Checks an answer by its last statement.

    Args:
        doc (`dict[str, str]`): The question.
        results (`list[str]`): What the model wrote, one text.

    Returns:
        `dict[str, float]`: `exact_match`, 1.0 or 0.0.
    """
    return {"exact_match": float(is_correct(Sample(**doc), results[0]))}
