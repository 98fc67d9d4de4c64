# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Trajectories are those of one model, one policy and one run, or are refused."""

import copy
import warnings

import pytest
import torch
from conftest import golden_filter
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_filter_trajectories import CHECKPOINT, OPTIONS, PROMPTS
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd import Learn2PD, Oracle, Threshold
from hf_learn2pd.training.trajectories import collect_trajectories, load_trajectories

FEW = OPTIONS | {"batch_size": 1, "max_new_tokens": 16}


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT)


@pytest.fixture
def collected(model, tmp_path):
    return tmp_path, collect_trajectories(model, PROMPTS[:2], tmp_path, **FEW)


def shards(directory):
    return sorted(directory.glob("trajectories-*.safetensors"))


def scaled(model, name="lm_head"):
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(iter(other.get_submodule(name).parameters())).mul_(0.3)
    return other


def test_the_shards_of_another_model_are_refused_and_kept(model, collected):
    directory, _ = collected
    before = {file.name: file.read_bytes() for file in shards(directory)}
    with pytest.raises(ValueError, match=rf"`directory` must be.*another model.*{directory}"):
        collect_trajectories(scaled(model), PROMPTS[:2], directory, **FEW)
    assert {file.name: file.read_bytes() for file in shards(directory)} == before


@pytest.mark.parametrize("part", ["model.norm", "model.layers.0.mlp.down_proj"])
def test_one_weight_makes_another_model(model, collected, part):
    other = copy.deepcopy(model)
    weight = next(iter(other.get_submodule(part).parameters()))
    weight.data.view(-1)[0] += 1e-6
    with pytest.raises(ValueError, match="another model"):
        collect_trajectories(other, PROMPTS[:2], collected[0], **FEW)


def test_the_same_model_in_another_process_goes_on(model, collected, monkeypatch):
    again = AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    monkeypatch.setattr(again, "generate", lambda *args, **kwargs: pytest.fail("decoded again"), raising=False)
    found = collect_trajectories(again, PROMPTS[:2], collected[0], **FEW)
    assert all(torch.equal(value, found.tensors()[name]) for name, value in collected[1].tensors().items())


def test_another_tokenizer_is_refused(model, collected):
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    tokenizer.add_tokens(["one more"])
    with pytest.raises(ValueError, match="another tokenizer"):
        collect_trajectories(model, PROMPTS[:2], collected[0], tokenizer, **FEW)


def test_the_release_of_the_package_counts(model, collected, monkeypatch):
    monkeypatch.setattr("hf_learn2pd.training.trajectories.__version__", "999")
    with pytest.raises(ValueError, match="another version"):
        collect_trajectories(model, PROMPTS[:2], collected[0], **FEW)


def filter_with(threshold=0.96, shift=0.0):
    filter = copy.deepcopy(golden_filter())
    filter.threshold = threshold
    with torch.no_grad():
        filter.linear2.bias += shift
    return filter


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (None, Learn2PD(filter_with())),
        (Learn2PD(filter_with()), Learn2PD(filter_with(shift=1e-3))),
        (Learn2PD(filter_with()), Learn2PD(filter_with(threshold=0.5))),
        (Learn2PD(filter_with(), 0.5), Learn2PD(filter_with(), 0.6)),
        (Threshold(0.5), Threshold(0.6)),
    ],
)
def test_two_policies_of_the_same_shape_are_told_apart(model, tmp_path, first, second):
    collect_trajectories(model, PROMPTS[:1], tmp_path, policy=first, **FEW)
    # The same one again is no other.
    collect_trajectories(model, PROMPTS[:1], tmp_path, policy=copy.deepcopy(first), **FEW)
    with pytest.raises(ValueError, match="another policy"):
        collect_trajectories(model, PROMPTS[:1], tmp_path, policy=second, **FEW)


def test_tensors_of_a_policy_are_told_apart_beyond_what_printing_shows():
    from hf_learn2pd.training.fingerprint import fingerprint_policy

    one = torch.zeros(1, 4096, dtype=torch.long)
    other = one.clone()
    other[0, 2048] = 5
    assert fingerprint_policy(Oracle(one)) == fingerprint_policy(Oracle(one.clone()))
    assert fingerprint_policy(Oracle(one)) != fingerprint_policy(Oracle(other))


@pytest.mark.parametrize("damage", ["truncated", "foreign", "changed"])
def test_a_damaged_shard_is_named_and_made_again(model, collected, damage):
    directory, trajectories = collected
    file = shards(directory)[1]
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "foreign":
        save_file({"weight": torch.zeros(3)}, file)
    else:
        bytes_ = bytearray(file.read_bytes())
        bytes_[-1] ^= 1
        file.write_bytes(bytes_)
    with pytest.raises(ValueError, match=file.name):
        load_trajectories(directory)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again = collect_trajectories(model, PROMPTS[:2], directory, **FEW)
    assert any(file.name in str(each.message) for each in caught)
    assert all(torch.equal(value, again.tensors()[name]) for name, value in trajectories.tensors().items())


def test_a_shard_without_fingerprints_is_named(model, collected):
    directory, _ = collected
    file = shards(directory)[0]
    old = {"max_new_tokens": "64", "block_length": "16", "policy": "None", "prompts": "0"}
    save_file(load_file(file), file, metadata=old)
    with pytest.raises(ValueError, match=rf"{file.name}.*(older|fingerprint)"):
        collect_trajectories(model, PROMPTS[:2], directory, **FEW)


def test_leftovers_of_a_longer_run_are_not_read(model, collected):
    directory, longer = collected
    shorter = collect_trajectories(model, PROMPTS[:1], directory, **FEW)
    assert len(shards(directory)) == 2 and len(shorter.confidence) < len(longer.confidence)
    assert len(load_trajectories(directory).confidence) == len(shorter.confidence)


def test_an_unfinished_run_is_not_read(model, tmp_path, monkeypatch):
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(*args, **kwargs)

    generate = model.generate
    monkeypatch.setattr(model, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect_trajectories(model, PROMPTS[:2], tmp_path, **FEW)
    with pytest.raises(ValueError, match="`directory` must hold trajectories"):
        load_trajectories(tmp_path)


def test_offloaded_weights_have_the_fingerprint_of_those_in_memory(model, tmp_path):
    from accelerate import cpu_offload, disk_offload

    from hf_learn2pd.training.fingerprint import fingerprint_module

    expected = fingerprint_module(model)
    assert fingerprint_module(cpu_offload(copy.deepcopy(model), torch.device("cpu"))) == expected
    disk = disk_offload(copy.deepcopy(model), str(tmp_path), torch.device("cpu"))
    assert fingerprint_module(disk) == expected
    assert fingerprint_module(scaled(model)) != expected


def test_every_shard_says_what_it_was_made_with(collected):
    for file in shards(collected[0]):
        with safe_open(file, framework="pt") as opened:
            assert {"version", "model", "tokenizer", "policy", "prompts"} <= set(opened.metadata())
