# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Lossless draft-and-verify: a forward pass over the next states of a row, as far as they can be foreseen."""

from typing import Any

import torch

from .canvas import Canvas
from .choice import ask
from .denoiser import Denoiser
from .unmasking import BlockPrediction, LowConfidence, Threshold, UnmaskingStrategy, most_confident

__all__ = ["DraftingDenoiser", "as_drafter"]

# A row's draft begins with this many states, and has as many beyond what was verified last.
_BEYOND = 4


def as_drafter(strategy: UnmaskingStrategy) -> UnmaskingStrategy:
    """
    Says what to draft for `generate(decoding=..., verify=True)`.

    Args:
        strategy ([`UnmaskingStrategy`]): What was asked for.

    Returns:
        [`UnmaskingStrategy`]: The same; for the stock rule, of which each draft is a step, one that takes everything.

    Raises:
        ValueError: If it compares with steps before, which drafts do not have.
    """
    if isinstance(strategy, LowConfidence):
        return Threshold(0.0)
    if strategy.rescores or strategy.needs & {"repeats", "divergence"}:
        raise ValueError(
            f"`decoding` must be a strategy that looks at one step with `verify` (got {type(strategy).__name__})"
        )
    return strategy


class DraftingDenoiser(Denoiser):
    r"""
    A denoiser that verifies drafts: the text is that of the stock loop, in fewer forward passes.

    After a step the next ones are drafted from the same prediction: in the order of confidence, as many tokens as the
    stock loop unmasks in each, among those that the drafting strategy would unmask. One forward pass runs over the row
    and all its drafted states; the longest run of states in which each is what the stock loop makes of the one before
    is what the stock loop would have done. The prediction for the last of them is returned, and drafts the next round.
    A row's draft grows while all of it is verified and shrinks to what was. With a cache the states of a row share
    what is stored.
    Sources: https://huggingface.co/papers/2408.11850, and for diffusion LLMs https://huggingface.co/papers/2510.00294.

    Args:
        drafter ([`UnmaskingStrategy`]): Says which predictions are drafted.
        max_draft_length (`int`): States of a row in one forward pass, at most.
        batch_size (`int`): Rows of the call.
        window (`int`): Positions of the widest window.
        args, kwargs: Of [`Denoiser`].
    """

    def __init__(
        self,
        *args: Any,
        drafter: UnmaskingStrategy,
        max_draft_length: int,
        batch_size: int,
        window: int,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.drafter = drafter
        self.max_draft_length = max_draft_length
        self.max_drafts = max_draft_length * window
        device = self.special_tokens.eos.device
        # By row of the batch, what was verified; the rest by row of the canvas.
        self.verified = torch.zeros(batch_size, dtype=torch.long, device=device)
        self.draft_length = torch.full((batch_size,), _BEYOND, device=device).clamp(max=max_draft_length)
        self.drafted = torch.zeros(batch_size, 1, dtype=torch.long, device=device)
        self.order = torch.full((batch_size, 1), -torch.inf, device=device)

    def __call__(self, canvas: Canvas) -> BlockPrediction:
        """
        Unmasks what can be verified of the last drafts, then predicts each row's block.

        Takes and returns what [`Denoiser`] does.
        """
        refreshes = self.block_cache is not None and self._refreshes(canvas)
        prediction = super().__call__(canvas) if refreshes else self._verify(canvas)
        drafted = ask(self.drafter, prediction)
        order = prediction.confidence.masked_fill(~drafted, -torch.inf)
        waits = ~prediction.masked.any(dim=-1, keepdim=True)
        self.drafted = torch.where(waits, self.drafted, prediction.tokens)
        self.order = torch.where(waits, self.order, order)
        return prediction

    def keep(self, rows: torch.Tensor | None) -> None:
        super().keep(rows)
        if rows is not None:
            self.draft_length, self.drafted, self.order = (
                values[rows] for values in (self.draft_length, self.drafted, self.order)
            )

    def _verify(self, canvas: Canvas) -> BlockPrediction:
        masked = canvas.masked if self.block_cache is None else canvas.masked & ~canvas.fresh[:, None]
        # A prediction says nothing about the next block.
        available = masked & (self.order > -torch.inf) & (canvas.step_in_block > 0)[:, None]
        rank = self.order.masked_fill(~available, -torch.inf).argsort(dim=-1, descending=True, stable=True).argsort()
        # By state, how many tokens are drafted before it, and how many the stock loop unmasks in it.
        moves = canvas.scheduled_in(self.max_draft_length)
        before = moves.cumsum(dim=-1) - moves
        # All of what stands before a state is drafted, something is masked in it, and the cache is as old as it may be.
        drafts, left = available.sum(dim=-1, keepdim=True), masked.sum(dim=-1, keepdim=True)
        age = canvas.step_in_block % canvas.refresh_every
        number = torch.arange(self.max_draft_length, device=age.device)
        fits = (before <= drafts) & (before < left) & (number < canvas.refresh_every - age[:, None])
        limit = torch.minimum(fits.sum(dim=-1).clamp(min=1), self.draft_length)
        # Beside that of the canvas the only copy from the device to the host: how many states there are.
        counts = limit.tolist()
        before, moves, number = (values[..., : max(counts)] for values in (before, moves, number))
        filled = available[:, None] & (rank[:, None] < before[..., None])
        blocks = torch.where(filled, self.drafted[:, None], canvas.block[:, None])
        cached = self.block_cache is not None
        found = self._windows(canvas, blocks) if cached else self._canvases(canvas, blocks, limit, sum(counts))

        # The move of the stock loop in every state, and what was drafted.
        inside = found["confidence"].masked_fill(~canvas.in_block[:, None], 0.0)
        still = masked[:, None] & ~filled
        move = most_confident(inside.flatten(0, 1), still.flatten(0, 1), moves.flatten()).view_as(still)
        draft = available[:, None] & ~filled & (rank[:, None] < (before + moves)[..., None])
        same = (move == draft) & (~move | (found["tokens"] == self.drafted[:, None]))
        verified = (same.all(dim=-1) & (number + 1 < limit[:, None])).long().cumprod(dim=-1).sum(dim=-1)
        self.verified[canvas.rows] += verified
        used = limit == self.draft_length
        length = torch.minimum(verified + _BEYOND, self.draft_length)
        # A draft that was short for want of masked positions says nothing about the length.
        length = torch.where(verified + 1 == limit, torch.where(used, 2, 1) * self.draft_length, length)
        self.draft_length = length.clamp(max=self.max_draft_length)
        last = verified[:, None]
        final = filled.take_along_dim(last[..., None], dim=1).squeeze(1)
        canvas.unmask_verified(self.drafted, final, verified)
        found = {name: values.take_along_dim(last[..., None], dim=1).squeeze(1) for name, values in found.items()}
        return self._describe(canvas, found, masked & ~final)

    def _canvases(
        self, canvas: Canvas, blocks: torch.Tensor, limit: torch.Tensor, total: int
    ) -> dict[str, torch.Tensor]:
        """Runs over a whole canvas for each state; `(rows, states, block_length)`."""
        row = torch.arange(len(limit), device=limit.device).repeat_interleave(limit, output_size=total)
        state = torch.arange(total, device=limit.device) - (limit.cumsum(dim=0) - limit)[row]
        columns, mask, positions = canvas.columns[row], canvas.attention_mask, canvas.position_ids
        input_ids = canvas.tokens[row].scatter(1, columns, blocks[row, state])[:, : canvas.length]
        mask, positions = (None if values is None else values[row] for values in (mask, positions))
        hidden = self._forward("full", input_ids, self._unprompted(canvas, input_ids), mask, positions, 0)
        index = self._shifted(columns.clamp(max=canvas.length - 1))
        found = self._predict(hidden, input_ids, index, columns, canvas.rows[row])
        return {name: values.new_zeros(blocks.shape).index_put((row, state), values) for name, values in found.items()}

    def _windows(self, canvas: Canvas, blocks: torch.Tensor) -> dict[str, torch.Tensor]:
        """Runs over the windows of all states side by side; `(rows, states, block_length)`."""
        assert self.cache is not None and self.block_cache is not None
        count = blocks.shape[1]
        columns, end, cached = self._window_columns(canvas)
        width = columns.shape[1]
        tokens = canvas.tokens[:, None].expand(-1, count, -1)
        tokens = tokens.scatter(2, canvas.columns[:, None].expand_as(blocks), blocks)
        index = columns.clamp(max=tokens.shape[2] - 1)[:, None].expand(-1, count, -1)
        input_ids = tokens.gather(2, index).flatten(1)
        positions = columns if canvas.padding is None else columns - canvas.padding[:, None]
        stored = self.cache.try_out(self.cache.batch_size, count * width)
        # A state sees what is stored outside of the window, and the window as it is in this state.
        column = torch.arange(stored, device=end.device)
        outside = (column < columns[:, :1]) | (column >= end[:, None])
        outside &= canvas.attended(canvas.end, stored).bool()
        state = torch.arange(count, device=end.device).repeat_interleave(width)
        inside = (columns < end[:, None]).repeat(1, count)[:, None] & (state[:, None] == state)
        mask = torch.cat((outside[:, None].expand(-1, count * width, -1), inside), dim=-1)[:, None]
        bias = torch.zeros(mask.shape, dtype=self.dtype, device=mask.device)
        bias = bias.masked_fill(~mask, torch.finfo(self.dtype).min)
        hidden = self._forward(self.block_cache, input_ids, input_ids, bias, positions.repeat(1, count), cached)
        # A state counts as a row, as it does without a cache.
        self.forward_passes[-1] = (self.block_cache, self.cache.batch_size * count, width, cached)
        place = (canvas.columns - canvas.block_start[:, None]).clamp(max=width - 1)
        place, columns, rows = (each.repeat_interleave(count, dim=0) for each in (place, canvas.columns, canvas.rows))
        hidden = hidden.unflatten(1, (count, width)).flatten(0, 1)
        found = self._predict(hidden, tokens.flatten(0, 1)[:, : canvas.length], place, columns, rows)
        return {name: values.view_as(blocks) for name, values in found.items()}
