# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""SDAR on transformers' Qwen3 classes: a block sees what is before it and itself."""

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM, Qwen3Model

from .masked_diffusion import BidirectionalConfigMixin, BidirectionalMixin, MaskedDiffusionMixin, write_rope

__all__ = ["SdarConfig", "SdarFields", "SdarForMaskedDiffusion", "SdarModel"]


@dataclass(kw_only=True)
class SdarFields(BidirectionalConfigMixin):
    """What configurations with and without experts add to those of Qwen3, given as the next base class."""

    pad_token_id: int | None = 151643
    eos_token_id: int | list[int] | None = 151643
    mask_token_id: int | None = 151669
    block_length: int = 4


class SdarConfig(SdarFields, Qwen3Config):
    r"""
    Configuration of a SDAR model; field names are those of the official checkpoints, `JetLM/SDAR-8B-Chat`.

    Source: https://huggingface.co/papers/2510.06303.

    Args:
        mask_token_id (`int`, *optional*, defaults to 151669):
            Id of the mask token that the model denoises.
        block_length (`int`, *optional*, defaults to 4):
            Positions of a block, as the model was trained.
        kwargs:
            Any field of [`Qwen3Config`].

    Raises:
        ValueError: If a sliding window is asked for.
    """

    model_type = "sdar"

    def to_dict(self) -> dict[str, Any]:
        """Serializes with the official field names."""
        return write_rope(super().to_dict())


class SdarModel(BidirectionalMixin, Qwen3Model):
    r"""
    SDAR without its LM head.

    Args:
        config ([`SdarConfig`]): The configuration.
    """

    config_class = SdarConfig
    config: SdarConfig


class SdarForMaskedDiffusion(MaskedDiffusionMixin, Qwen3ForCausalLM):  # type: ignore[misc]
    r"""
    SDAR: a masked diffusion language model that is autoregressive from block to block.

    Tensors have the names of the official checkpoints, which are those of Qwen3. `generate` is
    [`DiffusionGenerationMixin.generate`]. Source: https://huggingface.co/papers/2510.06303.

    Args:
        config ([`SdarConfig`]): The configuration.
    """

    config_class = SdarConfig
    config: SdarConfig
    block_causal = True


AutoConfig.register("sdar", SdarConfig)
AutoModel.register(SdarConfig, SdarModel)
AutoModelForCausalLM.register(SdarConfig, SdarForMaskedDiffusion)
