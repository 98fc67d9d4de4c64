# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

import torch

from ..blocks import BlockGrid
from ..cache import BlockCache
from ..canvas import Canvas
from .base import ForwardPass, PassPolicy, Setting, Spans

__all__ = ["BlockCausal"]


@dataclass
class BlockCausal(PassPolicy):
    r"""
    For models in which a block sees what is before it and itself: finished blocks are stored once and never refreshed.

    Blocks count from each row's first token, prompt included, so the first block that is denoised holds the prompt's
    tail. The first pass of a block also stores the final keys and values of the one before; where logits are shifted, a
    pass over the one before stores them and predicts the block's first token. Nothing is behind a block, so passes do
    not depend on the length of the canvas, and the cache is exact.
    Sources: https://huggingface.co/papers/2510.06303, https://huggingface.co/papers/2509.26328.

    Args:
        reuse (`bool`, *optional*, defaults to `True`):
            Whether keys and values are stored; otherwise every pass computes all that is before the block's end.
    """

    reuse: bool = True

    stores = True

    # Of a call; by row, the first column whose keys and values are not final.
    setting: Setting = field(init=False, repr=False, compare=False)
    cache: BlockCache | None = field(init=False, repr=False, compare=False)
    unstored: torch.Tensor = field(init=False, repr=False, compare=False)
    grid: BlockGrid = field(init=False, repr=False, compare=False)
    width: int = field(init=False, repr=False, compare=False)
    stored: int = field(init=False, repr=False, compare=False)

    def begin(self, canvas: Canvas, setting: Setting) -> "BlockCausal":
        policy = copy(self)
        assert canvas.grid is not None
        policy.setting, policy.grid = setting, canvas.grid
        policy.cache = setting.cache(canvas.limit) if self.reuse else None
        policy.unstored = canvas.first
        policy.update(policy.measure(canvas, torch.zeros_like(canvas.block_done)).tolist(), None)
        return policy

    def plan(self, canvas: Canvas) -> ForwardPass:
        end = self._end(canvas)
        # The first pass attends to what it computes itself, as all do without a cache.
        whole = self.cache is None or self.cache.extent == 0
        rows = torch.arange(len(canvas), device=end.device)
        spans = Spans(self.unstored, end, end, end)
        columns, valid = spans.columns(self.width)
        targets = columns.masked_fill(~valid, -1)
        columns = columns.clamp(max=canvas.limit - 1)
        if self.reuse:
            self.unstored = canvas.first + self.grid.start(canvas.rows.block_start - canvas.first)
        return ForwardPass(
            kind="block",
            ids=canvas.rows.tokens.gather(1, columns),
            columns=columns,
            forwarded=rows,
            rows=rows,
            places=rows,
            at=(canvas.columns - self.setting.logits_shift - spans.first[:, None]).clamp(min=0, max=self.width - 1),
            visible=self._visible(canvas, columns, targets if whole else None),
            cache=self.cache,
            targets=targets,
            stored=self.stored,
            whole=whole,
            cached=0 if whole else self.stored - self.width,
        )

    def _visible(self, canvas: Canvas, columns: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(rows, width, keys)`: blocks see those before them and themselves."""
        first, end = canvas.first[:, None], self._end(canvas)[:, None]
        if keys is None:
            keys = torch.arange(self.stored, device=columns.device).expand(len(canvas), -1)
        seen, sees = (self.grid.start(each - first) for each in (keys, columns))
        return (seen[:, None] <= sees[..., None]) & ((keys >= first) & (keys < end))[:, None]

    def _end(self, canvas: Canvas) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows,)`: the column behind all that is seen where the block is predicted."""
        last = canvas.rows.block_end - 1 - self.setting.logits_shift - canvas.first
        return torch.minimum(canvas.first + self.grid.start(last) + self.grid.attended, canvas.rows.end)

    def measure(self, canvas: Canvas, finished: torch.Tensor) -> torch.Tensor:
        ends = self._end(canvas).masked_fill(finished, 0)
        return torch.stack(((ends - self.unstored).amax(dim=0), ends.amax(dim=0)))

    def update(self, numbers: Sequence[int], kept: torch.Tensor | None) -> None:
        self.width, self.stored = numbers
        if kept is not None:
            self.unstored = self.unstored[kept]
            if self.cache is not None:
                rows, copies = self.cache.batch_size // self.setting.copies, range(self.setting.copies)
                self.cache.batch_select_indices(torch.cat([kept + copy * rows for copy in copies]))
