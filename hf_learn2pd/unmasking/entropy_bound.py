# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import math
from dataclasses import dataclass

import torch

from ..checks import check_number
from .base import BlockPrediction, UnmaskingStrategy

__all__ = ["EntropyBound"]


@dataclass(frozen=True)
class EntropyBound(UnmaskingStrategy):
    r"""
    EB-Decode: as many of the least uncertain positions as keep the entropies' sum, but for the largest, within a bound.

    With entropies sorted in ascending order, the largest `k` with `H_(1) + ... + H_(k-1) <= gamma`, in nats.
    Source: https://huggingface.co/papers/2505.24857.

    Args:
        gamma (`float`, *optional*, defaults to 0.1): Larger values unmask more tokens per step; at least 0.

    Raises:
        ValueError: If `gamma` is negative.
    """

    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_number("gamma", self.gamma, least=0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"entropy"})

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        assert prediction.entropy is not None
        entropy = prediction.entropy * math.log(prediction.vocab_size)
        ranked, order = entropy.masked_fill(~prediction.masked, torch.inf).sort(dim=-1, stable=True)
        # The sum of the entropies before: in ascending order the last is the largest.
        passes = ranked.cumsum(dim=-1) - ranked <= self.gamma
        return torch.zeros_like(prediction.masked).scatter(-1, order, passes) & prediction.masked
