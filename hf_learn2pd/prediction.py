# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What was predicted in earlier steps, for strategies that compare."""

from typing import Any

import torch

__all__ = ["Memory"]


class Memory:
    """
    Tensors of each row's last step, by name.

    What is kept of positions stands where it stood then: a row that has begun its next block finds what was predicted
    for these columns while it was in the block before, if that pass predicted so far.

    Args:
        count (`int`): Rows of the canvas.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.kept: dict[str, torch.Tensor] = {}

    def recall(self, name: str, like: torch.Tensor, rows: torch.Tensor, filler: float) -> torch.Tensor:
        """
        Returns what was stored for rows in their last step.

        Args:
            name (`str`): What it is.
            like (`torch.Tensor` of shape `(predicted, width, ...)`): Of its kind, and of its shape but for the width.
            rows (`torch.LongTensor` of shape `(predicted,)`): Rows of the canvas.
            filler (`float`): What rows get that have had no step.
        """
        if name not in self.kept:
            return like.new_full(like.shape, filler)
        return self.kept[name][rows]

    def store(self, name: str, values: torch.Tensor, rows: torch.Tensor, filler: float) -> None:
        """Keeps values of the given rows for their next step; rows that have had none get the filler."""
        if name not in self.kept:
            self.kept[name] = values.new_full((self.count, *values.shape[1:]), filler)
        self.kept[name] = self.kept[name].index_copy(0, rows, values)

    def select(self, kept: torch.Tensor | None) -> None:
        """Forgets all rows but those with the given indices; None keeps all."""
        if kept is not None:
            self.count = len(kept)
            self.kept = {name: values[kept] for name, values in self.kept.items()}

    def before(self, name: str, like: torch.Tensor, rows: torch.Tensor, starts: torch.Tensor, filler: float) -> Any:
        """
        Returns what the last step said about the columns of each row's block, wherever the row's block stood then.

        Args:
            name, like, rows, filler: See `recall`; what was stored may reach further to the right than a block.
            starts (`torch.LongTensor` of shape `(predicted,)`): First column of each row's block.
        """
        kept = self.recall(name, like, rows, filler)
        moved = starts - self.recall("starts", starts, rows, 0)
        place = moved[:, None] + torch.arange(like.shape[1], device=like.device)
        shape = (*place.shape, *[1] * (like.ndim - 2))
        found = kept.take_along_dim(place.clamp(max=kept.shape[1] - 1).view(shape), dim=1)
        return found.masked_fill((place >= kept.shape[1]).view(shape), filler)
