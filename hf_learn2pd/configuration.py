# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Every option of a denoising `generate` call: its meaning, its default and its check."""

from collections.abc import Callable
from typing import Any

from transformers import GenerationConfig, PreTrainedConfig

from .compatibility import default_generation_options

__all__ = ["DiffusionGenerationConfig"]

_DEFAULTS: dict[str, Any] = {
    "decoding": "low_confidence",
    "max_new_tokens": 256,
    "block_length": 32,
    "end_of_text": "accepted",
    "logits_eos_inf": False,
    "confidence_eos_eot_inf": False,
    "cfg_scale": 0.0,
    "verify": False,
    "max_draft_length": 8,
    "output_unmasking_steps": False,
}


class DiffusionGenerationConfig(GenerationConfig):
    r"""
    Options of [`DiffusionGenerationMixin.generate`], stored in `generation_config.json` and loaded with the model.

    Options of [`GenerationConfig`] keep their meaning: `do_sample`, `temperature`, `top_p`, `top_k` (no top-k unless
    asked for), `repetition_penalty`, `bad_words_ids`, `stop_strings`, `max_time`, `num_return_sequences`,
    `return_dict_in_generate`. Options left at None take the model's value, then the default given here.

    Args:
        decoding (`str`, *optional*, defaults to `"low_confidence"`):
            Name of the unmasking strategy, a key of `UNMASKING_STRATEGIES`; `generate` also takes an instance.
        unmasking_filter (`str`, *optional*):
            Filter for `decoding="learn2pd"`: a Hub id or a directory, either with `:subfolder` behind it. Defaults to
            the folder `unmasking_filter` of the model's own repository.
        filter_threshold (`float`, *optional*):
            Filter probability above which a position is unmasked. Defaults to the filter's own threshold.
        max_new_tokens (`int`, *optional*, defaults to 256):
            Positions of the answer region. Need not be a multiple of `block_length`.
        block_length (`int`, *optional*, defaults to 32):
            Positions that are denoised together; blocks follow each other from left to right.
        steps (`int`, *optional*):
            Denoising steps of the stock schedule over the whole answer, for `low_confidence`, `random` and the top-k
            part of `learn2pd`. Defaults to one token per step.
        block_schedule (`str`, *optional*):
            Where blocks end: `"adablock"` (see [`AdaBlock`]) or None, all of `block_length`; `generate` also takes an
            instance.
        verify (`bool`, *optional*, defaults to `False`):
            Whether what `decoding` chooses is a draft only: the text is then that of the stock loop, in fewer
            forward passes in sequence (see [`DraftingDenoiser`]). `decoding="pearl"` is short for drafts in the order
            of confidence, or of what the filter accepts if one is given.
        max_draft_length (`int`, *optional*, defaults to 8):
            States of a row in one forward pass with `verify`.
        block_cache (`str`, *optional*):
            Which keys and values are kept between the steps of a block: `"prefix"`, those before it; `"dual"`, those
            behind it as well (see [`BlockCache`]); None to compute all in every step. Much faster, but not exact.
        refresh_every (`int`, *optional*):
            Denoising steps in a block after which `block_cache` is computed anew; only at the start of a block if None.
        end_of_text (`str`, *optional*, defaults to `"accepted"`):
            What ends a row: `"accepted"`, `"cut"`, `"predicted"` (see [`EndOfTextCriteria`]) or None.
        logits_eos_inf (`bool`, *optional*, defaults to `False`):
            LLaDA's option never to predict end-of-text.
        confidence_eos_eot_inf (`bool`, *optional*, defaults to `False`):
            LLaDA's option to give end-of-text and end-of-turn the lowest confidence, so that they are unmasked last.
        cfg_scale (`float`, *optional*, defaults to 0.0):
            Strength of classifier-free guidance, which doubles the batch; 0 for none.
        mask_token_id (`int`, *optional*):
            Id of the mask token. Defaults to the model config's.
        output_unmasking_steps (`bool`, *optional*, defaults to `False`):
            Whether to return the denoising step in which every token was unmasked.

    Raises:
        ValueError: If an option has a value outside of what is said above.
    """

    def __init__(self, **kwargs: Any):
        self.decoding = kwargs.pop("decoding", None)
        self.unmasking_filter = kwargs.pop("unmasking_filter", None)
        self.filter_threshold = kwargs.pop("filter_threshold", None)
        self.block_length = kwargs.pop("block_length", None)
        self.steps = kwargs.pop("steps", None)
        self.block_schedule = kwargs.pop("block_schedule", None)
        self.verify = kwargs.pop("verify", None)
        self.max_draft_length = kwargs.pop("max_draft_length", None)
        self.block_cache = kwargs.pop("block_cache", None)
        self.refresh_every = kwargs.pop("refresh_every", None)
        self.end_of_text = kwargs.pop("end_of_text", "accepted")
        self.logits_eos_inf = kwargs.pop("logits_eos_inf", None)
        self.confidence_eos_eot_inf = kwargs.pop("confidence_eos_eot_inf", None)
        self.cfg_scale = kwargs.pop("cfg_scale", None)
        self.mask_token_id = kwargs.pop("mask_token_id", None)
        self.output_unmasking_steps = kwargs.pop("output_unmasking_steps", None)
        super().__init__(**kwargs)

    @classmethod
    def from_model_config(cls, model_config: PreTrainedConfig | dict[Any, Any]) -> "DiffusionGenerationConfig":
        """Takes the special tokens from a model's config, as [`GenerationConfig.from_model_config`] does."""
        names = ("bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id")
        return cls(**{name: getattr(model_config, name, None) for name in names})

    @staticmethod
    def _get_default_generation_params() -> dict[str, Any]:
        # transformers would otherwise sample among the 50 most probable tokens; LLaDA samples among all.
        return default_generation_options() | {"top_k": None} | _DEFAULTS

    def validate(self, strict: bool = False, user_set_attributes: set[str] | None = None) -> None:
        """Checks what can be checked without a model; called whenever a config is made, loaded or saved."""
        super().validate(strict=strict, user_set_attributes=user_set_attributes)
        for name in ("block_length", "steps", "max_new_tokens", "refresh_every", "max_draft_length"):
            self._check(name, lambda value: type(value) is int and value >= 1, "an integer above 0")
        for name in ("logits_eos_inf", "confidence_eos_eot_inf", "output_unmasking_steps", "verify"):
            self._check(name, lambda value: isinstance(value, bool), "a bool")
        ends = ("accepted", "cut", "predicted")
        self._check("end_of_text", lambda value: value in ends, f"one of {', '.join(ends)} or None")
        self._check("block_schedule", lambda value: value == "adablock", "adablock, a schedule or None")
        self._check("block_cache", lambda value: value in ("prefix", "dual"), "prefix, dual or None")
        if self.refresh_every is not None and self.block_cache is None:
            raise ValueError(f"`refresh_every` must be None without a `block_cache` (got {self.refresh_every})")
        if self.verify:
            # Only greedy decoding has a text to be equal to.
            self._check("do_sample", lambda value: value is False, "False with `verify`")
            self._check("end_of_text", lambda value: value == "accepted", "accepted or None with `verify`")
        self._check("cfg_scale", lambda value: isinstance(value, int | float) and value >= 0, "a number of at least 0")
        self._check(
            "filter_threshold", lambda value: isinstance(value, int | float) and 0 <= value <= 1, "between 0 and 1"
        )
        self._check("mask_token_id", lambda value: type(value) is int and value >= 0, "a token id")
        # Options of token-by-token generation that would have no meaning here must not pass silently.
        for name in ("num_beams", "min_length", "min_new_tokens", "prompt_lookup_num_tokens", "guidance_scale"):
            self._check(name, lambda value: value in (0, 1), "left alone for a diffusion model")

    def _check(self, name: str, holds: Callable[[Any], bool], expected: str) -> None:
        value = getattr(self, name)
        if value is not None and not holds(value):
            raise ValueError(f"`{name}` must be {expected} (got {value!r})")
