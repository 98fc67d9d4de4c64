# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The rows of a canvas that have not finished."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch

__all__ = ["Rows"]


@dataclass
class Rows:
    """
    What a row takes along when others leave the batch. All tensors have one entry per row.

    Args:
        batch (`torch.LongTensor` of shape `(rows,)`): Index of each row in the batch given to `generate`.
        tokens (`torch.LongTensor` of shape `(rows, columns)`): Prompt, answer, and a block of spare columns.
        steps (`torch.LongTensor` of shape `(rows, columns)`): Pass in which a token was unmasked; -1 if in none.
        passes (`torch.LongTensor` of shape `(rows,)`): Forward passes so far.
        padding (`torch.LongTensor` of shape `(rows,)`, *optional*): Columns of left padding; None if no row has any.
        end (`torch.LongTensor` of shape `(rows,)`): The column behind the last one that is denoised.
        sight (`torch.LongTensor` of shape `(rows,)`):
            The column behind the last one that is attended to; right of `end` while a cache keeps what was cut.
        block_start, block_end (`torch.LongTensor` of shape `(rows,)`): First column of the block, and behind its last.
        step_in_block (`torch.LongTensor` of shape `(rows,)`): Denoising steps in the block, or all where it slides.
        steps_of_block, tokens_of_block (`torch.LongTensor` of shape `(rows,)`): The block's share in the schedule.
        post_steps (`torch.LongTensor` of shape `(rows,)`):
            Passes that the block still gets for edits when nothing in it is masked; 0 where tokens are final.
    """

    batch: torch.Tensor
    tokens: torch.Tensor
    steps: torch.Tensor
    passes: torch.Tensor
    padding: torch.Tensor | None
    end: torch.Tensor
    sight: torch.Tensor
    block_start: torch.Tensor
    block_end: torch.Tensor
    step_in_block: torch.Tensor
    steps_of_block: torch.Tensor
    tokens_of_block: torch.Tensor
    post_steps: torch.Tensor

    @classmethod
    def begin(
        cls,
        prompt_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        limit: int,
        spare: int,
        mask_token_id: int,
        start: int,
    ) -> Self:
        """
        Makes the rows of prompts, each behind an empty block.

        Args:
            prompt_ids (`torch.LongTensor` of shape `(rows, prompt_length)`): The prompts, left-padded.
            attention_mask (`torch.Tensor` of shape `(rows, prompt_length)`, *optional*): 0 at padding.
            limit (`int`): Columns of the canvas.
            spare (`int`): Masked columns behind it.
            mask_token_id (`int`): Id of the mask token.
            start (`int`): Where the empty blocks stand.
        """
        count, prompt_length = prompt_ids.shape
        tokens = prompt_ids.new_full((count, limit + spare), mask_token_id)
        tokens[:, :prompt_length] = prompt_ids

        def each(value: int) -> torch.Tensor:
            return torch.full((count,), value, device=prompt_ids.device)

        return cls(
            batch=torch.arange(count, device=prompt_ids.device),
            tokens=tokens,
            steps=torch.full_like(tokens, -1),
            passes=each(0),
            padding=None if attention_mask is None else (attention_mask == 0).sum(dim=-1),
            end=each(limit),
            sight=each(limit),
            block_start=each(start),
            block_end=each(start),
            step_in_block=each(0),
            # One token per step, which is what a sliding block keeps.
            steps_of_block=each(1),
            tokens_of_block=each(1),
            post_steps=each(0),
        )

    def select(self, kept: torch.Tensor) -> Self:
        """Keeps the rows with the given indices."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        kept_values: dict[str, Any] = {name: None if value is None else value[kept] for name, value in values.items()}
        return replace(self, **kept_values)
