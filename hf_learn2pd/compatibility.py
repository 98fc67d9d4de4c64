# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""All of transformers that is not its public interface, and what differs between its supported versions."""

import inspect
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedConfig
from transformers.cache_utils import DynamicLayer
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.core_model_loading import Concatenate, ConversionOps, WeightConverter, WeightRenaming

__all__ = [
    "FROM_MODEL_CONFIG",
    "DynamicLayer",
    "SplitHeads",
    "WeightConverter",
    "WeightRenaming",
    "attention_implementation",
    "attention_mask",
    "cache_argument",
    "default_generation_options",
    "get_checkpoint_conversion_mapping",
    "is_compiled",
    "register_checkpoint_conversion_mapping",
]

# Marks a generation config as made from a model's config; fields that transformers does not know are then dropped.
FROM_MODEL_CONFIG = "_from_model_config"


class SplitHeads(ConversionOps):
    """Takes the rows of a fused projection apart: those of the queries' heads, the keys' and the values'."""

    @torch.no_grad()
    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, Any]:
        """Called by transformers, with the model's config among `kwargs`, when a checkpoint is loaded."""
        ((_, (fused, *_)),) = input_dict.items()
        config = kwargs["config"]
        heads = [config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads]
        parts = fused.split([len(fused) // sum(heads) * count for count in heads])
        return {name: part.contiguous() for name, part in zip(target_patterns, parts, strict=True)}

    @property
    def reverse_op(self) -> ConversionOps:
        """What puts them together again when the model is saved."""
        return Concatenate(dim=0)


def cache_argument(forward: Any) -> str | None:
    """
    Finds the name under which a model takes a cache: `cache` from transformers 5.24 on, `past_key_values` before.

    Args:
        forward (`Callable`): A `forward` method, bound or not.

    Returns:
        `str`, *optional*: The name; None if the model takes no cache.
    """
    parameters = inspect.signature(forward).parameters
    return next((name for name in ("cache", "past_key_values") if name in parameters), None)


def attention_implementation(config: PreTrainedConfig) -> str:
    """
    Says how a model computes attention.

    Args:
        config (`PreTrainedConfig`): The model's config.

    Returns:
        `str`: `"sdpa"`, `"eager"`, `"flash_attention_2"`, ...
    """
    return str(config._attn_implementation)


def attention_mask(visible: torch.Tensor | None, config: PreTrainedConfig, dtype: torch.dtype) -> torch.Tensor | None:
    """
    Says what is visible in the form that a model's attention takes.

    Args:
        visible (`torch.BoolTensor` of shape `(rows, keys)`, `(rows, queries, keys)` or with heads, *optional*):
            What each row, or each query of it, sees; None for everything.
        config (`PreTrainedConfig`): The model's config.
        dtype (`torch.dtype`): That of its hidden states.

    Returns:
        `torch.Tensor`, *optional*: A mask or a bias; None for everything.
    """
    if visible is None:
        return None
    attention = attention_implementation(config)
    if visible.ndim == 2:
        # transformers would look at a 2-D mask on the host, in every pass, to see whether it is needed at all.
        return visible[:, None, None, :] if attention == "sdpa" else visible.long()
    visible = visible[:, None] if visible.ndim == 3 else visible
    if attention == "sdpa":
        return visible
    bias = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return bias.masked_fill(~visible, torch.finfo(dtype).min)


def is_compiled(decoder: Any) -> bool:
    """
    Says whether what is called is compiled.

    Args:
        decoder (`nn.Module`): A module, or something with its `forward`.

    Returns:
        `bool`: Whether it was compiled by its method `compile`, or its `forward` by `torch.compile`.
    """
    by_method = getattr(decoder, "_compiled_call_impl", None) is not None
    return by_method or hasattr(decoder.forward, "_torchdynamo_orig_callable")


def default_generation_options() -> dict[str, Any]:
    """
    Returns what `generate` of transformers takes for options that neither the call nor the model sets.

    Returns:
        `dict[str, Any]`: Default by name of the option.
    """
    return dict(GenerationConfig._get_default_generation_params())
