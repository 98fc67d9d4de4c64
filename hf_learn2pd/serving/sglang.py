# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""SGLang's plugin: `--dllm-algorithm Learn2PD` unmasks LLaDA2.x and SDAR by our strategies and filters."""

import math
from typing import Any

import torch
from sglang.srt.dllm.algorithm import algo_name_to_cls
from sglang.srt.dllm.algorithm.base import DllmAlgorithm

from ..choice import choose
from ..unmasking import BlockPrediction, resolve_strategy
from ..unmasking.resolve import strategy_name

__all__ = ["Learn2PDAlgorithm", "register"]


class Learn2PDAlgorithm(DllmAlgorithm):
    """
    A decoding algorithm of SGLang that asks an unmasking strategy. Source: https://huggingface.co/papers/2509.25188.

    Args:
        config (`DllmConfig`): Its `algorithm_config` holds `unmasking_filter`, `filter_threshold` and `decoding` as
            `generate` takes them, the last `"learn2pd"` unless given, beside SGLang's own `block_size`.

    Raises:
        ValueError: If an option is wrong, or the strategy looks at more than SGLang hands on.
    """

    def __init__(self, config: Any):
        super().__init__(config)
        options = {"decoding": "learn2pd"} | config.algorithm_config
        filtered = strategy_name(options["decoding"]) == "learn2pd"
        known = {"decoding", "block_size", *(("unmasking_filter", "filter_threshold") if filtered else ())}
        if set(options) - known:
            raise ValueError(f"`algorithm_config` must hold {sorted(known)} only (got {min(set(options) - known)!r})")
        names = ("decoding", "unmasking_filter", "filter_threshold")
        self.strategy = strategy = resolve_strategy(*map(options.get, names))
        if strategy.rescores or strategy.needs & {"agreements", "divergence", "hidden_states"}:
            raise ValueError(f"`decoding` must be a strategy that looks at one step (got {type(strategy).__name__})")
        strategy.prepare(config.max_running_requests, self.block_size, torch.device("cpu"))

    def init_step_state(self, forward_batch: Any) -> list[Any]:
        ids = forward_batch.input_ids.view(-1, self.block_size)
        self.strategy = self.strategy.prepare(len(ids), self.block_size, ids.device)
        prompt = getattr(forward_batch, "dllm_prompt_mask", None)
        start = (ids != self.mask_id if prompt is None else prompt).sum(dim=1)
        before, noise = torch.full_like(ids, -1, dtype=torch.long), torch.rand(ids.shape, device=ids.device)
        return [list(each) for each in zip(start, before, torch.zeros_like(before), noise, strict=True)]

    def step(self, forward_batch: Any, full_logits: Any, states: list[Any]) -> list[bool]:
        ids = forward_batch.input_ids.view(len(states), self.block_size)
        start, before, count, noise = map(torch.stack, zip(*states, strict=True))
        # A row's block begins behind its prompt, as in `generate`, and is that much shorter.
        place = start[:, None] + torch.arange(self.block_size, device=ids.device)
        in_block, at = place < self.block_size, place.clamp(max=self.block_size - 1)
        masked = (ids.gather(1, at) == self.mask_id) & in_block
        # Later versions of SGLang hand on what holds the logits.
        logits = getattr(full_logits, "full_logits", full_logits).view(*ids.shape, -1).take_along_dim(at[..., None], 1)
        logits = logits.float().index_fill(-1, ids.new_tensor([self.mask_id]).long(), -torch.inf)
        tokens, scores = logits.argmax(dim=-1), logits.log_softmax(dim=-1)
        count = torch.where(tokens == before, count, 0) + 1
        for state, own, repeats in zip(states, tokens, count, strict=True):
            state[1:3] = own, repeats
        best, second = scores.topk(2, dim=-1).values.exp().unbind(dim=-1)
        confidence, rows = best.masked_fill(~in_block, 0.0), torch.arange(len(ids), device=ids.device)
        entropy = torch.special.entr(scores.exp()).sum(dim=-1) / math.log(scores.shape[-1])
        fields = (tokens, confidence, masked, torch.ones_like(start), place, rows, noise, in_block, scores.shape[-1])
        last = {"repeats": count, "masked_share": masked.sum(dim=-1) / in_block.sum(dim=-1).clamp(min=1)}
        chosen = choose(self.strategy, BlockPrediction(*fields, best - second, entropy, **last))
        # In place, since CUDA graphs read from there; what lies behind a block is written to a column to spare.
        places = place.masked_fill(~chosen, self.block_size)
        new = torch.nn.functional.pad(ids, (0, 1)).scatter(1, places, tokens.to(ids.dtype))[:, :-1]
        forward_batch.input_ids.copy_(new.reshape(-1))
        return [not any(row) for row in masked.tolist()]


def register() -> None:
    """Makes the algorithm known to SGLang, which calls this in each of its processes."""
    algo_name_to_cls["Learn2PD"] = Learn2PDAlgorithm
