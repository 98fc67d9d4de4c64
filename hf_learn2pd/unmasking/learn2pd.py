# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass, replace
from typing import Self

import torch

from ..checks import check_fraction
from ..filter import UnmaskingFilter
from ..filter.features import FIELDS
from .base import BlockPrediction, UnmaskingStrategy, most_confident

__all__ = ["Learn2PD"]


@dataclass(frozen=True)
class Learn2PD(UnmaskingStrategy):
    r"""
    Learn2PD: a trained filter says which predictions already equal the final output.

    Unmasks a masked position if `sigmoid(filter) > threshold`, or by a joint bound if that is the filter's rule (see
    [`UnmaskingFilter`]), together with the most confident ones that the `steps` option schedules (one per step without
    it). Source: https://huggingface.co/papers/2509.25188.

    Args:
        filter ([`UnmaskingFilter`]):
            The trained filter. `generate(decoding="learn2pd", unmasking_filter=...)` loads it from the Hub.
        threshold (`float`, *optional*):
            Filter probability above which a position is unmasked. Defaults to the filter's own.

    Raises:
        ValueError: If `filter` is no [`UnmaskingFilter`], `threshold` is not between 0 and 1, or the blocks of a call
            are longer than those the filter was trained on, or the filter's weights are not finite real numbers.
    """

    filter: UnmaskingFilter
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.filter, UnmaskingFilter):
            raise ValueError(f"`unmasking_filter` must be an UnmaskingFilter (got {type(self.filter).__name__})")
        if self.threshold is not None:
            check_fraction("filter_threshold", self.threshold)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(FIELDS[name] for name in self.filter.features if name in FIELDS)

    @property
    def state_size(self) -> int | None:
        return self.filter.state_size

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        scheduled = most_confident(prediction.confidence, prediction.masked, prediction.scheduled)
        return self.accept(prediction) | scheduled

    @torch.no_grad()
    def accept(self, prediction: BlockPrediction) -> torch.Tensor:
        threshold = self.filter.threshold if self.threshold is None else self.threshold
        return prediction.masked & (self.filter.level(prediction) > threshold)

    def prepare(self, batch_size: int, block_length: int, device: torch.device) -> Self:
        self.filter.check()
        if self.filter.block_length is not None and block_length > self.filter.block_length:
            raise ValueError(
                f"`block_length` must be at most that of the filter, {self.filter.block_length} (got {block_length})"
            )
        return replace(self, filter=self.filter.to(device))
