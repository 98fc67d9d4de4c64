# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass

import torch

from .base import BlockPrediction, UnmaskingStrategy

__all__ = ["Dilated"]


@dataclass(frozen=True)
class Dilated(UnmaskingStrategy):
    r"""
    A fixed order of groups of positions that lie far apart, at a distance that is halved from step to step.

    In a block of 32 the steps unmask every 16th position, then every 8th, 4th, 2nd, and the rest: the logarithm of the
    block length in forward passes, whatever the confidences. Source: https://huggingface.co/papers/2506.19037.
    """

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        width = prediction.masked.shape[-1]
        column = torch.arange(width, device=prediction.masked.device)
        distance = torch.ones_like(column)
        step = 2
        while step < width:
            distance, step = torch.where(column % step == 0, step, distance), 2 * step
        # What is left says which step this is.
        left = distance.masked_fill(~prediction.masked, 0)
        return prediction.masked & (left == left.amax(dim=-1, keepdim=True))
