# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""transformers' logits processors, written for the next token of a text, on all positions of a block."""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.generation import logits_process as hf

from .forbidden import Forbidden, Text
from .special_tokens import SpecialTokens

__all__ = ["Processors"]

# These look at scores alone.
_SCORES = (
    hf.EpsilonLogitsWarper,
    hf.EtaLogitsWarper,
    hf.InfNanRemoveLogitsProcessor,
    hf.LogitNormalization,
    hf.MinPLogitsWarper,
    hf.SuppressTokensLogitsProcessor,
    hf.TemperatureLogitsWarper,
    hf.TopHLogitsWarper,
    hf.TopKLogitsWarper,
    hf.TopPLogitsWarper,
    hf.TypicalLogitsWarper,
)
# These count columns from the first of the padded prompt, whose length they are made with.
_COLUMNS = (
    hf.ExponentialDecayLengthPenalty,
    hf.ForcedEOSTokenLogitsProcessor,
    hf.MinNewTokensLengthLogitsProcessor,
    hf.SuppressTokensAtBeginLogitsProcessor,
)
_REFUSED = {
    hf.AlternatingCodebooksLogitsProcessor: "logits_processor",
    hf.BarkEosPrioritizerLogitsProcessor: "logits_processor",
    hf.ClassifierFreeGuidanceLogitsProcessor: "guidance_scale",
    hf.DiaClassifierFreeGuidanceLogitsProcessor: "guidance_scale",
    hf.DiaEOSChannelFilterLogitsProcessor: "logits_processor",
    hf.DiaEOSDelayPatternLogitsProcessor: "logits_processor",
    # It forces the token behind a text of one token: the start of a decoder that has an encoder.
    hf.ForcedBOSTokenLogitsProcessor: "forced_bos_token_id",
    hf.PrefixConstrainedLogitsProcessor: "prefix_allowed_tokens_fn",
    # Watermarks are drawn from all tokens before, and looked for there; here these are not known yet.
    hf.SynthIDTextWatermarkLogitsProcessor: "watermarking_config",
    hf.UnbatchedClassifierFreeGuidanceLogitsProcessor: "guidance_scale",
    hf.WatermarkLogitsProcessor: "watermarking_config",
    hf.WhisperNoSpeechDetection: "logits_processor",
    hf.WhisperTimeStampLogitsProcessor: "logits_processor",
}


@dataclass(frozen=True)
class _Block:
    """What the positions `(rows, width)` of a block stand behind: `tokens` `(rows, length)` before `columns`."""

    tokens: torch.Tensor
    columns: torch.Tensor
    rows: torch.Tensor
    unpadded: torch.Tensor
    unmasked: torch.Tensor


_Step = Callable[[torch.Tensor, _Block], torch.Tensor]


class Processors:
    r"""
    Applies logits processors to every position of a block, each as the next token of a text of its own.

    A processor sees, for a position, the tokens of its row before it that are unmasked, without padding, so that rows
    depend neither on their batch mates nor on padding. Known processors are treated by what they look at: those that
    count get the true number of tokens before, masked ones included; those that forbid sequences look to both sides
    (see [`Forbidden`]), and biased sequences count only where no mask stands in them. The mask token stays impossible
    whatever they do. Where they leave no token at all the model's own scores stand, and the confidence is to be 0.

    Args:
        processors (`Sequence[LogitsProcessor]`): In order.
        prompt_ids (`torch.LongTensor` of shape `(batch_size, prompt_length)`): The prompts, left-padded.
        attention_mask (`torch.Tensor` of shape `(batch_size, prompt_length)`, *optional*): 0 at padding.
        special_tokens ([`SpecialTokens`]): Which ids are never predicted.
        max_new_tokens (`int`): Positions of the answer region.
        vocab_size (`int`): Number of ids.
        beside (`str`, *optional*): An option of the call that leaves no moment to look at whole sequences.

    Raises:
        ValueError: If a processor cannot be right here.
    """

    def __init__(
        self,
        processors: Sequence[Any],
        prompt_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        special_tokens: SpecialTokens,
        max_new_tokens: int,
        vocab_size: int,
        beside: str | None = None,
    ):
        self.prompt_ids, self.special_tokens, self.vocab_size = prompt_ids, special_tokens, vocab_size
        self.prompt_length = prompt_ids.shape[1]
        self.limit = self.prompt_length + max_new_tokens
        self.padding = torch.zeros_like(prompt_ids[:, 0])
        if attention_mask is not None:
            self.padding = (attention_mask == 0).sum(dim=-1)
        self.eos = frozenset(special_tokens.eos.tolist())
        self.forbidden: list[Forbidden] = []
        self.steps: list[_Step] = []
        for processor in processors:
            self.steps += self._steps(processor)
        if beside is not None and self.forbidden:
            raise ValueError(
                "`no_repeat_ngram_size`, `encoder_no_repeat_ngram_size`, and words of several tokens in "
                f"`bad_words_ids` and `sequence_bias`, must be None with `{beside}` (got one of them)"
            )

    def __len__(self) -> int:
        return len(self.steps)

    def __call__(
        self, scores: torch.Tensor, tokens: torch.Tensor, columns: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """
        Processes the scores of a block.

        Args:
            scores (`torch.FloatTensor` of shape `(rows, width, vocab_size)`): Logits.
            tokens (`torch.LongTensor` of shape `(rows, length)`): The canvas.
            columns (`torch.LongTensor` of shape `(rows, width)`): Where in it the positions are.
            rows (`torch.LongTensor` of shape `(rows,)`): Which rows of the batch these are.

        Returns:
            `torch.FloatTensor` of shape `(rows, width, vocab_size)`: -inf where a token must not be taken, perhaps at
            all of a position; never NaN or infinite otherwise.
        """
        column = torch.arange(tokens.shape[1], device=tokens.device)
        unpadded = column >= self.padding[rows, None]
        # What lies behind a canvas is not predicted.
        columns = columns.clamp(max=tokens.shape[1])
        block = _Block(tokens, columns, rows, unpadded, unpadded & (tokens != self.special_tokens.mask))
        for step in self.steps:
            scores = step(scores, block)
        scores = scores.nan_to_num(nan=-torch.inf, posinf=torch.finfo(scores.dtype).max, neginf=-torch.inf)
        return scores.index_fill(-1, self.special_tokens.never_predicted, -torch.inf)

    def settle(
        self,
        tokens: torch.Tensor,
        columns: torch.Tensor,
        rows: torch.Tensor,
        predicted: torch.Tensor,
        confidence: torch.Tensor,
        chosen: torch.Tensor,
    ) -> torch.Tensor:
        """
        Leaves out of a choice what together with more confident tokens of it would be a forbidden sequence.

        Args:
            tokens, columns, rows: As above.
            predicted, confidence, chosen (`torch.Tensor` of shape `(rows, width)`):
                The prediction, and what is about to become final of it.

        Returns:
            `torch.BoolTensor` of shape `(rows, width)`: With at least one position in rows that had any.
        """
        if not self.forbidden:
            return chosen
        kept = torch.zeros_like(chosen)
        order = confidence.argsort(dim=-1, descending=True, stable=True).tolist()
        choice, ids, places = chosen.tolist(), predicted.tolist(), columns.tolist()
        for row, (original, line) in enumerate(zip(rows.tolist(), tokens.tolist(), strict=True)):
            padding, texts = self._texts(original, line, self.forbidden)
            first = True
            for position in order[row]:
                place, token = places[row][position] - padding, ids[row][position]
                if choice[row][position] and (first or all(token not in text.banned(place) for text in texts)):
                    kept[row, position], first = True, False
                    for text in texts:
                        text.write(place, token)
        return kept

    def _texts(self, original: int, line: list[int], forbidden: list[Forbidden]) -> tuple[int, list[Text]]:
        padding, mask = int(self.padding[original]), self.special_tokens.mask
        known = [None if token == mask else token for token in line[padding : self.limit]]
        return padding, [each.text(original, known, self.prompt_length - padding) for each in forbidden]

    def _steps(self, processor: Any) -> list[_Step]:
        """What is to be done for a processor, by what it looks at."""
        kind = type(processor)
        if kind in _REFUSED:
            raise ValueError(f"`{_REFUSED[kind]}` must be None for a diffusion model (got {kind.__name__})")
        self._check(processor)
        if kind in _SCORES:
            return [_flat(processor)]
        if kind in _COLUMNS:
            return [_one_by_one(processor, lambda block: torch.ones_like(block.unpadded))]
        if kind is hf.MinLengthLogitsProcessor:
            return [_one_by_one(processor, lambda block: block.unpadded)]
        if kind is hf.RepetitionPenaltyLogitsProcessor:
            return [self._repetition_penalty(processor)]
        if kind in (hf.SequenceBiasLogitsProcessor, hf.NoBadWordsLogitsProcessor):
            return self._sequence_bias(processor.sequence_bias)
        if kind is hf.NoRepeatNGramLogitsProcessor:
            return [self._forbid([()], repeats=processor.ngram_size)]
        if kind is hf.EncoderRepetitionPenaltyLogitsProcessor:
            return [self._prompt_penalty(processor)]
        if kind is hf.EncoderNoRepeatNGramLogitsProcessor:
            return [self._prompt_ngrams(processor)]
        return [_one_by_one(processor, lambda block: block.unmasked)]

    def _check(self, processor: Any) -> None:
        """Raises what would come up in the middle of a text."""
        if len(inspect.signature(processor.__call__).parameters) > 2:
            raise ValueError(
                f"`logits_processor` must take `input_ids` and `scores` only (got {type(processor).__name__})"
            )
        if isinstance(processor, hf.ForcedEOSTokenLogitsProcessor):
            forced = processor.eos_token_id.to(self.special_tokens.never_predicted.device)
            if bool(torch.isin(forced, self.special_tokens.never_predicted).any()):
                got = forced.tolist()
                raise ValueError(f"`forced_eos_token_id` must not be a token that is never predicted (got {got})")
        if isinstance(processor, hf.ExponentialDecayLengthPenalty):
            try:
                float(processor.regulation_factor) ** max(0, self.limit - processor.regulation_start)
            except OverflowError as error:
                raise ValueError(
                    "`exponential_decay_length_penalty` must have a factor that stays finite up to the end of the "
                    f"answer (got {processor.regulation_factor})"
                ) from error
        if isinstance(processor, hf.SequenceBiasLogitsProcessor):
            # It compares its ids with the vocabulary when it is called first.
            processor(self.prompt_ids[:1], torch.zeros(1, self.vocab_size, device=self.prompt_ids.device))

    def _repetition_penalty(self, processor: Any) -> _Step:
        ignored = processor.prompt_ignore_length
        plain = copy.copy(processor)
        plain.prompt_ignore_length = None
        if ignored is None:
            return _one_by_one(plain, lambda block: block.unmasked)
        skipped = torch.as_tensor(ignored, device=self.padding.device).expand_as(self.padding)

        def seen(block: _Block) -> torch.Tensor:
            column = torch.arange(block.tokens.shape[1], device=block.tokens.device)
            return block.unmasked & (column >= skipped[block.rows, None])

        return _one_by_one(plain, seen)

    def _sequence_bias(self, bias: dict[tuple[int, ...], float]) -> list[_Step]:
        forbidden = [word for word, value in bias.items() if len(word) > 1 and value == -torch.inf]
        others = {word: value for word, value in bias.items() if word not in forbidden}
        steps = [self._forbid([forbidden])] if forbidden else []
        if others:
            processor = hf.SequenceBiasLogitsProcessor(others)  # type: ignore[arg-type]
            # Masks keep their places, where no biased sequence goes on.
            several = any(len(word) > 1 for word in others)
            steps.append(_one_by_one(processor, lambda block: block.unpadded) if several else _flat(processor))
        return steps

    def _prompt_penalty(self, processor: Any) -> _Step:
        """A penalty on the tokens of each row's own prompt, without its padding."""
        ids = processor.encoder_input_ids
        share = self._share(ids, "encoder_repetition_penalty")
        own = []
        for row, padding in enumerate(self.padding.tolist()):
            own.append(copy.copy(processor))
            own[-1].encoder_input_ids = ids[row // share, padding:][None]

        def step(scores: torch.Tensor, block: _Block) -> torch.Tensor:
            parts = zip(block.columns, scores, block.rows.tolist(), strict=True)
            return torch.stack([own[row](columns[:, None], part) for columns, part, row in parts])

        return step

    def _prompt_ngrams(self, processor: Any) -> _Step:
        size, share = processor.ngram_size, len(self.prompt_ids) // processor.batch_size
        ids: Any = self.prompt_ids
        made = hf.EncoderNoRepeatNGramLogitsProcessor(size, ids[::share]) if share else None
        if made is None or made.generated_ngrams != processor.generated_ngrams:
            raise ValueError("`encoder_no_repeat_ngram_size` must be about the prompts (got other ids)")
        words = []
        for prompt, padding in zip(ids.tolist(), self.padding.tolist(), strict=True):
            text = prompt[padding:]
            words.append([tuple(text[start : start + size]) for start in range(len(text) - size + 1)])
        return self._forbid(words)

    def _share(self, ids: torch.Tensor, option: str) -> int:
        """How many rows of the batch come from one prompt, with `num_return_sequences`."""
        share = max(1, len(self.prompt_ids) // len(ids))
        if not torch.equal(ids.to(self.prompt_ids.device).repeat_interleave(share, dim=0), self.prompt_ids):
            raise ValueError(f"`{option}` must be about the prompts (got other ids)")
        return share

    def _forbid(self, words: Sequence[Sequence[tuple[int, ...]]], repeats: int = 0) -> _Step:
        forbidden = Forbidden(words, repeats, self.eos)
        self.forbidden.append(forbidden)

        def step(scores: torch.Tensor, block: _Block) -> torch.Tensor:
            banned: list[tuple[int, int, int]] = []
            places, lines = block.columns.tolist(), block.tokens.tolist()
            for row, original in enumerate(block.rows.tolist()):
                padding, (text,) = self._texts(original, lines[row], [forbidden])
                for position, column in enumerate(places[row]):
                    place = column - padding
                    if place < len(text.tokens) and text.tokens[place] is None:
                        ids = text.banned(place)
                        banned += [(row, position, token) for token in ids if token < scores.shape[-1]]
            if banned:
                index = torch.tensor(banned, device=scores.device).unbind(dim=-1)
                scores = scores.index_put(index, scores.new_tensor(-torch.inf))
            return scores

        return step


def _flat(processor: Any) -> _Step:
    """One call: a processor that looks at scores alone is handed any ids."""
    return lambda scores, block: processor(block.columns.reshape(-1, 1), scores.flatten(0, 1)).view_as(scores)


def _one_by_one(processor: Any, seen: Callable[[_Block], torch.Tensor]) -> _Step:
    """One call for all positions that have equally many seen tokens before them."""

    def step(scores: torch.Tensor, block: _Block) -> torch.Tensor:
        shown = seen(block)
        # What a position has before it is the beginning of what its row has in all.
        context = block.tokens.gather(1, (~shown).long().argsort(dim=-1, stable=True))
        before = torch.nn.functional.pad(shown.cumsum(dim=-1), (1, 0)).gather(1, block.columns)
        processed = torch.empty_like(scores)
        for length in before.unique().tolist():
            row, position = (before == length).nonzero(as_tuple=True)
            # Processors may write into what they are given.
            result = processor(context[row, :length], scores[row, position])
            if not isinstance(result, torch.Tensor) or result.shape != (len(row), scores.shape[-1]):
                got = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
                wanted = (len(row), scores.shape[-1])
                raise ValueError(f"`logits_processor` must return scores of shape {wanted} (got {got})")
            processed[row, position] = result.to(scores.dtype)
        return processed

    return step
