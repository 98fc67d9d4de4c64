# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Noise for training: makes of clean texts what a masked diffusion model learns from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ..checks import check_bool, is_fraction, is_token_id

__all__ = ["DataCollatorForMaskedDiffusion"]


@dataclass(frozen=True)
class DataCollatorForMaskedDiffusion:
    r"""
    Masks a random part of every answer, as LLaDA's pretraining and fine-tuning do, for `Trainer(data_collator=...)`.

    Each row draws a probability `t` from (`eps`, 1) and has every token of its answer masked with it; the model learns
    the masked ones. Rows are filled up with end-of-text, which is masked and learned like the answer: so the model
    learns to stop. Source: https://huggingface.co/papers/2502.09992, Algorithms 1 and 2.

    Args:
        mask_token_id (`int`):
            Id of the mask token, the model config's.
        pad_token_id (`int`):
            Id that rows are filled up with, the end-of-text token.
        eps (`float`, *optional*, defaults to 0.001):
            Lower end of `t`.
        weighted (`bool`, *optional*, defaults to `True`):
            Whether a row's loss is weighted with `1 / t`, the bound of the likelihood that LLaDA minimises; times the
            mean of `t`, so that the weights of all masked tokens have mean 1.
        generator (`torch.Generator`, *optional*):
            Source of randomness, on the CPU; torch's own if None.

    Raises:
        ValueError: If `eps` is not above 0 and below 1, or a token id is negative.
    """

    mask_token_id: int
    pad_token_id: int
    eps: float = 1e-3
    weighted: bool = True
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if not is_fraction(self.eps) or self.eps in (0, 1):
            raise ValueError(f"`eps` must be above 0 and below 1 (got {self.eps!r})")
        check_bool("weighted", self.weighted)
        if not isinstance(self.generator, torch.Generator | None):
            raise ValueError(f"`generator` must be a torch.Generator (got {self.generator!r})")
        for name in ("mask_token_id", "pad_token_id"):
            value = getattr(self, name)
            if not is_token_id(value):
                raise ValueError(f"`{name}` must be a token id (got {value!r})")

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """
        Makes a batch.

        Args:
            features (`Sequence[Mapping[str, Any]]`):
                Texts, not padded: `input_ids`, and `labels` of the same length that are -100 over the prompt. Without
                `labels` the whole text may be masked. Other entries are left out.

        Returns:
            `dict[str, torch.Tensor]`: `input_ids` with masks and `labels` with the clean ids under them and -100
            elsewhere, each (batch_size, sequence_length); with `weighted` also `loss_weights`, (batch_size,).

        Raises:
            ValueError: If `labels` and `input_ids` differ in length.
        """
        texts = [torch.as_tensor(feature["input_ids"], dtype=torch.long) for feature in features]
        answers = []
        for feature, text in zip(features, texts, strict=True):
            labels = torch.as_tensor(feature.get("labels", text), dtype=torch.long)
            if labels.shape != text.shape:
                got = f"{len(labels)} for {len(text)}"
                raise ValueError(f"`labels` must be as many as `input_ids` (got {got})")
            answers.append(labels != -100)
        ids = pad_sequence(texts, batch_first=True, padding_value=self.pad_token_id)
        answer = pad_sequence(answers, batch_first=True, padding_value=True)
        draws = torch.rand(len(ids), 1 + ids.shape[1], generator=self.generator)
        ratio = self.eps + (1 - self.eps) * draws[:, :1]
        masked = answer & (draws[:, 1:] < ratio)
        batch = {
            "input_ids": ids.masked_fill(masked, self.mask_token_id),
            "labels": ids.masked_fill(~masked, -100),
        }
        if self.weighted:
            batch["loss_weights"] = (1 + self.eps) / 2 / ratio[:, 0]
        return batch
