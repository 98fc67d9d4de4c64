# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Fast-dLLM v2 on transformers' Qwen2 classes: a block sees what is before it and itself, logits are shifted."""

import math
from typing import Any

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

from ..blocks import BlockGrid
from .masked_diffusion import BidirectionalConfigMixin, BidirectionalMixin, MaskedDiffusionMixin, write_rope

__all__ = ["FastDllmConfig", "FastDllmForMaskedDiffusion", "FastDllmModel"]

# Positions that the release denoises together, of the 32 that see each other.
SUB_BLOCK_LENGTH = 8


class FastDllmConfig(BidirectionalConfigMixin, Qwen2Config):
    r"""
    Configuration of a Fast-dLLM v2 model; field names are those of `Efficient-Large-Model/Fast_dLLM_v2_7B`.

    Source: https://huggingface.co/papers/2509.26328.

    Args:
        bd_size (`int`, *optional*, defaults to 32):
            Positions that see each other, as the model was trained. They are denoised in blocks of `block_length`.
        mask_token_id (`int`, *optional*, defaults to 151665):
            Id of the mask token that the model denoises.
        kwargs:
            Any field of [`Qwen2Config`].

    Raises:
        ValueError: If a sliding window is asked for.
    """

    model_type = "Fast_dLLM_Qwen"

    eos_token_id: int | list[int] | None = 151645
    mask_token_id: int | None = 151665
    bd_size: int = 32

    def to_dict(self) -> dict[str, Any]:
        """Serializes with the official field names."""
        return write_rope(super().to_dict())


class FastDllmModel(BidirectionalMixin, Qwen2Model):
    r"""
    Fast-dLLM v2 without its LM head.

    Args:
        config ([`FastDllmConfig`]): The configuration.
    """

    config_class = FastDllmConfig
    config: FastDllmConfig


class FastDllmForMaskedDiffusion(MaskedDiffusionMixin, Qwen2ForCausalLM):  # type: ignore[misc]
    r"""
    Fast-dLLM v2: a Qwen2.5 that denoises blocks and keeps its shift of the logits.

    A token is predicted at the position before it: the first one of a block at the end of the block before, when that
    is complete, whatever its confidence; the others within the block. Tensors have the names of the official
    checkpoints, which are those of Qwen2. `generate` is [`DiffusionGenerationMixin.generate`]; `block_length` is what
    the release calls the size of small blocks, 8 of the 32 as there; its cache inside of a block, an approximation, is
    not here. Source: https://huggingface.co/papers/2509.26328.

    Args:
        config ([`FastDllmConfig`]): The configuration.
    """

    config_class = FastDllmConfig
    config: FastDllmConfig
    block_causal = True
    logits_shift = 1

    def trained_options(self) -> dict[str, Any]:
        return {"block_length": math.gcd(SUB_BLOCK_LENGTH, self.config.bd_size)}

    def block_grid(self, block_length: int) -> BlockGrid:
        attended = self.config.bd_size
        if attended % block_length:
            raise ValueError(f"`block_length` must divide the model's `bd_size` of {attended} (got {block_length})")
        return BlockGrid(block_length, attended, self.logits_shift)


AutoConfig.register("Fast_dLLM_Qwen", FastDllmConfig)
AutoModel.register(FastDllmConfig, FastDllmModel)
# Not for masked LM: who asks for that reads a token's logits in its own column.
AutoModelForCausalLM.register(FastDllmConfig, FastDllmForMaskedDiffusion)
AutoTokenizer.register(FastDllmConfig, tokenizer_class=Qwen2Tokenizer)
