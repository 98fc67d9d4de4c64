# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Which options of transformers' `GenerationConfig` mean something to a diffusion model, and which are refused."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from transformers import GenerationConfig

from .checks import check_bool, check_fraction, check_integer, check_number, is_number, is_token_id
from .compatibility import default_generation_options

__all__ = ["INHERITED", "MEANINGLESS", "check_inherited", "is_inherited", "is_neutral"]

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


def _are_ids(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(is_token_id, value))


def _are_words(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_are_ids, value)) and all(value)


def _is_bias(value: Any) -> bool:
    if isinstance(value, list | tuple):
        pairs = all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value)
        return pairs and _is_bias({tuple(ids) if isinstance(ids, list) else ids: bias for ids, bias in value})
    # Transformers forbids a sequence by a bias of minus infinity.
    return isinstance(value, dict) and all(
        _are_words([word]) and (is_number(bias) or bias == float("-inf")) for word, bias in value.items()
    )


def _is_decay(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and is_token_id(value[0]) and is_number(value[1])


def _are_strings(value: Any) -> bool:
    strings = [value] if isinstance(value, str) else value
    return (
        isinstance(strings, list | tuple)
        and len(strings) > 0
        and all(isinstance(each, str) and each for each in strings)
    )


def _holds(names: Iterable[str], condition: Callable[[Any], bool], expected: str) -> dict[str, Any]:
    def check(name: str, value: Any) -> None:
        if not condition(value):
            raise ValueError(f"`{name}` must be {expected} (got {value!r})")

    return dict.fromkeys(names, check)


# Types and ranges of what is kept and stands in no table of this package: transformers looks at some when it has made
# processors of them, at others never. None is "not set".
_CHECKS: dict[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(
        (
            "do_sample",
            "renormalize_logits",
            "remove_invalid_values",
            "return_dict_in_generate",
            "use_cache",
            "disable_compile",
        ),
        check_bool,
    ),
    **dict.fromkeys(("top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"), check_fraction),
    **dict.fromkeys(("temperature", "max_time"), lambda name, value: check_number(name, value, least=0)),
    **dict.fromkeys(
        ("repetition_penalty", "encoder_repetition_penalty"), lambda name, value: check_number(name, value, above=0)
    ),
    **dict.fromkeys(
        ("top_k", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"),
        lambda name, value: check_integer(name, value, 0),
    ),
    **dict.fromkeys(("max_length", "num_return_sequences"), lambda name, value: check_integer(name, value, 1)),
    **_holds(("bos_token_id", "forced_bos_token_id"), is_token_id, "a token id"),
    **_holds(
        ("forced_eos_token_id",), lambda value: is_token_id(value) or _are_ids(value), "a token id or a list of them"
    ),
    **_holds(("suppress_tokens", "begin_suppress_tokens"), _are_ids, "a list of token ids"),
    **_holds(("bad_words_ids",), _are_words, "a list of lists of token ids, none of them empty"),
    **_holds(("sequence_bias",), _is_bias, "a dict of tuples of token ids to numbers, or a list of pairs of them"),
    **_holds(("exponential_decay_length_penalty",), _is_decay, "a start, an integer of at least 0, and a factor"),
    **_holds(("stop_strings",), _are_strings, "a string or a list of strings, none of them empty"),
    **_holds(
        ("watermarking_config",),
        lambda value: isinstance(value, dict) or hasattr(value, "construct_processor"),
        "a WatermarkingConfig",
    ),
}


def check_inherited(name: str, value: Any) -> None:
    """Raises a `ValueError` that names `name` unless `value` is None or can be a value of that inherited option."""
    if value is not None and name in _CHECKS:
        _CHECKS[name](name, value)


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
