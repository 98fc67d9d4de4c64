# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""LLaDA-MoE on transformers' Qwen3-MoE classes: without causality, official field and tensor names in and out."""

from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    Qwen3MoeModel,
)

from ..compatibility import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from .masked_diffusion import BidirectionalMixin, MaskedDiffusionMixin

__all__ = ["LladaMoeConfig", "LladaMoeForMaskedDiffusion", "LladaMoeModel"]

# Official fields with the only value that a Qwen3-MoE without causality computes.
_ARCHITECTURE = {
    "clip_qkv": None,
    "moe_router_enable_expert_bias": None,
    "moe_router_score_function": "softmax",
    "partial_rotary_factor": 1,
    "qk_layernorm": True,
    "routed_scaling_factor": 1,
    "router_num_group": None,
    "router_topk_group": None,
    "shared_expert_intermediate_size": None,
}


class LladaMoeConfig(Qwen3MoeConfig):
    r"""
    Configuration of a LLaDA-MoE model, with the field names of `inclusionAI/LLaDA-MoE-7B-A1B-Instruct`.

    Source: https://huggingface.co/papers/2509.24389.

    Args:
        mask_token_id (`int`, *optional*, defaults to 156895):
            Id of the mask token that the model denoises.
        expert_intermediate_size (`int`, *optional*):
            Width of an expert, `moe_intermediate_size` in Qwen3-MoE.
        dense_intermediate_size (`int`, *optional*):
            Width of the MLP in layers without experts, `intermediate_size` in Qwen3-MoE.
        moe_layer_freq (`list[int]`, *optional*):
            For each layer, 1 if it has experts.
        kwargs:
            Any other field of an official `config.json` or of [`Qwen3MoeConfig`].

    Raises:
        ValueError: If a field asks for an architecture that a Qwen3-MoE without causality does not compute.
    """

    model_type = "lladamoe"
    attribute_map = Qwen3MoeConfig.attribute_map | {
        "expert_intermediate_size": "moe_intermediate_size",
        "dense_intermediate_size": "intermediate_size",
    }
    is_causal = False

    vocab_size: int = 157184
    num_hidden_layers: int = 16
    num_attention_heads: int = 16
    num_key_value_heads: int = 16
    moe_intermediate_size: int = 1024
    num_experts: int = 64
    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-5
    pad_token_id: int | None = 156892
    eos_token_id: int | list[int] | None = 156892
    mask_token_id: int | None = 156895

    def __post_init__(self, **kwargs: Any) -> None:
        for name, value in _ARCHITECTURE.items():
            given = kwargs.pop(name, value)
            if (given or None) != (value or None):
                raise ValueError(f"`{name}` must be {value!r} for a LLaDA-MoE model here (got {given!r})")
        for name in ("norm_topk_prob", "use_sliding_window"):
            if getattr(self, name):
                raise ValueError(f"`{name}` must be False for a LLaDA-MoE model here (got {getattr(self, name)!r})")
        for official, name in (
            ("expert_intermediate_size", "moe_intermediate_size"),
            ("dense_intermediate_size", "intermediate_size"),
        ):
            if kwargs.get(official) is not None:
                setattr(self, name, kwargs[official])
            kwargs.pop(official, None)
        frequency = kwargs.pop("moe_layer_freq", None)
        if frequency:
            self.mlp_only_layers = [layer for layer, experts in enumerate(frequency) if not experts]
        # `head_dim` is not among the official fields; Qwen3 would take a default of its own.
        self.head_dim = kwargs.pop("head_dim", None) or self.hidden_size // self.num_attention_heads
        super().__post_init__(**kwargs)
        # What grows token by token is wrong for a model that looks ahead.
        self.use_cache = False

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Reads the fields of a `config.json`, in both spellings of the official classes."""
        # null stands for False, and "llada" as the model type would pick the tensor names of dense models.
        spelled = {"norm_topk_prob": config_dict.get("norm_topk_prob") or False, "model_type": cls.model_type}
        return super().from_dict(config_dict | spelled, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Serializes with the official field names."""
        output = super().to_dict()
        for official in ("expert_intermediate_size", "dense_intermediate_size", "num_experts"):
            output[official] = output.pop(self.attribute_map[official])
        dense = self.mlp_only_layers or []
        output["moe_layer_freq"] = [int(layer not in dense) for layer in range(self.num_hidden_layers)]
        return {**output, **_ARCHITECTURE}


class LladaMoeModel(BidirectionalMixin, Qwen3MoeModel):
    r"""
    LLaDA-MoE without its LM head.

    Args:
        config ([`LladaMoeConfig`]): The configuration.
    """

    config_class = LladaMoeConfig
    config: LladaMoeConfig


class LladaMoeForMaskedDiffusion(MaskedDiffusionMixin, Qwen3MoeForCausalLM):  # type: ignore[misc]
    r"""
    LLaDA-MoE: a masked diffusion language model with a mixture of experts.

    Tensors have the names of the official checkpoints, which are those of Qwen3-MoE. `generate` is
    [`DiffusionGenerationMixin.generate`], `forward(labels=...)` computes [`masked_diffusion_loss`] and adds the
    router's with `output_router_logits`. Source: https://huggingface.co/papers/2509.24389.

    Args:
        config ([`LladaMoeConfig`]): The configuration.
    """

    config_class = LladaMoeConfig
    config: LladaMoeConfig


# Experts lie one by one in a checkpoint and stacked in memory, as for Qwen3-MoE.
register_checkpoint_conversion_mapping("lladamoe", get_checkpoint_conversion_mapping("qwen3_moe"), overwrite=True)
AutoConfig.register("lladamoe", LladaMoeConfig)
AutoModel.register(LladaMoeConfig, LladaMoeModel)
AutoModelForCausalLM.register(LladaMoeConfig, LladaMoeForMaskedDiffusion)
AutoModelForMaskedLM.register(LladaMoeConfig, LladaMoeForMaskedDiffusion)
