# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The table of options: name, type, default, check, meaning. Validation and documentation are made from it."""

import json
import os
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

from transformers import CompileConfig

from .blocks import check_schedule
from .checks import check_bool, check_integer, is_fraction, is_number, is_token_id
from .unmasking.resolve import check_decoding

__all__ = ["OPTIONS", "Option", "documented"]


class Option(NamedTuple):
    """One row of the table of options."""

    name: str
    type: str
    default: Any
    check: Callable[[str, Any], None]
    meaning: str


def _holds(condition: Callable[[Any], bool], expected: str) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if not condition(value):
            raise ValueError(f"`{name}` must be {expected} (got {value!r})")

    return check


def _one_of(*values: str) -> Callable[[str, Any], None]:
    return _holds(lambda value: isinstance(value, str) and value in values, f"one of {', '.join(values)} or None")


def _check_decoding(name: str, value: Any) -> None:
    if not (isinstance(value, str) and value == "pearl"):
        check_decoding(name, value)


def _is_source(value: Any) -> bool:
    if not isinstance(value, str | os.PathLike):
        return False
    repository, colon, subfolder = str(value).partition(":")
    return bool(repository) and (not colon or bool(subfolder) or os.path.isdir(value))


def _are_token_ids(value: Any) -> bool:
    return is_token_id(value) or (isinstance(value, list | tuple) and len(value) > 0 and all(map(is_token_id, value)))


# What `CompileConfig` hands on to `torch.compile`, which knows what values it takes of these types.
_COMPILE_ARGUMENTS = {
    "fullgraph": (lambda value: isinstance(value, bool), "a bool"),
    "dynamic": (lambda value: value is None or isinstance(value, bool), "a bool or None"),
    "backend": (lambda value: isinstance(value, str) or callable(value), "a name or a function"),
    "mode": (lambda value: value is None or isinstance(value, str), "a name or None"),
    "options": (lambda value: value is None or isinstance(value, dict), "a dict or None"),
}


def _check_compile_config(name: str, value: Any) -> None:
    if not isinstance(value, CompileConfig):
        raise ValueError(f"`{name}` must be a CompileConfig (got {value!r})")
    for key, given in vars(value).items():
        # transformers compiles on some devices only unless this is set; here what is asked for is done on all.
        if key == "_compile_all_devices":
            continue
        if key not in _COMPILE_ARGUMENTS:
            raise ValueError(f"`{name}` must hold {', '.join(_COMPILE_ARGUMENTS)} only (got {key}={given!r})")
        holds, expected = _COMPILE_ARGUMENTS[key]
        if not holds(given):
            raise ValueError(f"`{name}` must have {expected} as `{key}` (got {given!r})")


def _integer(least: int) -> Callable[[str, Any], None]:
    return lambda name, value: check_integer(name, value, least)


_positive = _integer(1)
_token_id = _holds(is_token_id, "a token id")

OPTIONS = {
    option.name: option
    for option in (
        Option(
            "decoding",
            "`str`, `dict[str, Any]` or [`UnmaskingStrategy`]",
            "low_confidence",
            _check_decoding,
            'Unmasking strategy: a key of `UNMASKING_STRATEGIES`, a dict such as `{"name": "threshold", "threshold": '
            "0.5}`, or an instance, which is saved as such a dict.",
        ),
        Option(
            "unmasking_filter",
            "`str`",
            None,
            _holds(_is_source, "a Hub id or a directory, either with `:subfolder` behind it"),
            'Filter for `decoding="learn2pd"`: a Hub id or a directory, either with `:subfolder` behind it. Defaults '
            "to the folder `unmasking_filter` of the model's own repository.",
        ),
        Option(
            "filter_threshold",
            "`float`",
            None,
            _holds(is_fraction, "between 0 and 1"),
            "Filter probability above which a position is unmasked. Defaults to the filter's own threshold.",
        ),
        Option(
            "max_new_tokens",
            "`int`",
            256,
            _positive,
            "Positions of the answer region. Need not be a multiple of `block_length`. With `infill` there is none "
            "unless the call asks for it.",
        ),
        Option(
            "expand",
            "`bool`",
            False,
            check_bool,
            "Whether an answer has as many positions as it needs: before it is denoised it begins with 64 and grows by "
            "8 until the model is sure that it ends in the last 32, up to `max_new_tokens`. Each look is a forward "
            "pass. After DAEDAL, https://huggingface.co/papers/2508.00819.",
        ),
        Option(
            "infill",
            "`bool`",
            False,
            check_bool,
            "Whether the mask tokens inside of prompts are denoised, each where it stands, in blocks that begin at a "
            "row's first mask. What is given stays as it is: an end-of-text ends a text behind the prompt only, where "
            "the call asks for `max_new_tokens`. `steps` are spread over the masks of each row.",
        ),
        Option(
            "block_length",
            "`int`",
            32,
            _positive,
            "Positions that are denoised together; blocks follow each other from left to right. A block-causal model's "
            "default is the `block_length` of its config.",
        ),
        Option(
            "steps",
            "`int`",
            None,
            _positive,
            "Denoising steps of the stock schedule over the whole answer, for `low_confidence`, `random` and the top-k "
            "part of `learn2pd`. Defaults to one token per step.",
        ),
        Option(
            "schedule_eps",
            "`float`",
            None,
            _holds(lambda value: is_number(value) and 0 < value < 1, "a number above 0 and below 1"),
            "Smallest time of Dream's schedule, its own is 1e-3: the share of the masked tokens that a step unmasks "
            "grows from step to step. Wants `steps` and one block as long as the answer. By default every step "
            "unmasks as many.",
        ),
        Option(
            "block_schedule",
            "`str`, `dict[str, Any]` or [`FixedBlocks`]",
            None,
            check_schedule,
            'Where blocks end: `"adablock"` (see [`AdaBlock`]), `"sliding"` (see [`SlidingBlocks`]), a dict such as '
            '`{"name": "adablock", "threshold": 0.5}`, an instance, which is saved as such a dict, or None, all of '
            "`block_length`.",
        ),
        Option(
            "verify",
            "`bool`",
            False,
            check_bool,
            "Whether what `decoding` chooses is a draft only: the text is then that of the stock loop, in fewer "
            'forward passes in sequence (see [`Drafts`]). `decoding="pearl"` is short for drafts in the '
            "order of confidence, or of what the filter accepts if one is given.",
        ),
        Option(
            "max_draft_length",
            "`int`",
            8,
            _positive,
            "States of a row in one forward pass with `verify`.",
        ),
        Option(
            "edit_threshold",
            "`float`",
            None,
            _holds(is_fraction, "between 0 and 1"),
            "Confidence above which another token replaces one of the current block that is unmasked already, for "
            'models trained to edit: LLaDA2.1, published with 0.5 beside `decoding={"name": "threshold", "threshold": '
            "0.7}`, and 0 beside 0.5 for speed. What is unmasked is final if None. Source: "
            "https://huggingface.co/papers/2602.08676.",
        ),
        Option(
            "max_post_steps",
            "`int`",
            16,
            _integer(0),
            "Forward passes that a block gets at most when nothing in it is masked any more, with `edit_threshold`; it "
            "is done with the first that replaces nothing.",
        ),
        Option(
            "block_cache",
            "`str`",
            None,
            _holds(
                lambda value: isinstance(value, str) and value in ("prefix", "dual", "local", "sliding"),
                "prefix, dual, local, sliding or None",
            ),
            'Which keys and values are kept between passes: `"prefix"`, those before the block; `"dual"`, those '
            'right of it as well, each until the next block begins; `"local"`, all but those of the block before, '
            'which are computed once more when a block begins; `"sliding"`, all but those of 24 columns left of the '
            "block, until a block's worth of tokens has been unmasked; None to compute all in every pass. Much faster, "
            "but not exact: what is kept is as old as the row's last refresh. Models that are block-causal always keep "
            "keys and values, which is exact there, and refuse this option. `generate` also takes a [`PassPolicy`].",
        ),
        Option(
            "suffix_length",
            "`int`",
            None,
            _integer(0),
            "Masked columns right of the block that are in sight, beside the last one of the canvas, which tells the "
            "model how much room it has; all if None. Passes are that much smaller, and no longer grow with "
            "`max_new_tokens`. Source: https://huggingface.co/papers/2601.17917.",
        ),
        Option(
            "refresh_every",
            "`int`",
            None,
            _positive,
            "Denoising steps after which what `block_cache` keeps is computed anew; only at the start of a block, "
            'with `"local"` never, if None.',
        ),
        Option(
            "end_of_text",
            "`str`",
            "accepted",
            _one_of("accepted", "cut", "predicted"),
            'What ends a row: `"accepted"`, whose text equals the one without any stop; `"cut"` or `"predicted"`, '
            "which save more and change the context (see [`EndOfTextCriteria`]); or None, which stops nowhere. Flash "
            "attention refuses the two that cut together with a `block_cache`.",
        ),
        Option("logits_eos_inf", "`bool`", False, check_bool, "LLaDA's option never to predict end-of-text."),
        Option(
            "confidence_eos_eot_inf",
            "`bool`",
            False,
            check_bool,
            "LLaDA's option to give end-of-text and end-of-turn the lowest confidence, so that they are unmasked last.",
        ),
        Option(
            "cfg_scale",
            "`float`",
            0.0,
            _holds(lambda value: is_number(value) and value >= 0, "a number of at least 0"),
            "Strength of classifier-free guidance, which doubles the batch; 0 for none.",
        ),
        Option(
            "compile_config",
            "`CompileConfig`",
            None,
            _check_compile_config,
            "Arguments of `torch.compile`, with which the decoder is then compiled, on any device. Passes are padded "
            "to few sizes, which are dynamic dimensions unless `dynamic=False`; with the default mode, "
            '`"reduce-overhead"`, CUDA graphs replay them on a GPU. Attention must be sdpa or eager. What a '
            "`block_cache` is kept in stays allocated for the next call: at most four graphs serve all sizes, two for "
            "batches of one row and two for larger ones, and no prompt makes a new one. The first call takes the time "
            "to compile; neither texts nor counts change. `model.compile()` does the same for every call, while "
            "`torch.compile(model)` does not reach `generate`. Mixtures of experts want "
            '`experts_implementation="batched_mm"`, without which their experts take a pass apart. '
            "`disable_compile=True` switches it off.",
        ),
        Option("mask_token_id", "`int`", None, _token_id, "Id of the mask token. Defaults to the model config's."),
        Option(
            "eos_token_id",
            "`int` or `list[int]`",
            None,
            _holds(_are_token_ids, "a token id or a list of them"),
            "Ids that end a text. Defaults to the model config's.",
        ),
        Option("pad_token_id", "`int`", None, _token_id, "Id that fills up rows behind their end."),
        Option(
            "output_unmasking_steps",
            "`bool`",
            False,
            check_bool,
            "Whether to return the denoising step in which every token was unmasked.",
        ),
        Option(
            "output_history",
            "`bool`",
            False,
            check_bool,
            "Whether to record what every denoising step computed and predicted, for "
            "[`DiffusionGenerationOutput.report`].",
        ),
    )
}


def documented(option: Option) -> str:
    """Writes a row as an entry of a docstring."""
    default = "" if option.default is None else f", defaults to `{json.dumps(option.default)}`"
    head = f"    {option.name} ({option.type}, *optional*{default.replace('false', 'False')}):"
    return f"{head}\n" + textwrap.fill(option.meaning, 120, initial_indent=" " * 8, subsequent_indent=" " * 8)
