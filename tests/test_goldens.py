# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Outputs of independent implementations, equal token for token and forward for forward."""

from typing import Any

import pytest
import torch
from conftest import golden_cases, golden_filter, golden_model

from hf_learn2pd import Factor, Learn2PD, LowConfidence, Threshold, UnmaskingStrategy

FILES = {
    "llada_generate": None,
    "llada_generate_left_padded": None,
    "fastdllm_generate": None,
    "learn2pd_generate": None,
    "learn2pd_predict_eot": "predicted",
    "learn2pd_learn2parallel": None,
    "learn2pd_l2p_eot": "predicted",
    "fastdllm_generate_with_prefix_cache": None,
    "fastdllm_generate_with_dual_cache": None,
    "learn2pd_with_prefix_cache": "predicted",
    "learn2pd_with_dual_cache": "predicted",
}
CASES = [(case, end_of_text) for file, end_of_text in FILES.items() for case in golden_cases(file)]


def strategy_of(args: dict[str, Any]) -> UnmaskingStrategy:
    if "accept_thres" in args:
        return Learn2PD(golden_filter(), args["accept_thres"])
    if args.get("threshold") is not None:
        return Threshold(args["threshold"])
    if args.get("factor") is not None:
        return Factor(args["factor"])
    return LowConfidence()


def cache_of(case: dict[str, Any]) -> str | None:
    return next((name for name in ("prefix", "dual") if f"_{name}_cache" in case["id"]), None)


def generate(case: dict[str, Any], end_of_text: str | None, **options: Any) -> Any:
    args = case["args"]
    prompt = torch.tensor(case["prompt"])
    mask = args.get("attention_mask")
    return golden_model(case["checkpoint"]).generate(
        prompt,
        attention_mask=torch.ones_like(prompt) if mask is None else torch.tensor(mask),
        decoding=strategy_of(args),
        max_new_tokens=args["gen_length"],
        block_length=args["block_length"],
        steps=args["steps"],
        cfg_scale=args.get("cfg_scale", 0.0),
        logits_eos_inf=args.get("logits_eos_inf", False),
        confidence_eos_eot_inf=args.get("confidence_eos_eot_inf", False),
        eos_token_id=case["eot_token_id"],
        end_of_text=end_of_text,
        return_dict_in_generate=True,
        output_unmasking_steps=True,
        **{"block_cache": cache_of(case)} | options,
    )


@pytest.mark.parametrize(("case", "end_of_text"), CASES, ids=[case["id"] for case, _ in CASES])
def test_equals_the_reference(case, end_of_text):
    output = generate(case, end_of_text)
    assert output.sequences.tolist() == case["output"]
    if cache_of(case) is not None and len(case["prompt"]) > 1:
        # The reference keeps rows in lockstep at every block; here they go on alone, so only the order is the same.
        for steps, forwards in zip(output.unmasking_steps, case["reveal_forward"], strict=True):
            assert steps.tolist() == torch.tensor(forwards).unique(return_inverse=True)[1].tolist()
        assert output.nfe.sum() < case["nfe"] * len(output.nfe)
        return
    assert output.unmasking_steps.tolist() == case["reveal_forward"]
    assert len(output.forward_passes) == case["nfe"] == output.nfe.max()
    lengths = [[kind, query, cached] for kind, _, query, cached in output.forward_passes]
    assert lengths == [[kind, query, cached] for kind, _, query, cached in case["forwards"]]
    if len(case["prompt"]) == 1:
        # In a larger batch finished rows leave, which the reference cannot do.
        assert [rows for _, rows, _, _ in output.forward_passes] == [rows for _, rows, _, _ in case["forwards"]]


@pytest.mark.parametrize("file", ["learn2pd_predict_eot", "learn2pd_l2p_eot"])
def test_rows_of_a_batch_are_cut_as_if_alone(file):
    """The release cuts the whole batch at one row's end of text, or crashes."""
    cases = [case for case in golden_cases(file) if case["checkpoint"] == "tiny_llada" and case["eot_token_id"] == 510]
    first = max(cases, key=lambda case: sum(c["args"] == case["args"] for c in cases))
    group = [case for case in cases if case["args"] == first["args"]]
    assert len(group) >= 3
    width = max(case["prompt_length"] for case in group)
    pads = [width - case["prompt_length"] for case in group]
    batch = {
        **first,
        "prompt": [[510] * pad + case["prompt"][0] for pad, case in zip(pads, group, strict=True)],
        "args": first["args"] | {"attention_mask": [[0] * pad + [1] * (width - pad) for pad in pads]},
    }
    output = generate(batch, "predicted")
    assert output.nfe.tolist() == [case["nfe"] for case in group]
    for row, pad, case in zip(output.sequences.tolist(), pads, group, strict=True):
        alone = case["output"][0]
        assert row[pad : pad + len(alone)] == alone
        assert set(row[pad + len(alone) :]) <= {510}


def test_guidance_after_a_cut_works():
    """The release raises an IndexError: its mask of the prompt keeps the old length."""
    case = next(case for case in golden_cases("learn2pd_predict_eot") if case["nfe"] < 20)
    guided = {**case, "args": case["args"] | {"cfg_scale": 0.5}}
    output = generate(guided, "predicted")
    assert 511 not in output.sequences
    lengths = [query for _, _, query, _ in output.forward_passes]
    assert lengths == sorted(lengths, reverse=True)


def test_guidance_without_attention_mask_works():
    """The original LLaDA code raises an UnboundLocalError."""
    case = next(case for case in golden_cases("llada_generate") if case["args"]["cfg_scale"] > 0)
    without = {**case, "args": {key: value for key, value in case["args"].items() if key != "attention_mask"}}
    assert generate(without, None).sequences.tolist() == case["output"]


def test_schedule_may_ask_for_more_than_a_cut_block_has_left():
    """The release asks `topk` for more than the window has: 4 tokens a step, cut windows of any length."""
    for case in golden_cases("learn2pd_predict_eot")[:4]:
        faster = {**case, "args": case["args"] | {"steps": case["args"]["gen_length"] // 4}}
        output = generate(faster, "predicted")
        assert 511 not in output.sequences
        assert output.nfe.item() <= case["args"]["gen_length"] // 4 + case["args"]["gen_length"] // 32 + 1
