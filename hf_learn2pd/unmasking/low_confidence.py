# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from .base import BlockPrediction, UnmaskingStrategy, most_confident

__all__ = ["LowConfidence"]


@dataclass(frozen=True)
class LowConfidence(UnmaskingStrategy):
    """
    LLaDA's stock decoding: unmask the most confident predictions, as many as the `steps` option schedules.

    With `steps=None` that is one token per forward pass. The name is LLaDA's: what has *low* confidence stays masked.
    Source: https://huggingface.co/papers/2502.09992.
    """

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        return most_confident(prediction.confidence, prediction.masked, prediction.scheduled)

    def accept(self, prediction: BlockPrediction) -> torch.Tensor:
        return torch.zeros_like(prediction.masked)
