# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Outputs of the methods' own releases, equal token for token."""

import math
from typing import Any

import pytest
import torch
from conftest import golden_cases, golden_model

from hf_learn2pd import (
    AdaBlock,
    Credit,
    Dilated,
    EntropyBound,
    EntropyOrder,
    Klass,
    LocalLeap,
    LowConfidence,
    MarginOrder,
    Stable,
    Threshold,
)

ORDERS = {"maskgit_plus": LowConfidence(), "entropy": EntropyOrder(), "topk_margin": MarginOrder()}


def adablock(args: dict[str, Any], **options: Any) -> dict[str, Any]:
    schedule = AdaBlock(args["block_length"], args["delimiter_threshold"], tuple(args["delimiter_ids"]))
    return {"decoding": Threshold(args["threshold"]), "block_schedule": schedule} | options


def dream(args: dict[str, Any]) -> dict[str, Any]:
    # The release's schedule with a negative eps gives the same number in every step, as ours does without one.
    eps = args["eps"] if args["eps"] > 0 else None
    return {"decoding": ORDERS[args["alg"]], "schedule_eps": eps}


METHODS: dict[str, Any] = {
    "adablock_generate": adablock,
    "adablock_dual_cache": lambda args: adablock(args, block_cache="dual"),
    "adablock_prefix_cache": lambda args: adablock(args, block_cache="prefix"),
    "adablock_dream_shifted": adablock,
    "adablock_off_llada_moe": adablock,
    "cora_fast_accept_blocks": lambda args: {
        "decoding": Stable(
            threshold=args["accept_confidence_threshold"], steps=args["accept_stability_steps"]
        )
    },
    "cora_fast_accept_one_block": lambda args: {
        "decoding": Stable(
            threshold=args["accept_confidence_threshold"], steps=args["accept_stability_steps"]
        )
    },
    "credit_decoder": lambda args: {
        "decoding": Credit(args["threshold"], args["decay_beta"], args["boost_gamma"], args["credit_alpha"])
    },
    "dream_default_schedule": dream,
    "dream_uniform": dream,
    "dus_power_of_two": lambda args: {"decoding": Dilated()},
    "dus_other_blocks": lambda args: {"decoding": Dilated()},
    # The release measures entropies in bits.
    "eb_sampler": lambda args: {"decoding": EntropyBound(args["gamma_bits"] * math.log(2))},
    "klass_blocks": lambda args: {"decoding": Klass(args["conf_threshold"], args["kl_threshold"])},
    "klass_one_block": lambda args: {"decoding": Klass(args["conf_threshold"], args["kl_threshold"])},
    "localleap_generate": lambda args: {
        "decoding": LocalLeap(args["threshold"], args["relaxed_threshold"], args["radius"])
    },
}
CASES = [(file, case) for file in METHODS for case in golden_cases(file)]


@pytest.mark.parametrize(("file", "case"), CASES, ids=[f"{file}/{case['id']}" for file, case in CASES])
def test_equals_the_release(file, case):
    args = case["args"]
    prompt = torch.tensor(case["prompt"])
    output = golden_model(case["checkpoint"]).generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=args["gen_length"],
        block_length=args["block_length"],
        steps=args.get("steps"),
        end_of_text=None,
        return_dict_in_generate=True,
        **METHODS[file](args),
    )
    assert output.sequences.tolist() == case["output"]
    if "eps" not in args:
        assert output.nfe.tolist() == [case["nfe"]] * len(case["prompt"])
