# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Dream on transformers' Qwen2 classes: a Qwen2 without causality whose logits predict the next position."""

from typing import Any, ClassVar

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
    Qwen2Tokenizer,
)

from .masked_diffusion import BidirectionalConfigMixin, BidirectionalMixin, MaskedDiffusionMixin

__all__ = ["DreamConfig", "DreamForMaskedDiffusion", "DreamModel", "DreamTokenizer"]


class DreamConfig(BidirectionalConfigMixin, Qwen2Config):
    r"""
    Configuration of a Dream model; field names are those of the official checkpoints, `Dream-org/Dream-v0-Instruct-7B`.

    Source: https://huggingface.co/papers/2508.15487.

    Args:
        mask_token_id (`int`, *optional*, defaults to 151666):
            Id of the mask token that the model denoises.
        kwargs:
            Any field of [`Qwen2Config`].

    Raises:
        ValueError: If a sliding window is asked for.
    """

    model_type = "Dream"
    pad_token_id: int | None = 151643
    eos_token_id: int | list[int] | None = 151643
    mask_token_id: int | None = 151666


class DreamTokenizer(Qwen2Tokenizer):
    """Qwen2's tokenizer, under the name that official tokenizer files ask for."""


class DreamModel(BidirectionalMixin, Qwen2Model):
    r"""
    Dream without its LM head.

    Args:
        config ([`DreamConfig`]): The configuration.
    """

    config_class = DreamConfig
    config: DreamConfig


class DreamForMaskedDiffusion(MaskedDiffusionMixin, Qwen2ForCausalLM):  # type: ignore[misc]
    r"""
    Dream: a masked diffusion language model made from an autoregressive one, with that one's shift of the logits.

    Tensors have the names of the official checkpoints, which are those of Qwen2. `generate` is
    [`DiffusionGenerationMixin.generate`], `forward(labels=...)` computes [`masked_diffusion_loss`]. Source: https://huggingface.co/papers/2508.15487.

    Args:
        config ([`DreamConfig`]): The configuration.
    """

    config_class = DreamConfig
    config: DreamConfig
    logits_shift = 1
    # Tokens that hold a newline.
    adablock: ClassVar[dict[str, Any]] = {
        "threshold": 0.5,
        "delimiter_ids": (
            *(198, 271, 280, 319, 340, 382, 401, 532, 624, 630, 692, 698, 921, 1248, 1837, 1939, 2219, 2533, 3276),
            *(3876, 4894, 5267, 14750, 68327),
        ),
    }


AutoConfig.register("Dream", DreamConfig)
AutoModel.register(DreamConfig, DreamModel)
# Not for masked LM: who asks for that reads a token's logits in its own column.
AutoModelForCausalLM.register(DreamConfig, DreamForMaskedDiffusion)
AutoTokenizer.register(DreamConfig, tokenizer_class=DreamTokenizer)
