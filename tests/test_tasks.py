# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The task generator: deterministic, with disjoint splits, and checkable."""

import pytest
from task_drills import drill_sample
from tasks import FAMILIES, final_answer, is_correct, split_of, task_sample
from tiny_tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_same_arguments_give_the_same_sample():
    for index in range(20):
        assert task_sample(3, index) == task_sample(3, index)
        assert drill_sample(3, index) == drill_sample(3, index)
    assert task_sample(3, 0) != task_sample(4, 0)


def test_no_prompt_is_in_both_splits():
    train = {task_sample(0, index).prompt for index in range(2000)}
    test = {task_sample(1, index, "test").prompt for index in range(500)}
    assert not train & test
    assert {split_of(prompt) for prompt in train} == {"train"}
    assert {split_of(prompt) for prompt in test} == {"test"}


@pytest.mark.parametrize("family", FAMILIES)
def test_checker_accepts_the_gold_answer_and_rejects_another_final_answer(family):
    for index in range(20):
        sample = task_sample(5, index, "test", family=family)
        gold = final_answer(sample.answer)
        steps = sample.answer[: sample.answer.rindex("the answer is")]
        assert is_correct(sample, sample.answer)
        assert is_correct(sample, f"in other words, the answer is {gold.upper()}.")
        assert not is_correct(sample, f"{steps}the answer is {gold} 1.")
        assert not is_correct(sample, f"{steps}the answer is {gold}")
        assert not is_correct(sample, steps)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_text_survives_the_tokenizer(family, tokenizer):
    for index in range(20):
        sample = task_sample(6, index, family=family)
        for text in (sample.prompt, sample.answer):
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_answers_are_long_enough_to_test_decoding(tokenizer):
    lengths = [len(tokenizer.encode(task_sample(0, index, "test").answer)) for index in range(1000)]
    assert 60 <= sum(lengths) / len(lengths) <= 90
    assert sum(length > 100 for length in lengths) / len(lengths) >= 0.25
    assert max(lengths) < 256


def test_there_are_at_least_eight_families():
    assert len(FAMILIES) >= 8
