# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Checks of what `generate` is given to write on: prompts, their mask, their length, and other inputs by name."""

from typing import Any

import torch

from .inherited import is_inherited
from .options import OPTIONS

__all__ = [
    "Finite",
    "check_attention_mask",
    "check_length",
    "check_prompts",
    "check_unmasked",
    "split_keywords",
]

# Arguments of transformers' `generate` or of a model's `forward` that a denoising loop cannot honour.
_REFUSED = (
    "assistant_model",
    "cache",
    "cache_params",
    "decoder_input_ids",
    "inputs_embeds",
    "labels",
    "logits_to_keep",
    "negative_prompt_attention_mask",
    "negative_prompt_ids",
    "past_key_values",
    "position_ids",
    "prefix_allowed_tokens_fn",
    "synced_gpus",
)


def split_keywords(keywords: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Divides the keyword arguments of `generate`.

    Args:
        keywords (`dict[str, Any]`): As given.

    Returns:
        `tuple[dict[str, Any], dict[str, Any]]`: Options, known or not, and inputs.

    Raises:
        ValueError: If an argument would have to be ignored.
    """
    options, inputs = {}, {}
    for name, value in keywords.items():
        if name in ("input_ids", "attention_mask", "tokenizer", "trust_remote_code"):
            inputs[name] = value
        elif name == "token_type_ids":
            # Tokenizers of masked language models return them; all zeros is what these models take without them.
            if value is not None and bool(value.any()):
                raise ValueError("`token_type_ids` must be zero in `generate` (got others)")
        elif name in OPTIONS or is_inherited(name):
            options[name] = value
        elif name in _REFUSED:
            if value is not None and value is not False:
                raise ValueError(f"`{name}` must be None for a diffusion model (got {type(value).__name__})")
        elif value is not None and name != "custom_generate":
            options[name] = value
    return options, inputs


def check_prompts(input_ids: Any, attention_mask: Any, vocab_size: int) -> None:
    """
    Checks prompts and their mask before anything is computed.

    Args:
        input_ids (`torch.LongTensor` of shape `(batch_size, prompt_length)`): The prompts.
        attention_mask (`torch.Tensor` of shape `(batch_size, prompt_length)`, *optional*): 0 at left padding.
        vocab_size (`int`): Number of ids that the model knows.

    Raises:
        ValueError: If they are not of this kind.
    """
    if not isinstance(input_ids, torch.Tensor):
        raise ValueError(f"`input_ids` must be a LongTensor (got {type(input_ids).__name__})")
    if input_ids.dtype != torch.long or input_ids.ndim != 2 or 0 in input_ids.shape:
        raise ValueError(
            "`input_ids` must be a LongTensor of shape (batch_size, prompt_length), with a row and a token at least "
            f"(got {input_ids.dtype} of shape {tuple(input_ids.shape)})"
        )
    least, most = (int(each) for each in torch.aminmax(input_ids))
    if least < 0 or most >= vocab_size:
        raise ValueError(f"`input_ids` must be from 0 to below the vocabulary's {vocab_size} (got {least} to {most})")
    if attention_mask is not None:
        check_attention_mask(attention_mask, input_ids)


def check_attention_mask(attention_mask: Any, input_ids: torch.Tensor) -> None:
    """
    Checks that a mask marks left padding.

    Args:
        attention_mask (`torch.Tensor` of shape `(batch_size, prompt_length)`): Zeros, then ones, in every row.
        input_ids (`torch.LongTensor` of the same shape): The prompts.

    Raises:
        ValueError: If it has another type, shape, values or order.
    """
    if (
        not isinstance(attention_mask, torch.Tensor)
        or attention_mask.is_floating_point()
        or attention_mask.is_complex()
    ):
        got = getattr(attention_mask, "dtype", type(attention_mask).__name__)
        raise ValueError(f"`attention_mask` must be a tensor of integers or bools (got {got})")
    if attention_mask.shape != input_ids.shape:
        wanted, shape = tuple(input_ids.shape), tuple(attention_mask.shape)
        raise ValueError(f"`attention_mask` must have the shape of `input_ids`, {wanted} (got {shape})")
    mask = attention_mask.long()
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(f"`attention_mask` must hold 0 and 1 only (got {mask.unique().tolist()[:5]})")
    if not bool((mask.diff(dim=-1) >= 0).all()) or not bool(mask[:, -1].all()):
        raise ValueError("`attention_mask` must be left-padded: zeros, then ones, in every row (got another order)")


def check_length(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | None, max_new_tokens: int, model_config: Any
) -> None:
    """
    Checks that prompts and answers fit into the positions that the model was trained on.

    Where rotary embeddings are scaled, how far they reach is the scaling's affair.

    Args:
        input_ids (`torch.LongTensor` of shape `(batch_size, prompt_length)`): The prompts.
        attention_mask (`torch.Tensor` of the same shape, *optional*): 0 at left padding, which takes no positions.
        max_new_tokens (`int`): Positions of the answer region.
        model_config (`PreTrainedConfig`): The model's, with or without `max_position_embeddings`.

    Raises:
        ValueError: If they do not fit.
    """
    limit = getattr(model_config, "max_position_embeddings", None)
    rope = getattr(model_config, "rope_parameters", None) or {}
    if not isinstance(limit, int) or limit < 1 or rope.get("rope_type", "default") != "default":
        return
    prompt = input_ids.shape[1] if attention_mask is None else int(attention_mask.long().sum(dim=-1).max())
    if prompt + max_new_tokens > limit:
        room, positions = limit - prompt, f"`max_position_embeddings` of {limit}"
        if room < 1:
            raise ValueError(f"`input_ids` must leave room in the model's {positions} (got {prompt} tokens)")
        raise ValueError(
            f"`max_new_tokens` must be at most {room} behind {prompt} tokens with the model's {positions} "
            f"(got {max_new_tokens})"
        )


def check_unmasked(input_ids: torch.Tensor, attention_mask: torch.Tensor | None, mask_token_id: int) -> None:
    """
    Checks that nothing in the prompts is left to be denoised, since without `infill` only the answer is.

    Args:
        input_ids (`torch.LongTensor` of shape `(batch_size, prompt_length)`): The prompts.
        attention_mask (`torch.Tensor` of the same shape, *optional*): 0 at left padding, which may be anything.
        mask_token_id (`int`): Id of the mask token.

    Raises:
        ValueError: If a prompt holds the mask token.
    """
    masked = input_ids == mask_token_id
    if attention_mask is not None:
        masked = masked & attention_mask.bool()
    if bool(masked.any()):
        raise ValueError(
            f"`input_ids` must not hold the mask token {mask_token_id} without `infill`: prompts are not denoised "
            f"(got {int(masked.sum())} of them)"
        )


class Finite:
    """
    Watches whether the model gives numbers, and says so once all is done: asking in every step would make Python wait.

    Args:
        device (`torch.device`): Where predictions are.
    """

    def __init__(self, device: torch.device):
        self.finite = torch.ones((), dtype=torch.bool, device=device)

    def __call__(
        self, canvas: Any, prediction: Any, finished: torch.Tensor, text_end: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Looks at the confidences of a step; ends no row."""
        self.finite = self.finite & prediction.confidence.isfinite().all()
        return finished, text_end

    def check(self) -> None:
        """
        Checks that all confidences were finite.

        Raises:
            ValueError: If not.
        """
        if not bool(self.finite):
            raise ValueError(
                "`model` must give finite logits for at least one token (got NaN or infinity): its weights are "
                "damaged, its dtype too narrow, or a logits processor forbids every token"
            )
