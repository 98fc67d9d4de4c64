# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""A naive decoder that shares no code with the package: one row, one pass over all of it per step, Python lists."""

import math
from collections.abc import Callable
from random import Random
from typing import Any

import torch

__all__ = ["RULES", "decode"]

# What is known of a masked position: confidence, margin, entropy in nats, column.
Guess = tuple[float, float, float, int]


def _ranked(guesses: list[Guess], key: Callable[[Guess], float], count: int) -> set[int]:
    return {guess[3] for guess in sorted(guesses, key=lambda guess: (-key(guess), guess[3]))[:count]}


def _factor(guesses: list[Guess], scheduled: int, factor: float) -> set[int]:
    order = sorted(guesses, key=lambda guess: (-guess[0], guess[3]))
    count = 1
    while count < len(order) and order[count][0] >= 1 - factor / (count + 2):
        count += 1
    return {guess[3] for guess in (order if count == len(order) - 1 else order[:count])}


def _frechet(guesses: list[Guess], scheduled: int, bound: float) -> set[int]:
    order = sorted(guesses, key=lambda guess: (-guess[0], guess[3]))
    best = 0
    for count in range(1, len(order) + 1):
        together = max(0.0, sum(guess[0] for guess in order[:count]) - (count - 1))
        best = count if together - (1 - order[count - 1][0]) > bound else best
    return {guess[3] for guess in order[:best]}


def _entropy_bound(guesses: list[Guess], scheduled: int, gamma: float) -> set[int]:
    order = sorted(guesses, key=lambda guess: (guess[2], guess[3]))
    best = 0
    for count in range(1, len(order) + 1):
        best = count if sum(guess[2] for guess in order[: count - 1]) <= gamma else best
    return {guess[3] for guess in order[:best]}


def _local_leap(
    guesses: list[Guess], scheduled: int, threshold: float, relaxed_threshold: float, radius: int
) -> set[int]:
    anchors = {guess[3] for guess in guesses if guess[0] >= threshold}
    near = {guess[3] for guess in guesses if any(abs(guess[3] - anchor) <= radius for anchor in anchors)}
    return anchors | {guess[3] for guess in guesses if guess[3] in near and guess[0] >= relaxed_threshold}


RULES: dict[str, Callable[..., set[int]]] = {
    "low_confidence": lambda guesses, scheduled: _ranked(guesses, lambda guess: guess[0], scheduled),
    "margin": lambda guesses, scheduled: _ranked(guesses, lambda guess: guess[1], scheduled),
    "entropy": lambda guesses, scheduled: _ranked(guesses, lambda guess: -guess[2], scheduled),
    "threshold": lambda guesses, scheduled, threshold: {guess[3] for guess in guesses if guess[0] >= threshold},
    "factor": _factor,
    "frechet": _frechet,
    "entropy_bound": _entropy_bound,
    "local_leap": _local_leap,
}


@torch.no_grad()
def decode(
    model: Any,
    prompt: list[int],
    rule: Callable[[list[Guess], int], set[int]],
    length: int,
    block_length: int,
    mask: int,
    *,
    shift: int = 0,
    causal: bool = False,
    steps: int | None = None,
    end_of_text: str | None = None,
    eos: tuple[int, ...] = (),
    never: tuple[int, ...] = (),
) -> tuple[list[int], int] | None:
    """
    Decodes one prompt.

    Args:
        model (`PreTrainedModel`): Its `forward` alone is used.
        prompt (`list[int]`): Ids.
        rule (`Callable`): Takes what is known of the block's masked positions, and a number; returns columns.
        length, block_length (`int`): Positions of the answer, and of a block.
        mask (`int`): Id of the mask token.
        shift (`int`, *optional*, defaults to 0): Columns to the left at which a token is predicted.
        causal (`bool`, *optional*, defaults to `False`): Whether blocks count from the first token and see none behind.
        steps (`int`, *optional*): Of the stock schedule; one token per step if None.
        end_of_text (`str`, *optional*): None, `"accepted"` or `"cut"`.
        eos, never (`tuple[int, ...]`, *optional*): Ids that end a text, and that are never predicted.

    Returns:
        `tuple[list[int], int]`, *optional*: Answer and passes; None where a decision hangs on the last digits.
    """
    start, passes, noise = len(prompt), 0, Random(0)
    canvas, steps = prompt + [mask] * length, length if steps is None else steps
    while start < len(canvas):
        full = start - start % block_length + block_length if causal else start + block_length
        uncut = min(full, len(prompt) + length)
        end = min(uncut, len(canvas))
        share = (uncut - len(prompt)) * steps // length - (start - len(prompt)) * steps // length
        tokens, share, step = end - start, max(share, 1), 0
        while mask in canvas[start : (end := min(end, len(canvas)))]:
            seen = canvas[:end] if causal else canvas
            block = torch.arange(len(seen)) // block_length
            visible = {"attention_mask": (block[None] <= block[:, None])[None, None]} if causal else {}
            logits = model(torch.tensor([seen]), **visible).logits[0].double()
            logits[:, [mask, *never]] = -math.inf
            guesses, predicted = [], {}
            for column in range(start, end):
                if canvas[column] == mask:
                    best = logits[max(0, column - shift)].softmax(dim=-1).sort(descending=True, stable=True)
                    first, second = best.values[:2].tolist()
                    if first - second < 1e-6:
                        return None
                    entropy = torch.special.entr(best.values).sum().item()
                    guesses.append((first, first - second, entropy, column))
                    predicted[column] = int(best.indices[0])
            scheduled = tokens // share + (step < tokens % share)
            chosen = rule(guesses, scheduled) or _ranked(guesses, lambda guess: guess[0], 1)
            for _ in range(2):
                moved = [
                    (*(value * (1 + noise.uniform(-1e-5, 1e-5)) for value in each[:3]), each[3]) for each in guesses
                ]
                if chosen != (rule(moved, scheduled) or _ranked(moved, lambda guess: guess[0], 1)):
                    return None
            for column in chosen:
                canvas[column] = predicted[column]
            passes, step = passes + 1, step + 1
            ends = [column for column in range(start, end) if canvas[column] in eos]
            if end_of_text == "cut" and ends:
                canvas = canvas[: ends[0] + 1]
            if end_of_text is not None and ends and mask not in canvas[start : ends[0]]:
                return canvas[len(prompt) : ends[0] + 1], passes
        start = end
    return canvas[len(prompt) :], passes
