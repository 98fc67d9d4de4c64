# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Batches of similar length, and the masks of the training objective."""

import random
from dataclasses import dataclass

import torch
from gsm_samples import Sample
from transformers import PreTrainedTokenizerFast

__all__ = ["LONGEST_CANVAS", "Batch", "make_batches", "mask_batch"]

BLOCK_LENGTH = 32

# Rows of a batch are masked in one of three ways, see `mask_batch`; half of the drills in a fourth.
UNIFORM_SHARE, BLOCK_SHARE = 0.25, 0.45
RESULTS_SHARE = 0.5
LOOK_AHEAD = 5

LONG_CANVAS_SHARE = 0.04
LONGEST_CANVAS = 1024


@dataclass(frozen=True)
class Batch:
    """
    Canvases of similar length, filled up with end-of-text tokens.

    Args:
        tokens (`torch.Tensor`): Clean token ids, (rows, width).
        prompt_lengths (`torch.Tensor`): Tokens before the answer, (rows, 1).
        answer_lengths (`torch.Tensor`): Tokens of the answer without end-of-text, (rows, 1).
        results (`torch.Tensor`): Where an answer gives the result of a calculation, bool, (rows, width).
        templates (`torch.Tensor`): Templates of the samples, negative ones for drills, (rows, 1).
    """

    tokens: torch.Tensor
    prompt_lengths: torch.Tensor
    answer_lengths: torch.Tensor
    results: torch.Tensor
    templates: torch.Tensor


def _find_results(words: list[str]) -> list[int]:
    """Finds the numbers right of an equals sign, each with the token that closes it."""
    places, inside = [], False
    for place, word in enumerate(words):
        if inside and word not in "$£€" and not word.isdigit() and word != ".":
            places.append(place)
            inside = False
        elif inside:
            places.append(place)
        elif word in ("=", "▁=▁"):
            inside = True
    return places


def make_batches(
    samples: list[Sample], tokenizer: PreTrainedTokenizerFast, batch_tokens: int, rng: random.Random
) -> list[Batch]:
    """
    Sorts samples by length and cuts them into batches.

    Args:
        samples (`list[Sample]`): Word problems and drills.
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]): The tokenizer.
        batch_tokens (`int`): Most tokens of a batch.
        rng (`random.Random`): Source of randomness.

    Returns:
        `list[Batch]`: The batches, in random order.
    """
    rows = []
    for sample in samples:
        chat = [{"role": "user", "content": sample.prompt}]
        prompt = tokenizer.encode(
            tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False), add_special_tokens=False
        )
        answer = tokenizer.encode(sample.answer, add_special_tokens=False)
        results = [len(prompt) + place for place in _find_results([*tokenizer.convert_ids_to_tokens(answer)])]
        fill = rng.randint(0, 3) if rng.random() < 0.85 else rng.randint(8, 100)
        rows.append((len(prompt) + len(answer) + 1 + fill, prompt, answer, results, sample.template))
    rows.sort(key=lambda row: row[0])

    batches = []
    while rows:
        if rng.random() < LONG_CANVAS_SHARE:
            width = max(rows[-1][0], round(256 * (LONGEST_CANVAS / 256) ** rng.random()))
            number = max(1, batch_tokens // width)
            taken = [rows.pop(rng.randrange(len(rows))) for _ in range(min(number, len(rows)))]
        else:
            number = 1
            while number < len(rows) and (number + 1) * rows[-1][0] <= batch_tokens:
                number += 1
            taken = [rows.pop() for _ in range(number)]
            width = taken[0][0]
        tokens = torch.full((len(taken), width), tokenizer.eos_token_id)
        in_result = torch.zeros(len(taken), width, dtype=torch.bool)
        for number, (_, prompt, answer, results, _) in enumerate(taken):
            text = torch.tensor(prompt + answer)
            tokens[number, : len(text)] = text
            in_result[number, results] = True
        batches.append(
            Batch(
                tokens,
                torch.tensor([[len(prompt)] for _, prompt, *_ in taken]),
                torch.tensor([[len(answer)] for _, _, answer, *_ in taken]),
                in_result,
                torch.tensor([[row[-1]] for row in taken]),
            )
        )
    rng.shuffle(batches)
    return batches


def mask_batch(batch: Batch, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Chooses what is masked and what is learned from. Each row is masked in one of four ways.

    - uniform, LLaDA's own: every answer token with one probability per row, drawn from (0, 1);
    - block, what decoding in blocks sees: a clean text before a random block, a random part of the block masked,
      everything after it masked; learned from the block only;
    - cut: a clean text, then masks only; learned from the next few tokens. Half of the cuts are at a result;
    - results, for drills only, whose lines do not tell each other's results: results of calculations alone.

    Args:
        batch ([`Batch`]): The clean canvases.
        generator (`torch.Generator`): Source of randomness.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Masked positions and learned positions, bool, each (rows, width).
    """
    rows, width = batch.tokens.shape
    place = torch.arange(width) - batch.prompt_lengths
    answer = place >= 0

    kind, ratio, somewhere, special = torch.rand(4, rows, 1, generator=generator)
    draws = torch.rand(rows, width, generator=generator)
    # The lowest draw of the answer is always masked, so no row is wasted.
    chosen = (draws < ratio) | (draws == draws.masked_fill(~answer, 2.0).amin(1, keepdim=True))

    blocks = batch.answer_lengths // BLOCK_LENGTH + 1
    start = (somewhere * blocks).long() * BLOCK_LENGTH
    inside = (place >= start) & (place < start + BLOCK_LENGTH)
    lowest_inside = draws == draws.masked_fill(~inside, 2.0).amin(1, keepdim=True)
    in_block = inside & ((draws < ratio) | lowest_inside)
    after_block = place >= start + BLOCK_LENGTH

    has_results = batch.results.any(1, keepdim=True)
    first_digits = batch.results & ~batch.results.roll(1, 1)
    at_result = draws.masked_fill(~first_digits, 2.0).argmin(1, keepdim=True) - batch.prompt_lengths
    cut = (somewhere * (batch.answer_lengths + 1)).long()
    cut = torch.where(has_results & (special < 0.5), at_result, cut)
    after_cut = place >= cut

    # All of the results half of the time.
    in_results = batch.results & ((draws < 2 * ratio) | (draws == draws.masked_fill(~batch.results, 2.0).amin(1, True)))

    results = (batch.templates < 0) & has_results & (special >= 1 - RESULTS_SHARE)
    uniform, block = kind < UNIFORM_SHARE, (kind >= UNIFORM_SHARE) & (kind < UNIFORM_SHARE + BLOCK_SHARE)
    masked = torch.where(uniform, answer & chosen, torch.where(block, in_block | after_block, after_cut))
    learned = torch.where(
        uniform, answer & chosen, torch.where(block, in_block, after_cut & (place < cut + LOOK_AHEAD))
    )
    return torch.where(results, in_results, masked), torch.where(results, in_results, learned)
