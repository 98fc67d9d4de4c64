# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Self

import torch

from ..canvas import Canvas
from .base import ForwardPass, Setting, Spans
from .windows import Windows

__all__ = ["NeighbourCache"]


@dataclass
class NeighbourCache(Windows):
    """
    Computes everything once; a row that begins a block then computes only that, the block before and what comes into
    sight, and all older keys and values stay as they were.

    A row's first pass is the only one over everything; the others are as wide as its block, or as two and what comes
    into sight.

    Args:
        refresh_every (`int`, *optional*): Passes of a row after which everything is computed anew; never if None.
    """

    kind = "local"
    keeps_suffix = True

    # Of a call, by row: passes since everything was computed, 0 if it never was; the first column of the block of the
    # last pass; the column behind the last one that is stored.
    age: torch.Tensor = field(init=False, repr=False, compare=False)
    last_start: torch.Tensor = field(init=False, repr=False, compare=False)
    last_reach: torch.Tensor = field(init=False, repr=False, compare=False)

    def begin(self, canvas: Canvas, setting: Setting) -> Self:
        policy, rows = copy(self), canvas.rows
        policy.age, policy.last_start, policy.last_reach = (
            torch.zeros_like(rows.end),
            rows.block_start,
            rows.block_start,
        )
        return super(NeighbourCache, policy).begin(canvas, setting)

    def fresh(self, canvas: Canvas) -> torch.Tensor:
        fresh = self.age == 0
        return fresh if self.refresh_every is None else fresh | (self.age >= self.refresh_every)

    def steps_left(self, canvas: Canvas) -> torch.Tensor | None:
        return None if self.refresh_every is None else (self.refresh_every - self.age).clamp(min=1)

    def skip(self, rows: torch.Tensor, steps: torch.Tensor) -> None:
        self.age[rows] += steps

    def window(self, canvas: Canvas) -> Spans:
        rows, reach = canvas.rows, canvas.reach
        # In the first step of a block its predecessor gets its final keys and values.
        first = torch.minimum(self.last_start, rows.block_start)
        entered = torch.minimum(torch.maximum(self.last_reach, rows.block_end), reach)
        return Spans(first - self.setting.logits_shift, rows.block_end, entered, reach)

    def plan(self, canvas: Canvas) -> ForwardPass:
        step = super().plan(canvas)
        rows, computed = step.rows, canvas.reach[step.rows]
        if not step.whole:
            computed = torch.maximum(self.last_reach[rows], computed)
            age = self.age[rows] + 1
        else:
            age = torch.ones_like(rows)
        self.age = self.age.index_copy(0, rows, age)
        self.last_reach = self.last_reach.index_copy(0, rows, computed)
        self.last_start = self.last_start.index_copy(0, rows, canvas.rows.block_start[rows])
        return step

    def update(self, numbers: Sequence[int], kept: torch.Tensor | None) -> None:
        super().update(numbers, kept)
        if kept is not None:
            self.age, self.last_start, self.last_reach = (
                values[kept] for values in (self.age, self.last_start, self.last_reach)
            )
