# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Self

import torch

from ..canvas import Canvas
from ..checks import check_integer
from .base import ForwardPass, Setting, Spans
from .neighbour_cache import NeighbourCache

__all__ = ["SlidingCache"]


@dataclass
class SlidingCache(NeighbourCache):
    """
    DSB's cache, made for sliding blocks: computes the block and some columns left of it, so that what has been unmasked
    gets keys and values as a token before it is left alone; and all anew after as many tokens as a block holds masks.

    Other blocks are computed anew where they begin. Source: https://huggingface.co/papers/2602.05992.

    Args:
        refresh_every (`int`, *optional*): Passes of a row after which everything is computed anew at the latest.
        margin (`int`, *optional*, defaults to 24):
            Columns left of the block that are computed with it, at least those that were in the block of the last pass.

    Raises:
        ValueError: If `refresh_every` is not an integer above 0, or `margin` not one of at least 0.
    """

    margin: int = 24

    kind = "sliding"

    # Of a call, by row: tokens that had been unmasked when everything was computed.
    unmasked: torch.Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("margin", self.margin, 0)

    def begin(self, canvas: Canvas, setting: Setting) -> Self:
        policy = copy(self)
        policy.unmasked = self._count(canvas)
        return super(SlidingCache, policy).begin(canvas, setting)

    def fresh(self, canvas: Canvas) -> torch.Tensor:
        since = self._count(canvas) - self.unmasked
        begins = (canvas.rows.step_in_block == 0) | (since >= (canvas.sliding or canvas.block_length))
        return begins | super().fresh(canvas)

    def window(self, canvas: Canvas) -> Spans:
        spans, padding = super().window(canvas), canvas.rows.padding
        first = torch.minimum(spans.first, canvas.rows.block_start - self.margin - self.setting.logits_shift)
        return spans._replace(first=first.clamp(min=0) if padding is None else torch.maximum(first, padding))

    def plan(self, canvas: Canvas) -> ForwardPass:
        step = super().plan(canvas)
        if step.whole:
            self.unmasked = self.unmasked.index_copy(0, step.rows, self._count(canvas)[step.rows])
        return step

    def update(self, numbers: Sequence[int], kept: torch.Tensor | None) -> None:
        super().update(numbers, kept)
        if kept is not None:
            self.unmasked = self.unmasked[kept]

    @staticmethod
    def _count(canvas: Canvas) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows,)`: tokens that have been unmasked so far."""
        return (canvas.rows.steps >= 0).sum(dim=-1)
