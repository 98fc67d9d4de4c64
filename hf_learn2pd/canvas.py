# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The canvas: token ids of a batch while it is being denoised, with a block, an end and counts for every row."""

import torch

from .blocks import BlockGrid
from .facts import Facts
from .infilling import MaskedSpans
from .rows import Rows
from .special_tokens import SpecialTokens
from .step_schedule import StepSchedule

__all__ = ["Canvas"]


class Canvas(Facts):
    r"""
    The state of a batch in the denoising loop. Rows are independent.

    Columns count from the start of the (left-padded) prompt. `rows` holds the rows that have not finished; `sequences`,
    `nfe`, `ends` and `unmasking_steps` collect the results of the whole batch.

    Args:
        prompt_ids (`torch.LongTensor` of shape `(batch_size, prompt_length)`): The prompts, left-padded.
        attention_mask (`torch.Tensor` of shape `(batch_size, prompt_length)`, *optional*): 0 at padding.
        max_new_tokens (`int`): Positions of the answer region.
        block_length (`int`): Positions of the widest block that may come.
        steps (`int`, *optional*):
            Denoising steps that the stock schedule spreads over the whole answer; None for one token per step.
        special_tokens ([`SpecialTokens`]): The mask token, and the one behind the end of a row in `sequences`.
        generator (`torch.Generator`, *optional*): Source of the noise for random orders.
        suffix_length (`int`, *optional*): Masked columns right of the block that are in sight; all if None.
        grid ([`BlockGrid`], *optional*):
            Where blocks end if they count from each row's first token, so that the first one to be denoised may begin
            with the end of the prompt; None where they count from the end of the prompt.
        schedule_eps (`float`, *optional*): Smallest time of Dream's schedule; LLaDA's schedule if None.
        sliding (`int`, *optional*):
            Masks that a block holds which begins at its row's first one in every step, of at most `block_length`
            positions; None where rows stay in a block until it is done.
        post_steps (`int`, *optional*):
            Passes for edits that a block gets at most when nothing in it is masked; None where tokens are final.
        spans ([`MaskedSpans`], *optional*): Where prompts are masked; None where they are given as a whole.
    """

    def __init__(
        self,
        prompt_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        max_new_tokens: int,
        block_length: int,
        steps: int | None,
        special_tokens: SpecialTokens,
        generator: torch.Generator | None = None,
        suffix_length: int | None = None,
        grid: BlockGrid | None = None,
        schedule_eps: float | None = None,
        sliding: int | None = None,
        post_steps: int | None = None,
        spans: MaskedSpans | None = None,
    ):
        count, self.prompt_length = prompt_ids.shape
        device = prompt_ids.device
        self.max_new_tokens, self.post_steps, self.grid = max_new_tokens, post_steps, grid
        self.schedule = StepSchedule(max_new_tokens, steps, schedule_eps, device)
        self.limit = limit = self.prompt_length + max_new_tokens
        self.sequences = prompt_ids.new_full((count, limit), special_tokens.pad)
        self.nfe = torch.zeros(count, dtype=torch.long, device=device)
        self.ends = torch.full((count,), limit, device=device)
        # The first column of what is written: masked prompts are written themselves.
        self.origin = self.prompt_length if spans is None else 0
        self.unmasking_steps = torch.full((count, limit - self.origin), -1, device=device)

        # A block's worth of spare columns keeps every block in range without clamping; they are never forwarded.
        rows = Rows.begin(prompt_ids, attention_mask, limit, block_length, special_tokens.mask, self.origin)
        self.noise = torch.rand(max_new_tokens + block_length, generator=generator, device=device)
        super().__init__(rows, special_tokens.mask, block_length, suffix_length, sliding, spans)
        self.advance()

    def __len__(self) -> int:
        return len(self.rows.batch)

    def scheduled(self, steps: int = 1) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows, steps)`: tokens that the stock schedule unmasks in the next steps."""
        return self.schedule.tokens(self.rows, steps)

    def unmask(self, rows: torch.Tensor, tokens: torch.Tensor, chosen: torch.Tensor) -> None:
        """
        Makes predicted tokens final and counts the step and its pass.

        Args:
            rows (`torch.LongTensor` of shape `(predicted,)`): Index of each of these rows in the canvas.
            tokens (`torch.LongTensor` of shape `(predicted, block_length)`): Ids of each row's block.
            chosen (`torch.BoolTensor` of shape `(predicted, block_length)`): Masked positions to unmask.
        """
        self.write(rows, tokens, chosen)
        self.rows.passes[rows] += 1
        self.rows.step_in_block[rows] += 1

    def write(self, rows: torch.Tensor, tokens: torch.Tensor, chosen: torch.Tensor) -> None:
        """Makes tokens final in the pass that the rows are in; arguments are those of `unmask`."""
        state = self.rows
        places = (rows[:, None], state.block_start[rows, None] + self._window)
        state.tokens[places] = torch.where(chosen, tokens, state.tokens[places])
        state.steps[places] = torch.where(chosen, state.passes[rows, None], state.steps[places])
        self.changed("block", "masked", "block_done")

    def spare(self, rows: torch.Tensor, post_steps: torch.Tensor) -> None:
        """Sets how many passes for edits the blocks of the given rows have left, each `(predicted,)`."""
        self.rows.post_steps = self.rows.post_steps.index_copy(0, rows, post_steps)
        self.changed("block_done")

    def see(self, sight: torch.Tensor) -> None:
        """Sets the column behind the last one that is attended to, of every row."""
        self.rows.sight = sight
        self.changed("reach")

    def cut(self, rows: torch.Tensor, end: torch.Tensor) -> None:
        """
        Shortens rows: columns from `end` on are no longer denoised.

        Args:
            rows (`torch.LongTensor` of shape `(predicted,)`): Index of each of these rows in the canvas.
            end (`torch.LongTensor` of shape `(predicted,)`): The column behind their last; never moves to the right.
        """
        state = self.rows
        state.end = state.end.index_copy(0, rows, torch.minimum(state.end[rows], end))
        state.block_end = torch.minimum(state.block_end, state.end)
        self.changed()

    def advance(self) -> None:
        """Moves every row whose block is done to its next block, and one that slides to its first mask."""
        if self.sliding is not None:
            self._slide(self.sliding)
            return
        state, done = self.rows, self.block_done
        state.block_start = torch.where(done, self.following, state.block_start)
        state.step_in_block = state.step_in_block.masked_fill(done, 0)
        state.post_steps = state.post_steps.masked_fill(done, self.post_steps or 0)
        length = self.block_length if self.spans is None else self.spans.lengths(state.block_start)
        if self.grid is not None:
            length = self.grid.length(state.block_start - self.first)
        self.end_blocks(length, done)

    def _slide(self, masks: int) -> None:
        """Begins every block at its first mask, and ends it where it holds so many, or is as long as can be."""
        state = self.rows
        # Behind the block all is masked.
        end = state.block_end + masks - self.masked.sum(dim=-1)
        state.block_start = self.settled
        state.block_end = torch.minimum(torch.minimum(end, state.block_start + self.block_length), state.end)
        self.changed()

    def end_blocks(self, length: int | torch.Tensor, changed: torch.Tensor) -> None:
        """
        Sets where blocks end, and the steps that they get.

        Args:
            length (`int` or `torch.LongTensor` of shape `(rows,)`): Positions from the start of the block on.
            changed (`torch.BoolTensor` of shape `(rows,)`): The rows that this is about.
        """
        state = self.rows
        uncut = (state.block_start + length).clamp(max=self.limit)
        state.block_end = torch.where(changed, torch.minimum(uncut, state.end), state.block_end)
        tokens = state.block_end - state.block_start
        start, after, total = state.block_start - self.prompt_length, uncut - self.prompt_length, None
        if self.spans is not None:
            start, after, total = self.spans.share(state.batch, state.block_start, uncut)
            tokens = after - start
        state.tokens_of_block = torch.where(changed, tokens, state.tokens_of_block)
        steps = self.schedule.steps_between(start, after, total)
        state.steps_of_block = torch.where(changed, steps, state.steps_of_block)
        self.changed()

    def leave(self, finished: torch.Tensor, text_end: torch.Tensor, leaving: int) -> torch.Tensor | None:
        """
        Records finished rows and takes them out of the batch.

        Args:
            finished (`torch.BoolTensor` of shape `(rows,)`): Rows that have finished.
            text_end (`torch.LongTensor` of shape `(rows,)`): The column behind the last one of each row's text.
            leaving (`int`): How many rows have finished.

        Returns:
            `torch.LongTensor` of shape `(kept,)`, *optional*: Indices of the rows that stay; None if all do.
        """
        if leaving == 0:
            return None
        kept, gone = finished.long().argsort(stable=True).tensor_split((len(self) - leaving,))
        rows, end = self.rows.select(gone), text_end[gone]
        text = torch.arange(self.limit, device=end.device) < end[:, None]
        self.sequences[rows.batch] = torch.where(text, rows.tokens[:, : self.limit], self.sequences[rows.batch])
        answer = slice(self.origin, self.limit)
        self.unmasking_steps[rows.batch] = torch.where(text[:, answer], rows.steps[:, answer], -1)
        self.ends[rows.batch] = end
        self.nfe[rows.batch] = rows.passes
        self.rows = self.rows.select(kept)
        self.changed()
        return kept
