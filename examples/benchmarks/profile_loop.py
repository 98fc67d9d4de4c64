# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""How much of a run is spent inside of the model's forward passes, and what memory it takes."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from naive_loop import naive_generate
from torch.profiler import ProfilerActivity, profile, record_function

from hf_learn2pd import LladaConfig, LladaForMaskedDiffusion, Threshold

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from measuring import peak_memory, reset_peak_memory

__all__ = ["SHAPES", "forward_share", "profile_memory", "profile_shape", "random_llada"]

# Official sizes of LLaDA-8B; a third of a billion parameters for a CPU.
SHAPES = {
    "8b": {"d_model": 4096, "n_layers": 32, "n_heads": 32, "mlp_hidden_size": 12288, "vocab_size": 126464},
    "300m": {"d_model": 1024, "n_layers": 16, "n_heads": 16, "mlp_hidden_size": 3072, "vocab_size": 32768},
}


def forward_share(model: Any, inputs: dict[str, torch.Tensor], **options: Any) -> tuple[float, float, int]:
    """
    Profiles one call of `generate`.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        inputs (`dict[str, torch.Tensor]`): Tokenized prompts.
        options: Options of `generate`.

    Returns:
        `tuple[float, float, int]`: Part of the time spent in the decoder and the LM head, milliseconds per forward
        pass, number of forward passes.
    """
    open_ranges: list[Any] = []

    def enter(*_: Any) -> None:
        open_ranges.append(record_function("forward"))
        open_ranges[-1].__enter__()

    def leave(*_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        open_ranges.pop().__exit__(None, None, None)

    hooks = []
    for module in (model.get_decoder(), model.get_output_embeddings()):
        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with profile(activities=[ProfilerActivity.CPU]) as profiler, record_function("generate"):
            output = model.generate(**inputs, **options, return_dict_in_generate=True)
    finally:
        for hook in hooks:
            hook.remove()
    times = {event.key: event.cpu_time_total for event in profiler.key_averages()}
    passes = len(output.forward_passes)
    return times["forward"] / times["generate"], times["generate"] / 1e3 / passes, passes


def profile_memory(max_new_tokens: int = 1024, passes: int = 4) -> str:
    """
    Measures the peak of a narrow model with LLaDA's vocabulary, in the naive loop and here.

    Args:
        max_new_tokens (`int`, *optional*, defaults to 1024): Positions of the answer region.
        passes (`int`, *optional*, defaults to 4): Forward passes of each run; all take the same.

    Returns:
        `str`: A Markdown table.
    """
    sizes = {"d_model": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 4, "mlp_hidden_size": 128}
    config: dict[str, Any] = sizes | {"max_sequence_length": 4096}
    model = LladaForMaskedDiffusion(LladaConfig(**config)).eval()
    prompt = torch.randint(0, 1000, (1, 64))
    counted = 0

    def stop(*_: Any) -> None:
        nonlocal counted
        counted += 1
        if counted > passes:
            raise InterruptedError

    def peak(run: Callable[[], Any]) -> float:
        nonlocal counted
        counted = 0
        before = reset_peak_memory()
        with contextlib.suppress(InterruptedError):
            run()
        return peak_memory() - before

    model.model.register_forward_pre_hook(stop)
    options = {"decoding": Threshold(0.9), "max_new_tokens": max_new_tokens, "attention_mask": torch.ones_like(prompt)}
    rows = {
        "hf_learn2pd": peak(lambda: model.generate(prompt, **options)),
        "hf_learn2pd, dual cache": peak(lambda: model.generate(prompt, block_cache="dual", **options)),
        "naive loop": peak(lambda: naive_generate(model, prompt, max_new_tokens, 32)),
    }
    lines = [f"| {name} | {megabytes:.0f} |" for name, megabytes in rows.items()]
    return "\n".join([f"| {max_new_tokens} new tokens | peak MB over the model |", "|---|---|", *lines])


def random_llada(name: str) -> LladaForMaskedDiffusion:
    """
    Builds a LLaDA with random weights, on the GPU in bfloat16 if there is one.

    Args:
        name (`str`): A key of `SHAPES`.
    """
    cuda, sizes = torch.cuda.is_available(), SHAPES[name]
    mask = sizes["vocab_size"] - 1
    config: Any = {**sizes, "n_kv_heads": sizes["n_heads"], "max_sequence_length": 4096, "rope_theta": 5e5}
    with torch.device("cuda" if cuda else "cpu"):
        torch.set_default_dtype(torch.bfloat16 if cuda else torch.float32)
        model: LladaForMaskedDiffusion = LladaForMaskedDiffusion(
            LladaConfig(**config, mask_token_id=mask, eos_token_id=mask - 1, pad_token_id=mask - 1)
        ).eval()
        torch.set_default_dtype(torch.float32)
    return model


def profile_shape(name: str, batch_size: int = 1, prompt_length: int = 192) -> str:
    """
    Builds a LLaDA with random weights and profiles it with and without cache.

    Args:
        name (`str`): A key of `SHAPES`.
        batch_size (`int`, *optional*, defaults to 1): Rows.
        prompt_length (`int`, *optional*, defaults to 192): Tokens of each prompt.

    Returns:
        `str`: A Markdown table.
    """
    max_new_tokens = 256 if torch.cuda.is_available() else 64
    model = random_llada(name)
    prompt = torch.randint(0, 1000, (batch_size, prompt_length), device=model.device)
    inputs = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
    lines = ["| cache | forward passes | ms per pass | inside the model | overhead, ms per pass |", "|" + "---|" * 5]
    for cache in (None, "prefix", "dual"):
        # Random weights are sure of nothing, so the threshold unmasks one token per step.
        options = {"decoding": Threshold(0.9), "block_cache": cache, "end_of_text": None}
        forward_share(model, inputs, max_new_tokens=8, block_length=8, **options)
        share, milliseconds, passes = forward_share(
            model, inputs, max_new_tokens=max_new_tokens, block_length=32, **options
        )
        overhead = (1 - share) * milliseconds
        lines.append(f"| {cache or 'none'} | {passes} | {milliseconds:.2f} | {100 * share:.1f} % | {overhead:.2f} |")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    title = f"{parameters / 1e9:.2f} billion parameters, batch {batch_size}, {max_new_tokens} new tokens"
    return "\n".join([title, "", *lines])
