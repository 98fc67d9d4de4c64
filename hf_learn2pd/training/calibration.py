# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Choosing a filter's threshold by what it does when it decodes, with a bound on what it may cost."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import AutoTokenizer

from ..checks import check_bool, check_fraction, check_integer
from ..filter.model import UnmaskingFilter
from ..unmasking import Learn2PD
from .arguments import check_path, own_block_length
from .binomial import allowed_failures, trials_needed, upper_bound
from .prompts import read_prompts, tokenize_prompts
from .texts import StockTexts

__all__ = ["THRESHOLDS", "ThresholdTrial", "calibrate_threshold"]

# From safe to daring, in even steps on a logarithmic scale of what is left to certainty.
THRESHOLDS = (0.9999, 0.9998, 0.9995, 0.999, 0.998, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8, 0.5)
# Options of `generate` that calibration sets itself: it decodes with the filter and each threshold, without sampling.
_SETTLED = ("decoding", "unmasking_filter", "filter_threshold", "steps", "do_sample", "return_dict_in_generate")


@dataclass(frozen=True)
class ThresholdTrial:
    """
    One threshold, tried out.

    Args:
        threshold (`float`): Filter probability above which positions were unmasked.
        prompts (`int`): Prompts decoded with it.
        losses (`int`): How many of these were lost.
        bound (`float`, *optional*):
            What the share of lost prompts does not exceed, with the confidence asked for; None if the threshold was
            given up because it had lost too many.
        nfe (`float`): Mean number of forward passes per prompt.
    """

    threshold: float
    prompts: int
    losses: int
    bound: float | None
    nfe: float


@torch.no_grad()
def calibrate_threshold(
    model: Any,
    filter: UnmaskingFilter,
    prompts: str | os.PathLike[str] | Iterable[Any],
    max_loss: float = 0.005,
    confidence: float = 0.95,
    score: Callable[[int, str], bool] | None = None,
    tokenizer: Any | None = None,
    max_new_tokens: int = 256,
    block_length: int | None = None,
    batch_size: int = 16,
    thresholds: Sequence[float] = THRESHOLDS,
    texts: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **generate_options: Any,
) -> list[ThresholdTrial]:
    r"""
    Sets a filter's threshold to the lowest one that loses at most a given share of the stock loop's answers.

    A prompt is lost if its text is not that of the stock loop with the same passes, token for token, or, with `score`,
    if the stock loop's answer is right and this one wrong; either bounds the loss of accuracy from above. What a cache
    itself changes is no part of it, since no threshold mends that. Thresholds are tested in the given order, each by
    the bound of Clopper and Pearson on the prompts it has lost, up to the first that fails, so that all of them hold
    together with the confidence asked for (learn then test with a fixed sequence, source:
    https://huggingface.co/papers/2110.01052). With 95 % confidence and no prompt lost, 598 prompts bound the loss by
    0.5 %, 299 by 1 % and 59 by 5 %; 1,000 bound it by 0.5 % with one lost.

    A threshold is given up as soon as it has lost more prompts than can be certified; batches in which the one before
    has lost most come first. Threshold and evidence are stored in the filter and saved with it.

    Args:
        model ([`DiffusionGenerationMixin`]): The model the filter is for.
        filter ([`UnmaskingFilter`]): The filter, changed in place.
        prompts (`str`, `os.PathLike` or `Iterable`):
            What [`read_prompts`] takes; prompts the filter was not trained on, drawn as those that it will meet.
        max_loss (`float`, *optional*, defaults to 0.005): Share of prompts that may be lost.
        confidence (`float`, *optional*, defaults to 0.95):
            How often, over repetitions with other prompts, the chosen threshold has to keep to that.
        score (`Callable[[int, str], bool]`, *optional*):
            Says whether the text of the prompt with a given number, from 0, is a right answer; asked only where a text
            is not that of the stock loop.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): The model's; loaded from its repository if None.
        max_new_tokens (`int`, *optional*, defaults to 256): Positions of the answer region.
        block_length (`int`, *optional*): Positions that are denoised together; the model's own if None.
        batch_size (`int`, *optional*, defaults to 16): Prompts per batch.
        thresholds (`Sequence[float]`, *optional*, defaults to `THRESHOLDS`):
            What to test, falling. Other data may suggest where to begin; these prompts must not.
        texts (`str` or `os.PathLike`, *optional*): Where [`StockTexts`] are kept, so that they are decoded once.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.
        generate_options:
            Options of `generate` with which the filter will be used, such as `block_cache="local"` and
            `suffix_length=64`; the stock loop, to which texts are compared, gets them as well. Strategy, threshold,
            `steps` and sampling are not among them.

    Returns:
        `list[ThresholdTrial]`: Everything that was tried, in order. Where nothing could be certified, the threshold is
        1.0, with which the filter accepts nothing.

    Raises:
        ValueError: If there are too few prompts for `max_loss` and `confidence` (the message says how many are needed),
            an argument is out of range, or the filter does not serve blocks of `block_length`.
    """
    for name, share in (("max_loss", max_loss), ("confidence", confidence)):
        check_fraction(name, share)
        if share in (0, 1):
            raise ValueError(f"`{name}` must be above 0 and below 1 (got {share!r})")
    for name, count in (("batch_size", batch_size), ("max_new_tokens", max_new_tokens)):
        check_integer(name, count, 1)
    check_bool("progress", progress)
    if not isinstance(filter, UnmaskingFilter):
        raise ValueError(f"`filter` must be an UnmaskingFilter (got {type(filter).__name__})")
    if texts is not None:
        check_path("texts", texts)
    if score is not None and not callable(score):
        raise ValueError(f"`score` must be a function or None (got {score!r})")
    block_length = own_block_length(model, block_length)
    for name in generate_options:
        if name in _SETTLED:
            raise ValueError(
                f"`{name}` must not be given, since calibration settles it (got {generate_options[name]!r})"
            )
    if not isinstance(thresholds, Sequence) or isinstance(thresholds, str | bytes):
        raise ValueError(f"`thresholds` must be a sequence of numbers (got {thresholds!r})")
    for threshold in thresholds:
        check_fraction("thresholds", threshold)
    if not thresholds or list(thresholds) != sorted(set(thresholds), reverse=True):
        raise ValueError(f"`thresholds` must be falling, and at least one (got {thresholds!r})")
    chats = list(read_prompts(prompts))
    if len(chats) < (needed := trials_needed(max_loss, confidence)):
        raise ValueError(
            f"`prompts` must hold at least {needed} prompts to bound a loss of {max_loss:g} with confidence "
            f"{confidence:g} (got {len(chats)})"
        )
    # Decoding checks the filter too, but only when the stock loop has run.
    Learn2PD(filter).prepare(batch_size, min(block_length, max_new_tokens), model.device)
    tokenizer = tokenizer or AutoTokenizer.from_pretrained(model.name_or_path)
    batches = list(tokenize_prompts(model, tokenizer, chats, batch_size))
    stock = StockTexts(model, texts, max_new_tokens, block_length, **generate_options)
    options = {"max_new_tokens": max_new_tokens, "block_length": block_length, "do_sample": False} | generate_options
    allowed = allowed_failures(len(chats), max_loss, confidence)
    known: dict[int, dict[str, torch.Tensor]] = {}

    def lost(number: int, decoding: Learn2PD) -> tuple[int, int]:
        """Decodes a batch; how many of its prompts were lost, and its forward passes."""
        batch = batches[number]
        output = model.generate(**batch, **options, decoding=decoding, steps=None, return_dict_in_generate=True)
        if number not in known:
            known[number] = stock(batch)
        answers, expected = stock.fill(output.sequences[:, batch["input_ids"].shape[1] :]), known[number]["answers"]
        losses = 0
        for row in (answers != expected).any(dim=-1).nonzero().flatten().tolist():
            if score is None:
                losses += 1
                continue
            both = tokenizer.batch_decode(torch.stack((expected[row], answers[row])), skip_special_tokens=True)
            before, now = (score(number * batch_size + row, text) for text in both)
            losses += before and not now
        return losses, int(output.nfe.sum())

    trials: list[ThresholdTrial] = []
    order, chosen = list(range(len(batches))), 1.0
    for threshold in thresholds:
        losses, passes, decoded = dict.fromkeys(order, 0), 0, 0
        bar = tqdm(order, desc=f"threshold {threshold:g}", unit="batch", disable=not progress)
        for number in bar:
            losses[number], nfe = lost(number, Learn2PD(filter, threshold))
            passes, decoded = passes + nfe, decoded + len(batches[number]["input_ids"])
            bar.set_postfix(lost=f"{sum(losses.values())} of {allowed}")
            if sum(losses.values()) > allowed:
                break
        bar.close()
        total = sum(losses.values())
        bound = upper_bound(total, decoded, confidence) if total <= allowed else None
        trials.append(ThresholdTrial(threshold, decoded, total, bound, passes / decoded))
        if bound is None:
            break
        chosen = threshold
        order.sort(key=losses.__getitem__, reverse=True)
    filter.threshold = chosen
    filter.calibration = {
        "max_loss": max_loss,
        "confidence": confidence,
        "lost": "other texts than the stock loop's" if score is None else "right answers of the stock loop",
        "prompts": len(chats),
        "stock_nfe": torch.cat([each["nfe"] for each in known.values()]).double().mean().item(),
        "options": json.loads(json.dumps(options, default=repr)),
        "trials": [asdict(trial) for trial in trials],
    }
    return trials
