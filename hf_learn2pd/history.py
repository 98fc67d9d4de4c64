# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What a row predicted in the last step of its block, for strategies that compare."""

import torch

__all__ = ["History"]


class History:
    """
    Counts for how many steps in a row each position of a block has had the same prediction.

    Args:
        rows (`int`): Rows of the batch.
        block_length (`int`): Positions of a block.
        device (`torch.device`): Where the predictions are.
    """

    def __init__(self, rows: int, block_length: int, device: torch.device):
        self.tokens = torch.full((rows, block_length), -1, device=device)
        self.repeats = torch.zeros_like(self.tokens)

    def count(self, tokens: torch.Tensor, begins: torch.Tensor, waits: torch.Tensor) -> torch.Tensor:
        """
        Takes in a step's predictions.

        Args:
            tokens (`torch.LongTensor` of shape `(rows, block_length)`): Predicted ids.
            begins (`torch.BoolTensor` of shape `(rows,)`): Rows in the first step of a block.
            waits (`torch.BoolTensor` of shape `(rows,)`): Rows that this step predicts nothing for.

        Returns:
            `torch.LongTensor` of shape `(rows, block_length)`: Steps in a row, at least 1.
        """
        same = (tokens == self.tokens) & ~begins[:, None]
        repeats = torch.where(same, self.repeats, 0) + 1
        self.repeats = torch.where(waits[:, None], self.repeats, repeats)
        self.tokens = torch.where(waits[:, None], self.tokens, tokens)
        return repeats

    def keep(self, rows: torch.Tensor) -> None:
        """Forgets all rows but those with the given indices."""
        self.tokens, self.repeats = self.tokens[rows], self.repeats[rows]
