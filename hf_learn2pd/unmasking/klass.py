# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from ..checks import check_fraction, check_number
from .base import BlockPrediction, UnmaskingStrategy, most_confident

__all__ = ["Klass"]


@dataclass(frozen=True)
class Klass(UnmaskingStrategy):
    r"""
    KLASS: unmasks confident predictions whose whole distribution has stopped to move.

    A position is unmasked if its confidence is above `threshold` and the Kullback-Leibler divergence of its
    probabilities from those of the step before has been below `divergence` in the last two steps; in the first of a
    block none is. A row without any gets as many of the most confident as the `steps` option schedules.
    Source: https://huggingface.co/papers/2511.05664.

    Args:
        threshold (`float`, *optional*, defaults to 0.6): Confidence that is needed.
        divergence (`float`, *optional*, defaults to 0.015): In nats.

    Raises:
        ValueError: If an option is out of range.
    """

    threshold: float = 0.6
    divergence: float = 0.015

    def __post_init__(self) -> None:
        check_fraction("threshold", self.threshold)
        check_number("divergence", self.divergence, above=0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"divergence"})

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        settled = self.accept(prediction)
        none = ~settled.any(dim=-1)
        return settled | most_confident(prediction.confidence, prediction.masked, prediction.scheduled * none)

    def accept(self, prediction: BlockPrediction) -> torch.Tensor:
        assert prediction.divergence is not None
        quiet = prediction.divergence < self.divergence
        return prediction.masked & (prediction.confidence > self.threshold) & quiet
