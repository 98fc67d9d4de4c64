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
        "decoding": Stable(threshold=args["accept_confidence_threshold"], steps=args["accept_stability_steps"])
    },
    "cora_fast_accept_one_block": lambda args: {
        "decoding": Stable(threshold=args["accept_confidence_threshold"], steps=args["accept_stability_steps"])
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
    stops = args.get("early_stop", False)
    output = golden_model(case["checkpoint"]).generate(
        prompt,
        attention_mask=torch.tensor(args.get("attention_mask", torch.ones_like(prompt).tolist())),
        max_new_tokens=args["gen_length"],
        block_length=args["block_length"],
        steps=args.get("steps"),
        end_of_text="accepted" if stops else None,
        return_dict_in_generate=True,
        **METHODS[file](args),
    )
    expected = torch.tensor(case["output"])
    length = output.sequences.shape[1]
    assert torch.equal(output.sequences, expected[:, :length])
    # A release that stops still finishes the block behind the end-of-text, and fills up with it.
    assert length == expected.shape[1] or (stops and output.sequences[0, -1] == 510)
    if file != "dream_default_schedule" and not stops:
        # Dream's schedule has passes that unmask nothing.
        assert output.nfe.tolist() == [case["nfe"]] * len(prompt)
