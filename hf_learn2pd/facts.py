# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What follows from the tokens and blocks of rows: where a block stands, what is masked in it, how far it sees."""

from functools import cached_property

import torch

from .infilling import MaskedSpans
from .rows import Rows

__all__ = ["Facts"]


class Facts:
    """
    What a [`Canvas`] knows of its rows, computed when somebody asks, once until they change.

    Args:
        rows ([`Rows`]): The rows that have not finished.
        mask_token_id (`int`): Id of the mask token.
        block_length (`int`): Positions of the widest block.
        suffix_length (`int`, *optional*): Masked columns right of the block that are in sight; all if None.
        sliding (`int`, *optional*): Masks of a block that begins at its row's first one; None where blocks stay.
        spans ([`MaskedSpans`], *optional*): Where prompts are masked; None where they are not.
    """

    def __init__(
        self,
        rows: Rows,
        mask_token_id: int,
        block_length: int,
        suffix_length: int | None,
        sliding: int | None,
        spans: MaskedSpans | None,
    ):
        self.rows = rows
        self.mask_token_id = mask_token_id
        self.block_length = block_length
        self.suffix_length = suffix_length
        self.sliding = sliding
        self.spans = spans
        self._window = torch.arange(block_length, device=rows.end.device)

    def changed(self, *names: str) -> None:
        """Forgets what has been computed from tokens and blocks that are no more."""
        for name in names or ("columns", "in_block", "block", "masked", "block_done", "reach", "following"):
            self.__dict__.pop(name, None)

    @property
    def first(self) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows,)`: the column of each row's first token."""
        padding = self.rows.padding
        return torch.zeros_like(self.rows.end) if padding is None else padding

    @cached_property
    def columns(self) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows, block_length)`: where each row's block stands."""
        return self.rows.block_start[:, None] + self._window

    @cached_property
    def in_block(self) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(rows, block_length)`: columns that belong to each row's block."""
        return self._window < (self.rows.block_end - self.rows.block_start)[:, None]

    @cached_property
    def block(self) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows, block_length)`: tokens of each row's block."""
        return self.rows.tokens.gather(1, self.columns)

    @cached_property
    def masked(self) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(rows, block_length)`: what is to be unmasked in each row's block."""
        return (self.block == self.mask_token_id) & self.in_block

    @cached_property
    def reach(self) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows,)`: the column behind the block and the suffix in sight."""
        if self.suffix_length is None:
            return self.rows.sight
        return torch.minimum(self.rows.block_end + self.suffix_length, self.rows.sight)

    def masked_share(self, masked: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """`torch.FloatTensor` of shape `(predicted,)`: share of masked positions in block and suffix, as in sight."""
        state, reach = self.rows, self.reach
        suffix = reach - state.block_end + (state.sight > reach)
        left = suffix if self.spans is None else self.spans.count(state.batch, state.block_end)
        return (masked.sum(dim=-1) + left[rows]) / (suffix + state.block_end - state.block_start)[rows]

    @property
    def given(self) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(rows, columns)`: tokens that have not been predicted."""
        return (self.rows.tokens != self.mask_token_id) & (self.rows.steps < 0)

    @cached_property
    def following(self) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows,)`: the column at which the next block begins; the end if there is none"""
        end = self.rows.block_end
        return end if self.spans is None else self.spans.following[self.rows.batch, end]

    @cached_property
    def block_done(self) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(rows,)`: rows whose block has no mask left and is not edited any more."""
        return ~self.masked.any(dim=-1) & (self.rows.post_steps == 0)

    @property
    def settled(self) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows,)`: the column behind the text that is complete, as rows move on there."""
        state = self.rows
        first = state.block_start
        if self.sliding is not None:
            first = first + self.masked.long().argmax(dim=-1)
        return torch.where(self.block_done, state.block_end, first)
