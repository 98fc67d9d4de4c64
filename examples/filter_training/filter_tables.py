# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What a trained filter is like, in tables: over thresholds, in calibration, and on held-out questions."""

import sys
from pathlib import Path
from typing import Any

from hf_learn2pd import Learn2PD, UnmaskingFilter
from hf_learn2pd.training.calibration import ThresholdTrial
from hf_learn2pd.training.training import ThresholdScore

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from measuring import measure
from questions import load_questions

__all__ = ["score_table", "test_table", "trial_table"]


def score_table(scores: list[ThresholdScore]) -> str:
    """What thresholds do on steps that were held out."""
    lines = ["| threshold | precision | recall | accepted per step |", "|---|---|---|---|"]
    lines += [
        f"| {score.threshold:g} | {score.precision:.5f} | {score.recall:.4f} | {score.tokens_per_forward:.2f} |"
        for score in scores
    ]
    return "\n".join(lines)


def trial_table(trials: list[ThresholdTrial], lost: str) -> str:
    """What the thresholds that were tried have lost, and which loss that bounds; `lost` says of what."""
    lines = [f"| threshold | {lost} | bound | NFE |", "|---|---|---|---|"]
    lines += [
        f"| {trial.threshold:g} | {trial.losses} of {trial.prompts} | "
        f"{'given up' if trial.bound is None else f'{100 * trial.bound:.2f} %'} | {trial.nfe:.2f} |"
        for trial in trials
    ]
    return "\n".join(lines)


def test_table(
    model: Any, tokenizer: Any, filter: UnmaskingFilter, data: str, count: int, batch_size: int, canvas: dict[str, Any]
) -> str:
    """
    Compares a filter with the stock loop on held-out questions.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer.
        filter ([`UnmaskingFilter`]): The filter.
        data (`str`): See [`load_questions`].
        count (`int`): Number of questions.
        batch_size (`int`): Prompts per batch.
        canvas (`dict[str, Any]`): Options of `generate`.

    Returns:
        `str`: A table.
    """
    prompts, checks = load_questions(data, count)
    tokenizer.padding_side = "left"
    lines = ["", "| decoder | accuracy | texts of stock | NFE | TPF |", "|---|---|---|---|---|"]
    stock: list[str] = []
    for name, decoding in (("stock", "low_confidence"), ("learn2pd", Learn2PD(filter))):
        measured = measure(model, tokenizer, prompts, batch_size, decoding=decoding, **canvas)
        stock = stock or measured.texts
        right = sum(check(text) for check, text in zip(checks, measured.texts, strict=True)) / count
        same = sum(map(str.__eq__, stock, measured.texts)) / count
        numbers = f"{measured.nfe:.1f} | {measured.tokens_per_forward:.2f}"
        lines.append(f"| {name} | {100 * right:.1f} | {100 * same:.1f} | {numbers} |")
    return "\n".join([*lines, "", f"{count} held-out questions."])
