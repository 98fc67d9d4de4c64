# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from .base import BlockPrediction, UnmaskingStrategy, most_confident

__all__ = ["RandomOrder"]


@dataclass(frozen=True)
class RandomOrder(UnmaskingStrategy):
    """
    Unmasks positions in a random order, as many per step as the `steps` option schedules (LLaDA's `random`).

    The order is drawn once per call from the `generator` given to `generate`, one order for all rows, so that a row
    does not depend on its batch mates. Source: https://huggingface.co/papers/2502.09992.
    """

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        return most_confident(prediction.noise, prediction.masked, prediction.scheduled)

    def accept(self, prediction: BlockPrediction) -> torch.Tensor:
        return torch.zeros_like(prediction.masked)
