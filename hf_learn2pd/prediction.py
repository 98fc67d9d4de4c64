# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What was predicted in earlier steps, for strategies that compare."""

import torch

__all__ = ["Memory"]


class Memory:
    """
    Tensors of each row's last step, by name.

    Args:
        count (`int`): Rows of the canvas.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.kept: dict[str, torch.Tensor] = {}

    def recall(
        self, name: str, like: torch.Tensor, rows: torch.Tensor, begins: torch.Tensor, filler: float
    ) -> torch.Tensor:
        """
        Returns what was stored for rows in their last step.

        Args:
            name (`str`): What it is.
            like (`torch.Tensor` of shape `(predicted, ...)`): Of its shape and kind.
            rows (`torch.LongTensor` of shape `(predicted,)`): Rows of the canvas.
            begins (`torch.BoolTensor` of shape `(predicted,)`): Rows that have forgotten it.
            filler (`float`): What these get.
        """
        if name not in self.kept:
            self.kept[name] = like.new_full((self.count, *like.shape[1:]), filler)
        return self.kept[name][rows].masked_fill(begins.view(-1, *[1] * (like.ndim - 1)), filler)

    def store(self, name: str, values: torch.Tensor, rows: torch.Tensor) -> None:
        """Keeps values of the given rows for their next step."""
        self.kept[name] = self.kept[name].index_copy(0, rows, values)

    def select(self, kept: torch.Tensor | None) -> None:
        """Forgets all rows but those with the given indices; None keeps all."""
        if kept is not None:
            self.count = len(kept)
            self.kept = {name: values[kept] for name, values in self.kept.items()}

    def repeats(self, tokens: torch.Tensor, rows: torch.Tensor, begins: torch.Tensor) -> torch.Tensor:
        """
        Counts for how many steps in a row the same token has been predicted.

        Args:
            tokens (`torch.LongTensor` of shape `(predicted, block_length)`): Predicted ids.
            rows, begins: See `recall`.

        Returns:
            `torch.LongTensor` of shape `(predicted, block_length)`: At least 1.
        """
        same = tokens == self.recall("tokens", tokens, rows, begins, -1)
        repeats = torch.where(same, self.recall("repeats", tokens, rows, begins, 0), 0) + 1
        self.store("tokens", tokens, rows)
        self.store("repeats", repeats, rows)
        return repeats

    def divergence(self, log_probabilities: torch.Tensor, rows: torch.Tensor, begins: torch.Tensor) -> torch.Tensor:
        """
        Measures how far the probabilities have moved in the last two steps.

        Args:
            log_probabilities (`torch.FloatTensor` of shape `(predicted, block_length, vocab_size)`): Of all ids.
            rows, begins: See `recall`.

        Returns:
            `torch.FloatTensor` of shape `(predicted, block_length)`: The larger of the last two Kullback-Leibler
            divergences between a step and the one before, in nats; infinite while there are not two.
        """
        before = self.recall("log_probabilities", log_probabilities, rows, begins, 0.0)
        # What is never predicted has no probability in either step.
        never = log_probabilities == -torch.inf
        moved = (log_probabilities.exp() * (log_probabilities - before)).masked_fill(never, 0.0).sum(dim=-1)
        moved = moved.masked_fill(begins[:, None], torch.inf)
        largest = torch.maximum(moved, self.recall("divergence", moved, rows, begins, torch.inf))
        self.store("log_probabilities", log_probabilities, rows)
        self.store("divergence", moved, rows)
        return largest
