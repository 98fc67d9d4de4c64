# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Training data for a filter: the model's own outputs, replayed by the oracle."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
from tqdm.auto import tqdm

from ..blocks import FixedBlocks
from ..canvas import Canvas
from ..denoiser import Denoiser
from ..special_tokens import SpecialTokens

__all__ = ["Trajectories", "collect_trajectories", "replay"]


@dataclass(frozen=True)
class Trajectories:
    """
    What a filter learns from: one row for each block in each denoising step of the oracle.

    Args:
        confidence (`torch.FloatTensor` of shape `(samples, block_length)`): As in [`BlockPrediction`].
        masked (`torch.BoolTensor` of shape `(samples, block_length)`): Positions still masked in that step.
        correct (`torch.BoolTensor` of shape `(samples, block_length)`): Whether the prediction equals the final output.
    """

    confidence: torch.Tensor
    masked: torch.Tensor
    correct: torch.Tensor

    @classmethod
    def cat(cls, parts: list[Self]) -> Self:
        """Joins trajectories of one block length."""
        names = ("confidence", "masked", "correct")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@torch.no_grad()
def replay(
    model: Any,
    prompt_ids: torch.Tensor,
    answer_ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    block_length: int = 32,
    stop_at_end_of_text: bool = False,
) -> Trajectories:
    """
    Denoises towards known answers, unmasking in each step exactly the predictions that are right.

    A block in which a step predicts nothing new that is right is filled in from the answer, so that the context is
    always that of the answer. Source: https://huggingface.co/papers/2509.25188.

    Args:
        model ([`DiffusionGenerationMixin`]): The model the filter is for.
        prompt_ids (`torch.LongTensor` of shape `(rows, prompt_length)`): Prompts, left-padded.
        answer_ids (`torch.LongTensor` of shape `(rows, answer_length)`): The whole answer region of the final output.
        attention_mask (`torch.Tensor` of shape `(rows, prompt_length)`, *optional*): 0 at padding.
        block_length (`int`, *optional*, defaults to 32): Positions that are denoised together.
        stop_at_end_of_text (`bool`, *optional*, defaults to `False`):
            Whether a row is done with the block that holds its first end-of-text token.

    Returns:
        [`Trajectories`]
    """
    special_tokens = SpecialTokens.of(model.generation_config, model.config, prompt_ids.device)
    canvas = Canvas(prompt_ids, attention_mask, answer_ids.shape[1], FixedBlocks(block_length), None, special_tokens)
    denoiser = Denoiser(model, special_tokens)
    last = torch.full_like(canvas.end, answer_ids.shape[1] - 1)
    if stop_at_end_of_text:
        is_end = torch.isin(answer_ids, special_tokens.eos)
        last = torch.where(is_end.any(dim=-1), is_end.long().argmax(dim=-1), last)
    parts = []
    while len(canvas.rows):
        prediction = denoiser(canvas)
        index = prediction.positions.clamp(max=answer_ids.shape[1] - 1)
        expected = answer_ids[prediction.rows].gather(1, index)
        correct = (prediction.tokens == expected) & canvas.in_block
        parts.append(Trajectories(prediction.confidence, prediction.masked, correct))
        stuck = ~(prediction.masked & correct).any(dim=-1, keepdim=True)
        canvas.unmask(expected, prediction.masked & (correct | stuck))
        in_last = canvas.block_end - canvas.prompt_length > last[canvas.rows]
        complete = canvas.block_done & in_last
        canvas.next_blocks()
        canvas.leave(complete, canvas.end)
    return Trajectories.cat(parts)


def collect_trajectories(
    model: Any,
    batches: Iterable[dict[str, torch.Tensor]],
    max_new_tokens: int = 256,
    block_length: int = 32,
    progress: bool = True,
) -> Trajectories:
    """
    Runs the stock loop on prompts, one token per step, and replays its outputs.

    Args:
        model ([`DiffusionGenerationMixin`]): The model the filter is for.
        batches (`Iterable[dict[str, torch.Tensor]]`): Tokenized prompts, each with `input_ids` and `attention_mask`.
        max_new_tokens (`int`, *optional*, defaults to 256): Positions of the answer region.
        block_length (`int`, *optional*, defaults to 32): Positions that are denoised together.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        [`Trajectories`], on the CPU. The text up to the block with its end-of-text is replayed, not the padding behind.
    """
    parts = []
    for batch in tqdm(list(batches), desc="trajectories", unit="batch", disable=not progress):
        prompt_ids, attention_mask = (batch[name].to(model.device) for name in ("input_ids", "attention_mask"))
        options = {"decoding": "low_confidence", "steps": None, "end_of_text": "accepted"}
        output = model.generate(
            prompt_ids,
            attention_mask=attention_mask,
            max_new_tokens=max_new_tokens,
            block_length=block_length,
            do_sample=False,
            return_dict_in_generate=True,
            **options,
        )
        eos = SpecialTokens.of(model.generation_config, model.config, model.device).eos
        # Replayed on a canvas of the same length; behind the end of the text stands end-of-text.
        answers = eos[0].repeat(len(prompt_ids), max_new_tokens)
        answers[:, : output.sequences.shape[1] - prompt_ids.shape[1]] = output.sequences[:, prompt_ids.shape[1] :]
        parts += [replay(model, prompt_ids, answers, attention_mask, block_length, stop_at_end_of_text=True)]
    joined = Trajectories.cat(parts)
    return Trajectories(joined.confidence.cpu(), joined.masked.cpu(), joined.correct.cpu())
