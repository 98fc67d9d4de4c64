# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import copy
import json
import math
import shutil
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from conftest import golden_cases, golden_filter, golden_model
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from hf_learn2pd import Learn2PD, UnmaskingFilter
from hf_learn2pd.filter.features import stack_features
from hf_learn2pd.unmasking import resolve_strategy


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
        ({"architecture": "cnn"}, "`architecture` must be 'mlp' or 'transformer' \\(got 'cnn'\\)"),
        ({"architecture": "transformer", "hidden_size": 30}, "`hidden_size` must be a multiple of 4"),
        ({"features": ["confidence", "mood"]}, "`features` must be some of confidence, margin, .*mood"),
        ({"features": "confidence"}, "`features` must be some of"),
        ({"num_layers": 0}, "`num_layers`"),
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


ALL = ["confidence", "margin", "entropy", "mask_ratio", "position", "unchanged"]


EVIDENCE = {
    "max_loss": 0.01,
    "confidence": 0.95,
    "lost": "other texts than the stock loop's",
    "prompts": 300,
    "stock_nfe": 20.5,
    "options": {"max_new_tokens": 64, "block_length": 16},
    "trials": [{"threshold": 0.5, "prompts": 300, "losses": 0, "bound": 0.0099, "nfe": 4.0}],
}


def transformer(features=ALL):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UnmaskingFilter(architecture="transformer", features=features, calibration=EVIDENCE).eval()


def test_a_transformer_is_small_and_survives_a_round_trip(tmp_path):
    filter = transformer()
    assert sum(parameter.numel() for parameter in filter.parameters()) <= 50_000
    filter.save_pretrained(tmp_path)
    loaded = UnmaskingFilter.from_pretrained(tmp_path)
    assert (loaded.architecture, loaded.features, loaded.block_length) == ("transformer", tuple(ALL), None)
    assert loaded.calibration == EVIDENCE and loaded.num_layers == 2
    assert all(torch.equal(a, b) for a, b in zip(filter.parameters(), loaded.parameters(), strict=True))
    assert "any" in ModelCard.load(tmp_path / "README.md").text.split("| Block length |")[1].splitlines()[0]


@torch.no_grad()
def test_a_transformer_takes_a_block_as_a_set_of_any_size():
    filter, generator = transformer(), torch.Generator().manual_seed(1)
    features, order = torch.rand(2, 48, 6, generator=generator), torch.randperm(48, generator=generator)
    masked = torch.rand(2, 48, generator=generator) < 0.5
    in_block = torch.arange(48) < torch.tensor([[48], [20]])
    logits = filter(features, masked, in_block)
    moved = filter(features[:, order], masked[:, order], in_block[:, order])
    torch.testing.assert_close(moved[0], logits[0, order])
    # What lies behind a block does not count, and a block of 20 is as good as one of 48.
    torch.testing.assert_close(filter(features[1:, :20], masked[1:, :20]), logits[1:, :20])
    assert not torch.allclose(filter(features, ~masked, in_block)[0], logits[0])


def test_a_config_with_an_unknown_feature_or_another_architecture_is_refused(tmp_path):
    transformer().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"features": ["confidence", "mood"]}, "`features` must be some of"),
        ({"features": ["confidence"]}, r"`network.embedding.weight` must be finite and of shape \(32, 4\)"),
        ({"architecture": "mlp", "block_length": 32}, "must have the tensors of its architecture"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=message):
            UnmaskingFilter.from_pretrained(tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("make", [lambda: transformer(["confidence"]), lambda: copy.deepcopy(golden_filter())])
def test_decodes_in_any_floating_type(make, dtype):
    filter = make().to(dtype)
    options = {"max_new_tokens": 16, "block_length": 8}
    output = golden_model("tiny_llada").generate(torch.tensor([[5, 6]]), decoding=Learn2PD(filter), **options)
    assert output.shape[1] > 2
    features = torch.linspace(0, 1, 8)[None]
    torch.testing.assert_close(filter(features).float(), make()(features), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("value", [float("nan"), 2, -1, "high", True, None])
def test_a_threshold_set_later_is_refused_before_compute(value):
    filter = transformer(["confidence"])
    filter.threshold = value
    with pytest.raises(ValueError, match="`threshold` must be between 0 and 1"):
        Learn2PD(filter).prepare(1, 8, torch.device("cpu"))


@pytest.mark.parametrize("value", [float("nan"), 2, "high"])
def test_a_bad_threshold_of_a_call_is_refused(value):
    with pytest.raises(ValueError, match="`filter_threshold` must be between 0 and 1"):
        Learn2PD(golden_filter(), value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: weight.fill_(float("nan")), "must be finite .*network.head.bias"),
        (lambda weight: weight.fill_(float("-inf")), "must be finite .*network.head.bias"),
        (lambda weight: weight.to(torch.int32), "`network.head.bias` .*floating point"),
        (lambda weight: weight.to(torch.complex64), "`network.head.bias` .*floating point"),
    ],
)
@torch.no_grad()
def test_weights_broken_in_memory_or_in_a_file_are_refused(change, message, tmp_path):
    filter = transformer(["confidence"])
    filter.save_pretrained(tmp_path)
    changed = change(filter.network.head.bias.detach().clone())
    filter.network.head.bias = torch.nn.Parameter(changed, requires_grad=False)
    with pytest.raises(ValueError, match=message):
        golden_model("tiny_llada").generate(torch.tensor([[5, 6]]), decoding=Learn2PD(filter), max_new_tokens=8)
    save_file(
        load_file(tmp_path / "model.safetensors") | {"network.head.bias": changed}, tmp_path / "model.safetensors"
    )
    with pytest.raises(ValueError, match=r"`network\.head\.bias` must be"):
        UnmaskingFilter.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[]", "config.json"),
        ("null", "config.json"),
        ("{", "config.json"),
        ('{"features": 3}', "`features` must be"),
        ('{"features": []}', "`features` must be"),
        ('{"hidden_size": 4e7}', "`hidden_size` must be"),
        ('{"hidden_size": 40000000}', "`hidden_size` must be"),
        ('{"architecture": "transformer", "num_layers": 1000000}', "`num_layers` must be"),
        ('{"base_model": 5}', "`base_model` must be"),
        ('{"threshold": "high"}', "`threshold` must be"),
    ],
)
def test_a_malformed_config_names_what_is_wrong(config, message, tmp_path):
    golden_filter().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message):
        UnmaskingFilter.from_pretrained(tmp_path)


@pytest.mark.parametrize("folder", ["../outside", "/etc", "deep/../../outside", "", "..\\outside"])
def test_a_subfolder_stays_inside_of_its_repository(folder, tmp_path):
    golden_filter().save_pretrained(tmp_path / "outside")
    (tmp_path / "repository" / "deep").mkdir(parents=True)
    with pytest.raises(ValueError, match="the folder inside of it"):
        UnmaskingFilter.load(f"{tmp_path / 'repository'}:{folder}")


def test_a_crafted_repo_id_writes_no_code(tmp_path):
    for repo_id in ('a/b"})) or __import__("os").system("touch X") #\'})', "a/b\n", 5):
        with pytest.raises(ValueError, match="`repo_id` must be a Hub id"):
            golden_filter().save_pretrained(tmp_path, model_card_kwargs={"repo_id": repo_id})
    assert not list(tmp_path.iterdir())


def test_features_by_hand():
    half, ones = torch.full((1, 4), 0.5), torch.ones(1, 4)
    block = SimpleNamespace(
        confidence=half,
        margin=half / 2,
        entropy=half / 4,
        repeats=torch.tensor([[1, 2, 1, 3]]),
        masked=torch.tensor([[False, True, True, False]]),
        in_block=torch.tensor([[True, True, True, False]]),
    )
    found = dict(zip(ALL, stack_features(block, ALL).unbind(dim=-1), strict=True))
    assert torch.equal(found["margin"], half / 2) and torch.equal(found["entropy"], half / 4)
    torch.testing.assert_close(found["mask_ratio"], ones * 2 / 3)
    torch.testing.assert_close(found["position"], torch.tensor([[0, 1 / 7, math.log2(3) / 7, 2 / 7]]))
    assert found["unchanged"].tolist() == [[0, 1, 0, 1]]


@pytest.mark.parametrize("features", [["confidence"], ["confidence", "margin"], ALL])
def test_generate_computes_just_what_the_filter_looks_at(features, monkeypatch):
    seen = []

    def accept(strategy, prediction):
        seen.append(prediction)
        return real(strategy, prediction)

    real = Learn2PD.accept
    monkeypatch.setattr(Learn2PD, "accept", accept)
    model = golden_model("tiny_llada")
    output = model.generate(
        torch.tensor([[5, 6], [7, 8]]), decoding=Learn2PD(transformer(features)), max_new_tokens=80, block_length=40
    )
    assert output.shape[0] == 2 and len(seen) > 2
    for name, feature in (("margin", "margin"), ("entropy", "entropy"), ("repeats", "unchanged")):
        assert all((getattr(each, name) is not None) == (feature in features) for each in seen)
    if features == ALL:
        for before, after in pairwise(seen):
            assert (after.margin <= after.confidence + 1e-6)[after.masked].all()
            assert ((after.entropy >= 0) & (after.entropy <= 1)).all()
            if torch.equal(before.rows, after.rows):
                same = (before.tokens == after.tokens) & torch.equal(before.positions, after.positions)
                assert torch.equal(after.repeats, torch.where(same, before.repeats, 0) + 1)


def test_a_directory_is_read_once_and_again_when_its_files_change(tmp_path):
    UnmaskingFilter(32, threshold=0.5).save_pretrained(tmp_path / "own")
    first, second, inside = (
        resolve_strategy("learn2pd", where).filter
        for where in (str(tmp_path / "own"), tmp_path / "own", f"{tmp_path}:own")
    )
    assert first is second and inside.threshold == 0.5
    UnmaskingFilter(32, threshold=0.75).save_pretrained(tmp_path / "own")
    for where in (tmp_path / "own", f"{tmp_path}:own"):
        assert resolve_strategy("learn2pd", where).filter.threshold == 0.75
