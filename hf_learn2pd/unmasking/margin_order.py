# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from .base import BlockPrediction, UnmaskingStrategy, most_confident

__all__ = ["MarginOrder"]


@dataclass(frozen=True)
class MarginOrder(UnmaskingStrategy):
    """
    Unmasks the predictions whose two highest probabilities differ most, as many as the `steps` option schedules.

    One of the orders of Dream. Source: https://huggingface.co/papers/2508.15487.
    """

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"margin"})

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        assert prediction.margin is not None
        return most_confident(prediction.margin, prediction.masked, prediction.scheduled)

    def accept(self, prediction: BlockPrediction) -> torch.Tensor:
        return torch.zeros_like(prediction.masked)
