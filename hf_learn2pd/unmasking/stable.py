# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass, field, replace
from typing import Self

import torch

from ..checks import check_fraction, check_integer
from .base import BlockPrediction, UnmaskingStrategy
from .threshold import Threshold

__all__ = ["Stable"]


@dataclass(frozen=True)
class Stable(UnmaskingStrategy):
    r"""
    Joins any strategy with a rule on time: what is confident and has been predicted twice in a row is unmasked too.

    Source: https://huggingface.co/papers/2608.11235.

    Args:
        base ([`UnmaskingStrategy`], *optional*, defaults to `Threshold()`): The strategy to join.
        threshold (`float`, *optional*, defaults to 0.97): Confidence that a repeated prediction needs.
        steps (`int`, *optional*, defaults to 2): Steps in a row with the same prediction, this one included.

    Raises:
        ValueError: If an option is out of range.
    """

    base: UnmaskingStrategy = field(default_factory=Threshold)
    threshold: float = 0.97
    steps: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.base, UnmaskingStrategy):
            raise ValueError(f"`base` must be an UnmaskingStrategy (got {type(self.base).__name__})")
        check_fraction("threshold", self.threshold)
        check_integer("steps", self.steps, 1)

    @property
    def needs(self) -> frozenset[str]:
        return self.base.needs | {"repeats"}

    @property
    def rescores(self) -> bool:
        return self.base.rescores

    def rescore(
        self, logits: torch.Tensor, memory: torch.Tensor, masked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.base.rescore(logits, memory, masked)

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        return self.base(prediction) | self._settled(prediction)

    def accept(self, prediction: BlockPrediction) -> torch.Tensor:
        return self.base.accept(prediction) | self._settled(prediction)

    def _settled(self, prediction: BlockPrediction) -> torch.Tensor:
        assert prediction.repeats is not None
        sure = prediction.confidence >= self.threshold
        return prediction.masked & sure & (prediction.repeats >= self.steps)

    def prepare(self, batch_size: int, block_length: int, device: torch.device) -> Self:
        return replace(self, base=self.base.prepare(batch_size, block_length, device))
