# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""SDAR with a mixture of experts on transformers' Qwen3-MoE classes."""

from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    Qwen3MoeModel,
)

from ..compatibility import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from .masked_diffusion import BidirectionalMixin, MaskedDiffusionMixin, write_rope
from .sdar import SdarFields

__all__ = ["SdarMoeConfig", "SdarMoeForMaskedDiffusion", "SdarMoeModel"]


class SdarMoeConfig(SdarFields, Qwen3MoeConfig):
    r"""
    Configuration of a SDAR model with experts; field names are those of `JetLM/SDAR-30B-A3B-Chat`.

    Source: https://huggingface.co/papers/2510.06303.

    Args:
        mask_token_id (`int`, *optional*, defaults to 151669):
            Id of the mask token that the model denoises.
        block_length (`int`, *optional*, defaults to 4):
            Positions of a block, as the model was trained.
        kwargs:
            Any field of [`Qwen3MoeConfig`].

    Raises:
        ValueError: If a sliding window is asked for.
    """

    model_type = "sdar_moe"

    def to_dict(self) -> dict[str, Any]:
        """Serializes with the official field names."""
        output = super().to_dict()
        output["num_experts"] = output.pop(self.attribute_map["num_experts"])
        return write_rope(output)


class SdarMoeModel(BidirectionalMixin, Qwen3MoeModel):
    r"""
    SDAR-MoE without its LM head.

    Args:
        config ([`SdarMoeConfig`]): The configuration.
    """

    config_class = SdarMoeConfig
    config: SdarMoeConfig


class SdarMoeForMaskedDiffusion(MaskedDiffusionMixin, Qwen3MoeForCausalLM):  # type: ignore[misc]
    r"""
    SDAR with a mixture of experts.

    Tensors have the names of the official checkpoints, which are those of Qwen3-MoE. `generate` is
    [`DiffusionGenerationMixin.generate`]. Source: https://huggingface.co/papers/2510.06303.

    Args:
        config ([`SdarMoeConfig`]): The configuration.
    """

    config_class = SdarMoeConfig
    config: SdarMoeConfig
    block_causal = True


# Experts lie one by one in a checkpoint and stacked in memory, as for Qwen3-MoE.
register_checkpoint_conversion_mapping("sdar_moe", get_checkpoint_conversion_mapping("qwen3_moe"), overwrite=True)
AutoConfig.register("sdar_moe", SdarMoeConfig)
AutoModel.register(SdarMoeConfig, SdarMoeModel)
AutoModelForCausalLM.register(SdarMoeConfig, SdarMoeForMaskedDiffusion)
