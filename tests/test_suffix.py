# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Decoding with a part of the suffix in sight, against a loop that cuts the canvas itself."""

import pytest
import torch
from conftest import ScriptedModel, golden_model
from hypothesis import given
from hypothesis import strategies as st
from test_properties import FIXED, PROMPTS, generate

from hf_learn2pd import Threshold

MASK = 511


@torch.no_grad()
def naive(prompt, max_new_tokens, block_length, suffix_length, threshold):
    """One row, no cache: each pass runs over a canvas from which the columns out of sight have been taken."""
    model = golden_model("tiny_llada")
    length = len(prompt) + max_new_tokens
    canvas = torch.tensor(prompt + [MASK] * max_new_tokens)
    passes = 0
    for start in range(len(prompt), length, block_length):
        end = min(start + block_length, length)
        reach = min(end + suffix_length, length)
        columns = torch.cat((torch.arange(reach), torch.arange(max(reach, length - 1), length)))
        while (canvas[start:end] == MASK).any():
            everything = torch.ones(1, 1, len(columns), len(columns), dtype=torch.bool)
            logits = model(canvas[None, columns], attention_mask=everything, position_ids=columns[None]).logits[0]
            logits[:, MASK] = -torch.inf
            confidence, tokens = logits[start:end].softmax(dim=-1).max(dim=-1)
            masked = canvas[start:end] == MASK
            confidence = confidence.masked_fill(~masked, -1.0)
            chosen = confidence >= threshold
            chosen[confidence.argmax()] = True
            canvas[start:end][chosen] = tokens[chosen]
            passes += 1
    return canvas.tolist(), passes


@pytest.mark.parametrize("suffix_length", [0, 1, 5, 11, 12, 40])
def test_equals_a_loop_on_a_canvas_that_is_cut(suffix_length):
    prompt = [115, 254, 301, 473, 353]
    _, output = generate(
        [prompt],
        decoding=Threshold(0.008),
        max_new_tokens=29,
        block_length=8,
        suffix_length=suffix_length,
        end_of_text=None,
    )
    expected, passes = naive(prompt, 29, 8, suffix_length, 0.008)
    assert output.sequences[0].tolist() == expected and output.nfe.item() == passes
    # The prompt, the block, the suffix, and the last column where the suffix does not reach it.
    widths = [min(13 + 8 * block + suffix_length, 34) for block in range(4)]
    widths = [width + (width < 34) for width in widths]
    assert sorted(set(widths)) == sorted({query for _, _, query, _ in output.forward_passes})


@given(PROMPTS, FIXED, st.sampled_from([None, "dual", "prefix", "local"]))
def test_a_suffix_as_long_as_the_answer_changes_nothing(prompts, lengths, block_cache):
    options = {"decoding": Threshold(0.01), "end_of_text": None, "block_cache": block_cache} | lengths
    _, seen = generate(prompts, suffix_length=lengths["max_new_tokens"], **options)
    _, plain = generate(prompts, **options)
    for name in ("sequences", "nfe", "unmasking_steps"):
        assert torch.equal(getattr(seen, name), getattr(plain, name))


def test_passes_do_not_grow_with_the_canvas():
    options = {"decoding": Threshold(0.01), "block_length": 8, "suffix_length": 8, "end_of_text": "accepted"}
    for length in (64, 512):
        _, output = generate([[1, 2, 3]], block_cache="local", max_new_tokens=length, eos_token_id=407, **options)
        first, *others = output.forward_passes
        assert first == ("full", 1, 3 + 8 + 8 + 1, 0)
        # The finished block, the new one, and what comes into sight.
        assert {kind for kind, *_ in others} == {"local"} and {query for _, _, query, _ in others} <= {8, 16, 24}


def test_a_threshold_with_relief_falls_with_the_share_of_masked_positions():
    # Two of four positions pass 0.9; then 2 masks of 4 and the suffix' 3 are left: 0.9 * (1 - 0.5 * (1 - 5 / 7)).
    model = ScriptedModel([1, 2, 3, 4] + [5] * 8, [0.95, 0.95, 0.78, 0.76] + [0.95] * 8)
    options = {"block_length": 4, "suffix_length": 2, "end_of_text": None}
    output = model.run(decoding=Threshold(0.9, relief=0.5), **options)
    assert output.unmasking_steps[0, :4].tolist() == [0, 0, 1, 2]
    output = model.run(decoding=Threshold(0.9, relief=0.55), **options)
    assert output.unmasking_steps[0, :4].tolist() == [0, 0, 1, 1]
    output = model.run(decoding=Threshold(0.9), **options)
    assert output.unmasking_steps[0, :4].tolist() == [0, 0, 1, 2]
