# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch
from torch import nn

from ..checks import check_fraction, check_integer
from .base import BlockPrediction, UnmaskingStrategy

__all__ = ["LocalLeap"]


@dataclass(frozen=True)
class LocalLeap(UnmaskingStrategy):
    r"""
    LocalLeap: near a confident prediction, others need less confidence.

    Masked positions with a confidence of at least `threshold` are anchors. They are unmasked, and so is every masked
    position within `radius` of one whose confidence is at least `relaxed_threshold`. What is unmasked in a step is no
    anchor in the same step. Source: https://huggingface.co/papers/2510.07081.

    Args:
        threshold (`float`, *optional*, defaults to 0.9): Confidence of an anchor.
        relaxed_threshold (`float`, *optional*, defaults to 0.75): Confidence that is enough near one.
        radius (`int`, *optional*, defaults to 4): Positions to either side that are near.

    Raises:
        ValueError: If an option is out of range.
    """

    threshold: float = 0.9
    relaxed_threshold: float = 0.75
    radius: int = 4

    def __post_init__(self) -> None:
        for name in ("threshold", "relaxed_threshold"):
            check_fraction(name, getattr(self, name))
        check_integer("radius", self.radius, 0)

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        anchors = prediction.masked & (prediction.confidence >= self.threshold)
        # Nothing is further away than a block is wide.
        radius = min(self.radius, anchors.shape[-1] - 1)
        near = nn.functional.max_pool1d(anchors.float(), 2 * radius + 1, stride=1, padding=radius) > 0
        return anchors | (prediction.masked & near & (prediction.confidence >= self.relaxed_threshold))
