# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""A filter that cannot be right is refused before any compute, and nothing of a repository becomes code."""

import ast
import copy
import json
import time

import pytest
import torch
from conftest import golden_filter, golden_model

from hf_learn2pd import Learn2PD, UnmaskingFilter

PROMPT = torch.tensor([[5, 6, 7, 8], [9, 8, 7, 6]])
OPTIONS = {"max_new_tokens": 32, "block_length": 8, "end_of_text": None}


def filter_of(architecture):
    if architecture == "mlp":
        return copy.deepcopy(golden_filter())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UnmaskingFilter(architecture="transformer", features=["confidence", "margin", "position"]).eval()


def never(*args, **kwargs):
    pytest.fail("the model was run")


@pytest.mark.parametrize("architecture", ["mlp", "transformer"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_filter_of_any_floating_type_decodes(architecture, dtype):
    filter = filter_of(architecture).to(dtype)
    output = golden_model("tiny_llada").generate(PROMPT, decoding=Learn2PD(filter, threshold=0.5), **OPTIONS)
    assert output.shape == (2, 36) and {each.dtype for each in filter.parameters()} == {dtype}


def test_a_filter_in_float64_decodes_like_one_in_float32():
    model = golden_model("tiny_llada")
    for architecture in ("mlp", "transformer"):
        one, other = (
            model.generate(PROMPT, decoding=Learn2PD(filter_of(architecture).to(dtype), 0.5), **OPTIONS)
            for dtype in (torch.float32, torch.float64)
        )
        assert torch.equal(one, other)


@pytest.mark.parametrize("threshold", [float("nan"), 2, -1, "0.5", None, True])
def test_a_threshold_set_later_is_refused_before_the_model_runs(threshold, monkeypatch):
    model, filter = golden_model("tiny_llada"), filter_of("mlp")
    filter.threshold = threshold
    monkeypatch.setattr(model.get_decoder(), "forward", never)
    with pytest.raises(ValueError, match=r"`threshold` must be between 0 and 1 \(got"):
        model.generate(PROMPT, decoding="learn2pd", unmasking_filter=filter, **OPTIONS)


@pytest.mark.parametrize("architecture", ["mlp", "transformer"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.int64, torch.complex64])
def test_weights_that_are_no_finite_numbers_are_refused_before_the_model_runs(architecture, value, monkeypatch):
    model, filter = golden_model("tiny_llada"), filter_of(architecture)
    name, weight = next(iter(filter.named_parameters()))
    if isinstance(value, float):
        weight.data.view(-1)[0] = value
    else:
        owner = filter.get_submodule(name.rpartition(".")[0])
        new = torch.nn.Parameter(weight.detach().to(value), requires_grad=False)
        setattr(owner, name.rpartition(".")[2], new)
    monkeypatch.setattr(model.get_decoder(), "forward", never)
    with pytest.raises(ValueError, match=f"(?s)filter.*{name}|{name}.*filter"):
        model.generate(PROMPT, decoding="learn2pd", unmasking_filter=filter, **OPTIONS)


def test_a_broken_filter_is_not_saved(tmp_path):
    filter = filter_of("mlp")
    filter.threshold = float("nan")
    with pytest.raises(ValueError, match="`threshold` must be between 0 and 1"):
        filter.save_pretrained(tmp_path)
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"JSON object in config.json \(got \[\]"),
        ("null", r"JSON object in config.json \(got None"),
        ("3", "JSON object in config.json"),
        ("{", "JSON in config.json"),
        ("[" * 100_000, "JSON in config.json"),
        ('{"features": 3}', r"`features` must be .*\(got 3\)"),
        ('{"features": [["confidence"]]}', "`features`"),
        ('{"features": {}}', "`features`"),
        ('{"base_model": 5}', r"`base_model` must be .*\(got 5\)"),
        ('{"threshold": NaN}', "`threshold` must be between 0 and 1"),
        ('{"threshold": "0.5"}', "`threshold`"),
        ('{"threshold": null}', "`threshold`"),
        ('{"hidden_size": 40000000}', r"`hidden_size` must be .*\(got 40000000\)"),
        ('{"hidden_size": true}', "`hidden_size`"),
        ('{"architecture": "transformer", "num_layers": 1000000}', r"`num_layers` must be .*\(got 1000000\)"),
        ('{"architecture": "transformer", "hidden_size": 40000000}', r"`hidden_size`"),
        ('{"architecture": ["mlp"]}', "`architecture`"),
        ('{"block_length": 1e9}', "`block_length`"),
        ('{"calibration": [1]}', "`calibration`"),
    ],
)
def test_a_config_that_makes_no_filter_names_the_argument_at_once(text, message, tmp_path):
    golden_filter().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    began = time.monotonic()
    with pytest.raises(ValueError, match=message):
        UnmaskingFilter.from_pretrained(tmp_path)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("options", [{"hidden_size": 40_000_000}, {"num_layers": 10**6}, {"block_length": 10**9}])
def test_a_filter_of_absurd_size_is_refused_at_once(options):
    began = time.monotonic()
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`"):
        UnmaskingFilter(architecture="mlp" if "block_length" in options else "transformer", **options)
    assert time.monotonic() - began < 2


def test_truncated_weights_are_named(tmp_path):
    golden_filter().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"`unmasking_filter` must hold .*model\.safetensors"):
        UnmaskingFilter.from_pretrained(tmp_path)


INJECTION = """a/b')) or __import__("os").system("touch X") #'"""


@pytest.mark.parametrize("repo_id", [INJECTION, 'a/b"', "a/b/c", "../b", "a/b\n#", "", 5])
def test_a_repository_name_that_is_none_writes_no_file(repo_id, tmp_path):
    with pytest.raises(ValueError, match="`repo_id` must be"):
        golden_filter().save_pretrained(tmp_path, model_card_kwargs={"repo_id": repo_id})
    assert not list(tmp_path.rglob("*.py"))
    with pytest.raises(ValueError, match="`repo_id` must be"):
        golden_filter().push_to_hub(repo_id)


def test_the_name_of_a_repository_stands_in_its_code_as_one_string(tmp_path):
    golden_filter().save_pretrained(tmp_path, model_card_kwargs={"repo_id": "user-1/some.filter_2"})
    code = ast.parse((tmp_path / "custom_generate" / "generate.py").read_text())
    strings = [each.value for each in ast.walk(code) if isinstance(each, ast.Constant)]
    assert "user-1/some.filter_2" in strings and "user/filter" not in strings


@pytest.mark.parametrize("folder", ["../outside", "deep/../../outside", "{outside}", "..", "deep\\..\\..\\outside", ""])
def test_a_subfolder_does_not_leave_its_repository(folder, tmp_path):
    golden_filter().save_pretrained(tmp_path / "outside")
    golden_filter().save_pretrained(tmp_path / "repository" / "deep")
    source = f"{tmp_path}/repository:{folder.format(outside=tmp_path / 'outside')}"
    with pytest.raises(ValueError, match="`unmasking_filter` must be"):
        UnmaskingFilter.load(source)
    assert UnmaskingFilter.load(f"{tmp_path}/repository:deep").block_length == 32


@pytest.mark.parametrize("threshold", [float("nan"), 2, -1, "0.5", True])
def test_filter_threshold_lies_between_0_and_1(threshold):
    with pytest.raises(ValueError, match=r"`filter_threshold` must be between 0 and 1 \(got"):
        Learn2PD(golden_filter(), threshold)


def test_a_filter_file_holds_json_that_others_can_read(tmp_path):
    golden_filter().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["threshold"] == 0.96
