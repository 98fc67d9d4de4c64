# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from ..checks import check_fraction
from .base import BlockPrediction, UnmaskingStrategy

__all__ = ["Threshold"]


@dataclass(frozen=True)
class Threshold(UnmaskingStrategy):
    """
    Fast-dLLM: unmask every prediction whose confidence reaches a threshold.

    Source: https://huggingface.co/papers/2505.22618.

    Args:
        threshold (`float`, *optional*, defaults to 0.9): Lowest confidence that is unmasked, from 0 to 1.

    Raises:
        ValueError: If `threshold` is not between 0 and 1.
    """

    threshold: float = 0.9

    def __post_init__(self) -> None:
        check_fraction("threshold", self.threshold)

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        return prediction.masked & (prediction.confidence >= self.threshold)
