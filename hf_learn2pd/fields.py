# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What a prediction says beside tokens and confidence, computed for who needs it."""

import math
from collections.abc import Callable
from typing import Any

import torch

from .canvas import Canvas
from .passes import ForwardPass
from .prediction import Memory
from .special_tokens import SpecialTokens

__all__ = ["Fields"]


class Fields:
    """
    Computes the optional fields of a [`BlockPrediction`].

    Args:
        needs (`frozenset[str]`): Which of them the strategy needs.
        scan (`bool`): Whether to look for predicted end-of-text tokens: in all a pass computes, or with a cache in the
            block.
        memory ([`Memory`]): What rows predicted before.
        special_tokens ([`SpecialTokens`]): Which ids are never confident, and which end a text.
        logits_shift (`int`): Columns to the left at which a token is predicted.
        logits_of (`Callable`): Makes logits of hidden states, rows and positions in them.
    """

    def __init__(
        self,
        needs: frozenset[str],
        scan: bool,
        memory: Memory,
        special_tokens: SpecialTokens,
        logits_shift: int,
        logits_of: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    ):
        self.needs = needs
        self.scan = scan
        self.memory = memory
        self.special_tokens = special_tokens
        self.logits_shift = logits_shift
        self.logits_of = logits_of

    def __call__(
        self,
        canvas: Canvas,
        step: ForwardPass,
        hidden: torch.Tensor,
        logits: torch.Tensor,
        total: torch.Tensor,
        tokens: torch.Tensor,
        confidence: torch.Tensor,
        masked: torch.Tensor,
    ) -> dict[str, Any]:
        """
        Computes what is needed.

        Args:
            canvas ([`Canvas`]): The rows.
            step ([`ForwardPass`]): What was computed.
            hidden (`torch.Tensor` of shape `(forwarded, width, hidden_size)`): What the decoder has made of it.
            logits (`torch.FloatTensor` of shape `(predicted, block_length, vocab_size)`): See `measured`, like `total`.
            total (`torch.FloatTensor` of shape `(predicted, block_length)`): Logarithm of what they sum up to.
            tokens, confidence, masked (`torch.Tensor` of shape `(predicted, block_length)`): See [`BlockPrediction`].

        Returns:
            `dict[str, Any]`: Fields by name.
        """
        found: dict[str, Any] = self._needed(logits, total)
        if "hidden_states" in self.needs:
            found["hidden_states"] = hidden[step.places[:, None], step.at]
        found |= self._compared(canvas, step, hidden, logits - total[..., None], tokens)
        if self.scan:
            found["end_of_text"] = self._scan(hidden, canvas, step, tokens, confidence, masked)
        return found

    def measured(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits measured from the largest, and the logarithm of what they sum up to."""
        if len(self.special_tokens.never_confident):
            logits = logits.index_fill(-1, self.special_tokens.never_confident, -torch.inf)
        # Probabilities close to 1 would otherwise be rounded as the logits are.
        logits = logits - logits.amax(dim=-1, keepdim=True)
        return logits, logits.logsumexp(dim=-1)

    def _needed(self, logits: torch.Tensor, total: torch.Tensor) -> dict[str, torch.Tensor]:
        """Computes the optional fields that the strategy needs and that are about this step alone."""
        found = {}
        if "margin" in self.needs:
            first, second = (logits.topk(2, dim=-1).values - total[..., None]).exp().unbind(dim=-1)
            found["margin"] = first - second
        if "entropy" in self.needs:
            probabilities = (logits - total[..., None]).exp()
            found["entropy"] = torch.special.entr(probabilities).sum(dim=-1) / math.log(logits.shape[-1])
        return found

    def _compared(
        self,
        canvas: Canvas,
        step: ForwardPass,
        hidden: torch.Tensor,
        log_probabilities: torch.Tensor,
        tokens: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Computes the optional fields that compare with the steps before, and remembers this one."""
        wanted = self.needs & {"repeats", "agreements", "divergence"}
        if not wanted:
            return {}
        rows, memory, found = step.rows, self.memory, {}
        starts, begins = canvas.rows.block_start[rows], (canvas.rows.step_in_block[rows] == 0)[:, None]
        same = tokens == memory.before("tokens", tokens, rows, starts, -1)
        for name in wanted - {"divergence"}:
            count = memory.recall(name, tokens, rows, 0).masked_fill(begins, 0)
            # Agreements go on from the block before, of which a count of repetitions knows nothing.
            agrees = same & ~begins if name == "repeats" else same
            found[name] = torch.where(agrees, count, -1 if name == "agreements" else 0) + 1
            memory.store(name, found[name], rows, 0)
        # What this pass says about the next block. A window, or where no block sees the next one any pass, has not
        # computed that: what lies right of the block there is so because other rows are wider.
        end = (canvas.reach if step.whole and canvas.grid is None else canvas.rows.block_end)[rows, None]
        ahead, columns = step.at + canvas.block_length, canvas.columns[rows]
        known = (ahead < hidden.shape[1]) & (columns + canvas.block_length < end)
        logits, total = self.measured(self.logits_of(hidden, step.places, ahead.clamp(max=hidden.shape[1] - 1)))
        next_tokens = logits.argmax(dim=-1).masked_fill(~known, -1)
        if "divergence" in wanted:
            before = memory.before("log_probabilities", log_probabilities, rows, starts, torch.nan)
            # What is never predicted has no probability in either step.
            moved = log_probabilities.exp() * (log_probabilities - before)
            moved = moved.masked_fill(log_probabilities == -torch.inf, 0.0).sum(dim=-1).nan_to_num(torch.inf)
            last = memory.recall("divergence", moved, rows, torch.inf)
            found["divergence"] = torch.maximum(moved, last).masked_fill(begins, torch.inf)
            memory.store("divergence", moved, rows, torch.inf)
            following = (logits - total[..., None]).masked_fill(~known[..., None], torch.nan)
            log_probabilities = log_probabilities.masked_fill((columns >= end)[..., None], torch.nan)
            log_probabilities = torch.cat((log_probabilities, following), dim=1)
            memory.store("log_probabilities", log_probabilities, rows, torch.nan)
        tokens = tokens.masked_fill(columns >= end, -1)
        memory.store("tokens", torch.cat((tokens, next_tokens), dim=1), rows, -1)
        memory.store("starts", starts, rows, 0)
        return found

    def _scan(
        self,
        hidden: torch.Tensor,
        canvas: Canvas,
        step: ForwardPass,
        tokens: torch.Tensor,
        confidence: torch.Tensor,
        masked: torch.Tensor,
    ) -> torch.Tensor:
        """Returns `BlockPrediction.end_of_text`; in chunks of a block, so that memory does not grow with the canvas."""
        eos, state, rows = self.special_tokens.eos, canvas.rows, step.rows
        found = confidence.new_full((len(rows), state.tokens.shape[1]), -1.0)
        if step.cache is None and step.targets is not None:
            width, texts = step.columns.shape[1], state.tokens[rows]
            for first in range(0, width, canvas.block_length):
                place = torch.arange(first, min(first + canvas.block_length, width), device=hidden.device)
                columns = step.columns[:, place]
                # The entry of the column at which this one is predicted.
                at = (place - self.logits_shift).clamp(min=0).expand_as(columns)
                logits = self.logits_of(hidden, step.places, at)
                picked = logits.argmax(dim=-1)
                logits, total = self.measured(logits)
                sure = (logits.gather(-1, picked[..., None]).squeeze(-1) - total).exp()
                ends = torch.isin(picked, eos) & (texts.gather(1, columns) == self.special_tokens.mask)
                ends &= (columns >= canvas.prompt_length) & (step.targets[:, place] >= 0)
                found.scatter_reduce_(1, columns, sure.masked_fill(~ends, -1.0), "amax")
        ends = masked & torch.isin(tokens, eos)
        return found.scatter_(1, canvas.columns[rows], confidence.masked_fill(~ends, -1.0))
