# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""One forward pass: the windows of a canvas in, a prediction of each row's block out."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from transformers import LogitsProcessorList

from .cache import BlockCache
from .canvas import Canvas
from .compatibility import attention_implementation, cache_argument
from .history import History, Turn
from .special_tokens import SpecialTokens
from .unmasking import BlockPrediction

__all__ = ["Denoiser"]

# With a cache, rows at the start of a block need a pass over their whole canvas. They wait for each other until they
# are one in this many of the batch, or nobody else has anything to do; meanwhile the others go on.
ROWS_PER_REFRESH = 4


class Denoiser:
    r"""
    Runs the model on a canvas and turns the logits of each row's block into tokens and confidences.

    Only the block reaches the LM head, so no tensor of canvas length times vocabulary ever exists. The softmax is in
    float32. Guidance follows LLaDA: a second half of the batch has its prompt masked, and
    `logits = unconditional + (cfg_scale + 1) * (conditional - unconditional)`.
    Source: https://huggingface.co/papers/2502.09992.

    Args:
        model ([`DiffusionGenerationMixin`]): A bidirectional model with a decoder and an LM head.
        special_tokens ([`SpecialTokens`]): Which ids are never predicted, or never confident.
        logits_processor (`LogitsProcessorList`, *optional*):
            Applied position by position before a token is picked.
        do_sample (`bool`, *optional*, defaults to `False`):
            Whether to sample tokens; otherwise the most probable is taken.
        generator (`torch.Generator`, *optional*): Source of randomness for sampling.
        cfg_scale (`float`, *optional*, defaults to 0.0): Strength of classifier-free guidance; 0 for none.
        predict_end_of_text (`bool`, *optional*, defaults to `False`):
            Whether to look for predicted end-of-text tokens: on the whole canvas, or with a cache in the block.
        needs (`frozenset[str]`, *optional*, defaults to nothing):
            Optional fields of [`BlockPrediction`] to compute.
        rescore (`Callable`, *optional*): See [`UnmaskingStrategy.rescore`].
        block_cache (`str`, *optional*):
            `"prefix"` or `"dual"`, see [`BlockCache`]; None to compute the whole canvas in every pass.
    """

    def __init__(
        self,
        model: Any,
        special_tokens: SpecialTokens,
        logits_processor: LogitsProcessorList | None = None,
        do_sample: bool = False,
        generator: torch.Generator | None = None,
        cfg_scale: float = 0.0,
        predict_end_of_text: bool = False,
        block_cache: str | None = None,
        needs: frozenset[str] = frozenset(),
        rescore: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = None,
    ):
        self.config = model.config
        self.dtype = model.dtype
        self.decoder, self.head = model.denoising_modules()
        self.cache_argument = cache_argument(self.decoder.forward) or ""
        self.logits_shift = model.logits_shift
        self.special_tokens = special_tokens
        self.logits_processor = logits_processor
        self.do_sample = do_sample
        self.generator = generator
        self.cfg_scale = cfg_scale
        self.predict_end_of_text = predict_end_of_text
        self.block_cache = block_cache
        self.needs = needs
        self.rescore = rescore
        self.history = History()
        self.cache: BlockCache | None = None
        self.max_drafts = 0
        # What a prediction has cut off stays in the dual cache, and in sight, until the row's next refresh.
        self.keeps_cut = predict_end_of_text and block_cache == "dual"
        self.seen = torch.empty(0)
        self.forward_passes: list[tuple[str, int, int, int]] = []

    def __call__(self, canvas: Canvas) -> BlockPrediction:
        """
        Predicts the block of every row whose turn it is; without a cache that is all of them.

        Args:
            canvas ([`Canvas`]): The rows that have not finished.

        Returns:
            [`BlockPrediction`]: In rows that wait nothing is `masked`.
        """
        masked, columns, rows = canvas.masked, canvas.columns, None
        fresh, count = canvas.fresh_count, len(canvas.rows)
        if self.block_cache is None or self._refreshes(canvas):
            if self.block_cache is not None and fresh < count:
                rows = canvas.fresh_rows
                masked, columns = masked & canvas.fresh[:, None], columns[rows]
            hidden = self._full(canvas, rows)
            # Columns behind the canvas belong to no block; any hidden state serves for them.
            index = self._shifted(columns.clamp(max=canvas.length - 1))
        else:
            if fresh:
                masked = masked & ~canvas.fresh[:, None]
            hidden = self._window(canvas)
            index = (columns - canvas.block_start[:, None]).clamp(max=hidden.shape[1] - 1)
        begins, waits = canvas.step_in_block == 0, ~masked.any(dim=-1)
        input_ids = canvas.input_ids
        if rows is not None:
            begins, waits, input_ids = begins[rows], waits[rows], input_ids[rows]
        turn = Turn(begins, waits, rows, count)
        found = self._predict(hidden, input_ids, index, turn, masked if rows is None else masked[rows])
        if rows is not None:
            found = {
                name: values.new_zeros(canvas.columns.shape).index_copy_(0, rows, values)
                for name, values in found.items()
            }
        prediction = self._describe(canvas, found, masked)
        if self.predict_end_of_text:
            return replace(prediction, end_of_text=self._end_of_text(hidden, canvas, prediction))
        return prediction

    def keep(self, rows: torch.Tensor | None) -> None:
        """
        Forgets rows that have left the canvas.

        Args:
            rows (`torch.LongTensor` of shape `(kept,)`, *optional*): What [`Canvas.leave`] has returned.
        """
        if rows is None:
            return
        self.history.keep(rows)
        if self.cache is None:
            return
        if self.keeps_cut:
            self.seen = self.seen[rows]
        if self.cfg_scale > 0.0:
            rows = torch.cat((rows, rows + self.cache.batch_size // 2))
        self.cache.batch_select_indices(rows)

    def _refreshes(self, canvas: Canvas) -> bool:
        """Whether it is the turn of the rows that need a pass over their whole canvas."""
        return canvas.fresh_count * ROWS_PER_REFRESH >= len(canvas.rows)

    def _describe(self, canvas: Canvas, found: dict[str, torch.Tensor], masked: torch.Tensor) -> BlockPrediction:
        """Puts together what a strategy sees, after the schedule has seen where blocks that begin may end."""
        confidence = found["confidence"].masked_fill(~canvas.in_block, 0.0)
        canvas.adapt_blocks(found["tokens"], confidence, (canvas.step_in_block == 0) & masked.any(dim=-1))
        return BlockPrediction(
            **found | {"confidence": confidence.masked_fill(~canvas.in_block, 0.0)},
            masked=masked & canvas.in_block,
            scheduled=canvas.scheduled,
            positions=canvas.columns - canvas.prompt_length,
            rows=canvas.rows,
            noise=canvas.noise[canvas.columns - canvas.prompt_length],
            in_block=canvas.in_block,
            vocab_size=self.config.vocab_size,
        )

    def _shifted(self, columns: torch.Tensor) -> torch.Tensor:
        """The columns whose logits predict these."""
        return (columns - self.logits_shift).clamp(min=0)

    def _full(self, canvas: Canvas, rows: torch.Tensor | None) -> torch.Tensor:
        """Runs over whole canvases, of `rows` or of all; returns hidden states `(rows, length, hidden_size)`."""
        input_ids, attention_mask, position_ids = canvas.input_ids, canvas.attention_mask, canvas.position_ids
        if self.block_cache is not None:
            if self.cache is None:
                self.cache, self.seen = BlockCache(self.config, canvas.limit, self.max_drafts), canvas.end
            # Left to itself, a model with a cache counts positions from the end of what is stored.
            if position_ids is None:
                position_ids = torch.arange(canvas.length, device=input_ids.device).expand_as(input_ids)
            self.seen = torch.where(canvas.fresh, canvas.end, self.seen) if self.keeps_cut else self.seen
            if rows is not None:
                input_ids, position_ids = input_ids[rows], position_ids[rows]
                attention_mask = None if attention_mask is None else attention_mask[rows]
                if self.cfg_scale > 0.0:
                    rows = torch.cat((rows, rows + len(canvas.rows)))
            self.cache.refresh(rows)
        return self._forward("full", input_ids, self._unprompted(canvas, input_ids), attention_mask, position_ids, 0)

    def _unprompted(self, canvas: Canvas, input_ids: torch.Tensor) -> torch.Tensor:
        """Whole canvases with their prompts masked, for guidance; as they are without."""
        if self.cfg_scale > 0.0:
            input_ids = input_ids.clone()
            input_ids[:, : canvas.prompt_length] = self.special_tokens.mask
        return input_ids

    def _window(self, canvas: Canvas) -> torch.Tensor:
        """Runs over each row's block, in prefix mode over all behind it too; `(rows, width, hidden_size)`."""
        assert self.cache is not None and self.block_cache is not None
        columns, end, cached = self._window_columns(canvas)
        length, attention_mask = canvas.length, canvas.attention_mask
        if self.keeps_cut:
            length = self.cache.get_seq_length()
            attention_mask = canvas.attended(self.seen, length)
            cached = length
        # A row whose block is narrower than the widest must not touch what lies behind it.
        targets = columns.masked_fill(columns >= end[:, None], canvas.limit)
        self.cache.window(targets.repeat(2, 1) if self.cfg_scale > 0.0 else targets, length)
        input_ids = canvas.tokens.gather(1, columns.clamp(max=canvas.tokens.shape[1] - 1))
        position_ids = columns if canvas.padding is None else columns - canvas.padding[:, None]
        return self._forward(self.block_cache, input_ids, input_ids, attention_mask, position_ids, cached)

    def _window_columns(self, canvas: Canvas) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Returns the columns of each row's window, the column behind its last, and how many columns are cached."""
        dual = self.block_cache == "dual"
        # Where logits are shifted, the window begins with the column that predicts the first of the block.
        width = self.logits_shift + (canvas.widest if dual else canvas.length - canvas.first_column)
        first = canvas.block_start[:, None] - self.logits_shift
        columns = first + torch.arange(width, device=canvas.tokens.device)
        end = canvas.block_end if dual else canvas.end
        return columns, end, canvas.length if dual else canvas.first_column

    def _forward(
        self,
        kind: str,
        input_ids: torch.Tensor,
        unconditional: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        cached: int,
    ) -> torch.Tensor:
        """Calls the decoder, with guidance on twice the rows."""
        if self.cfg_scale > 0.0:
            input_ids = torch.cat((input_ids, unconditional))
            attention_mask = None if attention_mask is None else torch.cat((attention_mask, attention_mask))
            position_ids = None if position_ids is None else position_ids.repeat(2, 1)
        self.forward_passes.append((kind, *input_ids.shape, cached))
        if attention_mask is not None and attention_mask.ndim == 2 and attention_implementation(self.config) == "sdpa":
            # transformers would look at the mask on the host, in every pass, to see whether it is needed at all.
            attention_mask = attention_mask.bool()[:, None, None, :]
        cache: dict[str, Any] = {"use_cache": False}
        if self.cache is not None:
            cache = {"use_cache": True, self.cache_argument: self.cache}
        return self.decoder(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, **cache
        ).last_hidden_state

    def _predict(
        self,
        hidden: torch.Tensor,
        input_ids: torch.Tensor,
        index: torch.Tensor,
        turn: Turn | None = None,
        masked: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        Returns tokens and confidence where `index` of shape `(rows, width)` points to in `hidden`.

        With `turn` these are the rows' blocks, and what is needed of them is returned as well.
        """
        places = index.repeat(2, 1) if self.cfg_scale > 0.0 else index
        logits = self.head(hidden.take_along_dim(places[..., None], dim=1)).float()
        if self.cfg_scale > 0.0:
            conditional, unconditional = logits.chunk(2)
            logits = unconditional + (self.cfg_scale + 1) * (conditional - unconditional)
        logits.index_fill_(-1, self.special_tokens.never_predicted, -torch.inf)
        if self.rescore is not None and turn is not None:
            logits, memory = self.rescore(logits, self.history.last("memory", logits, turn, 0.0), masked)
            self.history.store("memory", memory, turn)

        scores = logits
        if self.logits_processor:
            # Processors are written for one position per row: each position becomes a row.
            context = input_ids.repeat_interleave(index.shape[1], dim=0)
            scores = self.logits_processor(context, logits.flatten(0, 1)).view_as(logits)  # type: ignore[arg-type]
        if self.do_sample:
            probabilities = scores.softmax(dim=-1).flatten(0, 1)
            tokens = probabilities.multinomial(1, generator=self.generator).view_as(index)
        else:
            tokens = scores.argmax(dim=-1)

        if len(self.special_tokens.never_confident):
            logits = logits.index_fill(-1, self.special_tokens.never_confident, -torch.inf)
        # Measured from the largest logit: probabilities close to 1 would otherwise be rounded as the logits are.
        logits = logits - logits.amax(dim=-1, keepdim=True)
        chosen, total = logits.gather(-1, tokens[..., None]).squeeze(-1), logits.logsumexp(dim=-1)
        found = {"tokens": tokens, "confidence": (chosen - total).exp()}
        if "margin" in self.needs:
            first, second = (logits.topk(2, dim=-1).values - total[..., None]).exp().unbind(dim=-1)
            found["margin"] = first - second
        if "entropy" in self.needs:
            probabilities = (logits - total[..., None]).exp()
            found["entropy"] = torch.special.entr(probabilities).sum(dim=-1) / math.log(logits.shape[-1])
        if "repeats" in self.needs and turn is not None:
            found["repeats"] = self.history.repeats(tokens, turn)
        if "divergence" in self.needs and turn is not None:
            found["divergence"] = self.history.divergence(logits - total[..., None], turn)
        return found

    def _end_of_text(self, hidden: torch.Tensor, canvas: Canvas, prediction: BlockPrediction) -> torch.Tensor:
        """Returns `BlockPrediction.end_of_text`; in chunks of a block, so that memory does not grow with the canvas."""
        if self.block_cache is not None:
            ends = prediction.masked & torch.isin(prediction.tokens, self.special_tokens.eos)
            found = canvas.tokens.new_full(canvas.tokens.shape, -1, dtype=prediction.confidence.dtype)
            return found.scatter_(1, canvas.columns, prediction.confidence.masked_fill(~ends, -1.0))
        parts = []
        for start in range(0, canvas.length, canvas.block_length):
            column = torch.arange(start, min(start + canvas.block_length, canvas.length), device=hidden.device)
            index = self._shifted(column).expand(len(canvas.rows), -1)
            there = self._predict(hidden, canvas.input_ids, index)
            masked = (canvas.tokens[:, column] == self.special_tokens.mask) & (column < canvas.end[:, None])
            masked &= (column >= canvas.prompt_length) & torch.isin(there["tokens"], self.special_tokens.eos)
            parts.append(there["confidence"].masked_fill(~masked, -1.0))
        return torch.cat(parts, dim=-1)
