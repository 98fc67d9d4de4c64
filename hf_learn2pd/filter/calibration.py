# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Choosing a filter's threshold by what it does when it decodes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from ..special_tokens import SpecialTokens
from ..unmasking import Learn2PD
from .model import UnmaskingFilter

__all__ = ["ThresholdTrial", "calibrate_threshold"]

# Thresholds are tried between these logits: a filter is that sure of nothing it should not accept.
_LOWEST, _HIGHEST = -2.0, 10.0


@dataclass(frozen=True)
class ThresholdTrial:
    """
    One threshold, tried out.

    Args:
        threshold (`float`): Filter probability above which positions were unmasked.
        agreement (`float`): Share of prompts whose text equals that of the stock loop, token for token.
        nfe (`float`): Mean number of forward passes per prompt.
    """

    threshold: float
    agreement: float
    nfe: float


@torch.no_grad()
def calibrate_threshold(
    model: Any,
    filter: UnmaskingFilter,
    batches: Sequence[dict[str, torch.Tensor]],
    agreement: float = 0.99,
    max_new_tokens: int = 256,
    block_length: int = 32,
    trials: int = 7,
    progress: bool = True,
) -> list[ThresholdTrial]:
    """
    Sets a filter's threshold to the lowest one with which decoding still agrees with the stock loop.

    The threshold is found by bisection; what is compared is the actual text, up to its end-of-text token, because a
    wrong token that is accepted early changes everything behind it.

    Args:
        model ([`DiffusionGenerationMixin`]): The model the filter is for.
        filter ([`UnmaskingFilter`]): The filter, changed in place.
        batches (`Sequence[dict[str, torch.Tensor]]`):
            Tokenized prompts the filter was not trained on, each with `input_ids` and `attention_mask`.
        agreement (`float`, *optional*, defaults to 0.99): Share of prompts whose text must equal the stock loop's.
        max_new_tokens (`int`, *optional*, defaults to 256): Positions of the answer region.
        block_length (`int`, *optional*, defaults to 32): Positions that are denoised together.
        trials (`int`, *optional*, defaults to 7): Thresholds to try.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `list[ThresholdTrial]`: Everything that was tried, in order. Where nothing agreed, the threshold is 1.0, with
        which the filter accepts nothing.

    Raises:
        ValueError: If `agreement` is not between 0 and 1 or there are no prompts.
    """
    if not 0.0 < agreement <= 1.0:
        raise ValueError(f"`agreement` must be above 0 and at most 1 (got {agreement})")
    if not batches:
        raise ValueError("`batches` must hold at least one batch of prompts (got none)")
    bar = tqdm(total=(trials + 1) * len(batches), desc="calibration", unit="batch", disable=not progress)

    def decode(decoding: Any) -> tuple[list[torch.Tensor], float]:
        texts, passes = [], []
        for batch in batches:
            output = model.generate(
                batch["input_ids"].to(model.device),
                attention_mask=batch["attention_mask"].to(model.device),
                decoding=decoding,
                max_new_tokens=max_new_tokens,
                block_length=block_length,
                end_of_text="accepted",
                do_sample=False,
                return_dict_in_generate=True,
                steps=None,
            )
            # Texts are padded to the longest of their batch, which may differ from decoder to decoder.
            answers = output.sequences.new_full((len(output.sequences), max_new_tokens), pad)
            written = output.sequences[:, batch["input_ids"].shape[1] :]
            answers[:, : written.shape[1]] = written
            texts.append(answers)
            passes.append(output.nfe)
            bar.update()
        return texts, torch.cat(passes).double().mean().item()

    pad = SpecialTokens.of(model.generation_config, model.config, model.device).pad
    stock, _ = decode("low_confidence")
    found: list[ThresholdTrial] = []
    low, high, chosen = _LOWEST, _HIGHEST, 1.0
    for _ in range(trials):
        logit = (low + high) / 2
        threshold = 1 / (1 + math.exp(-logit))
        texts, nfe = decode(Learn2PD(filter, threshold))
        equal = torch.cat([(one == other).all(dim=-1) for one, other in zip(stock, texts, strict=True)])
        found.append(ThresholdTrial(threshold, equal.double().mean().item(), nfe))
        if found[-1].agreement >= agreement:
            high, chosen = logit, threshold
        else:
            low = logit
    bar.close()
    filter.threshold = chosen
    return found
