# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What the model says: a planned forward pass in, a prediction of each row's block out."""

from collections.abc import Callable
from typing import Any

import torch

from .canvas import Canvas
from .compatibility import attention_mask, cache_argument
from .compiling import Compiled
from .fields import Fields
from .history import History
from .passes import ForwardPass
from .prediction import Memory
from .processors import Processors
from .special_tokens import SpecialTokens
from .unmasking import BlockPrediction

__all__ = ["Reader"]


class Reader:
    r"""
    The only place that calls the model. Turns the logits of each row's block into tokens and confidences.

    Only the block reaches the LM head, so no tensor of canvas length times vocabulary ever exists. The softmax is in
    float32. Guidance follows LLaDA: a second half of the batch has its prompt masked, and
    `logits = unconditional + (cfg_scale + 1) * (conditional - unconditional)`.
    Source: https://huggingface.co/papers/2502.09992.

    Args:
        model ([`DiffusionGenerationMixin`]): A model with a decoder and an LM head.
        special_tokens ([`SpecialTokens`]): Which ids are never predicted, or never confident.
        memory ([`Memory`]): What rows predicted before.
        processors ([`Processors`], *optional*): Applied position by position before a token is picked.
        do_sample (`bool`, *optional*, defaults to `False`):
            Whether to sample tokens; otherwise the most probable is taken.
        generator (`torch.Generator`, *optional*): Source of randomness for sampling.
        cfg_scale (`float`, *optional*, defaults to 0.0): Strength of classifier-free guidance; 0 for none.
        scan (`bool`, *optional*, defaults to `False`):
            Whether to look for predicted end-of-text tokens: in all a pass computes, or with a cache in the block.
        needs (`frozenset[str]`, *optional*, defaults to nothing): Optional fields of [`BlockPrediction`] to compute.
        rescore (`Callable`, *optional*): See [`UnmaskingStrategy.rescore`].
        compiled ([`Compiled`], *optional*): Pads passes and calls the decoder, where that is compiled.
        history ([`History`], *optional*): Is told what is computed.
    """

    def __init__(
        self,
        model: Any,
        special_tokens: SpecialTokens,
        memory: Memory,
        processors: Processors | None = None,
        do_sample: bool = False,
        generator: torch.Generator | None = None,
        cfg_scale: float = 0.0,
        scan: bool = False,
        needs: frozenset[str] = frozenset(),
        rescore: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = None,
        compiled: Compiled | None = None,
        history: History | None = None,
    ):
        self.config = model.config
        self.dtype = model.dtype
        self.decoder, self.head = model.denoising_modules()
        self.cache_argument = cache_argument(self.decoder.forward) or ""
        self.special_tokens = special_tokens
        self.memory = memory
        self.processors = processors
        self.do_sample = do_sample
        self.generator = generator
        self.cfg_scale = cfg_scale
        self.fields = Fields(needs, scan, memory, special_tokens, model.logits_shift, self.logits)
        self.rescore = rescore
        self.compiled = compiled
        self.history = history
        self.forward_passes: list[tuple[str, int, int, int]] = []

    def __call__(self, canvas: Canvas, step: ForwardPass) -> BlockPrediction:
        """
        Runs a pass and reads what it predicts.

        Args:
            canvas ([`Canvas`]): The rows that have not finished.
            step ([`ForwardPass`]): What to compute.

        Returns:
            [`BlockPrediction`]: Of the rows, or states of rows, that the pass predicts.
        """
        if self.history is not None:
            self.history.passes(canvas, step)
        hidden = self.run(canvas, step)
        rows, state = step.rows, canvas.rows
        block = canvas.block[rows] if step.blocks is None else step.blocks
        in_block, begins = canvas.in_block[rows], state.step_in_block[rows] == 0
        masked = (block == self.special_tokens.mask) & in_block
        logits = self.logits(hidden, step.places, step.at)
        if self.rescore is not None:
            before = self.memory.recall("memory", logits, rows, 0.0).masked_fill(begins[:, None, None], 0.0)
            # A copy: what a strategy writes into must not be the canvas.
            logits, memory = self.rescore(logits, before, masked.clone())
            self.memory.store("memory", memory, rows, 0.0)
        tokens, nothing = self._pick(canvas, rows, block, logits)
        logits, total = self.fields.measured(logits)
        confidence = (logits.gather(-1, tokens[..., None]).squeeze(-1) - total).exp()
        confidence = confidence.masked_fill(~in_block | nothing, 0.0)
        columns = canvas.columns[rows]
        return BlockPrediction(
            tokens=tokens,
            confidence=confidence,
            masked=masked,
            scheduled=canvas.scheduled()[rows, 0],
            positions=columns - canvas.origin,
            rows=state.batch[rows],
            canvas_rows=rows,
            masked_share=canvas.masked_share(masked, rows),
            noise=canvas.noise[(columns - canvas.prompt_length) % len(canvas.noise)],
            in_block=in_block,
            vocab_size=self.config.vocab_size,
            **self.fields(canvas, step, hidden, logits, total, tokens, confidence, masked),
        )

    def run(self, canvas: Canvas, step: ForwardPass) -> torch.Tensor:
        """Calls the decoder, with guidance on twice the rows; `(forwarded, width, hidden_size)`."""
        ids, columns, visible = step.ids, step.columns, step.visible
        forwarded, targets, count = step.forwarded, step.targets, len(canvas)
        padding = canvas.rows.padding
        positions = columns if padding is None else (columns - padding[step.forwarded, None]).clamp(min=0)
        if self.cfg_scale > 0.0:
            unconditional = ids.masked_fill(canvas.given[forwarded[:, None], columns], self.special_tokens.mask)
            ids, positions = torch.cat((ids, unconditional)), positions.repeat(2, 1)
            visible = None if visible is None else torch.cat((visible, visible))
            targets = None if targets is None else targets.repeat(2, 1)
            forwarded, count = torch.cat((forwarded, forwarded + count)), 2 * count
        size, some = ids.shape, None if len(forwarded) == count else forwarded
        self.forward_passes.append((step.kind, size[0] * step.states, size[1] // step.states, step.cached))
        if self.compiled is not None:
            ids, positions, visible, targets, some, at = self.compiled.pad(step, ids, positions, visible, targets, some)
        inputs: dict[str, Any] = {"input_ids": ids, "position_ids": positions, "use_cache": False}
        inputs["attention_mask"] = attention_mask(visible, self.config, self.dtype)
        if step.cache is not None and targets is not None:
            inputs |= {"use_cache": True, self.cache_argument: step.cache}
            if step.whole:
                step.cache.refresh(targets, step.stored, some)
            else:
                step.cache.window(targets, step.stored, step.beside, some)
        if self.compiled is None:
            hidden: torch.Tensor = self.decoder(**inputs).last_hidden_state
            return hidden
        hidden = self.compiled(step.cache, inputs).last_hidden_state
        return hidden[at, : size[1]]

    def logits(self, hidden: torch.Tensor, places: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Returns logits of positions `at` of rows `places`, `(predicted, width, vocab_size)`, in float32."""
        if self.cfg_scale == 0.0:
            logits: torch.Tensor = self.head(hidden[places[:, None], at]).float()
        else:
            both = [self.head(half[places[:, None], at]).float() for half in hidden.chunk(2)]
            logits = both[1] + (self.cfg_scale + 1) * (both[0] - both[1])
        return logits.index_fill_(-1, self.special_tokens.never_predicted, -torch.inf)

    def _pick(
        self, canvas: Canvas, rows: torch.Tensor, block: torch.Tensor, logits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Picks a token for every position, `(predicted, width)`, and says where processors have left none."""
        scores, nothing = logits, torch.zeros_like(block, dtype=torch.bool)
        if self.processors:
            columns = canvas.columns[rows]
            texts = canvas.rows.tokens[rows].scatter(1, columns, block)[:, : canvas.limit]
            scores = self.processors(logits, texts, columns, canvas.rows.batch[rows])
            # Where processors leave nothing something has to be taken, as late as possible.
            nothing = (scores == -torch.inf).all(dim=-1)
            scores = torch.where(nothing[..., None], logits, scores)
        if self.do_sample:
            probabilities = scores.softmax(dim=-1).flatten(0, 1)
            return probabilities.multinomial(1, generator=self.generator).view_as(block), nothing
        return scores.argmax(dim=-1), nothing

    def permit(self, canvas: Canvas, prediction: BlockPrediction, chosen: torch.Tensor) -> torch.Tensor:
        """Leaves out of a choice what processors forbid to become final together."""
        if not self.processors or not self.processors.forbidden:
            return chosen
        rows = prediction.of_canvas
        texts = canvas.rows.tokens[rows, : canvas.limit]
        return self.processors.settle(
            texts, canvas.columns[rows], prediction.rows, prediction.tokens, prediction.confidence, chosen
        )
