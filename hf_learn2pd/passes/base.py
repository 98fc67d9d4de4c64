# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What a pass policy is asked, and what it answers: one forward pass."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from transformers import PreTrainedConfig

from ..cache import BlockCache
from ..canvas import Canvas
from ..unmasking import BlockPrediction

__all__ = ["ForwardPass", "PassPolicy", "Setting", "Spans"]


@dataclass(frozen=True)
class ForwardPass:
    """
    One call of the model: which columns of which rows it computes, and what they may see.

    A row may stand in `rows` several times, once for each state of it that is tried out.

    Args:
        kind (`str`): `"full"` for all that is in sight, otherwise the name of the window; reported to the user.
        ids (`torch.LongTensor` of shape `(forwarded, width)`): What the model reads.
        columns (`torch.LongTensor` of shape `(forwarded, width)`): Where on the canvas that stands.
        forwarded (`torch.LongTensor` of shape `(forwarded,)`): Rows of the canvas that go through the model.
        rows (`torch.LongTensor` of shape `(predicted,)`): Rows of the canvas that are predicted.
        places (`torch.LongTensor` of shape `(predicted,)`): Which row of the output predicts each of these,
        at (`torch.LongTensor` of shape `(predicted, block_length)`): and in which of its positions.
        visible (`torch.BoolTensor` of shape `(forwarded, keys)` or `(forwarded, width, keys)`, *optional*):
            Which keys may be seen, by all positions or by each; all if None.
        blocks (`torch.LongTensor` of shape `(predicted, block_length)`, *optional*):
            Tokens of the block in each state; as on the canvas if None.
        cache ([`BlockCache`], *optional*): Where keys and values are kept; nowhere if None.
        targets (`torch.LongTensor` of shape `(forwarded, width)`, *optional*):
            Where in the cache they are stored; -1 for what is stored nowhere, or is no column of its row.
        stored (`int`, *optional*, defaults to 0): Columns of the cache that hold something after the pass.
        whole (`bool`, *optional*, defaults to `True`):
            Whether the pass attends to what it computes itself and to nothing else; otherwise to all that is stored.
        beside (`int`, *optional*, defaults to 0): Columns of the cache beside these, for states that are tried out.
        cached (`int`, *optional*, defaults to 0): Columns that the pass does not compute anew; reported to the user.
        states (`int`, *optional*, defaults to 1): States of a row that stand side by side in the pass.
    """

    kind: str
    ids: torch.Tensor
    columns: torch.Tensor
    forwarded: torch.Tensor
    rows: torch.Tensor
    places: torch.Tensor
    at: torch.Tensor
    visible: torch.Tensor | None = None
    blocks: torch.Tensor | None = None
    cache: BlockCache | None = None
    targets: torch.Tensor | None = None
    stored: int = 0
    whole: bool = True
    beside: int = 0
    cached: int = 0
    states: int = 1


class Setting(NamedTuple):
    """
    What a policy has to know of the model and the call.

    Args:
        config (`PreTrainedConfig`): The model's config.
        logits_shift (`int`): Columns to the left at which a token is predicted.
        copies (`int`): Rows of the model's batch for each row of the canvas: 2 with guidance.
        compiled_cache (`Callable[[int], BlockCache]`, *optional*): Makes the cache of compiled passes.
    """

    config: PreTrainedConfig
    logits_shift: int
    copies: int
    compiled_cache: Callable[[int], BlockCache] | None = None

    def cache(self, columns: int) -> BlockCache:
        """Makes what keys and values are kept in, for a canvas of so many columns."""
        return BlockCache(self.config, columns) if self.compiled_cache is None else self.compiled_cache(columns)


class Spans(NamedTuple):
    """
    Columns of each row that a pass computes: from `first` up to before `end`, then from `next` up to before `last`.

    All are `torch.LongTensor` of shape `(rows,)`.
    """

    first: torch.Tensor
    end: torch.Tensor
    next: torch.Tensor
    last: torch.Tensor

    @classmethod
    def in_sight(cls, canvas: Canvas, first: torch.Tensor) -> Self:
        """From `first` on all that is in sight: up to the suffix' end, then the last column of the canvas."""
        reach, sight = canvas.reach, canvas.rows.sight
        return cls(first, reach, torch.maximum(sight - 1, reach), sight)

    @property
    def lengths(self) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows,)`: how many columns these are."""
        return self.end - self.first + self.last - self.next

    def columns(self, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Lists them, `(rows, width)`, and says which of the entries are columns: shorter rows have some left over."""
        place = torch.arange(width, device=self.first.device)
        jump = self.next - self.end
        columns = self.first[:, None] + place
        columns = torch.where(columns < self.end[:, None], columns, columns + jump[:, None])
        return columns, place < self.lengths[:, None]

    def select(self, rows: torch.Tensor) -> Self:
        """Keeps the rows with the given indices."""
        return type(self)(*(values[rows] for values in self))


class PassPolicy(ABC):
    r"""
    Plans forward passes: which columns of which rows are computed, what they may see, what is stored.

    A policy is a value that `generate(block_cache=...)` is given; `begin` makes of it what serves one call. The loop
    asks it in every denoising step, and in the same copy from the device in which it learns which rows have finished,
    the policy gets the numbers that its next plan needs.
    """

    # Whether passes need a cache that the model takes; whether what a prediction has cut off stays in sight until a row
    # is computed anew; whether what a sliding block leaves behind is computed once more after it has been unmasked.
    stores = False
    keeps_suffix = False
    slides = True

    @abstractmethod
    def begin(self, canvas: Canvas, setting: Setting) -> "PassPolicy":
        """Makes the policy of one call, with a memory of its own."""

    @abstractmethod
    def plan(self, canvas: Canvas) -> ForwardPass:
        """Plans the next pass."""

    def steps_left(self, canvas: Canvas) -> torch.Tensor | None:
        """`torch.LongTensor` of shape `(rows,)`: steps until a row is computed anew, this one too; None if never."""
        return None

    def skip(self, rows: torch.Tensor, steps: torch.Tensor) -> None:
        """Takes note of denoising steps of the given rows that took no pass."""
        return None

    def settle(self, canvas: Canvas, step: ForwardPass, prediction: BlockPrediction) -> BlockPrediction:
        """Makes of what was predicted the prediction of one state for each row."""
        return prediction

    @abstractmethod
    def measure(self, canvas: Canvas, finished: torch.Tensor) -> torch.Tensor:
        """
        Gathers, on the device, the numbers that the next plan needs.

        Args:
            canvas ([`Canvas`]): Rows in the blocks of the next step.
            finished (`torch.BoolTensor` of shape `(rows,)`): Rows that are about to leave.

        Returns:
            `torch.LongTensor` of shape `(numbers,)`.
        """

    @abstractmethod
    def update(self, numbers: Sequence[int], kept: torch.Tensor | None) -> None:
        """
        Takes the numbers, and forgets the rows that have left.

        Args:
            numbers (`Sequence[int]`): What `measure` has gathered, on the host.
            kept (`torch.LongTensor` of shape `(kept,)`, *optional*): What [`Canvas.leave`] has returned.
        """
