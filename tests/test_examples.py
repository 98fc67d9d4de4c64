# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The shipped checkpoint and the scripts that use it."""

import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer

from hf_learn2pd import LladaForMaskedDiffusion, UnmaskingFilter
from hf_learn2pd.training.trajectories import load_trajectories

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

import quickstart  # noqa: E402
import train_filter  # noqa: E402
from tasks import is_correct, task_sample  # noqa: E402

CHECKPOINT = EXAMPLES / "tiny_llada"


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(CHECKPOINT)


def inputs_of(tokenizer, prompts):
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    return tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )


def test_the_checkpoint_is_small_and_in_the_official_layout(model):
    assert type(model) is LladaForMaskedDiffusion
    assert 1_000_000 <= model.num_parameters() <= 8_000_000
    assert sum(file.stat().st_size for file in CHECKPOINT.rglob("*") if file.is_file()) <= 20_000_000


def test_the_checkpoint_answers_held_out_questions_with_its_stored_options(model, tokenizer):
    samples = [task_sample(7, index, "test") for index in range(24)]
    inputs = inputs_of(tokenizer, [sample.prompt for sample in samples])
    output = model.generate(**inputs, return_dict_in_generate=True)
    texts = tokenizer.batch_decode(output.sequences[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    right = sum(is_correct(sample, text) for sample, text in zip(samples, texts, strict=True))
    assert right >= 18
    # One token per step would need more passes than the answers have tokens.
    assert output.tokens_per_forward.mean() > 4


def test_a_text_streamer_prints_the_answer(model, tokenizer, capsys):
    inputs = inputs_of(tokenizer, [task_sample(7, 1, "test").prompt])
    output = model.generate(**inputs, streamer=TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True))
    text = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert " ".join(capsys.readouterr().out.split()) == " ".join(text.split())


def test_quickstart_prints_answers_and_the_table(capsys):
    measured = quickstart.main(["--num-prompts", "2", "--max-new-tokens", "160"])
    printed = capsys.readouterr().out
    stock, stopped, *parallel = measured.values()
    assert stock.nfe == 160 > stopped.nfe > max(each.nfe for each in parallel)
    assert stock.texts == stopped.texts
    for name in quickstart.DECODERS:
        assert f"| {name} |" in printed
    assert "torch" in printed and "2 prompts" in printed


def test_quickstart_takes_a_question_and_notes_unknown_words(capsys):
    prompt = task_sample(7, 2, "test").prompt
    quickstart.main([prompt, "zyzzyva?", "--max-new-tokens", "32"])
    printed = capsys.readouterr().out
    assert f"> {prompt}" in printed and "Note: 1 words of 'zyzzyva?'" in printed


def test_train_filter_saves_a_filter_that_generate_takes(model, tokenizer, tmp_path, capsys):
    arguments = ["--num-prompts", "16", "--calibration-prompts", "4", "--max-new-tokens", "96", "--batch-size", "4"]
    arguments += ["--max-loss", "0.6"]
    arguments += ["--trajectories", str(tmp_path / "trajectories"), "--epochs", "10"]
    train_filter.main([*arguments, "--output", str(tmp_path)])
    printed, card = capsys.readouterr().out, (tmp_path / "README.md").read_text()
    assert "| threshold | precision | recall |" in printed
    assert "| threshold | other texts than the stock loop's | bound | NFE |" in printed
    assert "steps, the last of them over 16 prompts" in card and "it is at most 60 %" in card
    assert UnmaskingFilter.from_pretrained(tmp_path).base_model == "tiny_llada"
    inputs = inputs_of(tokenizer, [task_sample(7, 3, "test").prompt])
    assert isinstance(model.generate(**inputs, decoding="learn2pd", unmasking_filter=tmp_path), torch.Tensor)

    # A second round follows that filter, with other blocks, and learns from the first one's steps as well.
    first = load_trajectories(tmp_path / "trajectories")
    arguments = ["--num-prompts", "4", "--calibration-prompts", "4", "--max-new-tokens", "96", "--epochs", "1"]
    arguments += ["--max-loss", "0.6"]
    arguments += ["--policy", str(tmp_path), "--block-length", "48", "--add", str(tmp_path / "trajectories")]
    train_filter.main([*arguments, "--trajectories", str(tmp_path / "more"), "--output", str(tmp_path / "second")])
    steps = len(first.confidence) + len(load_trajectories(tmp_path / "more").confidence)
    assert f"\n{steps} steps, the last of them over 4 prompts" in (tmp_path / "second" / "README.md").read_text()
