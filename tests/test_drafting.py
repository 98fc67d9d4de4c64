# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Lossless draft-and-verify: the text of the stock loop in fewer forward passes."""

import pytest
import torch
from conftest import ScriptedModel, golden_cases, golden_filter, golden_model
from hypothesis import given
from hypothesis import strategies as st
from test_goldens import generate as golden
from test_properties import ADAPTIVE, ENDS, FIXED, PROMPTS, generate

from hf_learn2pd import Credit, Klass, LowConfidence, Stable, Threshold
from hf_learn2pd.canvas import Canvas

STOCK = [case for file in ("llada_generate", "llada_generate_left_padded") for case in golden_cases(file)]


def test_states_by_hand():
    """Confidences do not change, so every draft is right: 1 state, then 4, then the last 3 of 8 positions."""
    model = ScriptedModel([1, 2, 3, 4, 5, 6, 7, 8], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    output = model.run(decoding="pearl", end_of_text=None)
    assert output.sequences[0, 2:].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [rows for _, rows, _, _ in output.forward_passes] == [1, 4, 3]
    assert output.nfe.tolist() == [3] and output.acceptance_length.tolist() == pytest.approx([8 / 3])
    mask = 11
    # After the first pass 1 is final; the drafts behind it add 2, 3 and 4.
    assert [canvas[2:] for canvas in model.canvases[1]] == [
        [1, *[mask] * 7],
        [1, 2, *[mask] * 6],
        [1, 2, 3, *[mask] * 5],
        [1, 2, 3, 4, *[mask] * 4],
    ]
    assert output.unmasking_steps.tolist() == [[0, 1, 1, 1, 1, 2, 2, 2]]


def test_nothing_is_drafted_for_a_block_that_begins():
    model = ScriptedModel([1, 2, 3, 4] * 2, [0.9, 0.8, 0.7, 0.6] * 2)
    output = model.run(decoding="pearl", end_of_text=None, block_length=4)
    assert [rows for _, rows, _, _ in output.forward_passes] == [1, 3, 1, 3]


def test_a_draft_is_kept_up_to_the_first_wrong_move():
    """Each unmasked token raises position 3 most: the second draft is what another state would not do."""

    class Rising(ScriptedModel):
        def forward(self, input_ids=None, **kwargs):
            output = super().forward(input_ids, **kwargs)
            unmasked = (input_ids[:, 2:] != 11).sum(dim=-1)
            output.last_hidden_state[unmasked >= 1, 2 + 3, 4] += 9.0
            return output

    model = Rising([1, 2, 3, 4], [0.9, 0.8, 0.7, 0.3])
    stock = model.run(decoding="low_confidence", end_of_text=None)
    # The stock loop takes position 0, then 3, 1, 2.
    assert stock.unmasking_steps.tolist() == [[0, 2, 3, 1]]
    drafted = model.run(decoding="pearl", end_of_text=None)
    assert torch.equal(drafted.sequences, stock.sequences)
    # Pass 0: position 0. Pass 1: drafts of positions 1 and 2 are refused, position 3 taken. Pass 2: 1, and 2 with it.
    assert drafted.unmasking_steps.tolist() == [[0, 2, 2, 1]]
    assert [rows for _, rows, _, _ in drafted.forward_passes] == [1, 3, 2]


def test_a_draft_shrinks_to_what_was_verified_and_grows_again():
    length = 64
    model = ScriptedModel([3] * length, torch.linspace(0.9, 0.2, length).tolist())
    output = model.run(decoding="pearl", end_of_text=None, block_length=length, max_draft_length=16)
    assert [rows for _, rows, _, _ in output.forward_passes] == [1, 4, 8, 16, 16, 16, 3]
    output = model.run(decoding="pearl", end_of_text=None, block_length=length, max_draft_length=1)
    assert output.nfe.tolist() == [length]


@pytest.mark.parametrize("case", STOCK, ids=lambda case: case["id"])
def test_equals_the_reference(case):
    output = golden(case, None, verify=True)
    assert output.sequences.tolist() == case["output"] and output.nfe.max() <= case["nfe"]


@pytest.mark.parametrize("case", STOCK, ids=lambda case: case["id"])
@pytest.mark.parametrize("block_cache", ["prefix", "dual", "local", "sliding"])
def test_equals_the_stock_loop_with_the_same_cache(case, block_cache):
    stock = golden(case, None, block_cache=block_cache)
    drafted = golden(case, None, block_cache=block_cache, verify=True)
    assert torch.equal(drafted.sequences, stock.sequences) and (drafted.nfe <= stock.nfe).all()


@pytest.mark.parametrize("steps", [None, 24])
def test_rows_are_refreshed_in_the_steps_of_the_stock_loop(steps):
    """With what is verified counted as steps; otherwise a state would see what the stock loop does not."""
    options = {"max_new_tokens": 32, "block_length": 16, "end_of_text": None, "block_cache": "dual", "steps": steps}
    prompt = torch.tensor([[115, 254, 301, 473, 353]])

    def run(**more):
        return golden_model("tiny_llada").generate(
            prompt, decoding="low_confidence", refresh_every=4, return_dict_in_generate=True, **options, **more
        )

    stock, drafted = run(), run(verify=True)
    refreshes = [sum(kind == "full" for kind, *_ in output.forward_passes) for output in (stock, drafted)]
    assert refreshes[0] == refreshes[1] and torch.equal(drafted.sequences, stock.sequences)
    assert drafted.nfe <= stock.nfe and drafted.acceptance_length > 1


DRAFTERS = st.sampled_from([LowConfidence(), Threshold(0.01), "learn2pd"])
EXTRAS = st.sampled_from([{}, {"steps": 11}, {"cfg_scale": 0.5}])
CACHES = st.sampled_from(
    [
        {},
        {"suffix_length": 4},
        {"block_cache": "dual"},
        {"block_cache": "prefix", "refresh_every": 3},
        {"block_cache": "dual", "suffix_length": 4},
        {"block_cache": "local"},
        {"block_cache": "local", "suffix_length": 2, "refresh_every": 4},
    ]
)


@given(PROMPTS, DRAFTERS, st.one_of(FIXED, ADAPTIVE), ENDS, CACHES, st.integers(0, 3), st.integers(1, 9), EXTRAS)
def test_text_and_order_are_those_of_the_stock_loop(
    prompts, drafter, lengths, eos, cache, padding, draft_length, extra
):
    options = {"eos_token_id": eos, "extra_padding": padding} | lengths | cache | extra
    _, stock = generate(prompts, decoding="low_confidence", **options)
    if drafter == "learn2pd":
        options |= {"unmasking_filter": golden_filter(), "filter_threshold": 0.3}
    _, drafted = generate(prompts, decoding=drafter, verify=True, max_draft_length=draft_length, **options)
    assert torch.equal(drafted.sequences, stock.sequences)
    assert (drafted.nfe <= stock.nfe).all() and (drafted.acceptance_length >= 1).all()
    # What the stock loop unmasks first is never unmasked later than what it unmasks next.
    for one, other in zip(stock.unmasking_steps, drafted.unmasking_steps, strict=True):
        known = one >= 0
        assert (other[known][one[known].argsort()].diff() >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"do_sample": True}, "`do_sample` must be False with `verify`"),
        ({"end_of_text": "cut"}, "`end_of_text` must be accepted or None with `verify`"),
        ({"max_draft_length": 0}, "`max_draft_length` must be an integer above 0"),
        ({"decoding": Klass()}, "`decoding` must be a strategy that looks at one step with `verify`"),
        ({"decoding": Credit()}, "looks at one step"),
        ({"decoding": Stable()}, "looks at one step"),
        ({"verify": "yes"}, "`verify` must be a bool"),
    ],
)
def test_what_cannot_be_verified_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ScriptedModel([1, 2], [0.9, 0.8]).run(**{"verify": True} | options)


def test_a_draft_is_no_longer_than_a_block(monkeypatch):
    """Nor is anything made for more states than that."""
    scheduled, asked = Canvas.scheduled, []

    def record(canvas, steps=1):
        asked.append(steps)
        assert steps <= 4
        return scheduled(canvas, steps)

    monkeypatch.setattr(Canvas, "scheduled", record)
    model = ScriptedModel([1, 2, 3, 4], [0.9, 0.8, 0.7, 0.6])
    output = model.run(decoding="pearl", end_of_text=None, max_draft_length=10**9)
    assert output.sequences[0, 2:].tolist() == [1, 2, 3, 4]
    assert [rows for _, rows, _, _ in output.forward_passes] == [1, 3]
    assert max(asked) == 4
