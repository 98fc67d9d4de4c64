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
        relief (`float`, *optional*, defaults to 0.0):
            Part of the threshold that is taken off as the masked positions in sight, of block and suffix, get fewer:
            `threshold * (1 - relief * (1 - share))`. Published with a suffix window is 0.3, in
            https://huggingface.co/papers/2601.17917.

    Raises:
        ValueError: If an option is not between 0 and 1.
    """

    threshold: float = 0.9
    relief: float = 0.0

    def __post_init__(self) -> None:
        check_fraction("threshold", self.threshold)
        check_fraction("relief", self.relief)

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        threshold: float | torch.Tensor = self.threshold
        if self.relief:
            assert prediction.masked_share is not None
            threshold = threshold * (1 - self.relief * (1 - prediction.masked_share[:, None]))
        return prediction.masked & (prediction.confidence >= threshold)
