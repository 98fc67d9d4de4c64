# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from conftest import golden_cases, golden_model

from hf_learn2pd import LowConfidence, Oracle, UnmaskingFilter
from hf_learn2pd.filter.training import choose_threshold, train_filter
from hf_learn2pd.filter.trajectories import Trajectories, collect_trajectories, replay


@pytest.mark.parametrize("case", golden_cases("learn2pd_training_data"), ids=lambda case: case["id"])
def test_replay_records_what_the_release_records(case):
    prompt, block_length = torch.tensor(case["prompt"]), case["args"]["block_length"]
    answer = torch.tensor(case["correct_answer"])[:, prompt.shape[1] :]
    trajectories = replay(golden_model(case["checkpoint"]), prompt, answer, None, block_length)
    # The release repeats the forward pass of a stuck step before it goes on; the repetition holds nothing new.
    results = case["results"]
    steps = [step for last, step in zip([None, *results], results, strict=False) if step_differs(last, step)]
    torch.testing.assert_close(trajectories.confidence, torch.tensor([step["confidence"] for step in steps]))
    assert trajectories.correct.long().tolist() == torch.tensor([step["is_correct"] for step in steps]).long().tolist()


def step_differs(last, step):
    return last is None or last["step"] >= step["step"] or last["confidence"] != step["confidence"]


def batches():
    prompt = torch.tensor([[510, 510, 3, 4], [5, 6, 7, 8], [510, 9, 8, 7]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]])
    return [{"input_ids": prompt, "attention_mask": mask}, {"input_ids": prompt[1:2], "attention_mask": mask[1:2]}]


def test_trajectories_of_a_prompt_do_not_depend_on_its_batch():
    model = golden_model("tiny_llada")
    both = collect_trajectories(model, batches(), 40, 16, progress=False)
    alone = collect_trajectories(model, batches()[1:], 40, 16, progress=False)
    rows = {tuple(row) for row in both.masked.long().tolist()}
    assert rows >= {tuple(row) for row in alone.masked.long().tolist()}
    assert len(both.confidence) > 2 * len(alone.confidence)


def test_replay_takes_the_steps_of_the_oracle_and_records_masked_positions_as_zero_or_one():
    model = golden_model("tiny_llada")
    batch = batches()[0]
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
    return Trajectories(confidence, masked, confidence > 0.5)


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
    flipped = Trajectories(trajectories.confidence, trajectories.masked, trajectories.correct ^ ~trajectories.masked)
    one, other = (train_filter(each, epochs=3) for each in (trajectories, flipped))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_threshold_by_hand():
    filter = UnmaskingFilter(block_length=1, hidden_size=1)
    with torch.no_grad():
        for parameter, value in zip(filter.parameters(), (1.0, 0.0, 1.0, 0.0), strict=True):
            parameter.fill_(value)
    confidence = torch.tensor([[0.9], [0.8], [0.7], [0.6], [0.5]])
    masked = torch.tensor([[1], [1], [1], [1], [0]]).bool()
    correct = torch.tensor([[1], [1], [0], [1], [0]]).bool()
    trajectories = Trajectories(confidence, masked, correct)
    # The filter is the identity before its sigmoid. Right: all above 0.7, two in three above 0.6, three in four.
    assert choose_threshold(filter, trajectories, 1.0) == pytest.approx(torch.tensor(0.7).sigmoid().item())
    assert choose_threshold(filter, trajectories, 0.75) == 0.0
    assert choose_threshold(filter, Trajectories(confidence, masked, ~masked), 0.5) == 1.0


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="`trajectories` must hold at least 10 samples"):
        train_filter(separable(9))
