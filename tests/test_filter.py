# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from conftest import golden_cases, golden_filter
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from hf_learn2pd import UnmaskingFilter


@pytest.mark.parametrize("case", golden_cases("units")["filter"]["cases"])
def test_equals_the_published_filter_at_every_width(case):
    confidence = torch.tensor(case["confidence"])
    with torch.no_grad():
        logits = golden_filter()(confidence)
    torch.testing.assert_close(logits, torch.tensor(case["logits"]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits.sigmoid(), torch.tensor(case["probability"]), atol=1e-5, rtol=1e-5)


def test_has_the_published_size():
    assert sum(parameter.numel() for parameter in UnmaskingFilter().parameters()) == 2112


def test_save_and_load_round_trip(tmp_path):
    filter = UnmaskingFilter(block_length=8, hidden_size=4, threshold=0.5, base_model="user/model")
    filter.threshold = 0.75
    filter.save_pretrained(tmp_path)
    loaded = UnmaskingFilter.from_pretrained(tmp_path)
    assert (loaded.block_length, loaded.hidden_size, loaded.threshold, loaded.base_model) == (8, 4, 0.75, "user/model")
    assert all(torch.equal(a, b) for a, b in zip(filter.parameters(), loaded.parameters(), strict=True))
    assert not loaded.training
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_the_card_names_the_base_model_and_keeps_edits(tmp_path):
    UnmaskingFilter(base_model="user/model").save_pretrained(tmp_path, repo_id="user/filter")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "hf_learn2pd" and "learn2pd" in card.data.tags
    assert "user/model" in card.text and 'decoding="learn2pd"' in card.text
    (tmp_path / "README.md").write_text("edited")
    UnmaskingFilter().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "edited"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_from_original_converts_the_release(tmp_path, prefix):
    state = {prefix + name: value for name, value in golden_filter().state_dict().items()}
    torch.save(state, tmp_path / "layer_2_flan.pth")
    filter = UnmaskingFilter.from_original(tmp_path / "layer_2_flan.pth")
    assert all(torch.equal(a, b) for a, b in zip(filter.parameters(), golden_filter().parameters(), strict=True))
    assert filter.threshold == 0.96 and not filter.training


def test_from_original_reads_no_code(tmp_path):
    torch.save(golden_filter(), tmp_path / "whole_module.pth")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        UnmaskingFilter.from_original(tmp_path / "whole_module.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="must be a state dict of tensors"):
        UnmaskingFilter.from_original(tmp_path / "list.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("linear1.bias"), "must have the tensors"),
        (lambda state: state.update({"linear3.bias": torch.zeros(1)}), "must have the tensors"),
        (lambda state: state["linear2.bias"].fill_(float("nan")), "`linear2.bias` must be finite"),
        (lambda state: state.update({"linear2.weight": torch.zeros(4, 32)}), "`linear2.weight` must be .*\\(32, 32\\)"),
    ],
)
def test_a_malformed_filter_says_what_is_wrong(change, message, tmp_path):
    golden_filter().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        UnmaskingFilter.from_pretrained(tmp_path)


def test_a_config_that_contradicts_the_weights_is_refused(tmp_path):
    golden_filter().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"block_length": 16}))
    with pytest.raises(ValueError, match=r"`linear1.weight` must be"):
        UnmaskingFilter.from_pretrained(tmp_path)


def test_pickled_weights_alone_are_not_read(tmp_path):
    golden_filter().save_pretrained(tmp_path)
    torch.save(golden_filter().state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"`unmasking_filter` must hold model.safetensors"):
        UnmaskingFilter.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_length": 0}, "`block_length`"),
        ({"hidden_size": 1.5}, "`hidden_size`"),
        ({"threshold": 1.1}, "`threshold`"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        UnmaskingFilter(**options)


def test_push_to_hub_uploads_what_save_pretrained_writes(tmp_path, monkeypatch):
    class Hub:
        def __init__(self, **kwargs): ...

        def create_repo(self, repo_id, **kwargs):
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id, folder_path, **kwargs):
            shutil.copytree(folder_path, tmp_path / repo_id)
            return f"https://hub/{repo_id}"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    filter = UnmaskingFilter(threshold=0.7)
    assert filter.push_to_hub("user/filter") == "https://hub/user/filter"
    filter.save_pretrained(tmp_path / "local", push_to_hub=True, repo_id="user/other")
    for name in ("filter", "other"):
        loaded = UnmaskingFilter.from_pretrained(tmp_path / "user" / name)
        assert loaded.threshold == 0.7
        assert all(torch.equal(a, b) for a, b in zip(filter.parameters(), loaded.parameters(), strict=True))


def test_load_understands_subfolders(tmp_path):
    golden_filter().save_pretrained(tmp_path / "deep" / "filter")
    assert UnmaskingFilter.load(f"{tmp_path}:deep/filter").block_length == 32
    with pytest.raises(ValueError, match="must hold the folder 'other'"):
        UnmaskingFilter.load(f"{tmp_path}:other")
