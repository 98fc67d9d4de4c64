# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""`model.generate(decoding=...)` for diffusion LLMs: what transformers' `generate` is told, and what it calls."""

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import (
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedConfig,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from .blocks import BlockGrid, FixedBlocks, resolve_schedule
from .configuration import DiffusionGenerationConfig
from .denoising import denoise_prompts
from .filter import UnmaskingFilter
from .inputs import check_prompts, split_keywords
from .outputs import DiffusionGenerationOutput
from .passes import PassPolicy
from .signature import typed
from .streaming import RowStreamers
from .unmasking import UnmaskingStrategy, resolve_strategy
from .unmasking.resolve import strategy_name
from .watchers import StopStrings

__all__ = ["DiffusionGenerationMixin", "DiffusionGenerationOutput"]


class DiffusionGenerationMixin(GenerationMixin):
    """
    Gives a bidirectional model with an LM head a `generate` that denoises instead of continuing.

    Input preparation, the generation config, logits processors and stopping criteria are those of transformers; the
    model's `config` or `generation_config` has to name a `mask_token_id`.
    """

    generation_config_class = DiffusionGenerationConfig
    generation_config: GenerationConfig
    config: PreTrainedConfig
    # Columns to the left at which a token is predicted; 1 for models made from autoregressive ones, such as Dream.
    logits_shift = 0
    takes_block_cache = True
    # Whether a block sees only what is before it and itself, as the model was trained.
    block_causal = False
    # Whether the model was trained to replace tokens that are unmasked already.
    trained_to_edit = False
    # Options of AdaBlock that were published for this family; LLaDA's are the defaults.
    adablock: ClassVar[dict[str, Any]] = {}
    # Whether the decoder gives hidden states, which a filter may read; otherwise it gives logits.
    gives_hidden_states = True
    # Whether attention takes a mask with a row for each query.
    takes_query_mask = True

    def trained_options(self) -> dict[str, Any]:
        """Defaults of options that the model's training has set: the blocks of a block-causal one."""
        length = getattr(self.config, "block_length", None) if self.block_causal else None
        return {} if length is None else {"block_length": length}

    def block_grid(self, block_length: int) -> BlockGrid | None:
        """
        Says which blocks attention sees.

        Args:
            block_length (`int`): Positions that are denoised together.

        Returns:
            [`BlockGrid`], *optional*: None if all blocks see each other.

        Raises:
            ValueError: If the model was not trained for such blocks.
        """
        return BlockGrid(block_length, block_length, self.logits_shift) if self.block_causal else None

    def denoising_modules(self) -> tuple[Any, Any]:
        """The decoder, which gives hidden states, and the head that makes logits of them."""
        model: Any = self
        return model.get_decoder(), model.get_output_embeddings()

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """
        Compiles `forward`, as any module does, and beside it the decoder for its passes in `generate`.

        What `torch.compile(model)` returns has the `generate` of the model that it wraps, which is not compiled.

        Args:
            args, kwargs: Those of `torch.compile`; see `compile_config` in [`DiffusionGenerationConfig`] for what is
                done to passes. Their sizes are marked as dynamic.
        """
        parent: Any = super()
        parent.compile(*args, **kwargs)
        decoder, _ = self.denoising_modules()
        if decoder is not self and isinstance(decoder, nn.Module):
            decoder.compile(*args, **kwargs)

    def adjust_generation_fn(self, *args: Any, **kwargs: Any) -> None:
        """Turns the generation config that `from_pretrained` has loaded into a [`DiffusionGenerationConfig`]."""
        parent: Any = super()
        parent.adjust_generation_fn(*args, **kwargs)
        if not isinstance(self.generation_config, DiffusionGenerationConfig):
            self.generation_config = DiffusionGenerationConfig.from_other(self.generation_config.to_dict())

    @typed
    def generate(  # type: ignore[override, unused-ignore]  # transformers 5.17 has types here, 5.24 has none
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsProcessorList | None = None,
        stopping_criteria: StoppingCriteriaList | None = None,
        *,
        decoding: str | dict[str, Any] | UnmaskingStrategy | None = None,
        unmasking_filter: str | os.PathLike[str] | UnmaskingFilter | None = None,
        reference_ids: torch.Tensor | None = None,
        block_schedule: str | dict[str, Any] | FixedBlocks | None = None,
        block_cache: str | PassPolicy | None = None,
        generator: torch.Generator | None = None,
        streamer: BaseStreamer | Sequence[BaseStreamer] | None = None,
        **kwargs: Any,
    ) -> DiffusionGenerationOutput | torch.Tensor:
        r"""
        Writes an answer behind each prompt by denoising a canvas of mask tokens, or with `infill` those inside of it.

        Args:
            inputs (`torch.LongTensor` of shape `(batch_size, prompt_length)`):
                Prompts, left-padded with an `attention_mask` if they differ in length; also as `input_ids`.
            generation_config ([`GenerationConfig`], *optional*):
                Options, see [`DiffusionGenerationConfig`]; each of them may also be given as a keyword.
            logits_processor (`LogitsProcessorList`, *optional*):
                Applied to every position of a block as if it were a row.
            stopping_criteria (`StoppingCriteriaList`, *optional*):
                Honoured when a block is done, as if its tokens had been written one after the other.
            decoding (`str`, `dict[str, Any]` or [`UnmaskingStrategy`], *optional*):
                A name in `UNMASKING_STRATEGIES`, a dict of it as `"name"` and options, or an instance.
            unmasking_filter (`str`, `os.PathLike` or [`UnmaskingFilter`], *optional*):
                The filter of `decoding="learn2pd"`.
            reference_ids (`torch.LongTensor` of shape `(batch_size, answer_length)`, *optional*):
                The known output for `decoding="oracle"`.
            block_schedule (`str`, `dict[str, Any]` or [`FixedBlocks`], *optional*):
                Where blocks end: `"adablock"`, `"sliding"`, a dict of it as `"name"` and options, or an instance.
            block_cache (`str` or [`PassPolicy`], *optional*):
                Which keys and values are kept: `"prefix"`, `"dual"`, `"local"`, `"sliding"`, or an instance.
            generator (`torch.Generator`, *optional*):
                Source of randomness for sampling and random orders, on the model's device.
            streamer (`BaseStreamer` or `list[BaseStreamer]`, *optional*):
                Receives the tokens of each block when it is done and, if it has `put_draft` as `TextDiffusionStreamer`
                of transformers does, a draft of the block in every denoising step; a list of one for each row.
            kwargs:
                `attention_mask`, and a `tokenizer` for `stop_strings` and for the delimiters of
                `block_schedule="adablock"`; with it, ids beyond it, which only pad the model's embedding, are never
                predicted. Options of transformers' [`GenerationConfig`], and those that [`DiffusionGenerationConfig`]
                explains: `filter_threshold`, `max_new_tokens`, `expand`, `infill`, `block_length`, `steps`,
                `schedule_eps`, `verify`, `max_draft_length`, `edit_threshold`, `max_post_steps`, `suffix_length`,
                `refresh_every`, `end_of_text`, `logits_eos_inf`, `confidence_eos_eot_inf`, `cfg_scale`,
                `compile_config`, `mask_token_id`, `eos_token_id`, `pad_token_id`, `output_unmasking_steps`,
                `output_history`.

        Returns:
            [`DiffusionGenerationOutput`] with `return_dict_in_generate=True`, otherwise its `sequences`.

        Raises:
            ValueError: Before the first forward pass, if an option is unknown, of a wrong type or out of range.
        """
        parent: Any = super()
        if kwargs.get("custom_generate") is not None:
            own: dict[str, Any] = {"decoding": decoding, "unmasking_filter": unmasking_filter, "generator": generator}
            own |= {"reference_ids": reference_ids, "block_schedule": block_schedule, "block_cache": block_cache}
            kwargs |= {name: value for name, value in own.items() if value is not None}
            return parent.generate(  # type: ignore[no-any-return]
                inputs, generation_config, logits_processor, stopping_criteria, streamer=streamer, **kwargs
            )
        if not isinstance(generation_config, GenerationConfig | None):
            raise ValueError(f"`generation_config` must be a GenerationConfig (got {generation_config!r})")
        streamers = None if streamer is None else RowStreamers(streamer)
        policy = block_cache if isinstance(block_cache, PassPolicy) else None
        if policy is None and block_cache is not None:
            kwargs["block_cache"] = block_cache
        config_keywords, inputs_by_name = split_keywords(kwargs)
        prompt = inputs if inputs is not None else inputs_by_name.get("input_ids")
        config_keywords |= {"decoding": decoding, "block_schedule": block_schedule}
        if not isinstance(unmasking_filter, UnmaskingFilter):
            config_keywords["unmasking_filter"] = unmasking_filter
        config = DiffusionGenerationConfig.merged(
            self.generation_config, generation_config, config_keywords, self.trained_options()
        )
        # None in a config means "not set", but as `end_of_text` it is also a choice, which transformers would lose.
        end_of_text = config.end_of_text
        decoding = config.decoding or "low_confidence"
        if decoding == "pearl":
            decoding, config.verify = "low_confidence" if unmasking_filter is None else "learn2pd", True
        for name, given, taker in (
            ("unmasking_filter", unmasking_filter, "learn2pd"),
            ("filter_threshold", kwargs.get("filter_threshold"), "learn2pd"),
            ("reference_ids", reference_ids, "oracle"),
        ):
            if given is not None and strategy_name(decoding) != taker:
                raise ValueError(f"`{name}` must only be given with `decoding={taker!r}` (got decoding={decoding!r})")
        schedule = config.block_schedule
        if self.block_causal and schedule is not None:
            raise ValueError(
                f"`block_schedule` must be None for a block-causal model, whose blocks are all alike (got {schedule!r})"
            )
        # The objects stay here; what transformers copies and merges is plain.
        compile_config = None if config.disable_compile else config.compile_config
        config.decoding = config.block_schedule = config.compile_config = None
        if config.do_sample and config.top_k is None:
            # transformers' default would be 50.
            config.top_k = 0
        # A cache that grows token by token would serve nothing here.
        config.use_cache = False
        if prompt is not None:
            check_prompts(prompt, inputs_by_name.get("attention_mask"), self.config.vocab_size)
            if config.max_length is not None and config.max_new_tokens is None:
                config.max_new_tokens, config.max_length = config.max_length - prompt.shape[-1], None
        # transformers knows no text without room for a token.
        only_fills = bool(config.infill) and not config.max_new_tokens
        if only_fills:
            config.max_new_tokens = 1
        masked = inputs_by_name.get("attention_mask") is not None
        tokenizer = inputs_by_name.pop("tokenizer", None)
        if config.stop_strings is not None and tokenizer is not None:
            # transformers does not hand the tokenizer on to a custom loop, so the criterion is made here.
            stopping_criteria = StoppingCriteriaList(stopping_criteria or [])
            stopping_criteria.append(StopStrings(tokenizer, config.stop_strings))
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
            generation_config.max_length -= only_fills
            attention_mask = model_kwargs.get("attention_mask")
            if attention_mask is not None and not masked:
                # transformers takes all padding ids for padding; those inside of a prompt are text.
                attention_mask = attention_mask.cummax(dim=-1).values
            generation_config.validate(user_set_attributes=set())
            blocks = resolve_schedule(
                schedule, generation_config.block_length, tokenizer, model.config.vocab_size, model.adablock
            )
            strategy = resolve_strategy(
                decoding,
                unmasking_filter or generation_config.unmasking_filter or f"{model.name_or_path}:unmasking_filter",
                generation_config.filter_threshold,
                reference_ids,
            )
            return denoise_prompts(
                model,
                input_ids,
                attention_mask,
                generation_config,
                strategy,
                blocks,
                policy,
                logits_processor,
                stopping_criteria,
                generator,
                streamers,
                None if tokenizer is None else len(tokenizer),
                compile_config,
            )

        return parent.generate(  # type: ignore[no-any-return]
            inputs,
            config,
            logits_processor,
            stopping_criteria,
            streamer=streamers,
            custom_generate=loop,
            **inputs_by_name,
        )

    def generate_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Raises a `ValueError`: transformers' continuous batching decodes token by token, with a causal cache."""
        raise ValueError("`generate_batch` must be `generate` for a diffusion model (got a call)")

    # The rest of transformers' continuous batching.
    init_continuous_batching = continuous_batching_context_manager = generate_batch
