# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What every unmasking strategy reads and returns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch

__all__ = ["BlockPrediction", "UnmaskingStrategy", "most_confident"]


@dataclass(frozen=True)
class BlockPrediction:
    r"""
    What one forward pass says about the block that each row is denoising.

    Rows denoise blocks of their own, so row `i` may be further into its answer than row `j`. Columns behind a row's
    block (a short last block, a canvas that was cut) are never `masked` and have confidence 0.

    Args:
        tokens (`torch.LongTensor` of shape `(rows, block_length)`):
            Predicted token ids; never the mask token.
        confidence (`torch.FloatTensor` of shape `(rows, block_length)`):
            Probability, in float32, of each predicted token. At positions already unmasked it is the probability of
            what the model would predict there now, which the Learn2PD filter reads too.
        masked (`torch.BoolTensor` of shape `(rows, block_length)`):
            Positions that are still to be unmasked.
        scheduled (`torch.LongTensor` of shape `(rows,)`):
            How many tokens the `steps` option asks for in this denoising step; 1 without it.
        positions (`torch.LongTensor` of shape `(rows, block_length)`):
            Position of each column in its answer, from 0; with `infill` in the whole sequence, as it is padded.
        rows (`torch.LongTensor` of shape `(rows,)`):
            Index of each row in the batch given to `generate`; finished rows have left.
        noise (`torch.FloatTensor` of shape `(rows, block_length)`):
            A uniform random number in [0, 1) per answer position, the same in every step of a call.
        in_block (`torch.BoolTensor` of shape `(rows, block_length)`):
            Positions that belong to each row's block.
        vocab_size (`int`):
            Number of ids.
        margin (`torch.FloatTensor` of shape `(rows, block_length)`, *optional*):
            Difference between the two highest probabilities. Only for a strategy that `needs` it, like what follows.
        entropy (`torch.FloatTensor` of shape `(rows, block_length)`, *optional*):
            Entropy of the probabilities, as a part of the highest possible one.
        repeats (`torch.LongTensor` of shape `(rows, block_length)`, *optional*):
            For how many steps in a row, this one included, the same token has been predicted in this block.
        agreements (`torch.LongTensor` of shape `(rows, block_length)`, *optional*):
            For how many steps of this block in a row, this one included, the prediction has been that of the step
            before; the first of them compares with the last step of the block before, where that predicted so far.
        divergence (`torch.FloatTensor` of shape `(rows, block_length)`, *optional*):
            The larger of the last two Kullback-Leibler divergences of the probabilities from those of the step before,
            in nats; infinite in the first step of a block. In the second, the step before the first is the last of the
            block before, where that predicted so far.
        hidden_states (`torch.Tensor` of shape `(rows, block_length, hidden_size)`, *optional*):
            What the decoder has made of each position, and its token is predicted from.
        end_of_text (`torch.FloatTensor` of shape `(rows, length)`, *optional*):
            Over the whole canvas, the confidence of every masked position at which end-of-text is predicted, and -1
            elsewhere. Only with `end_of_text="predicted"`.
        masked_share (`torch.FloatTensor` of shape `(rows,)`, *optional*):
            Share of the positions of block and suffix in sight that are masked; set by the denoising loop.
        canvas_rows (`torch.LongTensor` of shape `(rows,)`, *optional*):
            Index of each row among those that have not finished; set by the denoising loop, which alone needs it.
    """

    tokens: torch.Tensor
    confidence: torch.Tensor
    masked: torch.Tensor
    scheduled: torch.Tensor
    positions: torch.Tensor
    rows: torch.Tensor
    noise: torch.Tensor
    in_block: torch.Tensor
    vocab_size: int
    margin: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    repeats: torch.Tensor | None = None
    agreements: torch.Tensor | None = None
    divergence: torch.Tensor | None = None
    hidden_states: torch.Tensor | None = None
    end_of_text: torch.Tensor | None = None
    masked_share: torch.Tensor | None = None
    canvas_rows: torch.Tensor | None = None

    @property
    def of_canvas(self) -> torch.Tensor:
        """`canvas_rows`, of a prediction that the loop has made."""
        assert self.canvas_rows is not None
        return self.canvas_rows

    def select(self, rows: torch.Tensor) -> Self:
        """Keeps the rows with the given indices."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        kept: dict[str, Any] = {name: each[rows] for name, each in values.items() if isinstance(each, torch.Tensor)}
        return replace(self, **kept)


class UnmaskingStrategy(ABC):
    r"""
    Decides which predictions become final: like a `LogitsProcessor`, called once per denoising step.

    A strategy is a value: a frozen dataclass of options with one pure method on whole-batch tensors. It keeps nothing
    between calls and does not have to guarantee progress: a row for which it chooses nothing gets its most confident
    masked position from the denoising loop.
    """

    @property
    def needs(self) -> frozenset[str]:
        """Optional fields of [`BlockPrediction`] that this strategy reads; no others are computed."""
        return frozenset()

    @property
    def state_size(self) -> int | None:
        """Width of the hidden states that this strategy can read; None if it reads none."""
        return None

    def rescore(
        self, logits: torch.Tensor, memory: torch.Tensor, masked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Changes the logits of each row's block before tokens are picked, with a memory of the steps before.

        Args:
            logits (`torch.FloatTensor` of shape `(rows, block_length, vocab_size)`): From the model.
            memory (`torch.FloatTensor` of the same shape): Returned for these rows in their last step; 0 in the first
                of a block.
            masked (`torch.BoolTensor` of shape `(rows, block_length)`): As in [`BlockPrediction`].

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Logits and memory.
        """
        return logits, memory

    @property
    def rescores(self) -> bool:
        """Whether this strategy has a `rescore` of its own."""
        return type(self).rescore is not UnmaskingStrategy.rescore

    @property
    def compares(self) -> bool:
        """Whether this strategy compares with the steps before."""
        return self.rescores or not self.needs.isdisjoint({"repeats", "agreements", "divergence"})

    @abstractmethod
    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        r"""
        Chooses the positions to unmask.

        Args:
            prediction ([`BlockPrediction`]): The block of each row.

        Returns:
            `torch.BoolTensor` of shape `(rows, block_length)`: True where the predicted token becomes final. Positions
            that are not masked are ignored.
        """

    def accept(self, prediction: BlockPrediction) -> torch.Tensor:
        """
        The part of the choice that the rule itself vouches for, as against tokens taken to keep a schedule.

        `end_of_text="predicted"` cuts at an end-of-text token only if it was accepted in this sense.
        Takes and returns what `__call__` does.
        """
        return self(prediction)

    def prepare(self, batch_size: int, block_length: int, device: torch.device) -> Self:
        """
        Checks the options against a `generate` call and moves tensors to its device, before the first forward pass.

        Args:
            batch_size (`int`): Rows of the call.
            block_length (`int`): Positions of its widest block.
            device (`torch.device`): Where the predictions will be.

        Returns:
            The strategy to call, this one unless something had to move.

        Raises:
            ValueError: If the strategy cannot serve this call.
        """
        return self


def most_confident(scores: torch.Tensor, masked: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """
    Selects the masked positions with the highest scores.

    Args:
        scores (`torch.FloatTensor` of shape `(rows, block_length)`): Any order of preference, high is early.
        masked (`torch.BoolTensor` of shape `(rows, block_length)`): Candidates.
        count (`torch.LongTensor` of shape `(rows,)`): How many to select; more than there are selects all.

    Returns:
        `torch.BoolTensor` of shape `(rows, block_length)`.
    """
    order = scores.masked_fill(~masked, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    return (rank < count[:, None]) & masked
