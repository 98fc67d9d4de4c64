# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from ..checks import check_fraction, check_number
from .base import BlockPrediction, UnmaskingStrategy

__all__ = ["Credit"]


@dataclass(frozen=True)
class Credit(UnmaskingStrategy):
    r"""
    CreditDecoding: a token that has been predicted again and again needs less confidence.

    Each masked position gives credit to the token it predicts, its probability to the power of `exponent`, and forgets
    a part of it from step to step; `weight * log(credit + 1)` is added to the logits. Then all tokens with a confidence
    of at least `threshold` are unmasked. Source: https://huggingface.co/papers/2510.06133.

    Args:
        threshold (`float`, *optional*, defaults to 0.9): Confidence, with credit, that is needed.
        decay (`float`, *optional*, defaults to 0.8): Part of the credit that is kept from one step to the next.
        exponent (`float`, *optional*, defaults to 0.2): Of the probability that is credited.
        weight (`float`, *optional*, defaults to 0.7): Of the credit in the logits.

    Raises:
        ValueError: If an option is out of range.
    """

    threshold: float = 0.9
    decay: float = 0.8
    exponent: float = 0.2
    weight: float = 0.7

    def __post_init__(self) -> None:
        for name in ("threshold", "decay"):
            check_fraction(name, getattr(self, name))
        for name in ("exponent", "weight"):
            check_number(name, getattr(self, name), least=0)

    def rescore(
        self, logits: torch.Tensor, memory: torch.Tensor, masked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        probability, token = logits.softmax(dim=-1).max(dim=-1, keepdim=True)
        given = (probability**self.exponent) * masked[..., None]
        memory = (self.decay * memory).scatter_add(-1, token, given)
        return logits + self.weight * memory.log1p(), memory

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        return prediction.masked & (prediction.confidence >= self.threshold)
