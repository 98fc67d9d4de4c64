# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import copy
from dataclasses import replace

import pytest
import torch
from conftest import golden_cases, golden_model

from hf_learn2pd import LowConfidence, Oracle, UnmaskingFilter
from hf_learn2pd.training.training import choose_threshold, plot_scores, score_thresholds, train_filter
from hf_learn2pd.training.trajectories import Trajectories, replay


@pytest.mark.parametrize("case", golden_cases("learn2pd_training_data"), ids=lambda case: case["id"])
def test_replay_records_what_the_release_records(case):
    prompt, block_length = torch.tensor(case["prompt"]), case["args"]["block_length"]
    answer = torch.tensor(case["correct_answer"])[:, prompt.shape[1] :]
    model = golden_model(case["checkpoint"])
    trajectories = replay(model, prompt, answer, None, block_length)
    # The release repeats the forward pass of a stuck step before it goes on; the repetition holds nothing new.
    results = case["results"]
    steps = [step for last, step in zip([None, *results], results, strict=False) if step_differs(last, step)]
    # Another processor rounds differently: no further than the recorded float32 values are from those in float64.
    recorded = torch.tensor([step["confidence"] for step in steps])
    exact = replay(copy.deepcopy(model).double(), prompt, answer, None, block_length).confidence
    rounding = max(1e-5, (recorded - exact).abs().max().item())
    torch.testing.assert_close(trajectories.confidence, recorded, rtol=1.3e-6, atol=rounding)
    assert trajectories.correct.long().tolist() == torch.tensor([step["is_correct"] for step in steps]).long().tolist()


def step_differs(last, step):
    return last is None or last["step"] >= step["step"] or last["confidence"] != step["confidence"]


def test_replay_takes_the_steps_of_the_oracle_and_records_masked_positions_as_zero_or_one():
    model = golden_model("tiny_llada")
    prompt = torch.tensor([[510, 510, 3, 4], [5, 6, 7, 8], [510, 9, 8, 7]])
    batch = {"input_ids": prompt, "attention_mask": (prompt != 510).long()}
    options = {"attention_mask": batch["attention_mask"], "max_new_tokens": 32, "return_dict_in_generate": True}
    stock = model.generate(batch["input_ids"], decoding=LowConfidence(), end_of_text=None, **options)
    trajectories = replay(model, batch["input_ids"], stock.sequences[:, 4:], batch["attention_mask"])
    oracle = model.generate(batch["input_ids"], decoding=Oracle(stock.sequences[:, 4:]), end_of_text=None, **options)
    assert len(trajectories.confidence) <= oracle.nfe.sum()
    assert trajectories.masked[:3].all() and not trajectories.masked[-1].all()


def separable(samples=600, width=8):
    """Predictions are right exactly where the confidence is above a half."""
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(samples, width, generator=generator)
    masked = torch.rand(samples, width, generator=generator) < 0.8
    return trajectories_of(confidence, masked, confidence > 0.5)


def trajectories_of(confidence, masked, correct):
    """Says nothing that could be learned from but the confidence."""
    zeros = torch.zeros_like(confidence)
    return Trajectories(confidence, zeros, zeros, zeros.long(), masked, torch.ones_like(masked), correct)


def test_training_finds_the_rule_and_repeats_itself():
    trajectories = separable()
    filter = train_filter(trajectories, epochs=200, batch_size=64)
    with torch.no_grad():
        accepted = filter(trajectories.confidence).sigmoid() > filter.threshold
    wrong = (accepted & ~trajectories.correct & trajectories.masked).sum()
    found = (accepted & trajectories.correct & trajectories.masked).sum()
    assert wrong <= 0.02 * found
    assert found >= 0.9 * (trajectories.correct & trajectories.masked).sum()
    again = train_filter(trajectories, epochs=200, batch_size=64)
    assert all(torch.equal(a, b) for a, b in zip(filter.parameters(), again.parameters(), strict=True))
    assert filter.threshold == again.threshold


def test_labels_outside_the_mask_are_not_learned_from():
    trajectories = separable(100)
    flipped = replace(trajectories, correct=trajectories.correct ^ ~trajectories.masked)
    for masked_only in (True, False):
        one, other = (train_filter(each, epochs=3, masked_only=masked_only) for each in (trajectories, flipped))
        same = [torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)]
        assert all(same) if masked_only else not any(same)


def test_threshold_by_hand():
    filter = UnmaskingFilter(block_length=1, hidden_size=1)
    with torch.no_grad():
        for parameter, value in zip(filter.parameters(), (1.0, 0.0, 1.0, 0.0), strict=True):
            parameter.fill_(value)
    confidence = torch.tensor([[0.9], [0.8], [0.7], [0.6], [0.5]])
    masked = torch.tensor([[1], [1], [1], [1], [0]]).bool()
    correct = torch.tensor([[1], [1], [0], [1], [0]]).bool()
    trajectories = trajectories_of(confidence, masked, correct)
    # The filter is the identity before its sigmoid. Right: all above 0.7, two in three above 0.6, three in four.
    assert choose_threshold(filter, trajectories, 1.0) == pytest.approx(torch.tensor(0.7).sigmoid().item())
    assert choose_threshold(filter, trajectories, 0.75) == 0.0
    assert choose_threshold(filter, trajectories_of(confidence, masked, ~masked), 0.5) == 1.0
    # Above 0.55 four are accepted, and three of them right; every step counts one at least.
    cuts = torch.tensor([0.55, 0.75, 0.95]).sigmoid().tolist()
    scores = score_thresholds(filter, trajectories, cuts)
    assert [(score.precision, score.recall) for score in scores] == [(0.75, 1.0), (1.0, 2 / 3), (1.0, 0.0)]
    assert [score.tokens_per_forward for score in scores] == [1.0, 1.0, 1.0]


def test_accepted_predictions_are_counted_per_step():
    filter = UnmaskingFilter(block_length=2, hidden_size=2)
    with torch.no_grad():
        for parameter, value in zip(filter.parameters(), (torch.eye(2), 0, torch.eye(2), 0), strict=True):
            parameter.copy_(torch.as_tensor(value))
    confidence = torch.tensor([[0.9, 0.8], [0.9, 0.2], [0.1, 0.2]])
    everything = torch.ones(3, 2, dtype=torch.bool)
    (score,) = score_thresholds(filter, trajectories_of(confidence, everything, everything), [0.6])
    # Two in the first step, one in the second; the third takes one whatever the filter says.
    assert score.tokens_per_forward == pytest.approx(4 / 3) and score.recall == 0.5


def test_a_transformer_learns_what_one_position_says_of_another():
    """A prediction is right where the margin of the block's first position is high: no position knows by itself."""
    generator = torch.Generator().manual_seed(0)
    confidence, margin = torch.rand(2, 800, 8, generator=generator)
    correct = (margin[:, :1] > 0.5).expand(-1, 8)
    everything = torch.ones(800, 8, dtype=torch.bool)
    trajectories = replace(trajectories_of(confidence, everything, correct), margin=margin)
    options = {"architecture": "transformer", "learning_rate": 3e-3, "batch_size": 64, "epochs": 40, "hidden_size": 16}
    seeing = train_filter(trajectories, features=["confidence", "margin", "position"], **options)
    blind = train_filter(trajectories, features=["confidence"], **options)
    (seen,), (unseen,) = (score_thresholds(filter, trajectories, [0.5]) for filter in (seeing, blind))
    assert seen.precision > 0.95 and seen.recall > 0.95
    assert unseen.recall < 0.2 or unseen.precision < 0.7


def test_patience_ends_training():
    # A million epochs would take hours; at this rate the first ones make things worse.
    filter = train_filter(separable(100), epochs=1_000_000, patience=3, learning_rate=10.0, batch_size=16)
    assert all(parameter.isfinite().all() for parameter in filter.parameters())


def test_the_plot_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    filter = train_filter(separable(50), epochs=1)
    plot_scores(score_thresholds(filter, separable(50)), tmp_path / "scores.png")
    assert (tmp_path / "scores.png").stat().st_size > 10_000


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="`trajectories` must hold at least 10 samples"):
        train_filter(separable(9))
