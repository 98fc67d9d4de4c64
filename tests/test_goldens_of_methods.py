# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Outputs of the methods' own releases, equal token for token."""

import json
import math
import zlib
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


def batches() -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Cases of equal options run as one batch, by a name: quicker, and rows are as if alone."""
    found: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for file in METHODS:
        for case in golden_cases(file):
            options = {name: value for name, value in case["args"].items() if name != "attention_mask"}
            # What stops is cut to the length of the batch's longest row.
            alike = case["id"] if options.get("early_stop") else json.dumps([case["checkpoint"], options])
            number = zlib.crc32(alike.encode())
            found.setdefault(f"{file}-{case['checkpoint']}-{number}", (file, []))[1].append(case)
    return found


BATCHES = batches()


@pytest.mark.parametrize(("file", "cases"), BATCHES.values(), ids=BATCHES)
def test_equals_the_release(file, cases):
    args, checkpoint = cases[0]["args"], cases[0]["checkpoint"]
    stops = args.get("early_stop", False)
    prompts, outputs, nfe = [], [], []
    for case in cases:
        masks = case["args"].get("attention_mask", torch.ones_like(torch.tensor(case["prompt"])).tolist())
        for prompt, mask, output in zip(case["prompt"], masks, case["output"], strict=True):
            prompts.append([token for token, seen in zip(prompt, mask, strict=True) if seen])
            outputs.append(output[len(prompt) :])
            nfe.append(case["nfe"])
    width = max(map(len, prompts))
    output = golden_model(checkpoint).generate(
        torch.tensor([[510] * (width - len(prompt)) + prompt for prompt in prompts]),
        attention_mask=torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
        max_new_tokens=args["gen_length"],
        block_length=args["block_length"],
        steps=args.get("steps"),
        end_of_text="accepted" if stops else None,
        return_dict_in_generate=True,
        **METHODS[file](args),
    )
    answer, expected = output.sequences[:, width:], torch.tensor(outputs)
    assert torch.equal(answer, expected[:, : answer.shape[1]])
    # A release that stops still finishes the block behind the end-of-text, and fills up with it.
    assert answer.shape == expected.shape or (stops and answer[0, -1] == 510)
    if file == "dream_default_schedule":
        # Its passes that unmask nothing, of which there are some with as many steps as tokens, are left out.
        assert all(0 < own <= theirs for own, theirs in zip(output.nfe.tolist(), nfe, strict=True))
    elif not stops:
        assert output.nfe.tolist() == nfe
