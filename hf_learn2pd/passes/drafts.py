# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import torch

from ..canvas import Canvas
from ..choice import ask
from ..unmasking import BlockPrediction, LowConfidence, Threshold, UnmaskingStrategy, most_confident
from .base import ForwardPass, PassPolicy, Setting

__all__ = ["Drafts", "as_drafter"]

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
    if strategy.compares:
        raise ValueError(
            f"`decoding` must be a strategy that looks at one step with `verify` (got {type(strategy).__name__})"
        )
    return strategy


@dataclass
class Drafts(PassPolicy):
    r"""
    Verifies drafts with the passes of another policy: the text is that of the stock loop, in fewer of them.

    After a step the next ones are drafted from the same prediction: in the order of confidence, as many tokens as the
    stock loop unmasks in each, among those that the drafter would unmask. One forward pass runs over the row and all
    its drafted states; the longest run of states in which each is what the stock loop makes of the one before is what
    the stock loop would have done. The prediction for the last of them is kept, and drafts the next round.
    A row's draft grows while all of it is verified and shrinks to what was. With a cache the states of a row share
    what is stored.
    Sources: https://huggingface.co/papers/2408.11850, and for diffusion LLMs https://huggingface.co/papers/2510.00294.

    Args:
        policy ([`PassPolicy`]): Plans the passes without drafts.
        drafter ([`UnmaskingStrategy`]): Says which predictions are drafted.
        max_draft_length (`int`): States of a row in one forward pass, at most.
    """

    policy: PassPolicy
    drafter: UnmaskingStrategy
    max_draft_length: int

    # Of a call: by row of the batch, what was verified; by row of the canvas, how much to draft, and the last draft.
    logits_shift: int = field(init=False, repr=False, compare=False)
    verified: torch.Tensor = field(init=False, repr=False, compare=False)
    draft_length: torch.Tensor = field(init=False, repr=False, compare=False)
    drafted: torch.Tensor = field(init=False, repr=False, compare=False)
    order: torch.Tensor = field(init=False, repr=False, compare=False)
    # Of a step.
    drafting: bool = field(init=False, repr=False, compare=False)
    available: torch.Tensor = field(init=False, repr=False, compare=False)
    rank: torch.Tensor = field(init=False, repr=False, compare=False)
    limit: torch.Tensor = field(init=False, repr=False, compare=False)
    before: torch.Tensor = field(init=False, repr=False, compare=False)
    moves: torch.Tensor = field(init=False, repr=False, compare=False)
    number: torch.Tensor = field(init=False, repr=False, compare=False)
    filled: torch.Tensor = field(init=False, repr=False, compare=False)
    flat: torch.Tensor = field(init=False, repr=False, compare=False)

    def begin(self, canvas: Canvas, setting: Setting) -> "Drafts":
        drafts = copy(self)
        drafts.policy = self.policy.begin(canvas, setting)
        drafts.logits_shift = setting.logits_shift
        # No block has more states than tokens.
        drafts.max_draft_length = min(self.max_draft_length, canvas.block_length)
        drafts.verified = torch.zeros_like(canvas.nfe)
        drafts.draft_length = torch.full_like(canvas.nfe, min(_BEYOND, drafts.max_draft_length))
        drafts.drafted = torch.zeros_like(canvas.columns)
        drafts.order = torch.full(canvas.columns.shape, -torch.inf, device=canvas.nfe.device)
        return drafts

    def plan(self, canvas: Canvas) -> ForwardPass:
        step = self.policy.plan(canvas)
        self.drafting = step.cache is None or not step.whole
        if not self.drafting:
            return step
        rows, masked = step.rows, canvas.masked[step.rows]
        # A prediction says nothing about the next block.
        self.available = masked & (self.order[rows] > -torch.inf) & (canvas.rows.step_in_block[rows] > 0)[:, None]
        order = self.order[rows].masked_fill(~self.available, -torch.inf)
        self.rank = order.argsort(dim=-1, descending=True, stable=True).argsort()
        # By state, how many tokens are drafted before it, and how many the stock loop unmasks in it.
        moves = canvas.scheduled(self.max_draft_length)[rows]
        before = moves.cumsum(dim=-1) - moves
        # All of what stands before a state is drafted, something is masked in it, and the cache is as old as it may be.
        drafts, left = self.available.sum(dim=-1, keepdim=True), masked.sum(dim=-1, keepdim=True)
        number = torch.arange(self.max_draft_length, device=rows.device)
        fits = (before <= drafts) & (before < left)
        steps_left = self.policy.steps_left(canvas)
        if steps_left is not None:
            fits &= number < steps_left[rows, None]
        self.limit = torch.minimum(fits.sum(dim=-1).clamp(min=1), self.draft_length[rows])
        # Beside that of the canvas the only copy from the device to the host: how many states there are.
        counts = self.limit.tolist()
        states = max(counts)
        self.before, self.moves, self.number = before[:, :states], moves[:, :states], number[:states]
        self.filled = self.available[:, None] & (self.rank[:, None] < self.before[..., None])
        shape = self.number.expand(len(rows), -1)
        if step.cache is not None:
            # Side by side every row has as many.
            self.flat = torch.arange(shape.numel(), device=rows.device).view(shape.shape)
        else:
            self.flat = (self.limit.cumsum(dim=0) - self.limit)[:, None] + self.number
        exists = (
            torch.ones_like(shape, dtype=torch.bool) if step.cache is not None else self.number < self.limit[:, None]
        )
        row, state = exists.nonzero(as_tuple=True)
        columns = (step.at + self.logits_shift).clamp(max=step.ids.shape[1])
        columns = columns[row].masked_fill(~self.filled[row, state], step.ids.shape[1])
        ids = torch.nn.functional.pad(step.ids[step.places[row]], (0, 1))
        ids = ids.scatter(1, columns, self.drafted[rows[row]])[:, :-1]
        blocks = torch.where(self.filled, self.drafted[rows, None], canvas.block[rows, None])[row, state]
        drafted = replace(step, rows=rows[row], at=step.at[row], blocks=blocks, ids=ids)
        return (
            self._beside(drafted, step, states, state) if step.cache is not None else self._beneath(drafted, step, row)
        )

    def _beneath(self, drafted: ForwardPass, step: ForwardPass, row: torch.Tensor) -> ForwardPass:
        """Each state is a row of the model's batch."""
        of = step.places[row]
        return replace(
            drafted,
            columns=step.columns[of],
            forwarded=step.forwarded[of],
            places=torch.arange(len(row), device=row.device),
            visible=None if step.visible is None else step.visible[of],
            targets=None,
        )

    def _beside(self, drafted: ForwardPass, step: ForwardPass, states: int, state: torch.Tensor) -> ForwardPass:
        """The states of a row stand side by side: the canvas' own is stored, the others are tried out."""
        count, width = step.ids.shape
        assert step.cache is not None and step.targets is not None
        ids = step.ids[:, None].repeat(1, states, 1)
        ids[step.places] = drafted.ids.view(len(step.places), states, width)
        first, beside = max(step.cache.extent, step.stored), (states - 1) * width
        tried = torch.arange(first, first + beside, device=ids.device).expand(count, -1)
        visible = step.visible
        if beside:
            # A state sees what is stored outside of the window, and the window as it is in this state. Where the policy
            # says for each position what it sees, so it does in every state.
            seen = torch.ones(count, 1, step.stored, dtype=torch.bool, device=ids.device)
            seen = seen if visible is None else visible.view(count, -1, step.stored)
            seen = torch.nn.functional.pad(seen, (0, first - step.stored)).expand(-1, width, -1)
            in_window = torch.zeros(count, 1 + first, dtype=torch.bool, device=ids.device)
            outside = seen & ~in_window.scatter(1, step.targets + 1, True)[:, None, 1:]
            inside = seen.gather(2, step.targets.clamp(min=0)[:, None].expand(-1, width, -1))
            inside = inside & (step.targets >= 0)[:, None]
            parts = [torch.nn.functional.pad(seen, (0, beside))]
            for number in range(states - 1):
                own = (number * width, beside - (number + 1) * width)
                parts.append(torch.cat((outside, torch.nn.functional.pad(inside, own)), dim=2))
            visible = torch.cat(parts, dim=1)
        return replace(
            drafted,
            ids=ids.flatten(1),
            columns=step.columns.repeat(1, states),
            places=step.places.repeat_interleave(states),
            at=drafted.at + state[:, None] * width,
            visible=visible,
            targets=torch.cat((step.targets, tried), dim=1),
            beside=beside,
            states=states,
        )

    def settle(self, canvas: Canvas, step: ForwardPass, prediction: BlockPrediction) -> BlockPrediction:
        if self.drafting:
            prediction = self._verify(canvas, prediction)
        rows = prediction.of_canvas
        drafted = ask(self.drafter, prediction)
        self.drafted = self.drafted.index_copy(0, rows, prediction.tokens)
        self.order = self.order.index_copy(0, rows, prediction.confidence.masked_fill(~drafted, -torch.inf))
        return prediction

    def _verify(self, canvas: Canvas, prediction: BlockPrediction) -> BlockPrediction:
        """Keeps, for each row, the last state that the stock loop would have come to."""
        flat = self.flat.clamp(max=len(prediction.rows) - 1)
        states = prediction.select(flat.flatten())
        rows = states.of_canvas.view(flat.shape)[:, 0]
        # The move of the stock loop in every state, and what was drafted.
        move = most_confident(states.confidence, states.masked, self.moves.flatten()).view(self.filled.shape)
        draft = self.available[:, None] & ~self.filled & (self.rank[:, None] < (self.before + self.moves)[..., None])
        tokens = states.tokens.view(self.filled.shape)
        same = (move == draft) & (~move | (tokens == self.drafted[rows, None]))
        known = self.number + 1 < self.limit[:, None]
        verified = (same.all(dim=-1) & known).long().cumprod(dim=-1).sum(dim=-1)
        self.verified[canvas.rows.batch[rows]] += verified
        length = self.draft_length[rows]
        grown = torch.minimum(verified + _BEYOND, length)
        # A draft that was short for want of masked positions says nothing about the length.
        kept = torch.where(self.limit == length, 2, 1) * length
        length = torch.where(verified + 1 == self.limit, kept, grown).clamp(max=self.max_draft_length)
        self.draft_length = self.draft_length.index_copy(0, rows, length)
        final = self.filled.take_along_dim(verified[:, None, None], dim=1).squeeze(1)
        canvas.write(rows, self.drafted[rows], final)
        canvas.rows.step_in_block[rows] += verified
        self.policy.skip(rows, verified)
        last = prediction.select(flat.gather(1, verified[:, None]).squeeze(1))
        return replace(last, scheduled=canvas.scheduled()[rows, 0])

    def measure(self, canvas: Canvas, finished: torch.Tensor) -> torch.Tensor:
        return self.policy.measure(canvas, finished)

    def update(self, numbers: Sequence[int], kept: torch.Tensor | None) -> None:
        self.policy.update(numbers, kept)
        if kept is not None:
            self.draft_length, self.drafted, self.order = (
                values[kept] for values in (self.draft_length, self.drafted, self.order)
            )
