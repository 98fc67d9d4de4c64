# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What the fuzzer tries: tiny random models of every family, and calls of `generate` drawn from all of its options."""

import functools
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

import hf_learn2pd as hf
from hf_learn2pd import UNMASKING_STRATEGIES, AdaBlock, FixedBlocks, SlidingBlocks, UnmaskingFilter
from hf_learn2pd.options import OPTIONS

__all__ = ["BLOCK_CAUSAL", "EOT", "FAMILIES", "MASK", "VOCAB", "Case", "draw", "tiny_model", "tokenizer"]

VOCAB, MASK, EOT, TURN = 60, 59, 58, 57
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.5,
}
IDS = {"mask_token_id": MASK, "eos_token_id": EOT, "pad_token_id": EOT}
GROUPED = SIZES | IDS | {"num_key_value_heads": 1}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
FAMILIES: dict[str, Any] = {
    "llada": lambda: hf.LladaForMaskedDiffusion(hf.LladaConfig(**SIZES, **IDS, end_of_turn_token_id=TURN)),
    "dream": lambda: hf.DreamForMaskedDiffusion(hf.DreamConfig(**GROUPED)),
    "llada_moe": lambda: hf.LladaMoeForMaskedDiffusion(
        hf.LladaMoeConfig(
            **SIZES | IDS, num_key_value_heads=2, num_experts=4, num_experts_per_tok=2, expert_intermediate_size=8
        )
    ),
    "llada2": lambda: hf.Llada2MoeForMaskedDiffusion(
        hf.Llada2MoeConfig(**GROUPED, **EXPERTS, head_dim=8, n_group=2, topk_group=1, block_length=4)
    ),
    "sdar": lambda: hf.SdarForMaskedDiffusion(hf.SdarConfig(**GROUPED, head_dim=8, block_length=4)),
    "fast_dllm": lambda: hf.FastDllmForMaskedDiffusion(hf.FastDllmConfig(**GROUPED, bd_size=12)),
    "bert": lambda: hf.enable_decoding(
        BertForMaskedLM(BertConfig(**SIZES, pad_token_id=EOT)), mask_token_id=MASK, eos_token_id=EOT
    ),
}
BLOCK_CAUSAL = ("llada2", "sdar", "fast_dllm")


@functools.cache
def tiny_model(family: str) -> Any:
    """In float64, so that no two orders of summation, of a batch and of its row alone, make another choice."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FAMILIES[family]().eval().double()


@functools.cache
def tokenizer() -> Any:
    words = {f"w{number}": number for number in range(MASK)} | {"<mask>": MASK}
    made = Tokenizer(WordLevel(words, unk_token="w0"))
    made.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, mask_token="<mask>", unk_token="w0")


@functools.cache
def unmasking_filter(kind: str) -> UnmaskingFilter:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        if kind == "mlp":
            return UnmaskingFilter(block_length=8, hidden_size=8).eval()
        features = ["confidence", "margin", "entropy", "mask_ratio", "position", "unchanged"]
        states = {"features": [*features, "hidden_state"], "state_size": 16} if kind == "states" else {}
        options = {"features": features, "hidden_size": 8} | states
        return UnmaskingFilter(architecture="transformer", joint=kind == "joint", **options).eval()


@dataclass(frozen=True)
class Case:
    """
    One call of `generate`.

    Args:
        family (`str`): A key of `FAMILIES`.
        prompts (`list[list[int]]`): Ids without padding.
        padding (`int`): Columns of padding left of the longest prompt.
        options (`dict[str, Any]`): Keyword arguments.
        bad (`str`, *optional*): The option among them that has a value it must not have.
    """

    family: str
    prompts: list[list[int]]
    padding: int
    options: dict[str, Any]
    bad: str | None = None


def _strategy(rng: Random, rows: int) -> Any:
    # Random models are seldom sure: low levels as well, so that some positions are above and some below.
    name, level = rng.choice([*UNMASKING_STRATEGIES]), round(rng.random() ** rng.choice([1, 4]), 4)
    options = {
        "threshold": {"threshold": level, "relief": rng.choice([0.0, 0.0, 0.3])},
        "factor": {"factor": 0.1 + 3 * level},
        "local_leap": {"threshold": level, "relaxed_threshold": level / 2, "radius": rng.randrange(5)},
        "frechet": {"bound": level * 0.9},
        "entropy_bound": {"gamma": 5 * level},
        "klass": {"threshold": level / 2, "divergence": 0.01 + level},
        "credit": {"threshold": level, "decay": rng.random(), "exponent": rng.random(), "weight": 2 * rng.random()},
        "stable": {"base": hf.Threshold(level) if rng.random() < 0.5 else "factor", "threshold": level / 2, "steps": 1},
    }.get(name, {})
    if name == "oracle":
        return {"decoding": hf.Oracle(torch.tensor([[rng.randrange(58) for _ in range(9)] for _ in range(rows)]))}
    if name == "learn2pd":
        made = unmasking_filter(rng.choice(["mlp", "scalars", "joint", "states"]))
        return rng.choice(
            [
                {"decoding": "learn2pd", "unmasking_filter": made, "filter_threshold": level},
                {"decoding": hf.Learn2PD(made, level)},
            ]
        )
    spec = {"name": name, **options}
    if rng.random() < 0.5 or options.get("base") == "factor":
        return {"decoding": spec if options else name}
    return {"decoding": UNMASKING_STRATEGIES[name](**options)}


def _schedule(rng: Random) -> Any:
    length = rng.randint(1, 9)
    ids = tuple(range(0, VOCAB, rng.randint(2, 9)))
    return rng.choice(
        [
            AdaBlock(length, rng.random() / 4, ids, window=rng.choice([0.25, 0.5, 1.0])),
            {"name": "adablock", "threshold": 0.1, "delimiter_ids": list(ids)},
            SlidingBlocks(length, rng.choice([None, length, 2 * length])),
            {"name": "sliding", "block_length": length},
            "sliding",
            FixedBlocks(length),
            "adablock",
        ]
    )


def _cache(rng: Random) -> Any:
    name = rng.choice(["prefix", "dual", "local", "sliding"])
    every = rng.choice([None, 1, 1, 2, 5])
    if rng.random() < 0.8:
        return {"block_cache": name, "refresh_every": every}
    made = {"prefix": hf.PrefixCache, "dual": hf.DualCache, "local": hf.NeighbourCache, "sliding": hf.SlidingCache}
    return {"block_cache": made[name](every)}


def _bad_value(rng: Random) -> tuple[str, Any]:
    name = rng.choice([name for name in OPTIONS if name not in ("compile_config", "unmasking_filter")])
    value = rng.choice([float("nan"), -1, -0.5, float("inf"), (1,), b"x", object, 10**400, -(10**400)])
    return name, value


def draw(rng: Random) -> Case:
    """Draws a case, the same from the same state of `rng`."""
    family, rows = rng.choice([*FAMILIES]), rng.choice([1, 1, 2, 3, 4])
    causal = family in BLOCK_CAUSAL
    common = [*range(58), EOT, TURN]
    prompts = [[rng.choice(common) for _ in range(rng.randint(1, 7))] for _ in range(rows)]
    if rng.random() < 0.01:
        prompts[0][0] = MASK
    length = rng.randint(1, 16)
    options: dict[str, Any] = {"max_new_tokens": length}

    def maybe(chance: float, **values: Any) -> None:
        if rng.random() < chance:
            options.update(values)

    maybe(0.9, **_strategy(rng, rows))
    maybe(0.8, block_length=rng.choice([1, 2, 3, 4, 6, 12] if causal else [1, 2, 3, 4, 5, 8, 8, 16, 32]))
    maybe(0.3, steps=rng.randint(1, 30))
    maybe(0.04, schedule_eps=rng.choice([1e-3, 0.3]), steps=rng.randint(1, 30), block_length=rng.choice([20, 20, 8]))
    maybe(0.02 if causal else 0.4, **_cache(rng))
    maybe(0.02, refresh_every=rng.randint(1, 3))
    maybe(0.02 if causal else 0.2, suffix_length=rng.choice([0, 1, 3, 12, 40]))
    maybe(0.02 if causal else 0.15, block_schedule=_schedule(rng))
    maybe(0.8, end_of_text=rng.choice([None, "accepted", "accepted", "cut", "predicted"]))
    maybe(0.5, eos_token_id=rng.choice([EOT, rng.randrange(58), [EOT, rng.randrange(58)], list(range(0, 58, 7))]))
    maybe(0.2, pad_token_id=rng.randrange(58))
    maybe(0.12, verify=True, max_draft_length=rng.randint(1, 9), end_of_text=rng.choice([None, "accepted", "cut"]))
    maybe(0.04, decoding="pearl")
    if options.get("decoding") == "pearl":
        options.pop("filter_threshold", None)
    maybe(0.12, cfg_scale=rng.choice([0.0, 0.5, 2.0]))
    maybe(0.08, logits_eos_inf=True)
    maybe(0.08, confidence_eos_eot_inf=True)
    maybe(0.3 if family == "llada2" else 0.01, edit_threshold=rng.random(), max_post_steps=rng.randrange(4))
    maybe(0.12, do_sample=True, temperature=0.1 + 2 * rng.random())
    if options.get("do_sample"):
        maybe(0.4, top_p=0.1 + 0.9 * rng.random())
        maybe(0.4, top_k=rng.randint(1, 70))
        maybe(0.2, num_return_sequences=2)
    maybe(0.1, repetition_penalty=0.5 + rng.random())
    maybe(0.04, no_repeat_ngram_size=rng.randint(1, 3))
    maybe(0.04, bad_words_ids=[[rng.randrange(58)], [rng.randrange(58), rng.randrange(58)]])
    maybe(0.06, tokenizer=tokenizer(), stop_strings=[f"w{rng.randrange(58)}", f"w{rng.randrange(58)} w3"])
    maybe(0.95, output_unmasking_steps=True)
    maybe(0.1, output_history=True)
    maybe(0.95, return_dict_in_generate=True)
    bad = None
    if rng.random() < 0.04:
        bad, value = _bad_value(rng)
        options[bad] = value
    return Case(family, prompts, rng.choice([0, 0, 1, 3]), options, bad)
