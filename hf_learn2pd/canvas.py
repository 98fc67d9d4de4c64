# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The canvas: token ids of a batch while it is being denoised, with a block, an end and counts for every row."""

from functools import cached_property

import torch

from .blocks import BlockGrid
from .rows import Rows
from .special_tokens import SpecialTokens

__all__ = ["Canvas", "dream_schedule"]


def dream_schedule(tokens: int, steps: int, eps: float) -> torch.Tensor:
    """
    Counts the tokens that Dream unmasks in each step: the share of the masked ones by which its time falls.

    Source: https://huggingface.co/papers/2508.15487.

    Args:
        tokens (`int`): Masked tokens at the beginning.
        steps (`int`): Denoising steps.
        eps (`float`): The time of the last step, above 0 and below 1.

    Returns:
        `torch.LongTensor` of shape `(kept,)`: Without the steps that unmask nothing, whose passes change nothing.
    """
    times, counts = torch.linspace(1, eps, steps + 1), []
    for step in range(steps):
        share = 1 - times[step + 1] / times[step]
        counts.append(tokens if step == steps - 1 else int(tokens * share))
        tokens -= counts[-1]
    return torch.tensor([count for count in counts if count > 0])


class Canvas:
    r"""
    The state of a batch in the denoising loop. Rows are independent: each has its own block, end and counts.

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
        schedule_eps (`float`, *optional*):
            Smallest time of Dream's schedule, which spreads the steps over a block as long as the answer; the same
            number of tokens in each step if None.
        sliding (`int`, *optional*):
            Masks that a block holds which begins at its row's first one in every step, of at most `block_length`
            positions; None where rows stay in a block until it is done.
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
    ):
        count, self.prompt_length = prompt_ids.shape
        device = prompt_ids.device
        self.mask_token_id = special_tokens.mask
        self.max_new_tokens = max_new_tokens
        self.block_length = block_length
        self.scheduled_steps = max_new_tokens if steps is None else steps
        self.suffix_length = suffix_length
        self.grid = grid
        self.sliding = sliding
        self.moves = None
        if schedule_eps is not None:
            self.moves = dream_schedule(max_new_tokens, self.scheduled_steps, schedule_eps).to(device)
        self.limit = limit = self.prompt_length + max_new_tokens

        self.sequences = prompt_ids.new_full((count, limit), special_tokens.pad)
        self.nfe = torch.zeros(count, dtype=torch.long, device=device)
        self.ends = torch.full((count,), limit, device=device)
        self.unmasking_steps = torch.full((count, max_new_tokens), -1, device=device)

        # A block's worth of spare columns keeps every block in range without clamping; they are never forwarded.
        tokens = prompt_ids.new_full((count, limit + block_length), special_tokens.mask)
        tokens[:, : self.prompt_length] = prompt_ids
        # Every row begins behind an empty block.
        start = torch.full((count,), self.prompt_length, device=device)
        self.rows = Rows(
            batch=torch.arange(count, device=device),
            tokens=tokens,
            steps=torch.full_like(tokens, -1),
            passes=self.nfe.clone(),
            padding=None if attention_mask is None else (attention_mask == 0).sum(dim=-1),
            end=self.ends.clone(),
            sight=self.ends.clone(),
            block_start=start,
            block_end=start,
            step_in_block=self.nfe.clone(),
            # One token per step, which is what a sliding block keeps.
            steps_of_block=torch.ones_like(self.nfe),
            tokens_of_block=torch.ones_like(self.nfe),
        )
        self.noise = torch.rand(max_new_tokens + block_length, generator=generator, device=device)
        self._window = torch.arange(block_length, device=device)
        self.advance()

    def __len__(self) -> int:
        return len(self.rows.batch)

    def _changed(self, *names: str) -> None:
        """Forgets what has been computed from tokens and blocks that are no more."""
        for name in names or ("columns", "in_block", "block", "masked", "block_done", "reach"):
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
        return (masked.sum(dim=-1) + suffix[rows]) / (suffix + state.block_end - state.block_start)[rows]

    def scheduled(self, steps: int = 1) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows, steps)`: tokens that the stock schedule unmasks in the next steps."""
        rows = self.rows
        step = rows.step_in_block[:, None] + torch.arange(steps, device=rows.step_in_block.device)
        if self.moves is not None:
            return self.moves[step.clamp(max=len(self.moves) - 1)]
        more = step < (rows.tokens_of_block % rows.steps_of_block)[:, None]
        return (rows.tokens_of_block // rows.steps_of_block)[:, None] + more

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
        self._changed("block", "masked", "block_done")

    def see(self, sight: torch.Tensor) -> None:
        """Sets the column behind the last one that is attended to, of every row."""
        self.rows.sight = sight
        self._changed("reach")

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
        self._changed()

    @cached_property
    def block_done(self) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(rows,)`: rows whose block has no mask left."""
        return ~self.masked.any(dim=-1)

    @property
    def settled(self) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows,)`: the column behind the text that is complete, as rows move on there."""
        state, masked = self.rows, self.masked
        first = state.block_start
        if self.sliding is not None:
            first = first + masked.long().argmax(dim=-1)
        return torch.where(masked.any(dim=-1), first, state.block_end)

    def advance(self) -> None:
        """Moves every row whose block is done to its next block, and one that slides to its first mask."""
        if self.sliding is not None:
            self._slide(self.sliding)
            return
        state, done = self.rows, self.block_done
        state.block_start = torch.where(done, state.block_end, state.block_start)
        state.step_in_block = state.step_in_block.masked_fill(done, 0)
        length: int | torch.Tensor = self.block_length
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
        state.tokens_of_block = torch.where(changed, state.block_end - state.block_start, state.tokens_of_block)
        # A block gets the steps that fall between its ends when all are spread evenly over the answer.
        before = (state.block_start - self.prompt_length) * self.scheduled_steps // self.max_new_tokens
        within = (uncut - self.prompt_length) * self.scheduled_steps // self.max_new_tokens - before
        state.steps_of_block = torch.where(changed, within.clamp(min=1), state.steps_of_block)
        self._changed()

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
        answer = slice(self.prompt_length, self.limit)
        self.unmasking_steps[rows.batch] = torch.where(text[:, answer], rows.steps[:, answer], -1)
        self.ends[rows.batch] = end
        self.nfe[rows.batch] = rows.passes
        self.rows = self.rows.select(kept)
        self._changed()
        return kept
