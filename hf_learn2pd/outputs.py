# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What `generate` returns."""

from dataclasses import dataclass
from typing import Self

import torch
from transformers.utils import ModelOutput

from .canvas import Canvas
from .special_tokens import SpecialTokens

__all__ = ["DiffusionGenerationOutput"]


@dataclass
class DiffusionGenerationOutput(ModelOutput):
    """
    What `generate(return_dict_in_generate=True)` returns.

    Args:
        sequences (`torch.LongTensor` of shape `(batch_size, sequence_length)`):
            Prompts and answers, padded behind the end of each row.
        nfe (`torch.LongTensor` of shape `(batch_size,)`):
            Number of forward passes of each row; a row that has finished stops counting.
        tokens_per_forward (`torch.FloatTensor` of shape `(batch_size,)`):
            Answer tokens, up to and including the first end-of-text, divided by `nfe`.
        forward_passes (`list[tuple[str, int, int, int]]`):
            For each call of the model: kind, rows, query length, cached length.
        unmasking_steps (`torch.LongTensor` of shape `(batch_size, answer_length)`, *optional*):
            The forward pass of its row, from 0, in which each token was unmasked, or with `edit_threshold` replaced
            for the last time; -1 behind the end of a row.
            Returned with `output_unmasking_steps=True`.
        acceptance_length (`torch.FloatTensor` of shape `(batch_size,)`, *optional*):
            Mean number of steps of the stock loop that a forward pass has verified; with `verify=True`.
    """

    sequences: torch.Tensor
    nfe: torch.Tensor | None = None
    tokens_per_forward: torch.Tensor | None = None
    forward_passes: list[tuple[str, int, int, int]] | None = None
    unmasking_steps: torch.Tensor | None = None
    acceptance_length: torch.Tensor | None = None

    @classmethod
    def of(
        cls,
        canvas: Canvas,
        special_tokens: SpecialTokens,
        forward_passes: list[tuple[str, int, int, int]],
        unmasking_steps: bool,
        verified: torch.Tensor | None,
    ) -> Self:
        """
        Gathers what a loop has left.

        Args:
            canvas ([`Canvas`]): All its rows have left.
            special_tokens ([`SpecialTokens`]): Which ids end a text.
            forward_passes (`list[tuple[str, int, int, int]]`): As they are returned.
            unmasking_steps (`bool`): Whether they are asked for.
            verified (`torch.LongTensor` of shape `(batch_size,)`, *optional*): Steps of each row that took no pass.

        Returns:
            [`DiffusionGenerationOutput`]
        """
        length = int(canvas.ends.max())
        sequences = canvas.sequences[:, :length]
        answer = sequences[:, canvas.prompt_length :]
        is_end = torch.isin(answer, special_tokens.eos).long()
        behind = is_end.cumsum(dim=-1) > is_end
        position = torch.arange(answer.shape[1], device=answer.device)
        in_text = position < (canvas.ends - canvas.prompt_length)[:, None]
        return cls(
            sequences=sequences,
            nfe=canvas.nfe,
            tokens_per_forward=(in_text & ~behind).sum(dim=-1) / canvas.nfe,
            forward_passes=forward_passes,
            unmasking_steps=canvas.unmasking_steps[:, : answer.shape[1]] if unmasking_steps else None,
            acceptance_length=None if verified is None else 1 + verified / canvas.nfe,
        )
