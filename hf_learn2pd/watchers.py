# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Who wants to know of every denoising step: a user's stopping criteria."""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import (
    EosTokenCriteria,
    MaxLengthCriteria,
    MaxTimeCriteria,
    StoppingCriteria,
    StopStringCriteria,
)
from transformers.generation.stopping_criteria import ConfidenceCriteria

from .canvas import Canvas
from .special_tokens import SpecialTokens
from .unmasking import BlockPrediction

__all__ = ["BlockCriteria", "StopStrings"]


class StopStrings(StoppingCriteria):
    """
    Stops rows whose last token completes one of some strings.

    The text is decoded, so that any tokenizer will do: [`StopStringCriteria`] of transformers takes each token to be
    the same string everywhere, and needs a vocabulary that can write "abcdef".

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The model's tokenizer.
        stop_strings (`str` or `list[str]`): The strings, not empty.

    Raises:
        ValueError: If there is none, or an empty one.
    """

    def __init__(self, tokenizer: Any, stop_strings: str | list[str]):
        strings = [stop_strings] if isinstance(stop_strings, str) else list(stop_strings)
        if not strings or not all(isinstance(each, str) and each for each in strings):
            raise ValueError(f"`stop_strings` must be a string that is not empty, or some (got {stop_strings!r})")
        self.tokenizer, self.strings = tokenizer, strings
        # A character takes up to four tokens, and some tokens, such as special ones, may be no text at all.
        self.reach = 4 * max(map(len, strings)) + 8

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        """
        Tells which rows end here.

        Args:
            input_ids (`torch.LongTensor` of shape `(rows, length)`): Texts up to their last token.
            scores (`torch.Tensor`, *optional*): Not used.

        Returns:
            `torch.BoolTensor` of shape `(rows,)`.
        """
        ends = [self._ends(ids) for ids in input_ids[:, -self.reach :].tolist()]
        return torch.tensor(ends, dtype=torch.bool, device=input_ids.device)

    def _ends(self, ids: list[int]) -> bool:
        text, before = (self.tokenizer.decode(each, skip_special_tokens=False) for each in (ids, ids[:-1]))
        # Bytes of an unfinished character are written otherwise once it is finished.
        same = next(
            (place for place, pair in enumerate(zip(text, before, strict=False)) if len(set(pair)) > 1), len(before)
        )
        return any(text.find(string, max(0, same - len(string) + 1)) >= 0 for string in self.strings)


class BlockCriteria:
    r"""
    Applies stopping criteria, written for texts that grow by a token, to texts that grow by a block.

    Criteria of transformers that look at each row for itself are asked for the rows that have just finished a block, or
    the beginning of a sliding one, at each of its tokens; a time limit keeps all of them. Any other may keep state for
    each row of the batch. It is called as transformers calls it: once for each column, from left to right, with all
    rows in their places, finished ones padded, as soon as all rows have got there. A row that by then has gone on is
    shortened.

    Args:
        criteria (`Iterable[StoppingCriteria]`): Those of transformers for the end of text and the length are left out
            where they say what the canvas and `end_of_text` settle.
        canvas ([`Canvas`]): The whole batch.
        special_tokens ([`SpecialTokens`]): What ends a text, and what fills up finished rows.

    Raises:
        ValueError: If a criterion needs scores, which there are none of, or would end texts that are filled in.
    """

    def __init__(self, criteria: Iterable[Any], canvas: Canvas, special_tokens: SpecialTokens):
        eos = set(special_tokens.eos.tolist())
        self.timed: list[Any] = []
        self.by_row: list[Any] = []
        self.by_batch: list[Any] = []
        for criterion in criteria:
            kind = type(criterion)
            if kind is ConfidenceCriteria:
                raise ValueError("`stopping_criteria` must not need scores (got ConfidenceCriteria)")
            settled = (kind is EosTokenCriteria and set(criterion.eos_token_id.tolist()) == eos) or (
                kind is MaxLengthCriteria and criterion.max_length >= canvas.limit
            )
            if isinstance(criterion, MaxTimeCriteria):
                self.timed.append(criterion)
            elif kind in (StopStrings, StopStringCriteria, EosTokenCriteria, MaxLengthCriteria):
                self.by_row += [] if settled else [criterion]
            else:
                self.by_batch.append(criterion)
        if len(self) and canvas.spans is not None:
            kind = type((self.by_row + self.by_batch + self.timed)[0])
            raise ValueError(
                f"`stopping_criteria` must be None with `infill`, which keeps what is given (got {kind.__name__})"
            )
        self.pad = special_tokens.pad
        # By row of the batch, where a criterion has ended it; and the column up to which all have been asked.
        self.limit = canvas.limit
        self.ends = torch.full_like(canvas.ends, canvas.limit)
        self.column = canvas.prompt_length

    def __len__(self) -> int:
        return len(self.timed) + len(self.by_row) + len(self.by_batch)

    @property
    def asked(self) -> int:
        """The column behind the last one that no criterion has a say in any more."""
        return self.column if self.by_batch else self.limit

    def __call__(
        self, canvas: Canvas, prediction: BlockPrediction, complete: torch.Tensor, text_end: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Stops rows after a denoising step.

        Args:
            canvas ([`Canvas`]): The rows that have not finished.
            prediction ([`BlockPrediction`]): Not used.
            complete (`torch.BoolTensor` of shape `(rows,)`): Rows whose text is complete without a criterion.
            text_end (`torch.LongTensor` of shape `(rows,)`): The column behind the last one of each row's text.

        Returns:
            `tuple[torch.BoolTensor, torch.LongTensor]`: The same, with the rows that a criterion ends.
        """
        if not len(self):
            return complete, text_end
        ends = torch.where(complete, text_end, canvas.settled)
        done = (ends > canvas.rows.block_start).nonzero().squeeze(-1).tolist()
        if not done:
            return complete, text_end
        complete, text_end = complete.clone(), text_end.clone()
        for row in done:
            start, end = int(canvas.rows.block_start[row]), int(ends[row])
            stop = self._stop_of(canvas.rows.tokens[row : row + 1], start, end)
            if stop is not None:
                complete[row], text_end[row] = True, stop
        if self.by_batch:
            self._ask_all(canvas, complete, text_end)
            ends = self.ends[canvas.rows.batch]
            complete |= ends < canvas.limit
            text_end = torch.minimum(text_end, ends)
        return complete, text_end

    def shorten(self, canvas: Canvas) -> None:
        """
        Takes back what rows have written behind their ends while they were ahead of the batch.

        Args:
            canvas ([`Canvas`]): After all rows have left.
        """
        behind = torch.arange(canvas.limit, device=self.ends.device) >= self.ends[:, None]
        canvas.sequences.masked_fill_(behind, self.pad)
        canvas.unmasking_steps.masked_fill_(behind[:, canvas.origin :], -1)
        canvas.ends = torch.minimum(canvas.ends, self.ends)

    def _stop_of(self, input_ids: torch.Tensor, start: int, end: int) -> int | None:
        """The first column of a row's block at which a criterion ends it; None if it goes on."""
        for column in range(start + 1, end + 1):
            text = input_ids[:, :column]
            asked = self.by_row + (self.timed if column == end else [])
            if any(bool(_verdict(criterion, text).any()) for criterion in asked):
                return column
        return None

    def _ask_all(self, canvas: Canvas, complete: torch.Tensor, text_end: torch.Tensor) -> None:
        """Asks all criteria at the columns that all rows have got to since the last time."""
        texts, ends = canvas.sequences.clone(), canvas.ends.clone()
        texts[canvas.rows.batch] = canvas.rows.tokens[:, : canvas.limit]
        # A row that goes on has no end yet; what it has unmasked of a block that is not done is not read.
        ends[canvas.rows.batch] = torch.where(complete, text_end, canvas.limit + 1)
        ends = torch.minimum(ends, torch.where(self.ends < canvas.limit, self.ends, ends))
        column = torch.arange(canvas.limit, device=ends.device)
        texts = texts.masked_fill(column >= ends[:, None], self.pad)
        known = canvas.settled.masked_fill(complete, canvas.limit)
        # Where all rows have ended nothing is asked any more.
        last = min(int(known.min()), int(ends.max()))
        while self.column < last:
            self.column += 1
            stops = torch.zeros_like(ends, dtype=torch.bool)
            for criterion in self.by_batch:
                stops |= _verdict(criterion, texts[:, : self.column])
            stops &= ends > self.column
            ends, self.ends = (each.masked_fill(stops, self.column) for each in (ends, self.ends))
            texts = texts.masked_fill(column >= ends[:, None], self.pad)
            last = min(last, int(ends.max()))


def _verdict(criterion: Any, input_ids: torch.Tensor) -> torch.Tensor:
    """What a criterion says of each row; some speak of the whole batch."""
    verdict = torch.as_tensor(criterion(input_ids, None), dtype=torch.bool, device=input_ids.device).flatten()
    if verdict.numel() not in (1, len(input_ids)):
        raise ValueError(
            f"`stopping_criteria` must return a bool for each of {len(input_ids)} rows (got {verdict.numel()})"
        )
    return verdict.expand(len(input_ids))
