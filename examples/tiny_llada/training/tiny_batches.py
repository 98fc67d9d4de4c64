# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What the small checkpoint is trained on, batch by batch: the curriculum, batches of similar length, the masks."""

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from task_drills import drill_sample, repeat_sample
from tasks import FAMILIES, Sample, task_sample
from transformers import PreTrainedTokenizerFast

__all__ = ["LONGEST_CANVAS", "Batch", "curriculum_at", "drills_at", "make_batches", "mask_batch"]

BLOCK_LENGTH = 32

# Rows of a batch are masked in one of three ways, see `mask_batch`.
UNIFORM_SHARE, BLOCK_SHARE = 0.25, 0.45
LOOK_AHEAD = 4

LONG_CANVAS_SHARE = 0.08
LONGEST_CANVAS = 1024

# The curriculum, in parts of the run: families that mostly copy are there from the start, the others come in one after
# the other, each small at first. Lists to repeat stay, because the circuits for copying serve all families and are lost
# when too much else comes in at once.
FIRST_ENTRANCE, BETWEEN_ENTRANCES = 0.07, 0.02
FADE_IN, GROWTH = 0.05, 0.3
REPEATS_FALL_UNTIL, DRILLS_UNTIL = 0.35, 0.85


@dataclass(frozen=True)
class Batch:
    """
    Canvases of similar length, filled up with end-of-text tokens.

    Args:
        tokens (`torch.Tensor`): Clean token ids, (rows, width).
        prompt_lengths (`torch.Tensor`): Tokens before the answer, (rows, 1).
        answer_lengths (`torch.Tensor`): Tokens of the answer without end-of-text, (rows, 1).
    """

    tokens: torch.Tensor
    prompt_lengths: torch.Tensor
    answer_lengths: torch.Tensor


def curriculum_at(progress: float) -> dict[str, tuple[float, float]]:
    """
    Tells which families occur at a point of the run.

    Args:
        progress (`float`): Part of the run that is done, 0 to 1.

    Returns:
        `dict[str, tuple[float, float]]`: For each family that has come in, its weight and its difficulty for
        [`task_sample`].
    """
    families = {}
    entrance = FIRST_ENTRANCE
    for name, family in FAMILIES.items():
        since = progress if family.copying else progress - entrance
        weight = family.weight if family.copying else family.weight * min(1.0, since / FADE_IN)
        entrance += 0.0 if family.copying else BETWEEN_ENTRANCES
        if weight > 0:
            families[name] = (weight, min(1.0, since / GROWTH))
    return families


def drills_at(progress: float) -> list[tuple[float, Callable[[int, int], Sample]]]:
    """
    Tells how much of a batch is short drill at a point of the run.

    Args:
        progress (`float`): Part of the run that is done, 0 to 1.

    Returns:
        `list[tuple[float, Callable]]`: Shares of lists to repeat and of fixed facts, with their makers.
    """
    early = max(0.0, 1 - max(0.0, progress - FIRST_ENTRANCE) / (REPEATS_FALL_UNTIL - FIRST_ENTRANCE))
    facts = 0.0 if progress < FIRST_ENTRANCE else 0.25 if progress < DRILLS_UNTIL else 0.08
    return [(0.03 + 0.3 * early, repeat_sample), (facts, drill_sample)]


def _draw_sample(options: argparse.Namespace, index: int, progress: float) -> Sample:
    if options.samples:
        # A toy run sees the same few samples over and over.
        return task_sample(options.seed, index % options.samples, difficulty=0.0)
    rng = random.Random(f"{options.seed}/kind/{index}")
    draw = rng.random()
    for share, make in drills_at(progress):
        if draw < share:
            return make(options.seed, index)
        draw -= share
    families = curriculum_at(progress)
    name = rng.choices(list(families), [weight for weight, _ in families.values()])[0]
    return task_sample(options.seed, index, family=name, difficulty=families[name][1])


def make_batches(
    options: argparse.Namespace, tokenizer: PreTrainedTokenizerFast, pool: int, progress: float
) -> list[Batch]:
    """
    Writes one pool of samples, sorts it by length and cuts it into batches of nearly `options.batch_tokens` tokens.

    Args:
        options (`argparse.Namespace`): The script's options.
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]): The tokenizer.
        pool (`int`): Number of the pool.
        progress (`float`): Progress of the run, decides the difficulty.

    Returns:
        `list[Batch]`: The batches, in random order.
    """
    rng = random.Random(f"{options.seed}/pool/{pool}")
    rows = []
    for index in range(pool * options.pool_size, (pool + 1) * options.pool_size):
        sample = _draw_sample(options, index, progress)
        chat = [{"role": "user", "content": sample.prompt}]
        prompt = tokenizer.encode(
            tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False), add_special_tokens=False
        )
        answer = tokenizer.encode(sample.answer, add_special_tokens=False)
        fill = rng.randint(0, 3) if rng.random() < 0.75 else rng.randint(8, 100)
        rows.append((len(prompt) + len(answer) + 1 + fill, prompt, answer))
    rows.sort(key=lambda row: row[0])

    batches = []
    while rows:
        if rng.random() < LONG_CANVAS_SHARE:
            width = round(256 * (LONGEST_CANVAS / 256) ** rng.random())
            count = max(1, options.batch_tokens // width)
            taken = [rows.pop(rng.randrange(len(rows))) for _ in range(min(count, len(rows)))]
        else:
            count = 1
            while count < len(rows) and (count + 1) * rows[-1 - count][0] < options.batch_tokens:
                count += 1
            taken = [rows.pop() for _ in range(count)]
            width = taken[0][0]
        tokens = torch.full((len(taken), width), tokenizer.eos_token_id)
        for row, (_, prompt, answer) in zip(tokens, taken, strict=True):
            text = torch.tensor(prompt + answer)
            row[: len(text)] = text
        batches.append(
            Batch(
                tokens,
                torch.tensor([[len(prompt)] for _, prompt, _ in taken]),
                torch.tensor([[len(answer)] for _, _, answer in taken]),
            )
        )
    rng.shuffle(batches)
    return batches


def mask_batch(batch: Batch, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Chooses what is masked and what is learned from. Each row is masked in one of three ways.

    - uniform, LLaDA's own: every answer token with one probability per row, drawn from (0, 1);
    - block, what decoding in blocks sees: a clean text before a random block, a random part of the block masked,
      everything after it masked; learned from the block only;
    - cut: a clean text, then masks only; learned from the next few tokens.

    Args:
        batch ([`Batch`]): The clean canvases.
        generator (`torch.Generator`): Source of randomness.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Masked positions and learned positions, bool, each (rows, width).
    """
    rows, width = batch.tokens.shape
    place = torch.arange(width) - batch.prompt_lengths
    answer = place >= 0

    kind = torch.rand(rows, 1, generator=generator)
    ratio = torch.rand(rows, 1, generator=generator)
    draws = torch.rand(rows, width, generator=generator)
    somewhere = torch.rand(rows, 1, generator=generator)
    # The lowest draw of the answer is always masked, so no row is wasted.
    chosen = (draws < ratio) | (draws == draws.masked_fill(~answer, 2.0).amin(1, keepdim=True))

    blocks = batch.answer_lengths // BLOCK_LENGTH + 1
    start = (somewhere * blocks).long() * BLOCK_LENGTH
    inside = (place >= start) & (place < start + BLOCK_LENGTH)
    lowest_inside = draws == draws.masked_fill(~inside, 2.0).amin(1, keepdim=True)
    in_block = inside & ((draws < ratio) | lowest_inside)
    after_block = place >= start + BLOCK_LENGTH

    cut = (somewhere * (batch.answer_lengths + 1)).long()
    after_cut = place >= cut

    uniform, block = kind < UNIFORM_SHARE, (kind >= UNIFORM_SHARE) & (kind < UNIFORM_SHARE + BLOCK_SHARE)
    masked = torch.where(uniform, answer & chosen, torch.where(block, in_block | after_block, after_cut))
    learned = torch.where(
        uniform, answer & chosen, torch.where(block, in_block, after_cut & (place < cut + LOOK_AHEAD))
    )
    return masked, learned
