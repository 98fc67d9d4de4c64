# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass, field, replace
from typing import Self

import torch

from ..checks import check_fraction, check_integer
from .base import BlockPrediction, UnmaskingStrategy
from .low_confidence import LowConfidence

__all__ = ["Stable"]


@dataclass(frozen=True)
class Stable(UnmaskingStrategy):
    r"""
    CORA-Diff's fast accept: what is confident and has been predicted again and again is unmasked at once.

    Another strategy chooses among the rest; one that follows a schedule only tops up what is missing to its number.
    Source: https://huggingface.co/papers/2608.11235.

    Args:
        base ([`UnmaskingStrategy`], *optional*, defaults to `LowConfidence()`): Chooses among the rest.
        threshold (`float`, *optional*, defaults to 0.97): Confidence that a repeated prediction needs.
        steps (`int`, *optional*, defaults to 2):
            Steps of the block in a row that have predicted what the step before did: 2 are three equal predictions.

    Raises:
        ValueError: If an option is out of range.
    """

    base: UnmaskingStrategy = field(default_factory=LowConfidence)
    threshold: float = 0.97
    steps: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.base, UnmaskingStrategy):
            raise ValueError(f"`base` must be an UnmaskingStrategy (got {type(self.base).__name__})")
        check_fraction("threshold", self.threshold)
        check_integer("steps", self.steps, 1)

    @property
    def needs(self) -> frozenset[str]:
        return self.base.needs | {"agreements"}

    @property
    def rescores(self) -> bool:
        return self.base.rescores

    def rescore(
        self, logits: torch.Tensor, memory: torch.Tensor, masked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.base.rescore(logits, memory, masked)

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        settled, rest = self._settled(prediction)
        return settled | (self.base(rest) & rest.masked)

    def accept(self, prediction: BlockPrediction) -> torch.Tensor:
        settled, rest = self._settled(prediction)
        return settled | (self.base.accept(rest) & rest.masked)

    def _settled(self, prediction: BlockPrediction) -> tuple[torch.Tensor, BlockPrediction]:
        assert prediction.agreements is not None
        sure = prediction.confidence >= self.threshold
        settled = prediction.masked & sure & (prediction.agreements >= self.steps)
        missing = (prediction.scheduled - settled.sum(dim=-1)).clamp(min=0)
        return settled, replace(prediction, masked=prediction.masked & ~settled, scheduled=missing)

    @property
    def state_size(self) -> int | None:
        return self.base.state_size

    def prepare(self, batch_size: int, block_length: int, device: torch.device) -> Self:
        return replace(self, base=self.base.prepare(batch_size, block_length, device))
