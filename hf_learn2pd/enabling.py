# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""`generate` for masked language models that are not of this package."""

import functools
import inspect
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .compatibility import cache_argument
from .configuration import DiffusionGenerationConfig
from .generation import DiffusionGenerationMixin

__all__ = ["disable_decoding", "enable_decoding"]


class _Forward:
    """Lets a model's logits stand for hidden states; the head behind it has nothing left to do."""

    def __init__(self, model: Any):
        self.model = model
        # What a cache is called there can be read from it, and whether it is compiled.
        self.forward = model.forward
        self._compiled_call_impl = model._compiled_call_impl
        self.accepted = set(inspect.signature(type(model).forward).parameters)

    def __call__(self, attention_mask: torch.Tensor | None = None, **inputs: Any) -> Any:
        if attention_mask is not None and attention_mask.ndim == 4 and attention_mask.shape[2] == 1:
            # One row of keys for all queries: what any model takes is the same in two dimensions.
            attention_mask = attention_mask[:, 0, 0].long()
        inputs = {name: value for name, value in inputs.items() if name in self.accepted and value is not None}
        return SimpleNamespace(last_hidden_state=self.model(attention_mask=attention_mask, **inputs).logits)


class _EnabledMixin(DiffusionGenerationMixin):
    gives_hidden_states = False

    def denoising_modules(self) -> tuple[Any, Any]:
        return _Forward(self), nn.Identity()

    def __reduce__(self) -> tuple[Any, ...]:
        # No import finds a class that was made here, so a pickle names the one it was made of.
        model: Any = self
        return _empty, (model.before_enabling[0],), vars(self)


@functools.cache
def _enabled(cls: type) -> type:
    """The class of enabled models of `cls`; the name stays, so that what is saved says what the model is."""
    return type(cls.__name__, (_EnabledMixin, cls), {"__module__": cls.__module__})


def _empty(cls: type) -> Any:
    enabled: Any = _enabled(cls)
    return enabled.__new__(enabled)


def enable_decoding(
    model: PreTrainedModel,
    mask_token_id: int | None = None,
    eos_token_id: int | list[int] | None = None,
    logits_shift: int = 0,
) -> PreTrainedModel:
    """
    Gives a masked language model the `generate` of this package: this instance only, its class stays as it is.

    Serves any `*ForMaskedLM` and any remote-code diffusion model with `forward(input_ids, attention_mask)` that returns
    `logits` for every position. Without `position_ids` in that signature, left padding is for models whose positions
    are relative.

    Args:
        model (`PreTrainedModel`): The model, changed in place.
        mask_token_id (`int`, *optional*): Id of the mask token. Defaults to the model config's.
        eos_token_id (`int` or `list[int]`, *optional*):
            Ids that end a text. Defaults to the model config's; without any, `generate` needs `end_of_text=None`.
        logits_shift (`int`, *optional*, defaults to 0): 1 if the logits at a position predict the next one.

    Returns:
        The model.

    Raises:
        ValueError: If the model decodes already, is no language model or an encoder-decoder, or an argument is wrong.
    """
    if isinstance(model, DiffusionGenerationMixin):
        raise ValueError(f"`model` must not have this package's `generate` yet (got {type(model).__name__})")
    if not isinstance(model, PreTrainedModel) or model.get_output_embeddings() is None:
        raise ValueError(f"`model` must be a language model of transformers (got {type(model).__name__})")
    if model.config.is_encoder_decoder:
        raise ValueError(f"`model` must not be an encoder-decoder (got {type(model).__name__})")
    if type(logits_shift) is not int or logits_shift not in (0, 1):
        raise ValueError(f"`logits_shift` must be 0 or 1 (got {logits_shift!r})")
    defaults = DiffusionGenerationConfig.from_model_config(model.config)
    mask_token_id = defaults.mask_token_id if mask_token_id is None else mask_token_id
    vocab_size = model.config.vocab_size
    if type(mask_token_id) is not int or not 0 <= mask_token_id < vocab_size:
        raise ValueError(f"`mask_token_id` must be below the vocabulary's size, {vocab_size} (got {mask_token_id!r})")
    defaults.mask_token_id = mask_token_id
    if eos_token_id is not None:
        defaults.eos_token_id = eos_token_id
    defaults.validate()

    changed: Any = model
    cls = type(model)
    changed.before_enabling = (cls, vars(model).get("generation_config"))
    changed.__class__ = _enabled(cls)  # type: ignore[arg-type]
    changed.generation_config = defaults
    changed.logits_shift = logits_shift
    # Without these a model cannot pass a cache on to its attention.
    takes_positions = "position_ids" in inspect.signature(cls.forward).parameters
    changed.takes_block_cache = takes_positions and cache_argument(cls.forward) is not None
    # A mask for each query takes the place of causality, and code from elsewhere may not know it.
    bidirectional = getattr(model.config, "is_causal", None) is False or cls.__name__.endswith("ForMaskedLM")
    changed.takes_query_mask = bidirectional and cls.__module__.startswith("transformers.")
    return model


def disable_decoding(model: PreTrainedModel) -> PreTrainedModel:
    """
    Takes back what [`enable_decoding`] has done.

    Args:
        model (`PreTrainedModel`): The model, changed in place.

    Returns:
        The model.

    Raises:
        ValueError: If decoding is not enabled.
    """
    if not isinstance(model, _EnabledMixin):
        raise ValueError(f"`model` must be one that `enable_decoding` has changed (got {type(model).__name__})")
    changed: Any = model
    changed.__class__, generation_config = changed.before_enabling
    del changed.before_enabling, changed.logits_shift, changed.takes_block_cache, changed.takes_query_mask
    del changed.generation_config
    if generation_config is not None:
        changed.generation_config = generation_config
    return model
