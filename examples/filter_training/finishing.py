# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The last steps of training: the threshold with which a filter will be used, and the filter on disk."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hf_learn2pd import UnmaskingFilter
from hf_learn2pd.training.calibration import ThresholdTrial, calibrate_threshold
from hf_learn2pd.training.training import ThresholdScore

__all__ = ["calibrate", "save", "useful_thresholds"]

# The first threshold of the calibration accepts this share, on steps held out, of what the most daring one accepts.
USEFUL = 0.5


def useful_thresholds(scores: list[ThresholdScore]) -> list[float]:
    """
    Leaves out the safest thresholds: where a filter accepts hardly anything, calibration would only lose time.

    Args:
        scores (`list[ThresholdScore]`): Thresholds from safe to daring, on steps held out.

    Returns:
        `list[float]`: Those to calibrate, in the same order.
    """
    most = max(score.recall for score in scores)
    return [score.threshold for score in scores if score.recall >= USEFUL * most]


def calibrate(
    model: Any,
    tokenizer: Any,
    filter: UnmaskingFilter,
    asked: Iterable[tuple[Any, Callable[[str], bool] | None]],
    scores: list[ThresholdScore],
    canvas: dict[str, Any],
    options: argparse.Namespace,
) -> list[ThresholdTrial]:
    """
    Sets the threshold of a filter on questions that it has not seen.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer.
        filter ([`UnmaskingFilter`]): The filter, changed in place.
        asked (`Iterable[tuple[Any, Callable[[str], bool] | None]]`): Chats, and what checks an answer.
        scores (`list[ThresholdScore]`): What thresholds do on steps that were held out.
        canvas (`dict[str, Any]`): Options of `generate` with which the filter will be used.
        options (`argparse.Namespace`): The script's options.

    Returns:
        `list[ThresholdTrial]`
    """
    rest, checks = zip(*asked, strict=True)
    return calibrate_threshold(
        model,
        filter,
        rest,
        options.max_loss,
        score=(lambda number, text: checks[number](text)) if options.lost == "answers" else None,
        thresholds=useful_thresholds(scores),
        tokenizer=tokenizer,
        batch_size=options.batch_size,
        texts=Path(options.trajectories) / "texts",
        **canvas,
    )


def save(
    model: Any, filter: UnmaskingFilter, canvas: dict[str, Any], training: str, options: argparse.Namespace
) -> None:
    """
    Writes the filter with its card; one in the model's own repository is from now on used without being asked for.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        filter ([`UnmaskingFilter`]): The filter.
        canvas (`dict[str, Any]`): Options of `generate` that it was calibrated with.
        training (`str`): The card's section on training.
        options (`argparse.Namespace`): The script's options.
    """
    # The card belongs to the weights: one that is there already would tell of others.
    (Path(options.output) / "README.md").unlink(missing_ok=True)
    filter.save_pretrained(options.output, model_card_kwargs={"training": training})
    if Path(options.output).resolve() == (Path(options.model) / "unmasking_filter").resolve():
        # `generate` finds a filter in the model's own repository.
        model.generation_config.update(decoding="learn2pd", **canvas)
        model.generation_config.save_pretrained(options.model)
    print(f"threshold {filter.threshold:.4f}; saved to {options.output}")
