# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""A known answer denoised again, and what a filter learns from on the way."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch.nn.functional import pad

from ..blocks import FixedBlocks
from ..canvas import Canvas
from ..choice import ask
from ..configuration import DiffusionGenerationConfig
from ..filter.features import FIELDS, HIDDEN_STATE
from ..loop import denoise
from ..passes import ForwardPass, PassPolicy, Setting, resolve_policy
from ..prediction import Memory
from ..reader import Reader
from ..special_tokens import SpecialTokens
from ..stopping import EndOfTextCriteria, Stop
from ..unmasking import BlockPrediction, LowConfidence, Threshold, UnmaskingStrategy, most_confident
from .arguments import own_block_length

__all__ = ["Trajectories", "replay"]


@dataclass(frozen=True)
class Trajectories:
    """
    What a filter learns from: one row for each block in each denoising step of the oracle.

    All fields have the shape `(samples, block_length)` and but for `correct` the meaning they have in
    [`BlockPrediction`].

    Args:
        confidence (`torch.FloatTensor`): Probability of the prediction.
        margin (`torch.FloatTensor`): Difference between the two highest probabilities.
        entropy (`torch.FloatTensor`): Entropy, as a part of the highest possible one.
        repeats (`torch.LongTensor`): Steps in a row with the same prediction.
        masked (`torch.BoolTensor`): Positions still masked in that step.
        in_block (`torch.BoolTensor`): Positions that belong to the block.
        correct (`torch.BoolTensor`): Whether the prediction equals the final output.
        hidden_states (`torch.Tensor` of shape `(samples, block_length, hidden_size)`, *optional*):
            Of the model, where they were asked for.
    """

    confidence: torch.Tensor
    margin: torch.Tensor
    entropy: torch.Tensor
    repeats: torch.Tensor
    masked: torch.Tensor
    in_block: torch.Tensor
    correct: torch.Tensor
    hidden_states: torch.Tensor | None = None

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Self:
        """Applies a function to every field."""
        return replace(self, **{name: change(value) for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, torch.Tensor]:
        """All fields that there are, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Joins trajectories; blocks shorter than the longest get positions that belong to no block."""
        width = max(part.confidence.shape[1] for part in parts)

        def widen(values: torch.Tensor) -> torch.Tensor:
            return pad(values, (*(0, 0) * (values.ndim - 2), 0, width - values.shape[1]))

        wide = [part.map(widen).tensors() for part in parts]
        return cls(**{name: torch.cat([part[name] for part in wide]) for name in wide[0]})


@torch.no_grad()
def replay(
    model: Any,
    prompt_ids: torch.Tensor,
    answer_ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    block_length: int | None = None,
    stop_at_end_of_text: bool = False,
    policy: UnmaskingStrategy | None = None,
    block_cache: str | PassPolicy | None = None,
    suffix_length: int | None = None,
    hidden_states: bool = False,
) -> Trajectories:
    """
    Denoises towards known answers, unmasking in each step exactly the predictions that are right.

    A block in which a step predicts nothing new that is right is filled in from the answer, so that the context is
    always that of the answer. With a cache or a suffix, passes are those of decoding with them: what is seen is as
    stale or as short, and what is right is still what the known answers say. Source: https://huggingface.co/papers/2509.25188.

    Args:
        model ([`DiffusionGenerationMixin`]): The model the filter is for.
        prompt_ids (`torch.LongTensor` of shape `(rows, prompt_length)`): Prompts, left-padded.
        answer_ids (`torch.LongTensor` of shape `(rows, answer_length)`): The whole answer region of the final output.
        attention_mask (`torch.Tensor` of shape `(rows, prompt_length)`, *optional*): 0 at padding.
        block_length (`int`, *optional*): Positions that are denoised together; the model's own if None.
        stop_at_end_of_text (`bool`, *optional*, defaults to `False`):
            Whether a row is done with the block that holds its first end-of-text token.
        policy ([`UnmaskingStrategy`], *optional*):
            Unmasks what it chooses instead, so that the states are those a filter meets when it decodes; where it is
            wrong, the token of the answer is written; where it chooses nothing, that of its most confident position.
        block_cache (`str` or [`PassPolicy`], *optional*): As of `generate`; None computes all in every pass.
        suffix_length (`int`, *optional*): As of `generate`; all masked columns are in sight if None.
        hidden_states (`bool`, *optional*, defaults to `False`): Whether to keep the model's hidden states.

    Returns:
        [`Trajectories`]

    Raises:
        ValueError: If the model cannot make such passes.
    """
    block_length = own_block_length(model, block_length)
    given = block_cache if isinstance(block_cache, PassPolicy) else None
    named = None if isinstance(block_cache, PassPolicy) else block_cache
    config = DiffusionGenerationConfig(block_cache=named, suffix_length=suffix_length)
    planned = resolve_policy(given or named, config, model, FixedBlocks(block_length))
    special_tokens = SpecialTokens.of(model.generation_config, model.config, prompt_ids.device)
    rows, length = answer_ids.shape
    grid = model.block_grid(block_length)
    width = min(block_length, length)
    canvas = Canvas(
        prompt_ids, attention_mask, length, width, None, special_tokens, suffix_length=suffix_length, grid=grid
    )
    needs = frozenset(FIELDS.values()) - (frozenset() if hidden_states else {FIELDS[HIDDEN_STATE]})
    reader = Reader(model, special_tokens, Memory(rows), needs=needs)
    if policy is not None:
        policy = policy.prepare(rows, block_length, prompt_ids.device)
    passes = _Replay(planned, answer_ids, policy).begin(canvas, Setting(model.config, model.logits_shift, 1))
    last = torch.full_like(canvas.ends, length - 1)
    if stop_at_end_of_text:
        is_end = torch.isin(answer_ids, special_tokens.eos)
        last = torch.where(is_end.any(dim=-1), is_end.long().argmax(dim=-1), last)

    def leave(
        canvas: Canvas, prediction: BlockPrediction, finished: torch.Tensor, text_end: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ends rows with the block that holds their last position."""
        in_last = canvas.rows.block_end - canvas.prompt_length > last[canvas.rows.batch]
        return finished | (canvas.block_done & in_last), text_end

    # Everything that a replay offers becomes final, and no token ends a text.
    stop = Stop(EndOfTextCriteria(None, special_tokens), LowConfidence(), planned.keeps_suffix)
    denoise(canvas, passes, reader, Threshold(0.0), FixedBlocks(block_length), stop, [leave])
    return Trajectories.cat(passes.parts)


@dataclass
class _Replay(PassPolicy):
    """
    Plans what another policy plans, and offers the known answer where it is predicted, or where a strategy chooses.

    Args:
        policy ([`PassPolicy`]): Plans passes.
        answer_ids (`torch.LongTensor` of shape `(rows, answer_length)`): The known answers.
        follows ([`UnmaskingStrategy`], *optional*): Chooses positions; the oracle takes all that is right.
    """

    policy: PassPolicy
    answer_ids: torch.Tensor
    follows: UnmaskingStrategy | None

    parts: list[Trajectories] = field(init=False, repr=False, compare=False)

    def begin(self, canvas: Canvas, setting: Setting) -> "_Replay":
        replayed = copy(self)
        replayed.policy, replayed.parts = self.policy.begin(canvas, setting), []
        return replayed

    def plan(self, canvas: Canvas) -> ForwardPass:
        return self.policy.plan(canvas)

    def settle(self, canvas: Canvas, step: ForwardPass, prediction: BlockPrediction) -> BlockPrediction:
        prediction = self.policy.settle(canvas, step, prediction)
        index = prediction.positions.clamp(max=self.answer_ids.shape[1] - 1)
        expected = self.answer_ids[prediction.rows].gather(1, index)
        correct = (prediction.tokens == expected) & prediction.in_block
        values = {each.name: getattr(prediction, each.name, correct) for each in fields(Trajectories)}
        self.parts.append(Trajectories(**values))
        chosen, filled = prediction.masked & correct, prediction.masked
        if self.follows is not None:
            # Wrong ones as well: left masked, each would be met again in step after step, as it never is in decoding.
            chosen = prediction.masked & ask(self.follows, prediction)
            filled = most_confident(prediction.confidence, prediction.masked, torch.ones_like(prediction.rows))
        offered = torch.where(chosen.any(dim=-1, keepdim=True), chosen, filled)
        return replace(prediction, tokens=expected, masked=offered)

    def measure(self, canvas: Canvas, finished: torch.Tensor) -> torch.Tensor:
        return self.policy.measure(canvas, finished)

    def update(self, numbers: Sequence[int], kept: torch.Tensor | None) -> None:
        self.policy.update(numbers, kept)
