# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The stock loop as LLaDA describes it, written down plainly: what the benchmark's speed-ups are measured against.

One row at a time, one token per step, the logits of the whole canvas in every step and their softmax in float64.
"""

from typing import Any

import torch

__all__ = ["naive_generate"]


@torch.no_grad()
def naive_generate(model: Any, prompt_ids: torch.Tensor, max_new_tokens: int, block_length: int) -> torch.Tensor:
    """
    Denoises an answer behind one prompt. Source: https://huggingface.co/papers/2502.09992.

    Args:
        model (`PreTrainedModel`): A masked diffusion model.
        prompt_ids (`torch.LongTensor` of shape `(1, prompt_length)`): The prompt.
        max_new_tokens (`int`): Positions of the answer region, a multiple of `block_length`.
        block_length (`int`): Positions that are denoised together.

    Returns:
        `torch.LongTensor` of shape `(1, prompt_length + max_new_tokens)`.
    """
    mask = model.config.mask_token_id
    prompt_length = prompt_ids.shape[1]
    canvas = torch.nn.functional.pad(prompt_ids, (0, max_new_tokens), value=mask)
    for start in range(prompt_length, prompt_length + max_new_tokens, block_length):
        for _ in range(block_length):
            logits = model(canvas, use_cache=False).logits
            logits[..., mask] = -torch.inf
            tokens = logits.argmax(dim=-1)
            probabilities = logits.double().softmax(dim=-1)
            confidence = probabilities.gather(-1, tokens[..., None]).squeeze(-1)
            confidence[canvas != mask] = -torch.inf
            confidence[:, start + block_length :] = -torch.inf
            best = confidence.argmax(dim=-1)
            canvas[0, best] = tokens[0, best]
    return canvas
