# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Handing texts to streamers: what is complete, and drafts of what is not."""

from collections.abc import Sequence

import torch
from transformers.generation.streamers import BaseStreamer

from .canvas import Canvas
from .unmasking import BlockPrediction
from .watchers import BlockCriteria

__all__ = ["RowStreamers", "Stream"]


class RowStreamers(BaseStreamer):
    """
    The streamers of a batch, one for each row, as the one that transformers hands the prompts.

    Args:
        streamers (`BaseStreamer` or `Sequence[BaseStreamer]`): One for each row; for a single row also by itself.

    Raises:
        ValueError: If one has no `put` and `end`, or takes its drafts as logits.
    """

    def __init__(self, streamers: BaseStreamer | Sequence[BaseStreamer]):
        self.each = list(streamers) if isinstance(streamers, Sequence) else [streamers]
        for streamer in self.each:
            if not (callable(getattr(streamer, "put", None)) and callable(getattr(streamer, "end", None))):
                raise ValueError(f"`streamer` must have `put` and `end`, or be a list of such (got {streamer!r})")
            if getattr(streamer, "_takes_logits", False):
                raise ValueError(f"`streamer` must take its drafts as tokens (got {type(streamer).__name__})")

    def put(self, value: torch.Tensor) -> None:
        """
        Hands every row its prompt.

        Args:
            value (`torch.LongTensor` of shape `(batch_size, prompt_length)`): The prompts, left-padded.

        Raises:
            ValueError: If there are more or fewer rows than streamers.
        """
        if len(value) != len(self.each):
            raise ValueError(
                f"`streamer` must be a list of one streamer for each of the {len(value)} rows (got {len(self.each)})"
            )
        for streamer, prompt in zip(self.each, value, strict=True):
            streamer.put(prompt[None])

    def end(self) -> None:
        """Does nothing: every row's streamer ends with its row, see [`Stream`]."""


class Stream:
    """
    Hands the text of each row to its streamer, block by block, and ends it with the row.

    A streamer that has `put_draft`, as transformers' `TextDiffusionStreamer`, also gets a draft of what it has not got
    yet after every denoising step that predicts its row: the block, with predictions in the place of its masks.

    Args:
        streamers ([`RowStreamers`]): Get the tokens of each block when it is done; of a sliding one, those before its
            first mask.
        canvas ([`Canvas`]): The whole batch.
        criteria ([`BlockCriteria`]): May still end rows at columns that it has not been asked about.
    """

    def __init__(self, streamers: RowStreamers, canvas: Canvas, criteria: BlockCriteria):
        self.streamers = streamers.each
        self.criteria = criteria
        self.sent = [canvas.prompt_length] * len(self.streamers)
        self.ended = [False] * len(self.streamers)
        self.drafts = any(hasattr(streamer, "put_draft") for streamer in self.streamers)

    def __call__(
        self, canvas: Canvas, prediction: BlockPrediction, finished: torch.Tensor, text_end: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Streams what rows have completed: a block, the beginning of a sliding one, or the text; ends no row."""
        if self.drafts:
            self._draft(canvas, prediction, text_end)
        rows = canvas.rows
        known = torch.where(finished, text_end, canvas.settled).clamp(max=self.criteria.asked)
        last = finished & (known == text_end)
        # One copy from the device for all rows.
        for place, (row, end, ends) in enumerate(torch.stack((rows.batch, known, last)).T.tolist()):
            self._put(row, rows.tokens[place], end, bool(ends))
        return finished, text_end

    def finish(self, canvas: Canvas) -> None:
        """
        Streams what was held back until all criteria were asked.

        Args:
            canvas ([`Canvas`]): After all rows have left, and are as short as the criteria want them.
        """
        for row, end in enumerate(canvas.ends.tolist()):
            self._put(row, canvas.sequences[row], end, not self.ended[row])

    def _put(self, row: int, tokens: torch.Tensor, end: int, last: bool) -> None:
        """Streams a row of the batch from where it was left up to before a column, and ends it if that is the last."""
        if end > self.sent[row]:
            self.streamers[row].put(tokens[self.sent[row] : end].cpu())
            self.sent[row] = end
        if last:
            self.streamers[row].end()
            self.ended[row] = True

    def _draft(self, canvas: Canvas, prediction: BlockPrediction, text_end: torch.Tensor) -> None:
        """Streams drafts of the rows that the step has predicted."""
        rows = prediction.of_canvas
        block = torch.where(canvas.masked[rows], prediction.tokens, canvas.block[rows])
        texts = canvas.rows.tokens[rows].scatter(1, canvas.columns[rows], block).cpu()
        ends = torch.minimum(canvas.rows.block_end, text_end)[rows]
        for row, text, end in zip(prediction.rows.tolist(), texts, ends.tolist(), strict=True):
            put_draft = getattr(self.streamers[row], "put_draft", None)
            if put_draft is not None and end > self.sent[row]:
                # As transformers' own diffusion models hand it on.
                put_draft(text[None, self.sent[row] : end])
