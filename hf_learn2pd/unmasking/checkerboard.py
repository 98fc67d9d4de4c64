# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from .base import BlockPrediction, UnmaskingStrategy

__all__ = ["Checkerboard"]


@dataclass(frozen=True)
class Checkerboard(UnmaskingStrategy):
    """
    Even positions of a block first, odd ones then: two forward passes per block, whatever the confidences.

    The order of checkerboard context models in learned image compression.
    Source: https://huggingface.co/papers/2103.15306.
    """

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        even = prediction.masked & (torch.arange(prediction.masked.shape[-1], device=prediction.masked.device) % 2 == 0)
        return torch.where(even.any(dim=-1, keepdim=True), even, prediction.masked)
