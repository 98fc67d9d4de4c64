# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from ..checks import is_fraction
from .base import BlockPrediction, UnmaskingStrategy

__all__ = ["Frechet"]


@dataclass(frozen=True)
class Frechet(UnmaskingStrategy):
    r"""
    Unmasks together what is likely to be right together, by the Fréchet bound on a joint probability.

    With confidences sorted in descending order, the largest `n` with
    `max(0, c_(1) + ... + c_(n) - (n - 1)) - (1 - c_(n)) > bound`. Source: https://huggingface.co/papers/2606.02955.

    Args:
        bound (`float`, *optional*, defaults to 0.25): Larger values unmask fewer tokens per step; below 1.

    Raises:
        ValueError: If `bound` is not between 0 and 1.
    """

    bound: float = 0.25

    def __post_init__(self) -> None:
        if not is_fraction(self.bound) or self.bound == 1:
            raise ValueError(f"`bound` must be at least 0 and below 1 (got {self.bound!r})")

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        confidence = prediction.confidence.masked_fill(~prediction.masked, 0.0)
        ranked, order = confidence.sort(dim=-1, descending=True, stable=True)
        rank = torch.arange(1, ranked.shape[-1] + 1, device=ranked.device)
        together = (ranked.cumsum(dim=-1) - (rank - 1)).clamp(min=0.0)
        # Both terms fall with the rank, so what passes is a run from the first.
        passes = together - (1 - ranked) > self.bound
        return torch.zeros_like(prediction.masked).scatter(-1, order, passes) & prediction.masked
