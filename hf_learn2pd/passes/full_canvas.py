# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

import torch

from ..canvas import Canvas
from .base import ForwardPass, PassPolicy, Setting, Spans

__all__ = ["FullCanvas"]


@dataclass
class FullCanvas(PassPolicy):
    """
    Computes everything in sight in every pass and keeps nothing: exact, and the stock loop's way.

    Source: https://huggingface.co/papers/2502.09992.
    """

    # Of a call: how many columns the rows that see the most and the fewest have in sight.
    logits_shift: int = field(init=False, repr=False, compare=False)
    longest: int = field(init=False, repr=False, compare=False)
    shortest: int = field(init=False, repr=False, compare=False)

    def begin(self, canvas: Canvas, setting: Setting) -> "FullCanvas":
        policy = copy(self)
        policy.logits_shift = setting.logits_shift
        policy.update(policy.measure(canvas, torch.zeros_like(canvas.block_done)).tolist(), None)
        return policy

    def plan(self, canvas: Canvas) -> ForwardPass:
        rows = torch.arange(len(canvas), device=canvas.rows.end.device)
        return whole(canvas, rows, self.logits_shift, self.longest, self.shortest)

    def measure(self, canvas: Canvas, finished: torch.Tensor) -> torch.Tensor:
        return extent(canvas, finished)

    def update(self, numbers: Sequence[int], kept: torch.Tensor | None) -> None:
        self.longest, self.shortest = numbers


def extent(canvas: Canvas, finished: torch.Tensor) -> torch.Tensor:
    """Measures how many columns are in sight of the row that sees the most, and of that which sees the fewest."""
    # A pass over everything no longer sees what was cut.
    reach = torch.minimum(canvas.reach, canvas.rows.end)
    lengths = reach + (canvas.rows.end > reach)
    most = lengths.masked_fill(finished, 0).amax(dim=0, keepdim=True)
    return torch.cat((most, lengths.masked_fill(finished, canvas.limit).amin(dim=0, keepdim=True)))


def whole(canvas: Canvas, rows: torch.Tensor, logits_shift: int, longest: int, shortest: int) -> ForwardPass:
    """Plans a pass over all that the given rows have in sight."""
    spans = Spans.in_sight(canvas, torch.zeros_like(canvas.rows.end)).select(rows)
    columns, valid = spans.columns(longest)
    # Entries that are no columns read some column or other, which nobody sees.
    columns = columns.clamp(max=canvas.limit - 1)
    visible = valid if shortest < longest else None
    if canvas.rows.padding is not None:
        visible = valid & (columns >= canvas.rows.padding[rows, None])
    return ForwardPass(
        kind="full",
        ids=canvas.rows.tokens[rows[:, None], columns],
        columns=columns,
        forwarded=rows,
        rows=rows,
        places=torch.arange(len(rows), device=rows.device),
        at=(canvas.columns[rows] - logits_shift).clamp(min=0, max=longest - 1),
        visible=visible,
        targets=columns.masked_fill(~valid, -1),
    )
