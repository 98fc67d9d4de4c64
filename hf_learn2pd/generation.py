# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""`model.generate(decoding=...)` for diffusion LLMs, and the one denoising loop behind it."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    EosTokenCriteria,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    MaxLengthCriteria,
    PreTrainedConfig,
    StoppingCriteriaList,
    StopStringCriteria,
)
from transformers.generation.streamers import BaseStreamer
from transformers.utils import ModelOutput

from .blocks import AdaBlock, FixedBlocks
from .canvas import Canvas
from .compatibility import FROM_MODEL_CONFIG, attention_implementation
from .configuration import DiffusionGenerationConfig
from .denoiser import Denoiser
from .drafting import DraftingDenoiser, as_drafter
from .filter import UnmaskingFilter
from .special_tokens import SpecialTokens
from .stopping import EndOfTextCriteria, stopped_at
from .unmasking import BlockPrediction, LowConfidence, UnmaskingStrategy, most_confident, resolve_strategy

__all__ = ["DiffusionGenerationMixin", "DiffusionGenerationOutput"]


@dataclass
class DiffusionGenerationOutput(ModelOutput):
    """
    What `generate(return_dict_in_generate=True)` returns.

    Args:
        sequences (`torch.LongTensor` of shape `(batch_size, sequence_length)`):
            Prompts and answers, padded behind the end of each row.
        nfe (`torch.LongTensor` of shape `(batch_size,)`):
            Number of forward passes of each row; a row that has finished stops counting.
        tokens_per_forward (`torch.FloatTensor` of shape `(batch_size,)`):
            Answer tokens, up to and including the first end-of-text, divided by `nfe`.
        forward_passes (`list[tuple[str, int, int, int]]`):
            For each call of the model: kind, rows, query length, cached length.
        unmasking_steps (`torch.LongTensor` of shape `(batch_size, answer_length)`, *optional*):
            The forward pass of its row, from 0, in which each token was unmasked; -1 behind the end of a row.
            Returned with `output_unmasking_steps=True`.
        acceptance_length (`torch.FloatTensor` of shape `(batch_size,)`, *optional*):
            Mean number of steps of the stock loop that a forward pass has verified; with `verify=True`.
    """

    sequences: torch.Tensor
    nfe: torch.Tensor | None = None
    tokens_per_forward: torch.Tensor | None = None
    forward_passes: list[tuple[str, int, int, int]] | None = None
    unmasking_steps: torch.Tensor | None = None
    acceptance_length: torch.Tensor | None = None


class DiffusionGenerationMixin(GenerationMixin):
    """
    Gives a bidirectional model with an LM head a `generate` that denoises instead of continuing.

    Input preparation, the generation config, logits processors and stopping criteria are those of transformers; the
    model's `config` or `generation_config` has to name a `mask_token_id`.
    """

    generation_config_class = DiffusionGenerationConfig
    generation_config: DiffusionGenerationConfig
    config: PreTrainedConfig
    # Columns to the left at which a token is predicted; 1 for models made from autoregressive ones, such as Dream.
    logits_shift = 0
    takes_block_cache = True

    def denoising_modules(self) -> tuple[Any, Any]:
        """The decoder, which gives hidden states, and the head that makes logits of them."""
        model: Any = self
        return model.get_decoder(), model.get_output_embeddings()

    def adjust_generation_fn(self, *args: Any, **kwargs: Any) -> None:
        """Turns the generation config that `from_pretrained` has loaded into a [`DiffusionGenerationConfig`]."""
        parent: Any = super()
        parent.adjust_generation_fn(*args, **kwargs)
        values = self.generation_config.to_dict()
        self.generation_config = _as_diffusion_config(values)

    def generate(  # type: ignore[override, unused-ignore]  # transformers 5.17 has types here, 5.24 has none
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsProcessorList | None = None,
        stopping_criteria: StoppingCriteriaList | None = None,
        *,
        decoding: str | UnmaskingStrategy | None = None,
        unmasking_filter: str | os.PathLike[str] | UnmaskingFilter | None = None,
        reference_ids: torch.Tensor | None = None,
        block_schedule: str | FixedBlocks | None = None,
        generator: torch.Generator | None = None,
        streamer: BaseStreamer | None = None,
        **kwargs: Any,
    ) -> DiffusionGenerationOutput | torch.Tensor:
        r"""
        Writes an answer behind each prompt by denoising a canvas of mask tokens.

        Args:
            inputs (`torch.LongTensor` of shape `(batch_size, prompt_length)`):
                Prompts, left-padded with an `attention_mask` if they differ in length; also as `input_ids`.
            generation_config ([`GenerationConfig`], *optional*):
                Options, see [`DiffusionGenerationConfig`]; each of them may also be given as a keyword.
            logits_processor (`LogitsProcessorList`, *optional*):
                Applied to every position of a block as if it were a row.
            stopping_criteria (`StoppingCriteriaList`, *optional*):
                Honoured when a block is done, as if its tokens had been written one after the other.
            decoding (`str` or [`UnmaskingStrategy`], *optional*):
                A name in `UNMASKING_STRATEGIES`, or a configured instance.
            unmasking_filter (`str`, `os.PathLike` or [`UnmaskingFilter`], *optional*):
                The filter of `decoding="learn2pd"`.
            reference_ids (`torch.LongTensor` of shape `(batch_size, answer_length)`, *optional*):
                The known output for `decoding="oracle"`.
            block_schedule (`str` or [`FixedBlocks`], *optional*):
                Where blocks end: `"adablock"`, or a configured [`AdaBlock`].
            generator (`torch.Generator`, *optional*):
                Source of randomness for sampling and random orders, on the model's device.
            streamer (`BaseStreamer`, *optional*):
                Receives the tokens of each block when it is done; for a batch of one.
            kwargs:
                Options of [`DiffusionGenerationConfig`], `attention_mask`, and a `tokenizer` for `stop_strings` and for
                the delimiters of `block_schedule="adablock"`.

        Returns:
            [`DiffusionGenerationOutput`] with `return_dict_in_generate=True`, otherwise its `sequences`.

        Raises:
            ValueError: Before the first forward pass, if an option is unknown, of a wrong type or out of range.
        """
        parent: Any = super()
        if kwargs.get("custom_generate") is not None:
            own: dict[str, Any] = {"decoding": decoding, "unmasking_filter": unmasking_filter, "generator": generator}
            own |= {"reference_ids": reference_ids, "block_schedule": block_schedule}
            kwargs |= {name: value for name, value in own.items() if value is not None}
            return parent.generate(
                inputs, generation_config, logits_processor, stopping_criteria, streamer=streamer, **kwargs
            )
        for name in ("assistant_model", "prefix_allowed_tokens_fn", "inputs_embeds", "cache", "past_key_values"):
            if kwargs.get(name) is not None:
                raise ValueError(f"`{name}` must be None for a diffusion model (got {type(kwargs[name]).__name__})")
        # None in a config means "not set", but as `end_of_text` it is also a choice, which merging would lose.
        values = {} if generation_config is None else generation_config.to_dict()
        end_of_text = ({"end_of_text": self.generation_config.end_of_text} | values | kwargs)["end_of_text"]
        decoding = decoding or values.get("decoding") or self.generation_config.decoding or "low_confidence"
        if decoding == "pearl":
            decoding, kwargs["verify"] = "low_confidence" if unmasking_filter is None else "learn2pd", True
        for name, value, taker in (
            ("unmasking_filter", unmasking_filter, "learn2pd"),
            ("filter_threshold", kwargs.get("filter_threshold"), "learn2pd"),
            ("reference_ids", reference_ids, "oracle"),
        ):
            if value is not None and decoding != taker:
                raise ValueError(f"`{name}` must only be given with `decoding={taker!r}` (got decoding={decoding!r})")

        config = _as_diffusion_config(values)
        kwargs = config.update(**kwargs)
        # A cache that grows token by token would serve nothing here.
        config.use_cache = False
        prompt = inputs if inputs is not None else kwargs.get("input_ids")
        if config.max_length is not None and config.max_new_tokens is None and prompt is not None:
            config.max_new_tokens, config.max_length = config.max_length - prompt.shape[-1], None
        tokenizer = kwargs.pop("tokenizer", None)
        schedule = block_schedule
        if not isinstance(schedule, FixedBlocks):
            config.block_schedule = schedule or values.get("block_schedule") or self.generation_config.block_schedule
            schedule = None
        if config.stop_strings is not None and tokenizer is not None:
            # transformers does not hand the tokenizer on to a custom loop, so the criterion is made here.
            stopping_criteria = StoppingCriteriaList(stopping_criteria or [])
            stopping_criteria.append(StopStringCriteria(tokenizer, config.stop_strings))
            config.stop_strings = None

        # transformers takes any parameter in this signature from `kwargs`, so it names no more than it has to.
        def loop(
            model: Any,
            input_ids: torch.Tensor,
            logits_processor: LogitsProcessorList,
            stopping_criteria: StoppingCriteriaList,
            generation_config: DiffusionGenerationConfig,
            **model_kwargs: Any,
        ) -> DiffusionGenerationOutput | torch.Tensor:
            generation_config.end_of_text = end_of_text
            generation_config.validate()
            blocks = schedule or _schedule(generation_config, tokenizer, model.config.vocab_size)
            strategy = resolve_strategy(
                decoding,
                unmasking_filter or generation_config.unmasking_filter or f"{model.name_or_path}:unmasking_filter",
                generation_config.filter_threshold,
                reference_ids,
            )
            return _denoise(
                model,
                input_ids,
                model_kwargs.get("attention_mask"),
                generation_config,
                strategy,
                blocks,
                logits_processor,
                stopping_criteria,
                generator,
                streamer,
            )

        return parent.generate(
            inputs, config, logits_processor, stopping_criteria, streamer=streamer, custom_generate=loop, **kwargs
        )


def _as_diffusion_config(values: dict[str, Any]) -> DiffusionGenerationConfig:
    # transformers drops fields it does not know from configs that are marked as made from a model's.
    config: Any = DiffusionGenerationConfig.from_dict(values | {FROM_MODEL_CONFIG: False})
    return config


def _schedule(config: DiffusionGenerationConfig, tokenizer: Any | None, vocab_size: int) -> FixedBlocks:
    if config.block_schedule is None:
        return FixedBlocks(config.block_length)
    if tokenizer is not None:
        return AdaBlock.from_tokenizer(tokenizer, block_length=config.block_length)
    schedule = AdaBlock(config.block_length)
    if max(schedule.delimiter_ids) >= vocab_size:
        raise ValueError(
            f"`block_schedule` must be an AdaBlock with `delimiter_ids` of this model, or come with a `tokenizer` (got "
            f"'adablock', whose default {tuple(schedule.delimiter_ids)} is not below the vocabulary's {vocab_size})"
        )
    return schedule


def _denoise(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    config: DiffusionGenerationConfig,
    strategy: UnmaskingStrategy,
    schedule: FixedBlocks,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generator: torch.Generator | None,
    streamer: BaseStreamer | None,
) -> DiffusionGenerationOutput | torch.Tensor:
    r"""
    The denoising loop.

    1. Check the options and lay out the canvas: the prompts, then mask tokens.
    2. While a row is unfinished, for all rows that are:
       a. Predict: one forward pass; tokens and confidences of each row's block.
       b. Choose: the strategy says which predictions become final; at least one in every row.
       c. Unmask them.
       d. Cut what lies behind the end of the text, if `end_of_text` says so.
       e. Stop: find the rows whose text is complete, and those that a user's criterion stops.
       f. Move on: rows whose block is done enter their next one; rows that have stopped leave the batch.
    3. Pad behind the end of each row and count tokens per forward pass.

    Called by `GenerationMixin.generate` after it has prepared its arguments. What it prepares for token-by-token
    decoding only (an empty cache, `logits_to_keep`, positions of the prompt) is left aside.
    """
    # 1. Options and canvas
    device = model.device
    input_ids = input_ids.to(device)
    batch_size, prompt_length = input_ids.shape
    max_new_tokens = config.max_length - prompt_length
    if attention_mask is not None:
        attention_mask = attention_mask.to(device)
        if not bool((attention_mask.diff(dim=-1) >= 0).all()) or not bool(attention_mask[:, -1].all()):
            raise ValueError("`attention_mask` must be left-padded: zeros, then ones, in every row (got another order)")
    if streamer is not None and batch_size > 1:
        raise ValueError(f"`streamer` must be None for more than one row (got {batch_size} rows)")
    attention = attention_implementation(model.config)
    # Flash attention takes queries to be the last columns of its mask; behind a cut or beside a draft some are hidden.
    unseen = "verify" if config.verify else f"end_of_text={config.end_of_text!r}"
    hides = config.verify or config.end_of_text in ("cut", "predicted")
    if config.block_cache is not None and not model.takes_block_cache:
        raise ValueError(f"`block_cache` must be None for a model that takes no cache (got {config.block_cache!r})")
    if config.block_cache is not None and hides and "flash" in attention:
        raise ValueError(f"`block_cache` must be None with {attention} and `{unseen}` (got {config.block_cache!r})")
    special_tokens = SpecialTokens.of(config, model.config, device)
    strategy = strategy.prepare(batch_size, schedule.widest(max_new_tokens), device)
    canvas = Canvas(
        input_ids,
        attention_mask,
        max_new_tokens,
        schedule,
        config.steps,
        special_tokens,
        generator,
        config.refresh_every,
    )
    options: dict[str, Any] = {
        "logits_processor": logits_processor,
        "do_sample": bool(config.do_sample),
        "generator": generator,
        "cfg_scale": config.cfg_scale,
        "predict_end_of_text": config.end_of_text == "predicted",
        "block_cache": config.block_cache,
        "needs": strategy.needs,
    }
    if config.verify:
        window = model.logits_shift + (max_new_tokens if config.block_cache == "prefix" else canvas.block_length)
        options |= {"max_draft_length": config.max_draft_length, "batch_size": batch_size, "window": window}
        denoiser: Denoiser = DraftingDenoiser(model, special_tokens, drafter=as_drafter(strategy), **options)
        strategy = LowConfidence()
    else:
        denoiser = Denoiser(model, special_tokens, rescore=strategy.rescore if strategy.rescores else None, **options)
    end_of_text = EndOfTextCriteria(config.end_of_text, special_tokens)
    # transformers adds criteria for what the canvas and `end_of_text` already settle.
    builtin = (EosTokenCriteria, MaxLengthCriteria)
    criteria = StoppingCriteriaList(each for each in stopping_criteria if not isinstance(each, builtin))

    # 2. Denoise
    while len(canvas.rows):
        # 2.a Predict
        prediction = denoiser(canvas)
        # 2.b Choose
        chosen = _choose(strategy, prediction)
        # 2.c Unmask
        canvas.unmask(prediction.tokens, chosen)
        # 2.d Cut
        if config.end_of_text in ("cut", "predicted"):
            trusted = chosen if config.end_of_text == "cut" else strategy.accept(prediction) & prediction.masked
            canvas.cut(end_of_text.cut_at(prediction, canvas.columns, trusted))
        # 2.e Stop
        # What lies before a block is unmasked and has no end, or the row would have left.
        text_end = end_of_text.text_end(canvas.block)
        ended = text_end <= canvas.block_length
        complete = canvas.exhausted | ended
        text_end = torch.where(ended, canvas.block_start + text_end, canvas.end)
        if criteria or streamer is not None:
            complete, text_end = _at_block_ends(canvas, criteria, streamer, complete, text_end)
        # 2.f Move on
        canvas.next_blocks()
        denoiser.keep(canvas.leave(complete, text_end))

    # 3. Pad and count
    if streamer is not None:
        streamer.end()
    length = int(canvas.ends.max())
    sequences = canvas.sequences[:, :length]
    if not config.return_dict_in_generate:
        return sequences
    answer = sequences[:, prompt_length:]
    is_end = torch.isin(answer, special_tokens.eos).long()
    behind = is_end.cumsum(dim=-1) > is_end
    in_text = torch.arange(answer.shape[1], device=device) < (canvas.ends - prompt_length)[:, None]
    return DiffusionGenerationOutput(
        sequences=sequences,
        nfe=canvas.nfe,
        tokens_per_forward=(in_text & ~behind).sum(dim=-1) / canvas.nfe,
        forward_passes=denoiser.forward_passes,
        unmasking_steps=canvas.unmasking_steps[:, : answer.shape[1]] if config.output_unmasking_steps else None,
        acceptance_length=1 + denoiser.verified / canvas.nfe if isinstance(denoiser, DraftingDenoiser) else None,
    )


def _choose(strategy: UnmaskingStrategy, prediction: BlockPrediction) -> torch.Tensor:
    """Asks the strategy; a row for which it chooses nothing gets its most confident masked position."""
    chosen = strategy(prediction)
    if chosen.dtype != torch.bool or chosen.shape != prediction.masked.shape:
        wanted, got = tuple(prediction.masked.shape), f"{chosen.dtype} of shape {tuple(chosen.shape)}"
        raise ValueError(f"`decoding` must return a bool tensor of shape {wanted} (got {got})")
    chosen = chosen & prediction.masked
    stuck = ~chosen.any(dim=-1)
    return chosen | most_confident(prediction.confidence, prediction.masked, stuck.long())


def _at_block_ends(
    canvas: Canvas,
    criteria: StoppingCriteriaList,
    streamer: BaseStreamer | None,
    complete: torch.Tensor,
    text_end: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Applies a user's criteria to, and streams, the rows that have just finished a block or their text."""
    rows = (complete | canvas.block_done).nonzero().squeeze(-1).tolist()
    complete, text_end = complete.clone(), text_end.clone()
    for row in rows:
        start, end = int(canvas.block_start[row]), int(torch.minimum(canvas.block_end, text_end)[row])
        stop = stopped_at(criteria, canvas.input_ids[row : row + 1], start, end)
        if stop is not None:
            complete[row], text_end[row], end = True, stop, stop
        if streamer is not None:
            streamer.put(canvas.tokens[row, start:end].cpu())
    return complete, text_end
