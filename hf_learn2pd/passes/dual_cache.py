# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from ..canvas import Canvas
from .base import Spans
from .windows import Windows

__all__ = ["DualCache"]


@dataclass
class DualCache(Windows):
    """
    Fast-dLLM's dual cache: passes compute the block and find what is left and right of it as it was at its beginning.

    Source: https://huggingface.co/papers/2505.22618.

    Args:
        refresh_every (`int`, *optional*):
            Denoising steps in a block after which everything is computed anew; only at its beginning if None.
    """

    kind = "dual"
    keeps_suffix = True
    slides = False

    def fresh(self, canvas: Canvas) -> torch.Tensor:
        # No block takes more steps than there are columns.
        return canvas.rows.step_in_block % (self.refresh_every or canvas.limit) == 0

    def steps_left(self, canvas: Canvas) -> torch.Tensor:
        every = self.refresh_every or canvas.limit
        return every - canvas.rows.step_in_block % every

    def window(self, canvas: Canvas) -> Spans:
        rows = canvas.rows
        # Where logits are shifted, the window begins with the column that predicts the first of the block.
        return Spans(rows.block_start - self.setting.logits_shift, rows.block_end, rows.block_end, rows.block_end)
