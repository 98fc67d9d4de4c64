# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The shipped checkpoint and the scripts that use it."""

import device_map
import pytest
import quickstart
import torch
import train_filter
from conftest import CHECKPOINT, EXAMPLES, inputs_of
from finishing import useful_thresholds
from tasks import is_correct, task_sample
from transformers import TextStreamer

from hf_learn2pd import LladaForMaskedDiffusion, UnmaskingFilter
from hf_learn2pd.training.training import ThresholdScore
from hf_learn2pd.training.trajectories import load_trajectories


def test_a_file_directly_in_examples_is_one_idea():
    lengths = {file.name: len(file.read_text().splitlines()) for file in EXAMPLES.glob("*.py")}
    assert "quickstart.py" in lengths and max(lengths.values()) < 80, lengths
    assert max(len(file.read_text().splitlines()) for file in EXAMPLES.rglob("*.py")) <= 400


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
    arguments = ["--num-prompts", "4", "--calibration-prompts", "4", "--max-new-tokens", "32", "--batch-size", "4"]
    arguments += ["--max-loss", "0.6", "--epochs", "3", "--block-lengths", "16", "32", "--passes", "local+16"]
    arguments += ["none", "--test-prompts", "2", "--trajectories", str(tmp_path / "work"), "--output", str(tmp_path)]
    train_filter.main(arguments)
    printed, card = capsys.readouterr().out, (tmp_path / "README.md").read_text()
    assert "| threshold | precision | recall |" in printed
    assert "| threshold | other texts than the stock loop's | bound | NFE |" in printed
    assert (
        "| stock | 0.0 | 100.0 | 32.0 |" in printed
        and "| learn2pd | " in printed
        and "2 held-out questions." in printed
    )
    # Both rounds, block lengths and ways of passes, the second round in other states.
    rounds = [load_trajectories(tmp_path / "work" / f"round_{number}_blocks_16_none") for number in (1, 2)]
    steps = [len(load_trajectories(each).confidence) for each in sorted((tmp_path / "work").glob("round_*"))]
    assert len(steps) == 8 and len(rounds[1].confidence) >= len(rounds[0].confidence)
    assert f"{sum(steps)} steps in 2 rounds over 4 prompts" in card and "it is at most 60 %" in card
    filter = UnmaskingFilter.from_pretrained(tmp_path)
    assert (
        filter.base_model == "tiny_llada"
        and filter.calibration["options"] | {"block_cache": "local", "suffix_length": 16}
        == filter.calibration["options"]
    )
    inputs = inputs_of(tokenizer, [task_sample(7, 3, "test").prompt])
    assert isinstance(model.generate(**inputs, decoding="learn2pd", unmasking_filter=tmp_path), torch.Tensor)

    # Started again, it decodes no text and collects no step anew, and ends with the same filter.
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "work").rglob("*.safetensors")}
    train_filter.main([*arguments[:-1], str(tmp_path / "again"), "--test-prompts", "0"])
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "work").rglob("*.safetensors")}
    again = UnmaskingFilter.from_pretrained(tmp_path / "again")
    assert again.calibration == filter.calibration
    assert all(torch.equal(one, other) for one, other in zip(filter.parameters(), again.parameters(), strict=True))


def test_calibration_begins_where_a_filter_accepts_half_of_what_it_can():
    recalls = [(0.999, 0.01), (0.98, 0.23), (0.95, 0.24), (0.5, 0.48)]
    scores = [ThresholdScore(threshold, 1.0, recall, 1.0) for threshold, recall in recalls]
    assert useful_thresholds(scores) == [0.95, 0.5]
    assert useful_thresholds(scores[:1]) == [0.999]


def test_lora_saves_an_adapter_that_answers(tokenizer, tmp_path, capsys):
    pytest.importorskip("peft")
    import lora

    loaded = lora.main(["--output", str(tmp_path), "--steps", "2", "--batch_size", "2"])
    without, answered = capsys.readouterr().out.split("without:")[1].split("with:")
    assert task_sample(7, 0, "test").prompt.split()[0] in without and answered.strip()
    assert {file.name for file in tmp_path.iterdir()} >= {"adapter_model.safetensors", "adapter_config.json"}
    assert not (tmp_path / "model.safetensors").exists()
    factors = [value for name, value in loaded.named_parameters() if ".lora_B." in name]
    assert factors and all(value.abs().max() > 0 for value in factors)


def answer_of(model, tokenizer, prompt):
    inputs = inputs_of(tokenizer, [prompt])
    return tokenizer.decode(model.generate(**inputs)[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_a_model_spread_over_memory_and_disk_gives_the_same_answer(model, tokenizer, tmp_path, capsys):
    prompt = task_sample(7, 5, "test").prompt
    memory = ["--max-memory", "cpu=3MB", "--offload-folder", str(tmp_path)]
    spread = device_map.main([prompt, *memory])
    assert set(spread.hf_device_map.values()) == {"cpu", "disk"}
    assert capsys.readouterr().out.rstrip().endswith(answer_of(model, tokenizer, prompt))
    assert device_map.read_memory(["0=10GB", "cpu=20GB"]) == {0: "10GB", "cpu": "20GB"}


def test_weights_of_eight_bits_take_less_memory_and_answer(model, tokenizer, capsys):
    pytest.importorskip("torchao", reason="needs pip install torchao")
    import quantize
    from torchao.utils import get_model_size_in_bytes

    prompt = task_sample(7, 5, "test").prompt
    quantised = quantize.main([prompt])
    assert get_model_size_in_bytes(quantised) < 0.4 * get_model_size_in_bytes(model)
    assert is_correct(task_sample(7, 5, "test"), capsys.readouterr().out)
