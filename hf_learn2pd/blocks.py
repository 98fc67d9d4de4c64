# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Block schedules: where the block that a row denoises next ends."""

from dataclasses import dataclass

import torch

__all__ = ["FixedBlocks"]


@dataclass(frozen=True)
class FixedBlocks:
    """
    Blocks of one length from left to right, as in LLaDA's semi-autoregressive decoding; the last may be shorter.

    Source: https://huggingface.co/papers/2502.09992.

    Args:
        block_length (`int`, *optional*, defaults to 32): Positions per block.

    Raises:
        ValueError: If `block_length` is not an integer above 0.
    """

    block_length: int = 32

    def __post_init__(self) -> None:
        if not isinstance(self.block_length, int) or self.block_length < 1:
            raise ValueError(f"`block_length` must be an integer above 0 (got {self.block_length!r})")

    def __call__(self, start: torch.Tensor) -> torch.Tensor:
        """
        Returns where blocks end that start at `start`, not yet limited by the end of the canvas.

        Args:
            start (`torch.LongTensor` of shape `(rows,)`): First column of each row's next block.

        Returns:
            `torch.LongTensor` of shape `(rows,)`: The column behind its last.
        """
        return start + self.block_length
