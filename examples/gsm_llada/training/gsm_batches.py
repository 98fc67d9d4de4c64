# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Batches of similar length, and the masks of the training objective."""

import random
from dataclasses import dataclass
from enum import IntEnum

import torch
from drills import RESULT_DRILL
from gsm_samples import Sample
from transformers import PreTrainedTokenizerFast

__all__ = ["LONGEST_CANVAS", "Batch", "Kind", "make_batches", "mask_batch"]

BLOCK_LENGTH = 32
UNIFORM_SHARE, BLOCK_SHARE = 0.25, 0.45
LOOK_AHEAD = 8

# Shares, least and most tokens behind what is needed: decoding has hundreds, which cost as much as text and teach
# little.
FILLS = [(0.9, 0, 8), (0.085, 8, 200), (0.015, 200, 768)]
LONGEST_CANVAS = 1024


class Kind(IntEnum):
    """
    How an answer is masked.

    - `UNIFORM`, LLaDA's own: every token with one probability per row, drawn from (0, 1);
    - `BLOCK`, what decoding in blocks sees: a clean text before a random block, a random part of the block masked,
      everything after it masked; learned from the block only;
    - `CUT`: a clean text, then masks only; learned from the next few tokens. Half of the cuts are at a result;
    - `RESULTS`, for drills whose lines tell nothing of each other: results of calculations alone.
    """

    UNIFORM, BLOCK, CUT, RESULTS = range(4)


@dataclass(frozen=True)
class Batch:
    """
    Canvases of similar length, filled up with end-of-text tokens.

    What is masked behind a block or a cut says nothing but that something follows, so those canvases end early.

    Args:
        tokens (`torch.Tensor`): Clean token ids, (rows, width).
        prompt_lengths (`torch.Tensor`): Tokens before the answer, (rows, 1).
        results (`torch.Tensor`): Where an answer gives the result of a calculation, bool, (rows, width).
        templates (`torch.Tensor`): Templates of the samples, negative ones for drills, (rows, 1).
        kinds (`torch.Tensor`): How each row is masked, values of [`Kind`], (rows, 1).
        starts (`torch.Tensor`): First token of the block or of the cut, from the answer's first, (rows, 1).
    """

    tokens: torch.Tensor
    prompt_lengths: torch.Tensor
    results: torch.Tensor
    templates: torch.Tensor
    kinds: torch.Tensor
    starts: torch.Tensor


@dataclass(frozen=True)
class _Row:
    text: list[int]
    prompt_length: int
    results: list[int]
    template: int
    kind: Kind
    start: int
    length: int


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


def _draw_row(sample: Sample, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> _Row:
    """Writes a sample as tokens and draws how it is masked and how long its canvas is."""
    chat = [{"role": "user", "content": sample.prompt}]
    prompt = tokenizer.encode(
        tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False), add_special_tokens=False
    )
    answer = tokenizer.encode(sample.answer, add_special_tokens=False)
    results = _find_results([*tokenizer.convert_ids_to_tokens(answer)])
    draw, start = rng.random(), 0
    if sample.template == RESULT_DRILL:
        kind, needed = Kind.RESULTS, len(answer) + 1
    elif draw < UNIFORM_SHARE:
        kind, needed = Kind.UNIFORM, len(answer) + 1
    elif draw < UNIFORM_SHARE + BLOCK_SHARE:
        kind, start = Kind.BLOCK, BLOCK_LENGTH * rng.randint(0, len(answer) // BLOCK_LENGTH)
        needed = start + BLOCK_LENGTH
    else:
        firsts = [place for place in results if place - 1 not in results]
        kind, start = Kind.CUT, rng.choice(firsts) if firsts and rng.random() < 0.5 else rng.randint(0, len(answer))
        needed = start + LOOK_AHEAD
    _, least, most = rng.choices(FILLS, [share for share, *_ in FILLS])[0]
    if sample.template < 0:
        # Drills are short: masks behind their ends would be most of what is seen. Without any, places could be told
        # from the end of the canvas, which is a short cut past copying.
        needed, least, most = min(needed, len(answer) + 1), 0, 3 if kind == Kind.RESULTS else 20
    length = min(LONGEST_CANVAS, len(prompt) + needed + rng.randint(least, most))
    return _Row(
        prompt + answer, len(prompt), [len(prompt) + place for place in results], sample.template, kind, start, length
    )


def make_batches(
    samples: list[Sample], tokenizer: PreTrainedTokenizerFast, batch_tokens: int, rng: random.Random
) -> list[Batch]:
    """
    Sorts samples by the length of their canvases and cuts them into batches.

    Args:
        samples (`list[Sample]`): Word problems and drills.
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]): The tokenizer.
        batch_tokens (`int`): Most tokens of a batch.
        rng (`random.Random`): Source of randomness.

    Returns:
        `list[Batch]`: The batches, in random order.
    """
    rows = sorted((_draw_row(sample, tokenizer, rng) for sample in samples), key=lambda row: row.length)
    batches = []
    while rows:
        width = rows[-1].length
        taken = [rows.pop() for _ in range(min(len(rows), max(1, batch_tokens // width)))]
        tokens = torch.full((len(taken), width), tokenizer.eos_token_id)
        in_result = torch.zeros(len(taken), width, dtype=torch.bool)
        for number, row in enumerate(taken):
            text = torch.tensor(row.text[:width])
            tokens[number, : len(text)] = text
            in_result[number, [place for place in row.results if place < width]] = True
        columns = [(row.prompt_length, row.template, int(row.kind), row.start) for row in taken]
        lengths, templates, kinds, starts = torch.tensor(columns).T[..., None]
        batches.append(Batch(tokens, lengths, in_result, templates, kinds, starts))
    rng.shuffle(batches)
    return batches


def mask_batch(batch: Batch, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Chooses what is masked and what is learned from, see [`Kind`].

    Args:
        batch ([`Batch`]): The clean canvases.
        generator (`torch.Generator`): Source of randomness.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Masked positions and learned positions, bool, each (rows, width).
    """
    rows, width = batch.tokens.shape
    place = torch.arange(width) - batch.prompt_lengths - batch.starts
    ratio = torch.rand(rows, 1, generator=generator)
    draws = torch.rand(rows, width, generator=generator)

    def drawn_from(region: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
        # The lowest draw is always taken, so no row is wasted.
        return region & ((draws < ratio) | (draws == draws.masked_fill(~region, 2.0).amin(1, keepdim=True)))

    uniform = drawn_from(place >= 0, ratio)
    in_block = drawn_from((place >= 0) & (place < BLOCK_LENGTH), ratio)
    after_cut = place >= 0
    # All of the results half of the time.
    in_results = drawn_from(batch.results, 2 * ratio)

    by_kind = [
        (Kind.UNIFORM, uniform, uniform),
        (Kind.BLOCK, in_block | (place >= BLOCK_LENGTH), in_block),
        (Kind.CUT, after_cut, after_cut & (place < LOOK_AHEAD)),
        (Kind.RESULTS, in_results, in_results),
    ]
    masked = torch.zeros_like(batch.results)
    learned = torch.zeros_like(batch.results)
    for kind, masked_here, learned_here in by_kind:
        masked |= masked_here & (batch.kinds == kind)
        learned |= learned_here & (batch.kinds == kind)
    return masked, learned
