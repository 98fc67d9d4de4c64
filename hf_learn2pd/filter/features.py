# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What a filter may look at: numbers between 0 and 1 for every position of a block."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

__all__ = ["FEATURES", "FIELDS", "HIDDEN_STATE", "stack_features"]

# Positions count on a logarithmic scale, which reaches 1 at a block length that is hardly ever exceeded.
_LONGEST_BLOCK = 128


def _mask_ratio(block: Any) -> torch.Tensor:
    ratio: torch.Tensor = block.masked.sum(dim=-1, keepdim=True) / block.in_block.sum(dim=-1, keepdim=True).clamp(min=1)
    return ratio.expand_as(block.confidence)


def _position(block: Any) -> torch.Tensor:
    width = block.confidence.shape[-1]
    position = torch.arange(1, width + 1, device=block.confidence.device).log() / math.log(_LONGEST_BLOCK)
    return position.expand_as(block.confidence)


FEATURES: dict[str, Callable[[Any], torch.Tensor]] = {
    "confidence": lambda block: block.confidence,
    "margin": lambda block: block.margin,
    "entropy": lambda block: block.entropy,
    "mask_ratio": _mask_ratio,
    "position": _position,
    "unchanged": lambda block: (block.repeats > 1).float(),
}

# A feature that is no number: the decoder's last hidden state, of which a filter learns to make a few numbers.
HIDDEN_STATE = "hidden_state"

# Fields of a prediction that are computed on demand, by the feature that is made of them.
FIELDS = {"margin": "margin", "entropy": "entropy", "unchanged": "repeats", HIDDEN_STATE: "hidden_states"}


def stack_features(block: Any, names: Sequence[str]) -> torch.Tensor:
    """
    Computes features of every position but for the hidden state.

    Args:
        block (`BlockPrediction` or `Trajectories`): Holds `confidence`, `masked`, `in_block` and what `FIELDS` names.
        names (`Sequence[str]`): Keys of `FEATURES`, and `HIDDEN_STATE`.

    Returns:
        `torch.FloatTensor` of shape `(rows, block_length, num_features)`.
    """
    return torch.stack([FEATURES[name](block).float() for name in names if name != HIDDEN_STATE], dim=-1)
