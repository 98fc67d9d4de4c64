# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""LLaDA on transformers' Llama classes: a Llama without causality, official file layout in and out."""

from typing import Any

from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)

from ..compatibility import WeightRenaming, register_checkpoint_conversion_mapping
from .masked_diffusion import BidirectionalMixin, MaskedDiffusionMixin

__all__ = ["LladaConfig", "LladaForMaskedDiffusion", "LladaModel"]

# Official LLaDA field -> Llama field.
_OFFICIAL_TO_LLAMA = {
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "mlp_hidden_size": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "weight_tying": "tie_word_embeddings",
    "init_std": "initializer_range",
}

# Official fields that describe an architecture, with the only value a Llama without causality computes. Anything
# else in a checkpoint is refused; all of them are written back, because the original code has other defaults.
_ARCHITECTURE = {
    "activation_type": "silu",
    "alibi": False,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "block_type": "llama",
    "clip_qkv": None,
    "embedding_dropout": 0.0,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "multi_query_attention": None,
    "residual_dropout": 0.0,
    "rope": True,
    "rope_full_precision": True,
    "scale_logits": False,
}


# Fields of other architectures, by a part of their names: a Llama would leave their weights out.
_FOREIGN = ("expert", "moe", "router", "qk_layernorm", "qk_norm", "sliding_window", "lora_rank")


def foreign_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config that are set and belong to another architecture than LLaDA's."""
    return {name: value for name, value in fields.items() if value and any(part in name for part in _FOREIGN)}


class LladaConfig(LlamaConfig):
    r"""
    Configuration of a LLaDA model; defaults are those of `GSAI-ML/LLaDA-8B-Instruct`.

    Accepts and writes the field names of the official checkpoints (`d_model`, `n_layers`, `n_heads`, `n_kv_heads`,
    `mlp_hidden_size`, `max_sequence_length`, `weight_tying`, `rope_theta`, ...) and accepts those of [`LlamaConfig`]
    as well; attributes exist under both names. Source: https://huggingface.co/papers/2502.09992.

    Args:
        mask_token_id (`int`, *optional*, defaults to 126336):
            Id of the mask token that the model denoises.
        end_of_turn_token_id (`int`, *optional*):
            Id of `<|eot_id|>`, which LLaDA's option `confidence_eos_eot_inf` unmasks last; 126348 in the released
            vocabulary.
        embedding_size (`int`, *optional*):
            Rows of the embedding matrix. Must equal `vocab_size`, as in every released checkpoint.
        kwargs:
            Any field of an official `config.json` or of [`LlamaConfig`].

    Raises:
        ValueError: If a field asks for an architecture that a Llama without causality does not compute (ALiBi, biases,
            another norm or activation, experts, ...); the message names the field.
    """

    model_type = "llada"
    attribute_map = _OFFICIAL_TO_LLAMA | {"embedding_size": "vocab_size"}
    # Read by transformers' `create_causal_mask`, which then builds a bidirectional mask.
    is_causal = False

    vocab_size: int = 126464
    hidden_size: int = 4096
    intermediate_size: int = 12288
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-5
    pad_token_id: int | None = 126081
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = 126081
    mask_token_id: int | None = 126336
    end_of_turn_token_id: int | None = None

    # The base of RoPE where the config names none (transformers moves it into `rope_parameters`).
    default_theta = 500000.0

    def __post_init__(self, **kwargs: Any) -> None:
        for name, value in _ARCHITECTURE.items():
            given = kwargs.pop(name, value)
            # The official code takes None, False and 0 alike.
            if (given or None) != (value or None):
                raise ValueError(f"`{name}` must be {value!r} for a LLaDA model here (got {given!r})")
        if "mlp_hidden_size" in kwargs and kwargs["mlp_hidden_size"] is None:
            kwargs["mlp_hidden_size"] = kwargs.get("mlp_ratio", 4) * kwargs.get("d_model", self.hidden_size)
        # Official names are translated before `LlamaConfig` derives `head_dim` from what would still be defaults.
        for official, llama in _OFFICIAL_TO_LLAMA.items():
            if kwargs.get(official) is not None:
                setattr(self, llama, kwargs[official])
            kwargs.pop(official, None)
        if self.end_of_turn_token_id is None and self.vocab_size == 126464:
            self.end_of_turn_token_id = 126348
        foreign = foreign_fields(kwargs)
        if foreign:
            raise ValueError(
                f"`{min(foreign)}` must be left out for a LLaDA model here, it belongs to another architecture (got "
                f"{', '.join(f'{name}={value!r}' for name, value in sorted(foreign.items()))})"
            )
        embedding_size = kwargs.pop("embedding_size", None)
        if embedding_size is not None and embedding_size != self.vocab_size:
            raise ValueError(f"`embedding_size` must equal `vocab_size` = {self.vocab_size} (got {embedding_size!r})")
        if self.num_key_value_heads and self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"`n_kv_heads` must divide `n_heads` = {self.num_attention_heads} (got {self.num_key_value_heads})"
            )
        super().__post_init__(**kwargs)
        # What grows token by token is wrong for a model that looks ahead.
        self.use_cache = False

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """
        Reads a config of model type "llada", which [`AutoConfig`] hands over.

        Args:
            config_dict (`dict[str, Any]`): Fields of a `config.json`.
            kwargs: Fields to replace.

        Returns:
            [`LladaConfig`], or [`LladaMoeConfig`] for a mixture of experts: some official ones have this model type.
        """
        architectures = " ".join(config_dict.get("architectures") or []).lower()
        if config_dict.get("num_experts") or "moe" in architectures:
            return CONFIG_MAPPING["lladamoe"].from_dict(config_dict, **kwargs)
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Reads a `config.json` of this class; see [`AutoConfig`] for one of unknown class."""
        loaded = super().from_pretrained(*args, **kwargs)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        if not isinstance(config, cls):
            got = f"num_experts={config.num_experts}"
            raise ValueError(f"`num_experts` must be left out for a LLaDA model; a {type(config).__name__} has {got}")
        return loaded

    def to_dict(self) -> dict[str, Any]:
        """Serializes with the official field names, so that the original code reads what is saved here."""
        output = super().to_dict()
        for official, llama in _OFFICIAL_TO_LLAMA.items():
            output[official] = output.pop(llama)
        # Only in a plain RoPE is the base everything there is to know; the official config has a field for just that.
        if set(output["rope_parameters"]) <= {"rope_theta", "rope_type"}:
            output["rope_theta"] = output.pop("rope_parameters")["rope_theta"]
        return {**output, **_ARCHITECTURE, "embedding_size": self.vocab_size}


class LladaModel(BidirectionalMixin, LlamaModel):
    r"""
    LLaDA without its LM head, loaded from and saved to the official checkpoint layout.

    Args:
        config ([`LladaConfig`]): The configuration.
    """

    config_class = LladaConfig
    config: LladaConfig


class LladaForMaskedDiffusion(MaskedDiffusionMixin, LlamaForCausalLM):  # type: ignore[misc]
    r"""
    LLaDA: a masked diffusion language model, loaded from and saved to the official checkpoint layout.

    The network is transformers' Llama with bidirectional attention, so `dtype`, `device_map`, `attn_implementation`,
    quantisation and PEFT work as for any model. `generate` is [`DiffusionGenerationMixin.generate`],
    `forward(labels=...)` computes [`masked_diffusion_loss`].
    Source: https://huggingface.co/papers/2502.09992.

    Args:
        config ([`LladaConfig`]): The configuration.
    """

    config_class = LladaConfig
    config: LladaConfig


# Without the "model." before them, so that they hold for a model without a head as well.
_BLOCK = r"transformer.blocks.(\d+)."
_LAYER = r"layers.\1."
_RENAMINGS = {
    "transformer.wte.": "embed_tokens.",
    # Not the end of "attn_norm."
    "transformer.ln_f.": "(?<![a-z_])norm.",
    "model.transformer.ff_out.": "lm_head.",
    _BLOCK + "attn_norm.": _LAYER + "input_layernorm.",
    _BLOCK + "q_proj.": _LAYER + "self_attn.q_proj.",
    _BLOCK + "k_proj.": _LAYER + "self_attn.k_proj.",
    _BLOCK + "v_proj.": _LAYER + "self_attn.v_proj.",
    _BLOCK + "attn_out.": _LAYER + "self_attn.o_proj.",
    _BLOCK + "ff_norm.": _LAYER + "post_attention_layernorm.",
    _BLOCK + "ff_proj.": _LAYER + "mlp.gate_proj.",
    _BLOCK + "up_proj.": _LAYER + "mlp.up_proj.",
    _BLOCK + "ff_out.": _LAYER + "mlp.down_proj.",
}
register_checkpoint_conversion_mapping(
    "llada", [WeightRenaming(source, target) for source, target in _RENAMINGS.items()], overwrite=True
)
AutoConfig.register("llada", LladaConfig)
AutoModel.register(LladaConfig, LladaModel)
AutoModelForCausalLM.register(LladaConfig, LladaForMaskedDiffusion)
AutoModelForMaskedLM.register(LladaConfig, LladaForMaskedDiffusion)
