# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Asking a strategy which predictions become final, without trusting it."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch

from .unmasking import BlockPrediction, most_confident

__all__ = ["ask", "choose"]


def ask(rule: Callable[[BlockPrediction], torch.Tensor], prediction: BlockPrediction) -> torch.Tensor:
    """
    Calls a rule on a copy of the prediction, so that nothing it writes there can stop the loop from ending.

    Args:
        rule (`Callable`): An [`UnmaskingStrategy`], or its `accept`.
        prediction ([`BlockPrediction`]): The block of each row.

    Returns:
        `torch.BoolTensor` of shape `(rows, block_length)`: The masked positions that it has chosen.

    Raises:
        ValueError: If it returns anything but a bool tensor of this shape.
    """
    values = {field.name: getattr(prediction, field.name) for field in fields(prediction)}
    copies: dict[str, Any] = {name: value.clone() for name, value in values.items() if isinstance(value, torch.Tensor)}
    chosen = rule(replace(prediction, **copies))
    masked = prediction.masked
    if not isinstance(chosen, torch.Tensor) or chosen.dtype != torch.bool or chosen.shape != masked.shape:
        got = type(chosen).__name__
        if isinstance(chosen, torch.Tensor):
            got = f"{chosen.dtype} of shape {tuple(chosen.shape)}"
        raise ValueError(f"`decoding` must return a bool tensor of shape {tuple(masked.shape)} (got {got})")
    return chosen.to(masked.device) & masked


def choose(rule: Callable[[BlockPrediction], torch.Tensor], prediction: BlockPrediction) -> torch.Tensor:
    """
    Asks a rule; a row for which it chooses nothing gets its most confident masked position.

    Takes, returns and raises what [`ask`] does.
    """
    chosen = ask(rule, prediction)
    stuck = ~chosen.any(dim=-1)
    return chosen | most_confident(prediction.confidence, prediction.masked, stuck.long())
