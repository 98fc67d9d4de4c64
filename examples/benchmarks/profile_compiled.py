# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What compiling gives: a window's pass in `generate`, the bare decoder, and what memory allows."""

import time
from collections.abc import Callable
from typing import Any

import torch
from profile_loop import random_llada
from transformers import CompileConfig

from hf_learn2pd.compatibility import cache_argument
from hf_learn2pd.compiling import Compiled, StaticBlockCache

__all__ = ["profile_compiled"]

PROMPT, BLOCK, FEW = 192, 32, 2


def _fastest(run: Callable[[], Any], repeats: int) -> float:
    """Milliseconds of the fastest of several runs, after two to warm up."""
    seconds = []
    for _ in range(repeats + 2):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 1e3 * min(seconds[2:])


def _in_generate(model: Any, repeats: int, **options: Any) -> float:
    """Milliseconds of a window's pass, with all that `generate` does around it."""
    prompt = torch.randint(0, model.config.mask_token_id - 1, (1, PROMPT), device=model.device)

    def run(steps: int) -> float:
        given = {"max_new_tokens": BLOCK, "block_length": BLOCK, "block_cache": "dual", "end_of_text": None} | options
        inputs = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
        return _fastest(lambda: model.generate(**inputs, steps=steps, **given), repeats)

    # So many more passes; all else is the same.
    return (run(BLOCK) - run(FEW)) / (BLOCK - FEW)


@torch.no_grad()
def _bare(model: Any, decoder: Callable[..., Any], repeats: int) -> float:
    """Milliseconds of the decoder, called with a window again and again."""
    columns = torch.arange(PROMPT + BLOCK, device=model.device)[None]
    cache = StaticBlockCache(model.config, columns.shape[1], 1)
    options: dict[str, Any] = {"use_cache": True, str(cache_argument(model.model.forward)): cache}
    cache.refresh(columns, columns.shape[1])
    model.model(input_ids=columns % model.config.vocab_size, position_ids=columns, **options)
    window = columns[:, PROMPT:].clone()
    cache.window(window, columns.shape[1])
    seen = torch.arange(cache.reserve(1), device=model.device) < columns.shape[1]
    inputs = {
        "input_ids": window % model.config.vocab_size,
        "position_ids": window,
        "attention_mask": seen[None, None, None].clone(),
    }
    return _fastest(lambda: decoder(**inputs, **options), 10 * repeats)


def profile_compiled(name: str, bandwidth: float | None = None, backend: str = "inductor", repeats: int = 5) -> str:
    """
    Measures passes over one block of one row, compiled and not.

    Args:
        name (`str`): A key of `SHAPES`.
        bandwidth (`float`, *optional*): Bytes per second that the device reads from its memory, 3.35e12 on an H100.
        backend (`str`, *optional*, defaults to `"inductor"`): Of `torch.compile`.
        repeats (`int`, *optional*, defaults to 5): Runs, of which the fastest counts.

    Returns:
        `str`: A Markdown table, and the time that it takes to read the weights once.
    """
    model, config = random_llada(name), CompileConfig(backend=backend)
    lines = ["| decoder | ms per window pass in `generate` | ms per call of the decoder alone |", "|---|---|---|"]
    for label, decoder, options in (
        ("not compiled", model.model, {}),
        ("compiled", Compiled(model, 1, config).decoder, {"compile_config": config}),
    ):
        passes = _in_generate(model, repeats, **options)
        lines.append(f"| {label} | {passes:.2f} | {_bare(model, decoder, repeats):.2f} |")
    # All but the embedding, of which a pass reads a few rows.
    weights = [each for key, each in model.named_parameters() if "embed_tokens" not in key or model.config.weight_tying]
    size = sum(each.numel() * each.element_size() for each in weights)
    limit = f", {1e3 * size / bandwidth:.2f} ms at {bandwidth:.3g} bytes per second" if bandwidth else ""
    return "\n".join([*lines, "", f"A pass reads {size / 1e9:.2f} GB of weights{limit}."])
