# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Prompts: strings, chats, dictionaries and files come out the same."""

import json

import pytest

from hf_learn2pd.training.prompts import read_prompts

CHAT = [{"role": "user", "content": "why?"}]


@pytest.mark.parametrize(
    "item",
    ["why?", CHAT, {"prompt": "why?"}, {"messages": CHAT}, {"question": "why?", "answer": "no"}, {"text": "why?"}],
)
def test_every_form_is_a_chat(item, tmp_path):
    assert list(read_prompts([item])) == [CHAT]
    (tmp_path / "prompts.jsonl").write_text(json.dumps(item) + "\n\n" + json.dumps(item) + "\n")
    assert list(read_prompts(tmp_path / "prompts.jsonl")) == [CHAT, CHAT]


def test_a_field_may_be_named():
    assert list(read_prompts([{"prompt": "no", "ask": "why?"}], field="ask")) == [CHAT]
    with pytest.raises(ValueError, match="`prompts` must hold a dictionary with 'ask'"):
        list(read_prompts([{"prompt": "no"}], field="ask"))


def test_a_dataset_is_an_iterable_of_dictionaries():
    datasets = pytest.importorskip("datasets")
    assert list(read_prompts(datasets.Dataset.from_dict({"question": ["why?", "why?"]}))) == [CHAT, CHAT]


def test_prompts_are_read_one_by_one():
    def endless():
        while True:
            yield "why?"

    assert next(read_prompts(endless())) == CHAT


def test_bad_prompts_say_where(tmp_path):
    with pytest.raises(ValueError, match="`prompts` must be a JSONL file or an iterable"):
        list(read_prompts(tmp_path / "none.jsonl"))
    (tmp_path / "bad.jsonl").write_text('"fine"\n{broken\n')
    with pytest.raises(ValueError, match=r"`prompts` must be JSON in every line .*bad.jsonl:2"):
        list(read_prompts(tmp_path / "bad.jsonl"))
    for item in (3, {}, {"other": "x"}, [], ["a"]):
        with pytest.raises(ValueError, match="`prompts` must hold a string, a chat or a dictionary"):
            list(read_prompts([item]))
