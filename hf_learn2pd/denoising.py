# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""One call of `generate`, from prompts to what it returns: the objects that the denoising loop asks, and the loop."""

from typing import Any

import torch
from transformers import CompileConfig, LogitsProcessorList, StoppingCriteriaList

from .blocks import FixedBlocks
from .canvas import Canvas
from .compiling import Compiled
from .configuration import DiffusionGenerationConfig
from .edits import Edits
from .expanding import expand
from .history import History
from .infilling import MaskedSpans
from .inputs import Finite, check_attention_mask, check_length, check_unmasked
from .loop import Watcher, denoise
from .outputs import DiffusionGenerationOutput
from .passes import Drafts, PassPolicy, Setting, as_drafter, resolve_policy
from .prediction import Memory
from .processors import Processors
from .reader import Reader
from .special_tokens import SpecialTokens
from .stopping import EndOfTextCriteria, Stop
from .streaming import RowStreamers, Stream
from .unmasking import LowConfidence, UnmaskingStrategy
from .unmasking.resolve import check_states
from .watchers import BlockCriteria

__all__ = ["denoise_prompts"]


def denoise_prompts(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    config: DiffusionGenerationConfig,
    strategy: UnmaskingStrategy,
    schedule: FixedBlocks,
    block_cache: PassPolicy | None,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generator: torch.Generator | None,
    streamers: RowStreamers | None,
    known: int | None,
    compile_config: CompileConfig | None,
) -> DiffusionGenerationOutput | torch.Tensor:
    r"""
    Prepares the objects that the denoising loop asks, runs it, and gathers what it has left.

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
        check_attention_mask(attention_mask, input_ids)
    check_length(input_ids, attention_mask, max_new_tokens, model.config)
    if streamers is not None and config.infill:
        raise ValueError(f"`streamer` must be None with `infill` (got {type(streamers.each[0]).__name__})")
    edits = Edits.of(config, model)
    policy = resolve_policy(block_cache or config.block_cache, config, model, schedule)
    special_tokens = SpecialTokens.of(config, model.config, device, known)
    schedule.check(strategy, config.steps, bool(config.verify))
    check_states(strategy.state_size, model)
    widest, spans = schedule.widest(max_new_tokens), None
    if config.infill:
        widest = schedule.block_length
        spans = MaskedSpans.of(input_ids, attention_mask, max_new_tokens, widest, special_tokens.mask, model)
    else:
        check_unmasked(input_ids, attention_mask, special_tokens.mask)
    strategy = strategy.prepare(batch_size, widest, device)
    canvas = Canvas(
        input_ids,
        attention_mask,
        max_new_tokens,
        widest,
        config.steps,
        special_tokens,
        generator,
        config.suffix_length,
        model.block_grid(config.block_length),
        config.schedule_eps,
        schedule.block_length if schedule.slides else None,
        None if edits is None else config.max_post_steps,
        spans,
    )
    processors = Processors(
        logits_processor,
        input_ids,
        attention_mask,
        special_tokens,
        max_new_tokens,
        model.config.vocab_size,
        "verify" if config.verify else None if edits is None else "edit_threshold",
    )
    keeps_suffix = policy.keeps_suffix
    rescore = strategy.rescore if strategy.rescores else None
    needs = strategy.needs
    if config.verify:
        policy, strategy = Drafts(policy, as_drafter(strategy), config.max_draft_length), LowConfidence()
    copies = 2 if config.cfg_scale else 1
    compiled = Compiled.of(model, copies * batch_size, compile_config)
    compiled_cache = None if compiled is None else compiled.cache
    history = History(canvas) if config.return_dict_in_generate and config.output_history else None
    reader = Reader(
        model,
        special_tokens,
        Memory(batch_size),
        processors=processors,
        do_sample=bool(config.do_sample),
        generator=generator,
        cfg_scale=config.cfg_scale,
        scan=config.end_of_text == "predicted",
        needs=needs,
        rescore=rescore,
        compiled=compiled,
        history=history,
    )
    if config.expand:
        expand(canvas, reader, special_tokens.eos, model.logits_shift)
    policy = policy.begin(canvas, Setting(model.config, model.logits_shift, copies, compiled_cache))
    stop = Stop(EndOfTextCriteria(config.end_of_text, special_tokens), strategy, keeps_suffix)
    finite, criteria = Finite(device), BlockCriteria(stopping_criteria, canvas, special_tokens)
    watchers: list[Watcher] = [finite, criteria]
    stream = None if streamers is None else Stream(streamers, canvas, criteria)
    if stream is not None:
        watchers.append(stream)
    if history is not None:
        watchers.append(history)

    # 2. Denoise
    denoise(canvas, policy, reader, strategy, schedule, stop, watchers, edits)

    # 3. Pad and count
    finite.check()
    if compiled is not None:
        compiled.keep()
    criteria.shorten(canvas)
    if stream is not None:
        stream.finish(canvas)
    if history is not None:
        history.finish(canvas)
    if not config.return_dict_in_generate:
        return canvas.sequences[:, : int(canvas.ends.max())]
    verified = policy.verified if isinstance(policy, Drafts) else None
    return DiffusionGenerationOutput.of(
        canvas, special_tokens, reader.forward_passes, bool(config.output_unmasking_steps), verified, history
    )
