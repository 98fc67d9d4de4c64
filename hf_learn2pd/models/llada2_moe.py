# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""LLaDA2 on transformers' GLM-4-MoE classes: a block sees what is before it and itself, official layout in and out."""

from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    Glm4MoeModel,
)

from ..compatibility import (
    SplitHeads,
    WeightConverter,
    WeightRenaming,
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from .masked_diffusion import BidirectionalMixin, MaskedDiffusionMixin, write_rope

__all__ = ["Llada2MoeConfig", "Llada2MoeForMaskedDiffusion", "Llada2MoeModel"]

# Official field -> GLM-4-MoE field.
_OFFICIAL_TO_GLM = {"num_experts": "n_routed_experts", "num_shared_experts": "n_shared_experts"}

# Official fields with the only value that is computed here; all of them are written back.
_ARCHITECTURE = {
    "embedding_dropout": 0.0,
    "moe_router_enable_expert_bias": True,
    "norm_head": False,
    "norm_softmax": False,
    "output_dropout": 0.0,
    "score_function": "sigmoid",
    "use_bias": False,
    "use_qkv_bias": False,
    "use_rmsnorm": True,
    "use_sliding_window": False,
}


class Llada2MoeConfig(Glm4MoeConfig):
    r"""
    Configuration of a LLaDA2.0 or LLaDA2.1 model; defaults are those of `inclusionAI/LLaDA2.0-mini`.

    Accepts and writes the field names of the official checkpoints.
    Sources: https://huggingface.co/papers/2512.15745, https://huggingface.co/papers/2602.08676.

    Args:
        mask_token_id (`int`, *optional*, defaults to 156895):
            Id of the mask token that the model denoises.
        block_length (`int`, *optional*, defaults to 32):
            Positions of a block, as the model was trained.
        num_experts (`int`, *optional*):
            Number of experts, `n_routed_experts` in GLM-4-MoE.
        num_shared_experts (`int`, *optional*):
            Number of experts that every token passes, `n_shared_experts` in GLM-4-MoE.
        kwargs:
            Any other field of an official `config.json` or of [`Glm4MoeConfig`].

    Raises:
        ValueError: If a field asks for an architecture that is not computed here.
    """

    model_type = "llada2_moe"
    attribute_map = Glm4MoeConfig.attribute_map | _OFFICIAL_TO_GLM
    is_causal = False

    vocab_size: int = 157184
    hidden_size: int = 2048
    intermediate_size: int = 5120
    num_hidden_layers: int = 20
    num_attention_heads: int = 16
    num_key_value_heads: int = 4
    head_dim: int | None = None
    max_position_embeddings: int = 32768
    rms_norm_eps: float = 1e-6
    moe_intermediate_size: int = 512
    n_routed_experts: int = 256
    routed_scaling_factor: float = 2.5
    n_group: int = 8
    topk_group: int = 4
    use_qk_norm: bool = True
    num_mtp_layers: int = 0
    pad_token_id: int | None = 156892
    eos_token_id: int | list[int] | None = 156892
    mask_token_id: int | None = 156895
    block_length: int = 32

    # The base of RoPE where the config names none (transformers moves it into `rope_parameters`).
    default_theta = 600000.0

    def __post_init__(self, **kwargs: Any) -> None:
        for name, value in _ARCHITECTURE.items():
            given = kwargs.pop(name, value)
            if (given or None) != (value or None):
                raise ValueError(f"`{name}` must be {value!r} for a LLaDA2 model here (got {given!r})")
        for official, glm in _OFFICIAL_TO_GLM.items():
            if kwargs.get(official) is not None:
                setattr(self, glm, kwargs[official])
            kwargs.pop(official, None)
        for name, value in (("use_qk_norm", True), ("norm_topk_prob", True), ("attention_bias", False)):
            if getattr(self, name) is not value:
                raise ValueError(f"`{name}` must be {value} for a LLaDA2 model here (got {getattr(self, name)!r})")
        for name in ("num_experts_per_tok", "n_shared_experts"):
            least = 2 if name == "num_experts_per_tok" else 1
            if getattr(self, name) < least:
                raise ValueError(
                    f"`{name}` must be at least {least} for a LLaDA2 model here (got {getattr(self, name)!r})"
                )
        self.head_dim = self.head_dim or self.hidden_size // self.num_attention_heads
        super().__post_init__(**kwargs)
        # What grows token by token is wrong for a model that looks ahead.
        self.use_cache = False

    def to_dict(self) -> dict[str, Any]:
        """Serializes with the official field names."""
        output = super().to_dict()
        for official, glm in _OFFICIAL_TO_GLM.items():
            output[official] = output.pop(glm)
        return {**write_rope(output), **_ARCHITECTURE}


class Llada2MoeModel(BidirectionalMixin, Glm4MoeModel):
    r"""
    LLaDA2 without its LM head.

    Args:
        config ([`Llada2MoeConfig`]): The configuration.
    """

    config_class = Llada2MoeConfig
    config: Llada2MoeConfig
    # GLM-4's checkpoints have layers that its models leave out; here a layer too many is an error.
    _keys_to_ignore_on_load_unexpected: Any = None


class Llada2MoeForMaskedDiffusion(MaskedDiffusionMixin, Glm4MoeForCausalLM):  # type: ignore[misc]
    r"""
    LLaDA2: a masked diffusion language model with a mixture of experts, autoregressive from block to block.

    Loaded from and saved to the official checkpoint layout. `generate` is [`DiffusionGenerationMixin.generate`], with
    `edit_threshold` for LLaDA2.1.
    Sources: https://huggingface.co/papers/2512.15745, https://huggingface.co/papers/2602.08676.

    Args:
        config ([`Llada2MoeConfig`]): The configuration.
    """

    config_class = Llada2MoeConfig
    config: Llada2MoeConfig
    block_causal = True
    # LLaDA2.1 is; nothing in the files tells it from LLaDA2.0.
    trained_to_edit = True
    _keys_to_ignore_on_load_unexpected: Any = None


_RENAMINGS = {
    "word_embeddings.": "embed_tokens.",
    ".attention.": ".self_attn.",
    ".self_attn.dense.": ".self_attn.o_proj.",
    ".self_attn.query_layernorm.": ".self_attn.q_norm.",
    ".self_attn.key_layernorm.": ".self_attn.k_norm.",
    ".mlp.gate.expert_bias": ".mlp.gate.e_score_correction_bias",
}
# Experts lie one by one in a checkpoint and stacked in memory, as for Qwen-MoE.
register_checkpoint_conversion_mapping(
    "llada2_moe",
    [
        *(get_checkpoint_conversion_mapping("qwen2_moe") or []),
        *(WeightRenaming(source.replace(".", r"\."), target) for source, target in _RENAMINGS.items()),
        WeightConverter("query_key_value", ["q_proj", "k_proj", "v_proj"], [SplitHeads()]),
    ],
    overwrite=True,
)
AutoConfig.register("llada2_moe", Llada2MoeConfig)
AutoModel.register(Llada2MoeConfig, Llada2MoeModel)
AutoModelForCausalLM.register(Llada2MoeConfig, Llada2MoeForMaskedDiffusion)
