# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The methods users compare with, each on a block computed by hand."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import ScriptedModel
from hypothesis import given
from hypothesis import strategies as st
from test_properties import generate
from test_unmasking import chosen, predict

from hf_learn2pd import (
    AdaBlock,
    Checkerboard,
    Credit,
    Dilated,
    EntropyBound,
    EntropyOrder,
    Factor,
    Frechet,
    Klass,
    LocalLeap,
    MarginOrder,
    Stable,
    Threshold,
)

CONFIDENCES = st.lists(st.lists(st.floats(2**-7, 1, width=32), min_size=9, max_size=9), min_size=1, max_size=3)


def test_local_leap_asks_less_of_the_neighbours_of_an_anchor():
    #             anchor at 1                    4 away  5 away
    confidence = [[0.76, 0.95, 0.74, 0.80, 0.10, 0.75, 0.80, 0.89]]
    assert chosen(LocalLeap()(predict(confidence))) == [[0, 1, 3, 5]]
    assert chosen(LocalLeap(radius=5)(predict(confidence))) == [[0, 1, 3, 5, 6]]
    # What has just been let in at 0.75 is no anchor; what is unmasked already is none either.
    assert chosen(LocalLeap()(predict(confidence, masked=[[1, 0, 1, 1, 1, 1, 1, 1]]))) == [[]]


@given(CONFIDENCES)
def test_local_leap_without_a_radius_is_a_threshold(confidence):
    prediction = predict(confidence)
    assert torch.equal(LocalLeap(radius=0)(prediction), Threshold(0.9)(prediction))


def test_frechet_bounds_what_is_right_together():
    # Run of 0.95, 0.9, 0.85, 0.8: 1 - sum of misses = 0.95, 0.85, 0.7, 0.5; less the last miss: 0.9, 0.75, 0.55, 0.3.
    assert chosen(Frechet()(predict([[0.85, 0.95, 0.8, 0.9]]))) == [[0, 1, 2, 3]]
    assert chosen(Frechet(0.5)(predict([[0.85, 0.95, 0.8, 0.9]]))) == [[0, 1, 3]]
    assert chosen(Frechet()(predict([[0.6, 0.5, 0.4, 0.3]]))) == [[]]
    assert chosen(Frechet()(predict([[0.85, 0.95, 0.8, 0.9]], masked=[[1, 0, 1, 0]]))) == [[0, 2]]


@given(CONFIDENCES)
def test_frechet_takes_all_that_a_factor_of_one_less_its_bound_takes(confidence):
    """
    Each of n confidences above 1 - f / (n + 1) leaves at least 1 - n f / (n + 1) together, so 1 - f less the last miss.

    With a factor of 1 that is no more than 0: two confidences of 0.67 pass Factor(1.0), and Frechet takes but one.
    """
    prediction = predict(confidence)
    # The released code adds the last-ranked position where it alone fails; the bound says nothing of that one.
    ranked = prediction.confidence.sort(dim=-1, descending=True).values
    rank = torch.arange(1, ranked.shape[-1] + 1)
    run = ((ranked > 1 - 0.749 / (rank + 1)).cumprod(dim=-1)).sum(dim=-1)
    assert (Frechet(0.25)(prediction).sum(dim=-1) >= run).all()
    assert chosen(Factor(1.0)(predict([[0.67, 0.67, 0.1, 0.1]]))) == [[0, 1]]
    assert chosen(Frechet(0.25)(predict([[0.67, 0.67, 0.1, 0.1]]))) == [[0]]


def test_entropy_bound_sums_all_but_the_largest():
    nats = torch.tensor([[0.04, 0.01, 0.30, 0.06, 0.02]])
    prediction = replace(predict([[0.5] * 5]), entropy=nats / math.log(12), vocab_size=12)
    # Before each: 0.01: 0, 0.02: 0.01, 0.04: 0.03, 0.06: 0.07, 0.30: 0.13.
    assert chosen(EntropyBound()(prediction)) == [[0, 1, 3, 4]]
    assert chosen(EntropyBound(0.02)(prediction)) == [[1, 4]]
    assert chosen(EntropyBound(0.0)(prediction)) == [[1]]
    assert chosen(EntropyBound(0.5)(prediction)) == [[0, 1, 2, 3, 4]]


def test_margin_and_entropy_order_take_as_many_as_scheduled():
    prediction = predict([[0.9, 0.5, 0.6, 0.4]], masked=[[1, 1, 1, 0]], scheduled=2)
    prediction = replace(
        prediction, margin=torch.tensor([[0.1, 0.3, 0.2, 0.9]]), entropy=torch.tensor([[0.5, 0.9, 0.1, 0.0]])
    )
    assert chosen(MarginOrder()(prediction)) == [[1, 2]]
    assert chosen(EntropyOrder()(prediction)) == [[0, 2]]
    assert chosen(MarginOrder().accept(prediction)) == chosen(EntropyOrder().accept(prediction)) == [[]]


def test_klass_wants_confidence_and_two_quiet_steps():
    prediction = predict([[0.7, 0.7, 0.6, 0.9]], masked=[[1, 1, 1, 0]])
    prediction = replace(prediction, divergence=torch.tensor([[0.014, 0.015, 0.0, 0.0]]))
    assert chosen(Klass()(prediction)) == [[0]]
    assert chosen(Klass(divergence=1.0, threshold=0.5)(prediction)) == [[0, 1, 2]]


def test_dilated_halves_the_distance():
    masked, steps = torch.ones(1, 8, dtype=torch.bool), []
    while masked.any() and len(steps) < 8:
        taken = Dilated()(predict([[0.1] * 8], masked=masked.long().tolist()))
        steps += chosen(taken)
        masked &= ~taken
    assert steps == [[0, 4], [2, 6], [1, 3, 5, 7]]


def test_checkerboard_takes_even_positions_first():
    rows = [[1, 1, 1, 1], [0, 1, 0, 1]]
    assert chosen(Checkerboard()(predict([[0.1] * 4] * 2, masked=rows))) == [[0, 2], [1, 3]]


def test_stable_joins_any_rule():
    prediction = replace(predict([[0.98, 0.96, 0.98, 0.99]]), agreements=torch.tensor([[2, 2, 1, 3]]))
    assert chosen(Stable(Threshold(0.985))(prediction)) == [[0, 3]]
    assert chosen(Stable(Threshold(0.95), steps=3)(prediction)) == [[0, 1, 2, 3]]
    assert chosen(Stable(Threshold(1.0), steps=1)(prediction)) == [[0, 2, 3]]


def test_stable_only_tops_up_the_schedule():
    prediction = replace(predict([[0.98, 0.5, 0.7, 0.99]]), agreements=torch.tensor([[2, 2, 2, 3]]))
    # Two are settled, as many as or more than are scheduled.
    assert chosen(Stable()(prediction)) == [[0, 3]]
    assert chosen(Stable()(replace(prediction, scheduled=torch.tensor([2])))) == [[0, 3]]
    # One is missing to three, and the most confident of the rest is taken.
    assert chosen(Stable()(replace(prediction, scheduled=torch.tensor([3])))) == [[0, 2, 3]]


def test_credit_by_hand():
    logits = torch.tensor([[[0.0, 1.0], [2.0, 0.0]]])
    memory = torch.tensor([[[0.5, 0.0], [0.0, 0.0]]])
    changed, kept = Credit().rescore(logits, memory, torch.tensor([[True, False]]))
    given = (math.e / (1 + math.e)) ** 0.2
    torch.testing.assert_close(kept, torch.tensor([[[0.4, given], [0.0, 0.0]]]))
    expected = torch.tensor([[[0.7 * math.log(1.4), 1 + 0.7 * math.log(1 + given)], [2.0, 0.0]]])
    torch.testing.assert_close(changed, expected)


# Four positions, confidences 0.95 0.6 0.92 0.3, which every unmasked token raises by 0.1: see test_unmasking.
SCRIPT = ([5, 6, 7, 8], [0.95, 0.6, 0.92, 0.3])


@pytest.mark.parametrize(
    ("decoding", "steps"),
    [
        ("local_leap", [0, 1, 0, 2]),
        ("frechet", [0, 1, 0, 2]),
        ("margin", [0, 2, 1, 3]),
        ("entropy", [0, 2, 1, 3]),
        ("dilated", [0, 1, 0, 1]),
        ("checkerboard", [0, 1, 0, 1]),
        # The distribution stands still, but only the third step knows; until then the most confident.
        ("klass", [0, 2, 1, 3]),
        (Klass(divergence=9.0, threshold=0.2), [0, 2, 1, 2]),
        # In the third step what is predicted has agreed twice; 0.6 is enough then, 0.3 is not.
        (Stable(threshold=0.5), [0, 2, 1, 3]),
        (Stable(Threshold(0.94), threshold=0.92), [0, 2, 1, 3]),
        (Stable(Threshold(0.99), threshold=0.5, steps=1), [0, 1, 1, 2]),
        (Stable(Threshold(0.99), threshold=0.2), [0, 2, 1, 2]),
    ],
)
def test_steps_of_a_scripted_block(decoding, steps):
    output = ScriptedModel(*SCRIPT).run(decoding=decoding, end_of_text=None)
    assert output.unmasking_steps.tolist() == [steps]
    assert output.sequences[0, 2:].tolist() == SCRIPT[0]


NARROW = {"block_schedule": AdaBlock(6, 0.02, tuple(range(510))), "max_new_tokens": 26}


@pytest.mark.parametrize(
    "options",
    [
        NARROW,
        NARROW | {"block_cache": "prefix"},
        NARROW | {"block_cache": "dual"},
        NARROW | {"block_cache": "local"},
        {"block_length": 8, "max_new_tokens": 40, "suffix_length": 6},
    ],
    ids=["none", "prefix", "dual", "local", "suffix"],
)
@pytest.mark.parametrize("decoding", [Stable(threshold=0.2, steps=1), Klass(0.1, 2.0)], ids=["stable", "klass"])
def test_what_is_compared_across_blocks_does_not_depend_on_batch_mates(decoding, options):
    """What a row does not see, or stands in a window for other rows that are wider, is no prediction of its own."""
    numbers = torch.Generator().manual_seed(1)
    prompts = [torch.randint(0, 500, (length,), generator=numbers).tolist() for length in (9, 4, 15)]
    width, together = generate(prompts, decoding=decoding, end_of_text=None, **options)
    for row, prompt in enumerate(prompts):
        own, alone = generate([prompt], decoding=decoding, end_of_text=None, **options)
        assert together.sequences[row, width:].tolist() == alone.sequences[0, own:].tolist()
        assert together.unmasking_steps[row].tolist() == alone.unmasking_steps[0].tolist()


def test_credit_grows_from_step_to_step():
    """A confidence of 0.6 among 11 ids that share the rest passes 0.9 once its credit is high enough."""
    model = ScriptedModel([5, 6, 7, 8], [0.95, 0.8, 0.8, 0.8])
    assert model.run(decoding=Threshold(0.9), end_of_text=None).nfe.tolist() == [4]
    output = model.run(decoding=Credit(weight=2.0), end_of_text=None)
    assert output.nfe.tolist() < [4] and output.unmasking_steps[0, 0] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LocalLeap(radius=-1), "`radius` must be an integer of at least 0"),
        (lambda: LocalLeap(relaxed_threshold=2), "`relaxed_threshold` must be between 0 and 1"),
        (lambda: Frechet(1.0), "`bound` must be at least 0 and below 1"),
        (lambda: EntropyBound(-0.1), "`gamma` must be at least 0"),
        (lambda: Klass(threshold=1.1), "`threshold` must be between 0 and 1"),
        (lambda: Klass(divergence=0), "`divergence` must be above 0"),
        (lambda: Credit(decay=1.5), "`decay` must be between 0 and 1"),
        (lambda: Credit(weight=-1), "`weight` must be at least 0"),
        (lambda: Stable("threshold"), "`base` must be an UnmaskingStrategy"),
        (lambda: Stable(threshold=3), "`threshold` must be between 0 and 1"),
        (lambda: Stable(steps=0), "`steps` must be an integer above 0"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
