# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Scores of worked texts: the final number, and apart from it the calculations on the way."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from calculations import find_calculations
from gsm_samples import Sample

__all__ = ["Scores", "final_number", "is_correct", "right_calculations", "score_texts"]


def final_number(text: str) -> float | None:
    """
    Finds the final answer of a worked text.

    Args:
        text (`str`): Worked steps.

    Returns:
        `float | None`: The number after the last "####"; `None` when there is none.
    """
    found = re.findall(r"####\s*(-?[\d,]*\.?\d+)", text)
    return float(found[-1].replace(",", "")) if found else None


def is_correct(sample: Sample, text: str) -> bool:
    """
    Checks a worked text by its final number.

    Args:
        sample ([`Sample`]): The question with its gold answer.
        text (`str`): What a model wrote.

    Returns:
        `bool`: Whether the final numbers are equal as numbers (36 is 36.0).
    """
    number = final_number(text)
    return number is not None and number == final_number(sample.answer)


def right_calculations(text: str) -> tuple[int, int]:
    """
    Counts the calculations inside a text, whatever they have to do with the question.

    Args:
        text (`str`): What a model wrote.

    Returns:
        `tuple[int, int]`: Right ones, and all.
    """
    calculations = find_calculations(text)
    return sum(calculation.is_right for calculation in calculations), len(calculations)


@dataclass(frozen=True)
class Scores:
    """
    Scores of many texts.

    Args:
        exact_match (`float`): Share of the texts whose final number is right.
        calculations (`float`): Share of all calculations inside the texts that are right.
        by_template (`dict[int, tuple[int, int]]`): For each template, texts whose final number is right, and all.
    """

    exact_match: float
    calculations: float
    by_template: dict[int, tuple[int, int]]


def score_texts(samples: Sequence[Sample], texts: Sequence[str]) -> Scores:
    """
    Scores what a model wrote.

    Args:
        samples (`Sequence[Sample]`): The questions with their gold answers; at least one.
        texts (`Sequence[str]`): What a model wrote, one text per sample.

    Returns:
        [`Scores`]: The scores.
    """
    by_template: dict[int, tuple[int, int]] = {}
    right = found = 0
    for sample, text in zip(samples, texts, strict=True):
        matches, number = by_template.get(sample.template, (0, 0))
        by_template[sample.template] = (matches + is_correct(sample, text), number + 1)
        right_here, found_here = right_calculations(text)
        right, found = right + right_here, found + found_here
    exact_match = sum(matches for matches, _ in by_template.values()) / len(samples)
    return Scores(exact_match, right / max(1, found), dict(sorted(by_template.items())))
