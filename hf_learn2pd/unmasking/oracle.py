# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
from dataclasses import dataclass, replace
from typing import Self

import torch

from .base import BlockPrediction, UnmaskingStrategy

__all__ = ["Oracle"]


@dataclass(frozen=True, eq=False)
class Oracle(UnmaskingStrategy):
    r"""
    Extremely greedy parallel decoding: unmask exactly the predictions that equal a known output.

    The upper bound of what a filter can reach, and the teacher it is trained on; for analysis, since the output has to
    be known. Source: https://huggingface.co/papers/2509.25188.

    Args:
        reference_ids (`torch.LongTensor` of shape `(batch_size, answer_length)`):
            The output to reproduce, without the prompt, but with `infill` whole sequences as they are returned; usually
            the model's own with one token per step. Positions behind its end are unmasked one at a time.

    Raises:
        ValueError: If `reference_ids` is not a matrix of ids, or has not one row per prompt.
    """

    reference_ids: torch.Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.reference_ids, torch.Tensor) or self.reference_ids.ndim != 2:
            got = getattr(self.reference_ids, "shape", type(self.reference_ids).__name__)
            raise ValueError(f"`reference_ids` must be a tensor of shape (batch_size, answer_length) (got {got})")
        if self.reference_ids.is_floating_point() or self.reference_ids.dtype == torch.bool:
            raise ValueError(f"`reference_ids` must be integers (got {self.reference_ids.dtype})")

    def __call__(self, prediction: BlockPrediction) -> torch.Tensor:
        length = self.reference_ids.shape[1]
        known = prediction.positions < length
        expected = self.reference_ids[prediction.rows[:, None], prediction.positions.clamp(max=length - 1)]
        return prediction.masked & known & (prediction.tokens == expected)

    def prepare(self, batch_size: int, block_length: int, device: torch.device) -> Self:
        if self.reference_ids.shape[0] != batch_size or self.reference_ids.shape[1] == 0:
            shape = tuple(self.reference_ids.shape)
            raise ValueError(f"`reference_ids` must have one non-empty row for each of {batch_size} rows (got {shape})")
        return replace(self, reference_ids=self.reference_ids.to(device))
