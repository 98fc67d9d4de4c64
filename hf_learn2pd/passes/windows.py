# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Self

import torch

from ..cache import BlockCache
from ..canvas import Canvas
from .base import ForwardPass, PassPolicy, Setting, Spans
from .full_canvas import extent, whole

__all__ = ["Windows"]

# Rows that need a pass over all that is in sight wait for each other until they are one in this many of the batch, or
# nobody else has anything to do; meanwhile the others go on.
ROWS_PER_REFRESH = 4


@dataclass
class Windows(PassPolicy):
    r"""
    Keeps keys and values between passes, and computes a window of columns anew in most of them.

    A row is *fresh* when it needs a pass over all that is in sight. What is stored outside of the window is as old as
    the row's last such pass, so decoding is an approximation.

    Args:
        refresh_every (`int`, *optional*):
            Denoising steps after which a row is fresh again, beside those in which the policy makes it so.

    Raises:
        ValueError: If `refresh_every` is not an integer above 0.
    """

    refresh_every: int | None = None

    stores = True
    kind = "window"

    def __post_init__(self) -> None:
        if self.refresh_every is not None and (type(self.refresh_every) is not int or self.refresh_every < 1):
            raise ValueError(f"`refresh_every` must be an integer above 0 (got {self.refresh_every!r})")

    @abstractmethod
    def fresh(self, canvas: Canvas) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(rows,)`: rows that need a pass over all that is in sight."""

    @abstractmethod
    def window(self, canvas: Canvas) -> Spans:
        """The columns of every row that is not fresh."""

    def begin(self, canvas: Canvas, setting: Setting) -> Self:
        policy = copy(self)
        policy.setting = setting
        # Where the first column is stored: with a suffix, behind the canvas' last column, which is always in sight.
        policy.first_slot = int(canvas.suffix_length is not None)
        policy.cache = BlockCache(setting.config, canvas.limit + policy.first_slot)
        policy.update(policy.measure(canvas, torch.zeros_like(canvas.block_done)).tolist(), None)
        return policy

    @property
    def cached(self) -> int:
        """Columns that a window is said to find in the cache."""
        return self.stored

    def plan(self, canvas: Canvas) -> ForwardPass:
        fresh = self.fresh(canvas)
        order = fresh.long().argsort(descending=True, stable=True)
        turn, others = order.tensor_split((self.fresh_count,))
        if self.fresh_count * ROWS_PER_REFRESH >= len(canvas):
            return self._refresh(canvas, turn)
        return self._window(canvas, others, fresh)

    def _refresh(self, canvas: Canvas, rows: torch.Tensor) -> ForwardPass:
        canvas.rows.sight = canvas.rows.sight.index_copy(0, rows, canvas.rows.end[rows])
        step = whole(canvas, rows, self.setting.logits_shift, self.longest, self.shortest)
        assert step.targets is not None
        targets = self._slots(canvas, step.columns, rows, step.targets < 0)
        return replace(step, cache=self.cache, targets=targets, stored=self.longest + self.first_slot)

    def _window(self, canvas: Canvas, rows: torch.Tensor, waits: torch.Tensor) -> ForwardPass:
        spans = self.window(canvas)
        columns, valid = spans.columns(self.width)
        nowhere = ~valid | waits[:, None]
        columns = columns.clamp(min=0, max=canvas.limit - 1)
        everyone = torch.arange(len(canvas), device=rows.device)
        at = canvas.columns - self.setting.logits_shift - spans.first[:, None]
        return ForwardPass(
            kind=self.kind,
            ids=canvas.rows.tokens.gather(1, columns),
            columns=columns,
            forwarded=everyone,
            rows=rows,
            places=rows,
            at=at[rows].clamp(min=0, max=self.width - 1),
            visible=self._stored(canvas),
            cache=self.cache,
            targets=self._slots(canvas, columns, everyone, nowhere),
            stored=self.stored + self.first_slot,
            whole=False,
            cached=self.cached,
        )

    def _slots(self, canvas: Canvas, columns: torch.Tensor, rows: torch.Tensor, nowhere: torch.Tensor) -> torch.Tensor:
        """Where columns are stored; -1 for those that are to be stored nowhere."""
        slots = columns + self.first_slot
        if self.first_slot:
            # Only the last column is in sight without being within reach.
            slots = slots.masked_fill(columns >= canvas.reach[rows, None], 0)
        return slots.masked_fill(nowhere, -1)

    def _stored(self, canvas: Canvas) -> torch.Tensor | None:
        """`torch.BoolTensor` of shape `(rows, keys)`: what each row sees of what is stored; None if it is all."""
        state, reach = canvas.rows, canvas.reach
        column = torch.arange(self.stored + self.first_slot, device=reach.device) - self.first_slot
        if state.padding is None and self.alike:
            return None
        visible = column < reach[:, None]
        visible &= column >= (0 if state.padding is None else state.padding[:, None])
        if self.first_slot:
            # The first place holds the last column, which is in sight where the suffix does not reach it.
            visible[:, 0] = state.sight > reach
        return visible

    def measure(self, canvas: Canvas, finished: torch.Tensor) -> torch.Tensor:
        fresh, state, reach = self.fresh(canvas), canvas.rows, canvas.reach
        away = finished | fresh
        width = self.window(canvas).lengths.masked_fill(away, 0).amax(dim=0, keepdim=True)
        first = state.block_start.masked_fill(finished, canvas.limit).amin(dim=0, keepdim=True)
        most = reach.masked_fill(finished, 0).amax(dim=0, keepdim=True)
        least = reach.masked_fill(finished, canvas.limit).amin(dim=0, keepdim=True)
        tails = (finished | (state.sight > reach)).all(dim=0, keepdim=True).long()
        waiting = (fresh & ~finished).sum(dim=0, keepdim=True)
        return torch.cat((extent(canvas, finished), waiting, width, first, most, least, tails))

    def update(self, numbers: Sequence[int], kept: torch.Tensor | None) -> None:
        self.longest, self.shortest, self.fresh_count, self.width, self.first_computed, self.stored, least, tails = (
            numbers
        )
        # All rows see all that is stored.
        self.alike = least == self.stored and (self.first_slot == 0 or bool(tails))
        if kept is not None:
            rows, copies = self.cache.batch_size // self.setting.copies, range(self.setting.copies)
            self.cache.batch_select_indices(torch.cat([kept + copy * rows for copy in copies]))
