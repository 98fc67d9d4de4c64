# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The generation config of a diffusion model: the table of options, checked, merged, saved and loaded."""

import copy
import difflib
import os
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig, PreTrainedConfig
from transformers.utils import logging

from .blocks import FixedBlocks, describe_schedule
from .compatibility import FROM_MODEL_CONFIG, default_generation_options
from .inherited import INHERITED, check_inherited, is_inherited, is_neutral
from .options import OPTIONS, documented
from .unmasking import Learn2PD, UnmaskingStrategy
from .unmasking.resolve import describe_strategy

__all__ = ["DiffusionGenerationConfig"]

logger = logging.get_logger(__name__)


# What the generation configs of other diffusion LLMs (Dream) call the same thing.
_ELSEWHERE = {
    "alg": "`decoding`, where Dream's origin is 'random', maskgit_plus 'low_confidence', topk_margin 'margin', entropy "
    "'entropy'",
    "remasking": "`decoding`",
    "gen_length": "`max_new_tokens`",
    "editing_threshold": "`edit_threshold`",
    "cfg": "`cfg_scale`",
}


class DiffusionGenerationConfig(GenerationConfig):
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...

    # None is a choice here, so that "not set" is no attribute of the instance.
    end_of_text: str | None = OPTIONS["end_of_text"].default

    def __init__(self, **kwargs: Any):
        for name in OPTIONS:
            if name not in INHERITED and (name != "end_of_text" or name in kwargs):
                setattr(self, name, kwargs.pop(name, None))
        super().__init__(**kwargs)

    @classmethod
    def from_model_config(cls, model_config: PreTrainedConfig | dict[Any, Any]) -> "DiffusionGenerationConfig":
        """Takes the special tokens from a model's config, as [`GenerationConfig.from_model_config`] does."""
        names = ("bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id")
        values = model_config if isinstance(model_config, dict) else {n: getattr(model_config, n, None) for n in names}
        return cls(**{name: values.get(name) for name in names})

    @classmethod
    def from_other(cls, values: dict[str, Any]) -> "DiffusionGenerationConfig":
        """
        Makes a config of what a file holds, which another library may have written.

        A file that names neither `decoding` nor `end_of_text` is taken for another library's: of it, fields that are
        unknown or mean nothing here are dropped with a warning, and so is `steps`, a number made for a schedule and a
        length of their own. A file of this package is taken whole.

        Args:
            values (`dict[str, Any]`): Fields of a `generation_config.json`.

        Returns:
            [`DiffusionGenerationConfig`]

        Raises:
            ValueError: If a field of this package's file is unknown, or any option out of range.
        """
        return cls(**_without_foreign(values))

    @classmethod
    def _dict_from_json_file(cls, json_file: str | os.PathLike[str]) -> dict[str, Any]:
        # What `from_pretrained` reads a file with; its own keyword arguments are a user's and taken at their word.
        return _without_foreign(super()._dict_from_json_file(json_file))

    @staticmethod
    def _get_default_generation_params() -> dict[str, Any]:
        # transformers would otherwise sample among the 50 most probable tokens; LLaDA samples among all.
        own = {name: option.default for name, option in OPTIONS.items() if option.default is not None}
        return default_generation_options() | {"top_k": None} | own

    def validate(self, strict: bool = False, user_set_attributes: set[str] | None = None) -> None:
        """Checks what can be checked without a model; called whenever a config is made, loaded or saved."""
        for name, value in vars(self).items():
            if name in OPTIONS:
                if value is not None:
                    OPTIONS[name].check(name, value)
            elif not name.startswith("_"):
                _check_inherited(name, value)
        super().validate(strict=strict, user_set_attributes=user_set_attributes)
        if self.refresh_every is not None and self.block_cache is None:
            raise ValueError(f"`refresh_every` must be None without a `block_cache` (got {self.refresh_every})")
        if self.schedule_eps is not None:
            longest = self.max_new_tokens or OPTIONS["max_new_tokens"].default
            if (self.block_length or OPTIONS["block_length"].default) < longest or self.block_schedule is not None:
                raise ValueError(
                    f"`schedule_eps` must come with a `block_length` of at least `max_new_tokens` = {longest} and no "
                    f"`block_schedule` (got block_length={self.block_length})"
                )
        if self.verify:
            # Only greedy decoding has a text to be equal to.
            if self.do_sample:
                raise ValueError(f"`do_sample` must be False with `verify` (got {self.do_sample!r})")
            if self.edit_threshold is not None:
                raise ValueError(f"`edit_threshold` must be None with `verify` (got {self.edit_threshold})")
        if self.infill:
            others = ("block_schedule", "suffix_length", "schedule_eps", "stop_strings", "max_time", "output_history")
            self._check_beside("infill", *others)
        if self.expand:
            self._check_beside("expand", "infill", "steps", "schedule_eps", "logits_eos_inf", "output_history")
        for name, asked in (
            ("verify", bool(self.verify)),
            ("infill", bool(self.infill)),
            ("edit_threshold", self.edit_threshold is not None),
        ):
            if asked and self.end_of_text not in (None, "accepted"):
                raise ValueError(f"`end_of_text` must be accepted or None with `{name}` (got {self.end_of_text!r})")

    def _check_beside(self, name: str, *others: str) -> None:
        """Raises for the first of the options `others` that is set, which `name` would have to ignore."""
        for other in others:
            value = getattr(self, other)
            if value is not None and value is not False:
                unset = "False" if value is True else "None"
                raise ValueError(f"`{other}` must be {unset} with `{name}` (got {value!r})")

    @classmethod
    def merged(
        cls,
        own: GenerationConfig,
        given: GenerationConfig | None,
        keywords: dict[str, Any],
        trained: dict[str, Any] | None = None,
    ) -> "DiffusionGenerationConfig":
        """
        Puts together the options of one call.

        Args:
            own ([`GenerationConfig`]): The model's.
            given ([`GenerationConfig`], *optional*): That of the call, which goes before the model's.
            keywords (`dict[str, Any]`): Options of the call by name, which go before both.
            trained (`dict[str, Any]`, *optional*): Defaults that the model was trained with, before those of the table.

        Returns:
            [`DiffusionGenerationConfig`]: What is set in any of them, or else the default; None is "not set", but for
            `end_of_text`, and for `max_new_tokens` with `infill`.

        Raises:
            ValueError: If an option is unknown or out of range.
        """
        asked = {} if given is None else _set_options(given)
        asked |= {name: value for name, value in keywords.items() if value is not None or name == "end_of_text"}
        values = _set_options(own)
        infill = (values | asked).get("infill")
        # A length that a call asks for replaces the model's, whichever way either is counted. Infilling takes no other.
        if infill or asked.keys() & {"max_length", "max_new_tokens"}:
            values = {name: value for name, value in values.items() if name not in ("max_length", "max_new_tokens")}
        values = (trained or {}) | values | asked
        # Those of this class, whatever class the model's config has.
        for name, option in OPTIONS.items():
            length = name == "max_new_tokens" and ("max_length" in values or infill)
            if option.default is not None and name != "end_of_text" and not length:
                values.setdefault(name, option.default)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """
        Serializes to a dict. Strategies and schedules become dicts too; what JSON cannot hold stays the object it is.
        """
        output = super().to_dict()
        for name, described in self._described().items():
            output[name] = output[name] if described is None else described
        return output

    def to_json_string(self, *args: Any, **kwargs: Any) -> str:
        """Serializes to JSON, to be saved or looked at; what JSON cannot hold is named."""
        shown = copy.copy(self)
        for name, described in self._described().items():
            setattr(shown, name, repr(getattr(self, name)) if described is None else described)
        if isinstance(self.unmasking_filter, os.PathLike):
            shown.unmasking_filter = str(self.unmasking_filter)
        return super(DiffusionGenerationConfig, shown).to_json_string(*args, **kwargs)

    def to_json_file(self, *args: Any, **kwargs: Any) -> None:
        """
        Saves as JSON.

        Raises:
            ValueError: If a strategy or schedule cannot be loaded again from JSON: one that is no part of this package,
                one that holds tensors, or a filter in memory without the `unmasking_filter` that says where it lies.
        """
        for name, described in self._described().items():
            if described is None:
                raise ValueError(f"`{name}` must be one that JSON can hold to be saved (got {getattr(self, name)!r})")
        if isinstance(self.decoding, Learn2PD) and self.unmasking_filter is None:
            raise ValueError("`unmasking_filter` must say where the filter of `decoding` lies to be saved (got None)")
        super().to_json_file(*args, **kwargs)

    def _described(self) -> dict[str, dict[str, Any] | None]:
        """What JSON holds of the options that are objects."""
        found: dict[str, dict[str, Any] | None] = {}
        if isinstance(self.decoding, UnmaskingStrategy):
            found["decoding"] = describe_strategy(self.decoding)
        if isinstance(self.block_schedule, FixedBlocks):
            found["block_schedule"] = describe_schedule(self.block_schedule)
        return found


DiffusionGenerationConfig.__doc__ = (
    """Options of [`DiffusionGenerationMixin.generate`], stored in `generation_config.json` and loaded with the model.

Options of [`GenerationConfig`] keep their meaning: `do_sample`, `temperature`, `top_p`, `top_k` (no top-k unless
asked for), `repetition_penalty`, `bad_words_ids`, `stop_strings`, `max_time`, `num_return_sequences`,
`return_dict_in_generate`. Those without a meaning for a diffusion model, such as `num_beams`, are refused. Options left
at None take the model's value, then the default given here.

Args:
"""
    + "\n".join(map(documented, OPTIONS.values()))
    + """

Raises:
    ValueError: If an option is unknown, or has a value outside of what is said above.
"""
)


def _check_inherited(name: str, value: Any) -> None:
    """Raises for a name that is no option, and for options of token-by-token generation that would mean nothing."""
    if not is_inherited(name):
        near = difflib.get_close_matches(name, [*OPTIONS, *INHERITED], n=1)
        instead = _ELSEWHERE.get(name) or (f"such as `{near[0]}`" if near else "none has this name")
        raise ValueError(f"`{name}` must be an option of DiffusionGenerationConfig: {instead} (got {value!r})")
    if name not in INHERITED and not is_neutral(name, value):
        raise ValueError(f"`{name}` must be left alone for a diffusion model (got {value!r})")
    check_inherited(name, value)


def _set_options(config: GenerationConfig) -> dict[str, Any]:
    """The options that have a value, as they are, with objects among them."""
    return {
        name: value
        for name, value in vars(config).items()
        if not name.startswith("_") and name != "transformers_version" and (value is not None or name == "end_of_text")
    }


def _without_foreign(values: dict[str, Any]) -> dict[str, Any]:
    ours = "decoding" in values or "end_of_text" in values
    values = {name: value for name, value in values.items() if value is not None or name == "end_of_text"}
    # transformers drops fields that it does not know from configs that are marked as made from a model's.
    values[FROM_MODEL_CONFIG] = False
    if ours:
        return values
    dropped = []
    for name, value in values.items():
        if name == "steps":
            dropped.append(name)
        elif not name.startswith("_") and name not in OPTIONS:
            try:
                _check_inherited(name, value)
            except ValueError:
                dropped.append(name)
    if dropped:
        logger.warning(f"Fields of a generation config that have no meaning here are left out: {', '.join(dropped)}")
    return {name: value for name, value in values.items() if name not in dropped}
