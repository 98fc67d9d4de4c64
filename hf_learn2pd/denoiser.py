# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""One forward pass: the windows of a canvas in, a prediction of each row's block out."""

import torch
from transformers import LogitsProcessorList, PreTrainedModel

from .canvas import Canvas
from .special_tokens import SpecialTokens
from .unmasking import BlockPrediction

__all__ = ["Denoiser"]


class Denoiser:
    r"""
    Runs the model on a canvas and turns the logits of each row's block into tokens and confidences.

    Only the block reaches the LM head, so no tensor of canvas length times vocabulary ever exists. The softmax is in
    float32. Guidance follows LLaDA: a second half of the batch has its prompt masked, and
    `logits = unconditional + (cfg_scale + 1) * (conditional - unconditional)`.
    Source: https://huggingface.co/papers/2502.09992.

    Args:
        model (`PreTrainedModel`): A bidirectional model with a decoder and an LM head.
        special_tokens ([`SpecialTokens`]): Which ids are never predicted, or never confident.
        logits_processor (`LogitsProcessorList`, *optional*):
            Applied position by position before a token is picked.
        do_sample (`bool`, *optional*, defaults to `False`):
            Whether to sample tokens; otherwise the most probable is taken.
        generator (`torch.Generator`, *optional*): Source of randomness for sampling.
        cfg_scale (`float`, *optional*, defaults to 0.0): Strength of classifier-free guidance; 0 for none.
        predict_end_of_text (`bool`, *optional*, defaults to `False`):
            Whether to look for predicted end-of-text tokens on the whole canvas.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        special_tokens: SpecialTokens,
        logits_processor: LogitsProcessorList | None = None,
        do_sample: bool = False,
        generator: torch.Generator | None = None,
        cfg_scale: float = 0.0,
        predict_end_of_text: bool = False,
    ):
        self.decoder = model.get_decoder()
        self.head = model.get_output_embeddings()
        self.special_tokens = special_tokens
        self.logits_processor = logits_processor
        self.do_sample = do_sample
        self.generator = generator
        self.cfg_scale = cfg_scale
        self.predict_end_of_text = predict_end_of_text
        self.forward_passes: list[tuple[str, int, int, int]] = []

    def __call__(self, canvas: Canvas) -> BlockPrediction:
        """
        Predicts the block of every row.

        Args:
            canvas ([`Canvas`]): The rows that have not finished.

        Returns:
            [`BlockPrediction`]
        """
        hidden = self._forward(canvas)
        tokens, confidence = self._predict(hidden, canvas, canvas.columns)
        in_block = canvas.in_block
        positions = canvas.columns - canvas.prompt_length
        return BlockPrediction(
            tokens=tokens,
            confidence=confidence.masked_fill(~in_block, 0.0),
            masked=canvas.masked,
            scheduled=canvas.scheduled,
            positions=positions,
            rows=canvas.rows,
            noise=canvas.noise[positions],
            end_of_text=self._end_of_text(hidden, canvas) if self.predict_end_of_text else None,
        )

    def _forward(self, canvas: Canvas) -> torch.Tensor:
        """Returns hidden states of shape `(rows, length, hidden_size)`, with guidance `(2 * rows, ...)`."""
        input_ids, attention_mask, position_ids = canvas.input_ids, canvas.attention_mask, canvas.position_ids
        if self.cfg_scale > 0.0:
            unconditional = input_ids.clone()
            unconditional[:, : canvas.prompt_length] = self.special_tokens.mask
            input_ids = torch.cat((input_ids, unconditional))
            attention_mask = None if attention_mask is None else attention_mask.repeat(2, 1)
            position_ids = None if position_ids is None else position_ids.repeat(2, 1)
        self.forward_passes.append(("full", *input_ids.shape, 0))
        return self.decoder(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state

    def _predict(
        self, hidden: torch.Tensor, canvas: Canvas, columns: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns tokens and confidence at `columns`, both of their shape `(rows, width)`."""
        # Columns behind the canvas belong to no block; any hidden state serves for them.
        index = columns.clamp(max=canvas.length - 1)
        if self.cfg_scale > 0.0:
            index = index.repeat(2, 1)
        logits = self.head(hidden.take_along_dim(index[..., None], dim=1)).float()
        if self.cfg_scale > 0.0:
            conditional, unconditional = logits.chunk(2)
            logits = unconditional + (self.cfg_scale + 1) * (conditional - unconditional)
        logits.index_fill_(-1, self.special_tokens.never_predicted, -torch.inf)

        scores = logits
        if self.logits_processor:
            # Processors are written for one position per row: each position becomes a row.
            context = canvas.input_ids.repeat_interleave(columns.shape[1], dim=0)
            scores = self.logits_processor(context, logits.flatten(0, 1)).view_as(logits)  # type: ignore[arg-type]
        if self.do_sample:
            probabilities = scores.softmax(dim=-1).flatten(0, 1)
            tokens = probabilities.multinomial(1, generator=self.generator).view_as(columns)
        else:
            tokens = scores.argmax(dim=-1)

        if len(self.special_tokens.never_confident):
            logits = logits.index_fill(-1, self.special_tokens.never_confident, -torch.inf)
        chosen = logits.gather(-1, tokens[..., None]).squeeze(-1)
        return tokens, (chosen - logits.logsumexp(dim=-1)).exp()

    def _end_of_text(self, hidden: torch.Tensor, canvas: Canvas) -> torch.Tensor:
        """Returns `BlockPrediction.end_of_text`; in chunks of a block, so that memory does not grow with the canvas."""
        found = []
        for start in range(0, canvas.length, canvas.block_length):
            column = torch.arange(start, min(start + canvas.block_length, canvas.length), device=hidden.device)
            tokens, confidence = self._predict(hidden, canvas, column.expand(len(canvas.rows), -1))
            masked = (canvas.tokens[:, column] == self.special_tokens.mask) & (column < canvas.end[:, None])
            masked &= (column >= canvas.prompt_length) & torch.isin(tokens, self.special_tokens.eos)
            found.append(confidence.masked_fill(~masked, -1.0))
        return torch.cat(found, dim=-1)
