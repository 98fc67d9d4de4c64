# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Training and calibration take what they can use, and name what they cannot."""

from dataclasses import replace

import pytest
import torch
from conftest import golden_model
from test_filter_calibration import LOOSE, OPTIONS, PROMPTS, confidence_filter
from test_filter_training import separable

from hf_learn2pd.training.calibration import calibrate_threshold
from hf_learn2pd.training.training import choose_threshold, score_thresholds, train_filter

NAN = float("nan")


def first_value(name, value):
    def change(trajectories):
        values = getattr(trajectories, name).clone()
        values[0, 0] = value
        return replace(trajectories, **{name: values})

    return change


BROKEN = [
    (first_value("confidence", NAN), r"`trajectories.confidence` must be finite"),
    (first_value("margin", float("inf")), r"`trajectories.margin` must be finite"),
    (lambda each: each.map(lambda values: values[:0]), r"`trajectories` must hold at least .*\(got \(0, 8\)\)"),
    (lambda each: replace(each, entropy=each.entropy[:, :4]), r"`trajectories.entropy` must be of shape \(60, 8\)"),
    (lambda each: replace(each, correct=each.correct.float()), r"`trajectories.correct` must be of type torch.bool"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_broken_samples_are_named_by_all_that_read_them(change, message):
    broken = change(separable(60))
    for use in (
        lambda: train_filter(broken, epochs=1, progress=False),
        lambda: choose_threshold(confidence_filter(), broken),
        lambda: score_thresholds(confidence_filter(), broken),
    ):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"`epochs` must be an integer above 0 \(got 0\)"),
        ({"epochs": True}, "`epochs`"),
        ({"batch_size": 1.5}, "`batch_size`"),
        ({"patience": 0}, "`patience`"),
        ({"learning_rate": NAN}, "`learning_rate` must be above 0"),
        ({"learning_rate": -1.0}, "`learning_rate`"),
        ({"false_accept_weight": float("inf")}, "`false_accept_weight`"),
        ({"precision": 99}, r"`precision` must be above 0 and at most 1 \(got 99\)"),
        ({"precision": "0.9"}, "`precision`"),
    ],
)
def test_a_training_argument_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        train_filter(separable(60), **{"epochs": 1, "progress": False} | options)


@pytest.mark.parametrize("kept", [slice(0, 54), slice(54, 60)])
def test_samples_in_which_nothing_is_masked_are_refused(kept):
    trajectories = separable(60)
    masked = torch.zeros_like(trajectories.masked)
    masked[kept] = trajectories.masked[kept]
    with pytest.raises(ValueError, match="`trajectories` must hold masked positions in both"):
        train_filter(replace(trajectories, masked=masked), epochs=1, progress=False)


def test_a_training_that_diverges_does_not_return_its_first_weights():
    with pytest.raises(ValueError, match=r"`learning_rate` must be low enough for a finite loss \(got 1e\+30"):
        train_filter(separable(60), learning_rate=1e30, epochs=2, progress=False)


@pytest.mark.parametrize("threshold", [NAN, 2, -1, "0.5"])
def test_a_threshold_to_score_lies_between_0_and_1(threshold):
    with pytest.raises(ValueError, match=r"`thresholds` must be between 0 and 1"):
        score_thresholds(confidence_filter(), separable(60), [0.5, threshold])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_loss": NAN}, r"`max_loss` must be between 0 and 1 \(got nan\)"),
        ({"max_loss": 0}, r"`max_loss` must be above 0 and below 1 \(got 0\)"),
        ({"confidence": "0.9"}, "`confidence`"),
        ({"confidence": 1.0}, r"`confidence` must be above 0 and below 1 \(got 1.0\)"),
        ({"thresholds": []}, r"`thresholds` must be falling, and at least one \(got \[\]\)"),
        ({"thresholds": [0.5, 0.9]}, "`thresholds` must be falling"),
        ({"thresholds": [1.5]}, "`thresholds` must be between 0 and 1"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"max_new_tokens": 2.5}, "`max_new_tokens`"),
        ({"block_length": True}, "`block_length`"),
        ({"block_length": 16}, r"`block_length` must be at most that of the filter, 8 \(got 16\)"),
    ],
)
def test_calibration_refuses_before_the_stock_loop_runs(options, message, monkeypatch):
    model, filter = golden_model("tiny_llada"), confidence_filter()
    monkeypatch.setattr(model, "generate", lambda *args, **kwargs: pytest.fail("decoded"), raising=False)
    with pytest.raises(ValueError, match=message):
        calibrate_threshold(model, filter, PROMPTS, **LOOSE | OPTIONS | options)
    assert filter.threshold == 0.96 and filter.calibration is None
