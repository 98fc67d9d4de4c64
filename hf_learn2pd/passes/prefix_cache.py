# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

from ..canvas import Canvas
from .base import Spans
from .dual_cache import DualCache

__all__ = ["PrefixCache"]


@dataclass
class PrefixCache(DualCache):
    """
    Fast-dLLM's prefix cache: passes compute the block and all that is in sight right of it.

    Source: https://huggingface.co/papers/2505.22618.

    Args:
        refresh_every (`int`, *optional*):
            Denoising steps in a block after which everything is computed anew; only at its beginning if None.
    """

    kind = "prefix"
    keeps_suffix = False

    def window(self, canvas: Canvas) -> Spans:
        return Spans.in_sight(canvas, canvas.rows.block_start - self.setting.logits_shift)

    @property
    def cached(self) -> int:
        return self.first_computed
