# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The canvas: token ids of a batch while it is being denoised, with a block, an end and counts for every row."""

import torch

from .blocks import FixedBlocks
from .special_tokens import SpecialTokens

__all__ = ["Canvas"]

# State that a row takes with it when it leaves the batch.
_PER_ROW = (
    "rows",
    "tokens",
    "steps_of_row",
    "passes",
    "padding",
    "end",
    "block_start",
    "block_end",
    "step_in_block",
    "steps_of_block",
    "tokens_of_block",
    "columns",
    "block",
    "masked",
)


class Canvas:
    r"""
    The state of a batch in the denoising loop. Rows are independent: each has its own block, end and counts.

    All attributes but `sequences`, `nfe`, `ends` and `unmasking_steps`, which collect the results of the whole batch,
    hold only the rows that have not finished; columns count from the start of the (left-padded) prompt. `columns`,
    `block` and `masked`, each of shape `(rows, block_length)`, are where each row's block stands, its tokens, and which
    of these are to be unmasked.

    Args:
        prompt_ids (`torch.LongTensor` of shape `(batch_size, prompt_length)`):
            The prompts, left-padded.
        attention_mask (`torch.Tensor` of shape `(batch_size, prompt_length)`, *optional*):
            0 at padding; None if there is none.
        max_new_tokens (`int`):
            Positions of the answer region.
        schedule ([`FixedBlocks`]):
            Where blocks end.
        steps (`int`, *optional*):
            Denoising steps that the stock schedule spreads over the whole answer; None for one token per step.
        special_tokens ([`SpecialTokens`]):
            The mask token, and the one that fills `sequences` behind the end of a row.
        generator (`torch.Generator`, *optional*):
            Source of the noise for random orders.
        refresh_every (`int`, *optional*):
            Denoising steps in a block after which a row is `fresh` again; None for never.
    """

    def __init__(
        self,
        prompt_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        max_new_tokens: int,
        schedule: FixedBlocks,
        steps: int | None,
        special_tokens: SpecialTokens,
        generator: torch.Generator | None = None,
        refresh_every: int | None = None,
    ):
        rows, self.prompt_length = prompt_ids.shape
        device = prompt_ids.device
        self.mask_token_id = special_tokens.mask
        self.max_new_tokens = max_new_tokens
        self.schedule = schedule
        self.steps = steps
        # No block takes more steps than it has tokens.
        self.refresh_every = max_new_tokens if refresh_every is None else refresh_every
        self.block_length = schedule.widest(max_new_tokens)
        self.limit = self.prompt_length + max_new_tokens

        self.sequences = prompt_ids.new_full((rows, self.limit), special_tokens.pad)
        self.nfe = torch.zeros(rows, dtype=torch.long, device=device)
        self.ends = torch.full((rows,), self.limit, device=device)
        self.unmasking_steps = torch.full((rows, max_new_tokens), -1, device=device)

        self.rows = torch.arange(rows, device=device)
        # A block's worth of spare columns keeps every window in range without clamping; they are never forwarded.
        self.tokens = prompt_ids.new_full((rows, self.limit + self.block_length), special_tokens.mask)
        self.tokens[:, : self.prompt_length] = prompt_ids
        self.steps_of_row = torch.full((rows, self.limit + self.block_length), -1, device=device)
        self.passes = torch.zeros(rows, dtype=torch.long, device=device)
        self.padding = None if attention_mask is None else (attention_mask == 0).sum(dim=-1)
        self.end = torch.full((rows,), self.limit, device=device)
        # What the host knows of the rows: the columns up to the longest one's end, whether all end there, the first
        # column of any block, the width of the widest, and how many rows are fresh.
        self.length, self.ragged = self.limit, False
        self.first_column, self.widest = self.prompt_length, self.block_length
        self.fresh_count = rows
        self.noise = torch.rand(max_new_tokens + self.block_length, generator=generator, device=device)
        self._window = torch.arange(self.block_length, device=device)
        # Every row begins behind an empty block.
        self.block_start = self.block_end = torch.full((rows,), self.prompt_length, device=device)
        self.step_in_block = self.steps_of_block = self.tokens_of_block = torch.zeros_like(self.block_start)
        self.columns = self.block_start[:, None] + self._window
        self.block = self.tokens.gather(1, self.columns)
        self.masked = torch.zeros_like(self.columns, dtype=torch.bool)
        self.next_blocks()

    @property
    def input_ids(self) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows, length)`: what the model reads."""
        return self.tokens[:, : self.length]

    @property
    def attention_mask(self) -> torch.Tensor | None:
        """`torch.LongTensor` of shape `(rows, length)`, 0 at padding and behind a row's end; None if all is read."""
        if self.padding is None and not self.ragged:
            return None
        return self.attended(self.end, self.length)

    @property
    def position_ids(self) -> torch.Tensor | None:
        """`torch.LongTensor` of shape `(rows, length)`, counted from each row's first token; None without padding."""
        if self.padding is None:
            return None
        return (torch.arange(self.length, device=self.tokens.device) - self.padding[:, None]).clamp(min=0)

    @property
    def in_block(self) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(rows, block_length)`: columns that belong to each row's block."""
        return self.columns < self.block_end[:, None]

    @property
    def scheduled(self) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows,)`: tokens that the stock schedule unmasks in this step."""
        return self.scheduled_in(1)[:, 0]

    def scheduled_in(self, steps: int) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows, steps)`: the same for this step and those that follow it in the block."""
        step = self.step_in_block[:, None] + torch.arange(steps, device=self.step_in_block.device)
        more = step < (self.tokens_of_block % self.steps_of_block)[:, None]
        return (self.tokens_of_block // self.steps_of_block)[:, None] + more

    @property
    def fresh(self) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(rows,)`: rows for which keys and values are to be computed anew."""
        return self.step_in_block % self.refresh_every == 0

    @property
    def fresh_rows(self) -> torch.Tensor:
        """`torch.LongTensor` of shape `(fresh_count,)`: indices of the fresh rows, in order."""
        return self.fresh.long().argsort(descending=True, stable=True)[: self.fresh_count]

    def unmask(self, tokens: torch.Tensor, chosen: torch.Tensor) -> None:
        """
        Makes predicted tokens final and counts the step, in rows where there are any.

        Args:
            tokens (`torch.LongTensor` of shape `(rows, block_length)`): Predicted ids of each row's block.
            chosen (`torch.BoolTensor` of shape `(rows, block_length)`): Masked positions to unmask.
        """
        self._write(tokens, chosen)
        stepped = chosen.any(dim=-1)
        self.passes = self.passes + stepped
        self.step_in_block = self.step_in_block + stepped

    def unmask_verified(self, tokens: torch.Tensor, chosen: torch.Tensor, steps: torch.Tensor) -> None:
        """
        Makes drafted tokens final, in steps that took no pass of their own.

        Args:
            tokens (`torch.LongTensor` of shape `(rows, block_length)`): Drafted ids of each row's block.
            chosen (`torch.BoolTensor` of shape `(rows, block_length)`): Masked positions to unmask.
            steps (`torch.LongTensor` of shape `(rows,)`): Steps of the stock loop that this is.
        """
        self._write(tokens, chosen)
        self.step_in_block = self.step_in_block + steps

    def _write(self, tokens: torch.Tensor, chosen: torch.Tensor) -> None:
        self.block = torch.where(chosen, tokens, self.block)
        self.masked = self.masked & ~chosen
        self.tokens.scatter_(1, self.columns, self.block)
        steps = torch.where(chosen, self.passes[:, None], self.steps_of_row.gather(1, self.columns))
        self.steps_of_row.scatter_(1, self.columns, steps)

    def attended(self, end: torch.Tensor, length: int) -> torch.Tensor:
        """
        Builds an attention mask: 1 between a row's padding and its end.

        Args:
            end (`torch.LongTensor` of shape `(rows,)`): The column behind the last one in sight.
            length (`int`): Columns of the mask.

        Returns:
            `torch.LongTensor` of shape `(rows, length)`.
        """
        column = torch.arange(length, device=self.tokens.device)
        attended = column < end[:, None]
        if self.padding is not None:
            attended &= column >= self.padding[:, None]
        return attended.long()

    def cut(self, end: torch.Tensor) -> None:
        """
        Shortens rows: columns from `end` on are no longer attended to nor denoised.

        Args:
            end (`torch.LongTensor` of shape `(rows,)`): The column behind each row's last; never moves to the right.
        """
        self.end = torch.minimum(self.end, end)
        self.block_end = torch.minimum(self.block_end, self.end)
        self.masked = self.masked & self.in_block

    @property
    def block_done(self) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(rows,)`: rows whose block has no mask left."""
        return ~self.masked.any(dim=-1)

    @property
    def exhausted(self) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(rows,)`: rows that are unmasked up to their end."""
        return self.block_done & (self.block_end >= self.end)

    def next_blocks(self) -> None:
        """Moves every row whose block is done to its next block, the others stay."""
        done = self.block_done
        self.block_start = torch.where(done, self.block_end, self.block_start)
        self.step_in_block = self.step_in_block.masked_fill(done, 0)
        self._end_blocks(self.block_length, done)
        self.columns = self.block_start[:, None] + self._window
        self.block = self.tokens.gather(1, self.columns)
        self.masked = (self.block == self.mask_token_id) & self.in_block

    def adapt_blocks(self, tokens: torch.Tensor, confidence: torch.Tensor, begins: torch.Tensor) -> None:
        """
        Lets the schedule shorten blocks that have just begun.

        Args:
            tokens (`torch.LongTensor` of shape `(rows, block_length)`): Predicted ids.
            confidence (`torch.FloatTensor` of shape `(rows, block_length)`): Their probabilities.
            begins (`torch.BoolTensor` of shape `(rows,)`): Rows whose block this is the first step of.
        """
        length = self.schedule.adapt(tokens, confidence, self.max_new_tokens)
        if length is not None:
            self._end_blocks(length, begins)
            self.masked = self.masked & self.in_block

    def _end_blocks(self, length: int | torch.Tensor, changed: torch.Tensor) -> None:
        """Sets where the blocks of `changed` rows end, and the steps that they get."""
        uncut = (self.block_start + length).clamp(max=self.limit)
        self.block_end = torch.where(changed, torch.minimum(uncut, self.end), self.block_end)
        self.tokens_of_block = torch.where(changed, self.block_end - self.block_start, self.tokens_of_block)
        # A block gets the steps that fall between its ends when all are spread evenly over the answer.
        steps = self.max_new_tokens if self.steps is None else self.steps
        before = (self.block_start - self.prompt_length) * steps // self.max_new_tokens
        within = (uncut - self.prompt_length) * steps // self.max_new_tokens - before
        self.steps_of_block = torch.where(changed, within.clamp(min=1), self.steps_of_block)

    def leave(self, complete: torch.Tensor, text_end: torch.Tensor) -> torch.Tensor | None:
        """
        Records complete rows and takes them out of the batch; the canvas shrinks to the longest row that stays.

        Args:
            complete (`torch.BoolTensor` of shape `(rows,)`): Rows that have finished.
            text_end (`torch.LongTensor` of shape `(rows,)`): The column behind the last one of each row's text.

        Returns:
            `torch.LongTensor` of shape `(kept,)`, *optional*: Indices of the rows that stay; None if all do.
        """
        width = self.block_end - self.block_start
        extremes = (
            self.end.masked_fill(complete, 0).amax(dim=0, keepdim=True),
            self.end.masked_fill(complete, self.limit).amin(dim=0, keepdim=True),
            self.block_start.masked_fill(complete, self.limit).amin(dim=0, keepdim=True),
            # Rows that are fresh know the width of their block after their first step only, and wait until then.
            width.masked_fill(complete | self.fresh, 0).amax(dim=0, keepdim=True),
            complete.sum(dim=0, keepdim=True),
            (self.fresh & ~complete).sum(dim=0, keepdim=True),
        )
        # The only copy from the device to the host in a denoising step.
        figures = torch.cat(extremes).tolist()
        self.length, least, self.first_column, self.widest, leaving, self.fresh_count = figures
        self.ragged = least < self.length
        if leaving == 0:
            return None
        kept, gone = complete.long().argsort(stable=True).tensor_split((len(complete) - leaving,))
        original, end = self.rows[gone], text_end[gone]
        text = torch.arange(self.limit, device=end.device) < end[:, None]
        self.sequences[original] = torch.where(text, self.tokens[gone, : self.limit], self.sequences[original])
        steps = self.steps_of_row[gone, self.prompt_length : self.limit]
        self.unmasking_steps[original] = torch.where(text[:, self.prompt_length :], steps, -1)
        self.ends[original] = end
        self.nfe[original] = self.passes[gone]
        for name in _PER_ROW:
            value = getattr(self, name)
            setattr(self, name, None if value is None else value[kept])
        return kept
