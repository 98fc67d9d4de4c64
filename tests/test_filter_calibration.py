# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Calibration: the lowest threshold whose decoding agrees with the stock loop."""

import pytest
import torch
from conftest import golden_model

from hf_learn2pd import LowConfidence, UnmaskingFilter
from hf_learn2pd.filter.calibration import calibrate_threshold

BATCHES = [
    {
        "input_ids": torch.tensor([[510, 510, 3, 4], [5, 6, 7, 8], [510, 9, 8, 7]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]]),
    },
    {"input_ids": torch.tensor([[21, 22, 23]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)},
]
OPTIONS = {"max_new_tokens": 24, "block_length": 8, "progress": False}


def confidence_filter():
    """Its logit is 20 times the confidence, minus 10."""
    filter = UnmaskingFilter(block_length=8, hidden_size=8)
    with torch.no_grad():
        filter.linear1.weight.copy_(torch.eye(8))
        filter.linear1.bias.zero_()
        filter.linear2.weight.copy_(20 * torch.eye(8))
        filter.linear2.bias.fill_(-10)
    return filter


def texts(model, **options):
    for batch in BATCHES:
        output = model.generate(**batch, max_new_tokens=24, block_length=8, **options)
        answers = output[:, batch["input_ids"].shape[1] :]
        yield from torch.nn.functional.pad(answers, (0, 24 - answers.shape[1]), value=510).tolist()


def test_the_threshold_is_the_lowest_tried_that_agrees_and_its_agreement_is_real():
    model, filter = golden_model("tiny_llada"), confidence_filter()
    trials = calibrate_threshold(model, filter, BATCHES, agreement=0.75, **OPTIONS)
    good = [trial for trial in trials if trial.agreement >= 0.75]
    bad = [trial for trial in trials if trial.agreement < 0.75]
    assert len(trials) == 7 and good and bad
    assert filter.threshold == min(trial.threshold for trial in good) > max(trial.threshold for trial in bad)
    for trial in (good[-1], bad[-1]):
        stock = texts(model, decoding=LowConfidence())
        found = texts(model, decoding="learn2pd", unmasking_filter=filter, filter_threshold=trial.threshold)
        assert sum(one == other for one, other in zip(stock, found, strict=True)) == 4 * trial.agreement
    assert bad[-1].nfe < good[0].nfe <= 24


def test_a_filter_that_never_agrees_is_turned_off():
    model, filter = golden_model("tiny_llada"), confidence_filter()
    with torch.no_grad():
        filter.linear2.bias.fill_(1000.0)
    trials = calibrate_threshold(model, filter, BATCHES, trials=2, **OPTIONS)
    assert all(trial.agreement < 0.99 and trial.nfe <= 3 for trial in trials)
    assert filter.threshold == 1.0


def test_the_filter_keeps_its_threshold_when_arguments_are_wrong():
    filter = confidence_filter()
    with pytest.raises(ValueError, match=r"`agreement` must be above 0 and at most 1 \(got 99\)"):
        calibrate_threshold(golden_model("tiny_llada"), filter, BATCHES, agreement=99)
    with pytest.raises(ValueError, match="`batches` must hold at least one batch"):
        calibrate_threshold(golden_model("tiny_llada"), filter, [])
    assert filter.threshold == 0.96
