# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Dream on transformers' Qwen2 classes: a Qwen2 without causality whose logits predict the next position."""

from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from ..generation import DiffusionGenerationMixin

__all__ = ["DreamConfig", "DreamForMaskedDiffusion"]


class DreamConfig(Qwen2Config):
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
    # Read by transformers' `create_causal_mask`, which then builds a bidirectional mask.
    is_causal = False

    pad_token_id: int | None = 151643
    eos_token_id: int | list[int] | None = 151643
    mask_token_id: int | None = 151666

    def __post_init__(self, **kwargs: Any) -> None:
        if self.use_sliding_window:
            raise ValueError("`use_sliding_window` must be False for a Dream model here (got True)")
        super().__post_init__(**kwargs)


class DreamForMaskedDiffusion(DiffusionGenerationMixin, Qwen2ForCausalLM):  # type: ignore[misc]
    r"""
    Dream: a masked diffusion language model made from an autoregressive one, with that one's shift of the logits.

    Tensors have the names of the official checkpoints, which are those of Qwen2. `generate` is
    [`DiffusionGenerationMixin.generate`]. Source: https://huggingface.co/papers/2508.15487.

    Args:
        config ([`DreamConfig`]): The configuration.
    """

    config_class = DreamConfig
    config: DreamConfig
    logits_shift = 1

    def __init__(self, config: DreamConfig):
        super().__init__(config)
        for layer in self.model.layers:
            # Without padding there is no mask at all and the attention kernels fall back to this flag.
            layer.self_attn.is_causal = False


AutoConfig.register("Dream", DreamConfig)
AutoModel.register(DreamConfig, DreamForMaskedDiffusion)
AutoModelForCausalLM.register(DreamConfig, DreamForMaskedDiffusion)
