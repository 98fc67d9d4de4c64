# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Choosing a filter's threshold by what it does when it decodes."""

import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from ..filter.model import UnmaskingFilter
from ..special_tokens import SpecialTokens
from ..unmasking import Learn2PD
from .arguments import check_integer
from .prompts import read_prompts, tokenize_prompts

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
    prompts: str | os.PathLike[str] | Iterable[Any],
    agreement: float = 0.99,
    tokenizer: Any | None = None,
    max_new_tokens: int = 256,
    block_length: int = 32,
    batch_size: int = 16,
    trials: int = 7,
    progress: bool = True,
) -> list[ThresholdTrial]:
    """
    Sets a filter's threshold to the lowest one with which decoding still agrees with the stock loop.

    The threshold is found by bisection; what is compared is the actual text, up to its end-of-text token, because a
    wrong token that is accepted early changes everything behind it. Threshold and evidence are stored in the filter and
    saved with it.

    Args:
        model ([`DiffusionGenerationMixin`]): The model the filter is for.
        filter ([`UnmaskingFilter`]): The filter, changed in place.
        prompts (`str`, `os.PathLike` or `Iterable`):
            What [`read_prompts`] takes; prompts the filter was not trained on.
        agreement (`float`, *optional*, defaults to 0.99): Share of prompts whose text must equal the stock loop's.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): The model's; loaded from its repository if None.
        max_new_tokens (`int`, *optional*, defaults to 256): Positions of the answer region.
        block_length (`int`, *optional*, defaults to 32): Positions that are denoised together.
        batch_size (`int`, *optional*, defaults to 16): Prompts per batch.
        trials (`int`, *optional*, defaults to 7): Thresholds to try.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `list[ThresholdTrial]`: Everything that was tried, in order. Where nothing agreed, the threshold is 1.0, with
        which the filter accepts nothing.

    Raises:
        ValueError: If `agreement` is not between 0 and 1, there are no prompts or trials, or the filter does not serve
            blocks of `block_length`.
    """
    if not isinstance(agreement, int | float) or not 0.0 < agreement <= 1.0:
        raise ValueError(f"`agreement` must be above 0 and at most 1 (got {agreement!r})")
    for name, count in (("trials", trials), ("batch_size", batch_size), ("block_length", block_length)):
        check_integer(name, count)
    check_integer("max_new_tokens", max_new_tokens)
    batches = list(tokenize_prompts(model, tokenizer, read_prompts(prompts), batch_size))
    if not batches:
        raise ValueError("`prompts` must hold at least one prompt (got none)")
    # Decoding checks the filter too, but only when the stock loop has run over all prompts.
    Learn2PD(filter).prepare(batch_size, min(block_length, max_new_tokens), model.device)
    bar = tqdm(total=(trials + 1) * len(batches), desc="calibration", unit="batch", disable=not progress)

    def decode(decoding: Any) -> tuple[list[torch.Tensor], float]:
        texts, passes = [], []
        for batch in batches:
            output = model.generate(
                **batch,
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
    stock, stock_nfe = decode("low_confidence")
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
    filter.calibration = {
        "agreement": agreement,
        "prompts": sum(len(texts) for texts in stock),
        "max_new_tokens": max_new_tokens,
        "block_length": block_length,
        "stock_nfe": stock_nfe,
        "trials": [asdict(trial) for trial in sorted(found, key=lambda trial: trial.threshold)],
    }
    return found
