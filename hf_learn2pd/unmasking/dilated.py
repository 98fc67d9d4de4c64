# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from .base import BlockPrediction, UnmaskingStrategy

__all__ = ["Dilated"]


@dataclass(frozen=True)
class Dilated(UnmaskingStrategy):
    r"""
    A fixed order of levels of positions that lie far apart, at a distance that is halved from step to step.

    In a block of 32 the steps unmask every 16th position, then every 8th, 4th, 2nd, and the rest: the logarithm of the
    block length in forward passes, whatever the confidences. A last level of fewer positions than the one before joins
    it. Source: https://huggingface.co/papers/2506.19037.
    """

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        column = torch.arange(prediction.masked.shape[-1], device=prediction.masked.device)
        width, level = prediction.in_block.sum(dim=-1, keepdim=True), torch.zeros_like(prediction.masked).long()
        for number in reversed(range(1, len(column).bit_length() + 1)):
            level = torch.where(column % (width >> number).clamp(min=1) == 0, number, level)
        last = level.masked_fill(~prediction.in_block, 0).amax(dim=-1, keepdim=True)
        sizes = [((level == number) & prediction.in_block).sum(dim=-1, keepdim=True) for number in (last, last - 1)]
        level = torch.where((level == last) & (sizes[0] < sizes[1]), last - 1, level)
        # What is left says which step this is.
        left = level.masked_fill(~prediction.masked, len(column))
        return prediction.masked & (left == left.amin(dim=-1, keepdim=True))
