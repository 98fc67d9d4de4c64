# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from ..checks import check_number
from .base import BlockPrediction, UnmaskingStrategy

__all__ = ["Factor"]


@dataclass(frozen=True)
class Factor(UnmaskingStrategy):
    r"""
    Fast-dLLM's dynamic threshold: the more tokens are unmasked together, the surer each of them has to be.

    With confidences sorted in descending order, the longest run of ranks `n` with `c_(n) >= 1 - factor / (n + 1)`; the
    first always passes. As in the released code, from which the published numbers come, the last-ranked masked
    position is taken too when it alone fails. Source: https://huggingface.co/papers/2505.22618.

    Args:
        factor (`float`, *optional*, defaults to 1.0): Larger values unmask more tokens per step; above 0.

    Raises:
        ValueError: If `factor` is not above 0.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        check_number("factor", self.factor, above=0)

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        confidence = prediction.confidence.masked_fill(~prediction.masked, -torch.inf)
        ranked, order = confidence.sort(dim=-1, descending=True, stable=True)
        rank = torch.arange(1, ranked.shape[-1] + 1, device=ranked.device)
        passes = (ranked >= 1 - self.factor / (rank + 1)) | (rank == 1)
        count = passes.cumprod(dim=-1).sum(dim=-1, keepdim=True)
        candidates = prediction.masked.sum(dim=-1, keepdim=True)
        count = torch.where(count == candidates - 1, candidates, count)
        return torch.zeros_like(prediction.masked).scatter(-1, order, rank <= count) & prediction.masked
