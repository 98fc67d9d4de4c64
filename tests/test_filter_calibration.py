# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Calibration: the lowest threshold that is shown to lose at most so many of the stock loop's texts."""

from dataclasses import asdict
from math import comb

import pytest
import torch
from conftest import golden_model
from transformers import BatchEncoding

from hf_learn2pd import LowConfidence, UnmaskingFilter
from hf_learn2pd.training.binomial import allowed_failures, trials_needed, upper_bound
from hf_learn2pd.training.calibration import calibrate_threshold
from hf_learn2pd.training.prompts import read_prompts, tokenize_prompts

PROMPTS = [f"{first} {first + 1} {3 * first}" for first in range(3, 15)]


class Numbers:
    """A tokenizer for the golden checkpoint, which has none: prompts and texts are ids."""

    def apply_chat_template(self, chats, **options):
        assert options["add_generation_prompt"] and options["tokenizer_kwargs"] == {"padding_side": "left"}
        rows = [[int(word) for word in chat[0]["content"].split()] for chat in chats]
        width = max(len(row) for row in rows)
        ids = torch.tensor([[510] * (width - len(row)) + row for row in rows])
        return BatchEncoding({"input_ids": ids, "attention_mask": (ids != 510).long()})

    def get_vocab(self):
        return {str(number): number for number in range(512)}

    def batch_decode(self, texts, skip_special_tokens):
        return [" ".join(map(str, text.tolist())) for text in texts]


OPTIONS = {"max_new_tokens": 24, "block_length": 8, "batch_size": 3, "tokenizer": Numbers(), "progress": False}
# With these, 2 prompts are enough if neither is lost, and 7 may be lost of 12.
LOOSE = {"max_loss": 0.8, "confidence": 0.92, "thresholds": (0.993, 0.9925, 0.992, 0.991, 0.99, 0.98, 0.9)}


def confidence_filter():
    """Its logit is 10 times the confidence, minus 5: with a confidence of 0.96 it is sure to 99 %."""
    filter = UnmaskingFilter(block_length=8, hidden_size=8)
    with torch.no_grad():
        filter.linear1.weight.copy_(torch.eye(8))
        filter.linear1.bias.zero_()
        filter.linear2.weight.copy_(10 * torch.eye(8))
        filter.linear2.bias.fill_(-5)
    return filter


def texts(model, **options):
    for batch in tokenize_prompts(model, Numbers(), read_prompts(PROMPTS), 3):
        output = model.generate(**batch, max_new_tokens=24, block_length=8, **options)
        answers = output[:, batch["input_ids"].shape[1] :]
        yield from torch.nn.functional.pad(answers, (0, 24 - answers.shape[1]), value=510).tolist()


def differing(model, filter, threshold, **options):
    stock = texts(model, decoding=LowConfidence())
    found = texts(model, decoding="learn2pd", unmasking_filter=filter, filter_threshold=threshold, **options)
    return sum(one != other for one, other in zip(stock, found, strict=True))


def test_bounds_are_those_of_the_binomial_distribution():
    # The rule of three, exactly; and the published interval for 3 of 10 at 95 %, which is two-sided at 90 %.
    assert [trials_needed(share, 0.95) for share in (0.005, 0.01, 0.05)] == [598, 299, 59]
    assert upper_bound(3, 10, 0.95) == pytest.approx(0.6066, abs=1e-4)
    assert upper_bound(10, 10, 0.95) == 1.0
    for failures, trials in ((0, 1), (0, 598), (2, 40), (39, 40), (17, 300)):
        bound = upper_bound(failures, trials, 0.95)
        below = sum(
            comb(trials, count) * bound**count * (1 - bound) ** (trials - count) for count in range(failures + 1)
        )
        assert below == pytest.approx(0.05, abs=1e-9)
    for trials in (1, 58, 59, 100, 1000):
        allowed = allowed_failures(trials, 0.05, 0.95)
        assert allowed < 0 or upper_bound(allowed, trials, 0.95) <= 0.05
        assert upper_bound(allowed + 1, trials, 0.95) > 0.05
    assert [allowed_failures(trials, 0.005, 0.95) for trials in (597, 598, 1000)] == [-1, 0, 1]


def test_the_threshold_is_the_last_that_is_certified_and_its_losses_are_real():
    model, filter = golden_model("tiny_llada"), confidence_filter()
    trials = calibrate_threshold(model, filter, PROMPTS, **LOOSE, **OPTIONS)
    *good, bad = trials
    assert len(good) >= 2 and [trial.threshold for trial in trials] == list(LOOSE["thresholds"][: len(trials)])
    assert filter.threshold == good[-1].threshold
    for trial in good:
        assert trial.prompts == 12 and trial.losses == differing(model, filter, trial.threshold) <= 7
        assert trial.bound == upper_bound(trial.losses, 12, 0.92) <= 0.8
    # Given up as soon as it was hopeless.
    assert bad.bound is None and 7 < bad.losses <= differing(model, filter, bad.threshold) and bad.nfe < good[0].nfe


def test_what_lost_before_is_decoded_first():
    """The threshold that fails is given up after the batches in which the one before it had lost most."""
    model, filter = golden_model("tiny_llada"), confidence_filter()
    trials = calibrate_threshold(model, filter, PROMPTS, **LOOSE, **OPTIONS | {"batch_size": 1})
    assert trials[-2].losses > 0 and trials[-1].prompts < 12


def test_a_filter_is_calibrated_as_it_is_used_against_the_stock_loop_with_the_same_passes(monkeypatch):
    model, used = golden_model("tiny_llada"), {"block_cache": "dual", "suffix_length": 0}
    exact = texts(model, decoding=LowConfidence())
    assert sum(map(list.__ne__, exact, texts(model, decoding=LowConfidence(), **used))) > 7
    # With this threshold the filter accepts nothing, so that only the passes could make a difference.
    filter, never = confidence_filter(), LOOSE | {"thresholds": [1.0]}
    trials = calibrate_threshold(model, filter, PROMPTS, **never, **OPTIONS, **used)
    assert trials[0].losses == 0 and filter.calibration["options"]["block_cache"] == "dual"
    # What the model's own config says holds for both as well.
    for name, value in used.items():
        monkeypatch.setattr(model.generation_config, name, value, raising=False)
    assert calibrate_threshold(model, confidence_filter(), PROMPTS, **never, **OPTIONS)[0].losses == 0


def test_only_answers_that_the_stock_loop_has_right_can_be_lost():
    model, asked = golden_model("tiny_llada"), []
    stock = [" ".join(map(str, text)) for text in texts(model, decoding=LowConfidence())]

    def score(number, text):
        asked.append((number, text))
        # The stock loop has the even ones right.
        return number % 2 == 0 and text == stock[number]

    options = LOOSE | {"thresholds": [0.991]} | OPTIONS
    (strict,) = calibrate_threshold(model, confidence_filter(), PROMPTS, **options)
    (scored,) = calibrate_threshold(model, confidence_filter(), PROMPTS, score=score, **options)
    changed = {number for number, _ in asked}
    assert len(changed) == strict.losses and len(asked) == 2 * len(changed)
    assert scored.losses == sum(number % 2 == 0 for number in changed) < strict.losses
    assert all((text == stock[number]) == (place % 2 == 0) for place, (number, text) in enumerate(asked))


def test_the_evidence_is_stored_with_the_filter(tmp_path):
    model, filter = golden_model("tiny_llada"), confidence_filter()
    trials = calibrate_threshold(model, filter, PROMPTS, **LOOSE, **OPTIONS, suffix_length=16)
    filter.save_pretrained(tmp_path)
    loaded = UnmaskingFilter.from_pretrained(tmp_path)
    assert loaded.threshold == filter.threshold
    evidence = loaded.calibration
    assert evidence["max_loss"] == 0.8 and evidence["confidence"] == 0.92 and evidence["prompts"] == 12
    assert evidence["stock_nfe"] <= 24 and evidence["trials"] == [asdict(trial) for trial in trials]
    assert evidence["options"] == {"max_new_tokens": 24, "block_length": 8, "do_sample": False, "suffix_length": 16}
    card = (tmp_path / "README.md").read_text()
    assert "at most 80 %" in card and "confidence of 92 %" in card and "| given up |" in card
    assert "max_new_tokens=24, block_length=8, suffix_length=16" in card


def test_a_filter_that_never_agrees_is_turned_off():
    model, filter = golden_model("tiny_llada"), confidence_filter()
    with torch.no_grad():
        filter.linear2.bias.fill_(1000.0)
    (trial,) = calibrate_threshold(model, filter, PROMPTS, **LOOSE, **OPTIONS)
    assert trial.bound is None and trial.nfe <= 3 and filter.threshold == 1.0


def test_stock_texts_are_decoded_once(tmp_path, monkeypatch):
    model, generate, decoded = golden_model("tiny_llada"), golden_model("tiny_llada").generate, []

    def counted(*args, **kwargs):
        decoded.append(kwargs["decoding"])
        return generate(*args, **kwargs)

    monkeypatch.setattr(model, "generate", counted)
    runs = []
    for damaged in (None, None, 5):
        if damaged is not None:
            file = sorted(tmp_path.iterdir())[0]
            file.write_bytes(file.read_bytes()[:-damaged])
        decoded.clear()
        if damaged is None:
            trials = calibrate_threshold(model, confidence_filter(), PROMPTS, **LOOSE, texts=tmp_path, **OPTIONS)
        else:
            with pytest.warns(UserWarning, match=r"stock-.* is damaged"):
                trials = calibrate_threshold(model, confidence_filter(), PROMPTS, **LOOSE, texts=tmp_path, **OPTIONS)
        runs.append((trials, decoded.count("low_confidence")))
    assert [stock for _, stock in runs] == [4, 0, 1] and runs[0][0] == runs[1][0] == runs[2][0]
    decoded.clear()
    # Another block length is another text.
    calibrate_threshold(model, confidence_filter(), PROMPTS, **LOOSE, texts=tmp_path, **OPTIONS | {"block_length": 4})
    assert decoded.count("low_confidence") == 4


def test_too_few_prompts_are_refused_with_how_many_are_needed():
    filter = confidence_filter()
    cases = ((PROMPTS, {}, 598), ([], {"max_loss": 0.01}, 299), (PROMPTS, {"confidence": 0.99}, 919))
    for prompts, options, needed in cases:
        with pytest.raises(ValueError, match=rf"`prompts` must hold at least {needed} prompts.*got {len(prompts)}\)"):
            calibrate_threshold(golden_model("tiny_llada"), filter, prompts, **options, **OPTIONS)
    assert filter.threshold == 0.96 and filter.calibration is None


def test_a_card_tells_nothing_of_a_calibration_by_another_rule(tmp_path):
    filter = confidence_filter()
    filter.calibration = {
        "agreement": 0.99,
        "prompts": 400,
        "trials": [{"threshold": 0.9, "agreement": 1.0, "nfe": 5.0}],
    }
    filter.save_pretrained(tmp_path)
    assert "## Threshold" not in (tmp_path / "README.md").read_text()
    assert UnmaskingFilter.from_pretrained(tmp_path).calibration == filter.calibration


@pytest.mark.parametrize("name", ["decoding", "steps", "filter_threshold", "do_sample"])
def test_what_calibration_settles_is_refused(name):
    model = golden_model("tiny_llada")
    with pytest.raises(ValueError, match=rf"`{name}` must not be given, since calibration settles it \(got 1\)"):
        calibrate_threshold(model, confidence_filter(), PROMPTS, max_loss=0.9, **OPTIONS, **{name: 1})
