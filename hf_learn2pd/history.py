# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What each row predicted in the last steps of its block, for strategies that compare."""

from dataclasses import dataclass

import torch

__all__ = ["History", "Turn"]


@dataclass(frozen=True)
class Turn:
    """
    Whom a step predicts for.

    Args:
        begins (`torch.BoolTensor` of shape `(turns,)`): Rows in the first step of a block.
        waits (`torch.BoolTensor` of shape `(turns,)`): Rows that this step predicts nothing for.
        rows (`torch.LongTensor` of shape `(turns,)`, *optional*): Which rows of the batch these are; all if None.
        batch_size (`int`): Rows of the batch.
    """

    begins: torch.Tensor
    waits: torch.Tensor
    rows: torch.Tensor | None
    batch_size: int


class History:
    """Tensors of each row's last step, by name; a row forgets them when it begins a block."""

    def __init__(self) -> None:
        self.kept: dict[str, torch.Tensor] = {}

    def repeats(self, tokens: torch.Tensor, turn: Turn) -> torch.Tensor:
        """
        Counts for how many steps in a row the same token has been predicted.

        Args:
            tokens (`torch.LongTensor` of shape `(turns, block_length)`): Predicted ids.
            turn ([`Turn`]): Whom for.

        Returns:
            `torch.LongTensor` of shape `(turns, block_length)`: At least 1.
        """
        same = tokens == self.last("tokens", tokens, turn, -1)
        repeats = torch.where(same, self.last("repeats", tokens, turn, 0), 0) + 1
        self.store("tokens", tokens, turn)
        self.store("repeats", repeats, turn)
        return repeats

    def divergence(self, log_probabilities: torch.Tensor, turn: Turn) -> torch.Tensor:
        """
        Measures how far the probabilities have moved in the last two steps.

        Args:
            log_probabilities (`torch.FloatTensor` of shape `(turns, block_length, vocab_size)`): Of all ids.
            turn ([`Turn`]): Whom for.

        Returns:
            `torch.FloatTensor` of shape `(turns, block_length)`: The larger of the last two Kullback-Leibler
            divergences between a step and the one before, in nats; infinite while there are not two.
        """
        before = self.last("log_probabilities", log_probabilities, turn, 0.0)
        # What is never predicted has no probability in either step.
        never = log_probabilities == -torch.inf
        moved = (log_probabilities.exp() * (log_probabilities - before)).masked_fill(never, 0.0).sum(dim=-1)
        moved = moved.masked_fill(turn.begins[:, None], torch.inf)
        largest = torch.maximum(moved, self.last("divergence", moved, turn, torch.inf))
        self.store("log_probabilities", log_probabilities, turn)
        self.store("divergence", moved, turn)
        return largest

    def last(self, name: str, like: torch.Tensor, turn: Turn, filler: float) -> torch.Tensor:
        """Returns what was stored for these rows in their last step, the filler where a block begins."""
        if name not in self.kept:
            self.kept[name] = like.new_full((turn.batch_size, *like.shape[1:]), filler)
        kept = self.kept[name] if turn.rows is None else self.kept[name][turn.rows]
        return kept.masked_fill(turn.begins.view(-1, *[1] * (like.ndim - 1)), filler)

    def store(self, name: str, values: torch.Tensor, turn: Turn) -> None:
        """Keeps values for the next step; rows that wait keep what they have."""
        if turn.rows is None:
            waits = turn.waits.view(-1, *[1] * (values.ndim - 1))
            self.kept[name] = torch.where(waits, self.kept[name], values)
        else:
            self.kept[name] = self.kept[name].index_copy(0, turn.rows, values)

    def keep(self, rows: torch.Tensor) -> None:
        """Forgets all rows but those with the given indices."""
        self.kept = {name: values[rows] for name, values in self.kept.items()}
