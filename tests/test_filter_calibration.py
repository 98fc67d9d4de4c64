# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Calibration: the lowest threshold whose decoding agrees with the stock loop."""

from dataclasses import asdict

import pytest
import torch
from conftest import golden_model
from transformers import BatchEncoding

from hf_learn2pd import LowConfidence, UnmaskingFilter
from hf_learn2pd.training.calibration import calibrate_threshold
from hf_learn2pd.training.prompts import read_prompts, tokenize_prompts

PROMPTS = ["3 4", "5 6 7 8", "9 8 7", "21 22 23"]


class Numbers:
    """A tokenizer for the golden checkpoint, which has none: prompts are ids."""

    def apply_chat_template(self, chats, **options):
        assert options["add_generation_prompt"] and options["tokenizer_kwargs"] == {"padding_side": "left"}
        rows = [[int(word) for word in chat[0]["content"].split()] for chat in chats]
        width = max(len(row) for row in rows)
        ids = torch.tensor([[510] * (width - len(row)) + row for row in rows])
        return BatchEncoding({"input_ids": ids, "attention_mask": (ids != 510).long()})


OPTIONS = {"max_new_tokens": 24, "block_length": 8, "batch_size": 3, "tokenizer": Numbers(), "progress": False}


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
    for batch in tokenize_prompts(model, Numbers(), read_prompts(PROMPTS), 3):
        output = model.generate(**batch, max_new_tokens=24, block_length=8, **options)
        answers = output[:, batch["input_ids"].shape[1] :]
        yield from torch.nn.functional.pad(answers, (0, 24 - answers.shape[1]), value=510).tolist()


def test_the_threshold_is_the_lowest_tried_that_agrees_and_its_agreement_is_real():
    model, filter = golden_model("tiny_llada"), confidence_filter()
    trials = calibrate_threshold(model, filter, PROMPTS, agreement=0.75, **OPTIONS)
    good = [trial for trial in trials if trial.agreement >= 0.75]
    bad = [trial for trial in trials if trial.agreement < 0.75]
    assert len(trials) == 7 and good and bad
    assert filter.threshold == min(trial.threshold for trial in good) > max(trial.threshold for trial in bad)
    for trial in (good[-1], bad[-1]):
        stock = texts(model, decoding=LowConfidence())
        found = texts(model, decoding="learn2pd", unmasking_filter=filter, filter_threshold=trial.threshold)
        assert sum(one == other for one, other in zip(stock, found, strict=True)) == 4 * trial.agreement
    assert bad[-1].nfe < good[0].nfe <= 24


def test_the_evidence_is_stored_with_the_filter(tmp_path):
    model, filter = golden_model("tiny_llada"), confidence_filter()
    trials = calibrate_threshold(model, filter, PROMPTS, agreement=0.75, trials=3, **OPTIONS)
    filter.save_pretrained(tmp_path)
    loaded = UnmaskingFilter.from_pretrained(tmp_path)
    assert loaded.threshold == filter.threshold
    evidence = loaded.calibration
    assert evidence["agreement"] == 0.75 and evidence["prompts"] == 4 and evidence["stock_nfe"] <= 24
    assert evidence["trials"] == [asdict(trial) for trial in sorted(trials, key=lambda trial: trial.threshold)]


def test_a_filter_that_never_agrees_is_turned_off():
    model, filter = golden_model("tiny_llada"), confidence_filter()
    with torch.no_grad():
        filter.linear2.bias.fill_(1000.0)
    trials = calibrate_threshold(model, filter, PROMPTS, trials=2, **OPTIONS)
    assert all(trial.agreement < 0.99 and trial.nfe <= 3 for trial in trials)
    assert filter.threshold == 1.0


def test_the_filter_keeps_its_threshold_when_arguments_are_wrong():
    filter = confidence_filter()
    with pytest.raises(ValueError, match=r"`agreement` must be above 0 and at most 1 \(got 99\)"):
        calibrate_threshold(golden_model("tiny_llada"), filter, PROMPTS, agreement=99, tokenizer=Numbers())
    with pytest.raises(ValueError, match="`prompts` must hold at least one prompt"):
        calibrate_threshold(golden_model("tiny_llada"), filter, [], tokenizer=Numbers())
    assert filter.threshold == 0.96
