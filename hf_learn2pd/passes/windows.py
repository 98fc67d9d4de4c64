# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch

from ..cache import BlockCache
from ..canvas import Canvas
from ..checks import check_integer
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
    the row's last such pass, so decoding is an approximation. Rows that need more than a block and rows that do not go
    in turn, where filling the narrow ones up would cost more than another pass; whoever waits does not compute.

    Args:
        refresh_every (`int`, *optional*):
            Denoising steps after which a row is fresh again, beside those in which the policy makes it so.

    Raises:
        ValueError: If `refresh_every` is not an integer above 0.
    """

    refresh_every: int | None = None

    stores = True
    kind: ClassVar[str] = "window"
    # A pass over so many columns costs about as much as over a few: less is not worth a pass of its own.
    columns_per_pass: ClassVar[int] = 128

    # Of a call: where the first column is stored; by row, its window and its turn, 0 where everything is computed, 1
    # where more than a block is, else 2; the numbers that were measured.
    setting: Setting = field(init=False, repr=False, compare=False)
    cache: BlockCache = field(init=False, repr=False, compare=False)
    first_slot: int = field(init=False, repr=False, compare=False)
    spans: Spans = field(init=False, repr=False, compare=False)
    turn: torch.Tensor = field(init=False, repr=False, compare=False)
    longest: int = field(init=False, repr=False, compare=False)
    shortest: int = field(init=False, repr=False, compare=False)
    fresh_count: int = field(init=False, repr=False, compare=False)
    wide_count: int = field(init=False, repr=False, compare=False)
    width: int = field(init=False, repr=False, compare=False)
    narrow_width: int = field(init=False, repr=False, compare=False)
    first_computed: int = field(init=False, repr=False, compare=False)
    stored: int = field(init=False, repr=False, compare=False)
    alike: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.refresh_every is not None:
            check_integer("refresh_every", self.refresh_every, 1)

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
        policy.cache = setting.cache(canvas.limit + policy.first_slot)
        policy.update(policy.measure(canvas, torch.zeros_like(canvas.block_done)).tolist(), None)
        return policy

    @property
    def cached(self) -> int:
        """Columns that a window is said to find in the cache."""
        return self.stored

    def plan(self, canvas: Canvas) -> ForwardPass:
        order = self.turn.argsort(stable=True)
        fresh, wide, narrow = order.tensor_split((self.fresh_count, self.fresh_count + self.wide_count))
        if self.fresh_count * ROWS_PER_REFRESH >= len(canvas):
            return self._refresh(canvas, fresh)
        if len(narrow) * (self.width - self.narrow_width) <= self.columns_per_pass:
            rows = order[self.fresh_count :].sort().values
            return self._window(canvas, rows, self.width)
        if self.wide_count >= len(narrow):
            return self._window(canvas, wide, self.width)
        return self._window(canvas, narrow, self.narrow_width)

    def _refresh(self, canvas: Canvas, rows: torch.Tensor) -> ForwardPass:
        canvas.see(canvas.rows.sight.index_copy(0, rows, canvas.rows.end[rows]))
        step = whole(canvas, rows, self.setting.logits_shift, self.longest, self.shortest)
        assert step.targets is not None
        targets = self._slots(canvas, step.columns, rows, step.targets < 0)
        return replace(step, cache=self.cache, targets=targets, stored=self.longest + self.first_slot)

    def _window(self, canvas: Canvas, rows: torch.Tensor, width: int) -> ForwardPass:
        spans = self.spans.select(rows)
        columns, valid = spans.columns(width)
        columns = columns.clamp(min=0, max=canvas.limit - 1)
        visible = self._stored(canvas)
        at = canvas.columns[rows] - self.setting.logits_shift - spans.first[:, None]
        return ForwardPass(
            kind=self.kind,
            ids=canvas.rows.tokens[rows[:, None], columns],
            columns=columns,
            forwarded=rows,
            rows=rows,
            places=torch.arange(len(rows), device=rows.device),
            at=at.clamp(min=0, max=width - 1),
            visible=None if visible is None else visible[rows],
            cache=self.cache,
            targets=self._slots(canvas, columns, rows, ~valid),
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
        self.spans = self.window(canvas)
        lengths = self.spans.lengths
        wide = lengths > canvas.block_length + self.setting.logits_shift
        self.turn = (2 - wide.long()).masked_fill(fresh, 0)
        lengths = lengths.masked_fill(finished | fresh, 0)
        numbers = (
            (fresh & ~finished).sum(dim=0),
            (wide & ~fresh & ~finished).sum(dim=0),
            lengths.amax(dim=0),
            lengths.masked_fill(wide, 0).amax(dim=0),
            state.block_start.masked_fill(finished, canvas.limit).amin(dim=0),
            reach.masked_fill(finished, 0).amax(dim=0),
            reach.masked_fill(finished, canvas.limit).amin(dim=0),
            (finished | (state.sight > reach)).all(dim=0).long(),
        )
        return torch.cat((extent(canvas, finished), torch.stack(numbers)))

    def update(self, numbers: Sequence[int], kept: torch.Tensor | None) -> None:
        self.longest, self.shortest, self.fresh_count, self.wide_count, *others = numbers
        self.width, self.narrow_width, self.first_computed, self.stored, least, tails = others
        # All rows see all that is stored.
        self.alike = least == self.stored and (self.first_slot == 0 or bool(tails))
        if kept is not None:
            self.spans, self.turn = self.spans.select(kept), self.turn[kept]
            rows, copies = self.cache.batch_size // self.setting.copies, range(self.setting.copies)
            self.cache.batch_select_indices(torch.cat([kept + copy * rows for copy in copies]))
