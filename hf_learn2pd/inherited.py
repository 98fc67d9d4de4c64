# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Which options of transformers' `GenerationConfig` mean something to a diffusion model, and which are refused."""

import functools
from typing import Any

from transformers import GenerationConfig

from .compatibility import default_generation_options

__all__ = ["INHERITED", "MEANINGLESS", "is_inherited", "is_neutral"]

# Kept. `use_cache`, which asks for a cache that grows token by token, changes no result; whether processors can be
# applied to several positions at once is decided where they are.
INHERITED = frozenset(
    {
        # length and end
        "max_length",
        "max_new_tokens",
        "max_time",
        "stop_strings",
        # sampling
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "top_h",
        "typical_p",
        "epsilon_cutoff",
        "eta_cutoff",
        # processors
        "repetition_penalty",
        "encoder_repetition_penalty",
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "renormalize_logits",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "remove_invalid_values",
        "exponential_decay_length_penalty",
        "suppress_tokens",
        "begin_suppress_tokens",
        "sequence_bias",
        "watermarking_config",
        # output
        "num_return_sequences",
        "return_dict_in_generate",
        # special tokens
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        # without effect on the result
        "use_cache",
        "compile_config",
        "disable_compile",
        # not options
        "transformers_version",
    }
)

# Refused unless left at a value that asks for nothing.
MEANINGLESS = frozenset(
    {
        # beam search and other modes of token-by-token decoding
        "num_beams",
        "num_beam_groups",
        "diversity_penalty",
        "early_stopping",
        "length_penalty",
        "constraints",
        "force_words_ids",
        "low_memory",
        "penalty_alpha",
        "dola_layers",
        "use_mtp",
        # a text is as long as its end of text says
        "min_length",
        "min_new_tokens",
        # caches that grow token by token
        "cache_implementation",
        "cache_config",
        "max_cache_len",
        "prefill_chunk_size",
        "continuous_batching_config",
        # guidance is `cfg_scale`
        "guidance_scale",
        # drafts are `verify`
        "is_assistant",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "assistant_confidence_threshold",
        "assistant_early_exit",
        "assistant_lookbehind",
        "assistant_ensemble_weight",
        "target_lookbehind",
        "prompt_lookup_num_tokens",
        "max_matching_ngram_size",
        "speculation_type",
        # there is one prediction per position and step, of which most are thrown away
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "output_logits",
        # prompts are taken as they are, and there is no decoder beside the model
        "token_healing",
        "decoder_start_token_id",
    }
)


@functools.cache
def _plain() -> tuple[frozenset[str], dict[str, Any]]:
    return frozenset(vars(GenerationConfig())), default_generation_options()


def is_inherited(name: str) -> bool:
    """Whether `name` is a field of transformers' `GenerationConfig`, perhaps one newer than the tables."""
    return name in INHERITED or name in MEANINGLESS or name in _plain()[0]


def is_neutral(name: str, value: Any) -> bool:
    """Whether an option asks for nothing: None, False, its default in transformers, or a guidance of 1."""
    if value is None or value is False:
        return True
    neutral = {"guidance_scale": 1, "penalty_alpha": 0}.get(name, _plain()[1].get(name))
    return neutral is not None and not isinstance(value, bool) and bool(value == neutral)
