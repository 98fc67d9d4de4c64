# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Generation configs: one table of options, refused typos, what is saved and loaded again."""

import json
import logging as python_logging
from dataclasses import dataclass

import pytest
import torch
from conftest import STRATEGIES, ScriptedModel, golden_filter
from transformers import GenerationConfig
from transformers.utils import logging

from hf_learn2pd import (
    UNMASKING_STRATEGIES,
    AdaBlock,
    Credit,
    DiffusionGenerationConfig,
    Factor,
    FixedBlocks,
    Klass,
    Learn2PD,
    LocalLeap,
    LowConfidence,
    Oracle,
    SlidingBlocks,
    Stable,
    Threshold,
)
from hf_learn2pd.inherited import INHERITED, MEANINGLESS
from hf_learn2pd.options import OPTIONS
from hf_learn2pd.unmasking import resolve_strategy

PROMPT = torch.tensor([[7, 8, 9]])
SCRIPT = ([5, 6, 7, 8, 3, 4], [0.99, 0.8, 0.6, 0.55, 0.9, 0.7])
# What Dream's own generation config writes when it is saved.
DREAM_FILE = {
    "_from_model_config": True,
    "alg": "origin",
    "alg_temp": None,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "eps": 0.001,
    "mask_token_id": 151666,
    "output_history": False,
    "pad_token_id": 151643,
    "steps": 512,
    "transformers_version": "4.46.2",
}


@pytest.fixture
def warnings_of_transformers(caplog):
    logger = logging.get_logger("transformers")
    package = python_logging.getLogger("hf_learn2pd")
    logger.addHandler(caplog.handler)
    package.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
    package.removeHandler(caplog.handler)


def test_every_field_of_transformers_config_is_decided_on():
    fields = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    assert fields - INHERITED - MEANINGLESS == set()
    assert not INHERITED & MEANINGLESS
    # A default of transformers is never refused.
    for name, value in GenerationConfig._get_default_generation_params().items():
        DiffusionGenerationConfig(**{name: value})


def test_the_documentation_has_every_option_of_the_table():
    text = DiffusionGenerationConfig.__doc__
    for option in OPTIONS.values():
        assert f"    {option.name} ({option.type}, *optional*" in text
    assert "block_length (`int`, *optional*, defaults to `32`):" in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_default_is_used_where_nothing_is_set():
    defaults = DiffusionGenerationConfig._get_default_generation_params()
    assert {name: defaults[name] for name in ("decoding", "max_new_tokens", "block_length", "end_of_text")} == {
        "decoding": "low_confidence",
        "max_new_tokens": 256,
        "block_length": 32,
        "end_of_text": "accepted",
    }
    # Each passes its own check.
    DiffusionGenerationConfig(**{name: option.default for name, option in OPTIONS.items()})


REFUSED = [
    ({"blok_length": 3}, "`blok_length` must be an option .*`block_length` .got 3"),
    ({"alg": "entropy"}, "`alg` must be an option .*`decoding`.*entropy 'entropy'"),
    ({"decoding": "thresold"}, "`decoding` must be one of low_confidence, .*got 'thresold'"),
    ({"decoding": {"name": "threshold", "tau": 1}}, "`decoding` must hold options of 'threshold'.*got 'tau'"),
    ({"decoding": {"name": "thresold"}}, "`decoding` must be one of"),
    ({"decoding": {"threshold": 0.5}}, "`decoding` must be one of"),
    ({"decoding": {"name": "threshold", "threshold": "0.5"}}, "`threshold` must be between 0 and 1"),
    ({"decoding": {"name": "learn2pd", "threshold": 2}}, "`threshold` must be between 0 and 1"),
    ({"decoding": {"name": "learn2pd", "filter": "a/b"}}, "`decoding` must hold options of 'learn2pd' only: threshold"),
    ({"decoding": {"name": "oracle", "reference_ids": [[1]]}}, "options of 'oracle' only: none"),
    ({"decoding": {"name": "stable", "base": "thresold"}}, "`base` must be one of"),
    ({"decoding": {"name": "stable", "base": "learn2pd"}}, "`base` must be an instance"),
    ({"decoding": 0}, "`decoding` must be one of"),
    ({"decoding": ""}, "`decoding` must be one of"),
    ({"decoding": []}, "`decoding` must be one of"),
    ({"decoding": True}, "`decoding` must be one of"),
    ({"block_schedule": False}, "`block_schedule` must be adablock"),
    ({"block_schedule": ""}, "`block_schedule` must be adablock"),
    ({"block_schedule": {"name": "adablock", "treshold": 1}}, "`block_schedule` must hold options of 'adablock'"),
    ({"unmasking_filter": "filter:"}, "`unmasking_filter` must be a Hub id"),
    ({"unmasking_filter": ":sub"}, "`unmasking_filter` must be a Hub id"),
    ({"unmasking_filter": ""}, "`unmasking_filter` must be a Hub id"),
    ({"unmasking_filter": 3}, "`unmasking_filter` must be a Hub id"),
    ({"filter_threshold": True}, "`filter_threshold` must be between 0 and 1"),
    ({"filter_threshold": "0.9"}, "`filter_threshold` must be between 0 and 1"),
    ({"filter_threshold": float("nan")}, "`filter_threshold` must be between 0 and 1"),
    ({"block_length": True}, "`block_length` must be an integer above 0"),
    ({"block_length": "32"}, "`block_length` must be an integer above 0"),
    ({"max_new_tokens": "8"}, "`max_new_tokens` must be an integer above 0"),
    ({"cfg_scale": float("inf")}, "`cfg_scale` must be a number of at least 0"),
    ({"cfg_scale": float("nan")}, "`cfg_scale` must be a number of at least 0"),
    ({"cfg_scale": True}, "`cfg_scale` must be a number of at least 0"),
    ({"end_of_text": ["accepted"]}, "`end_of_text` must be one of"),
    ({"block_cache": []}, "`block_cache` must be prefix"),
    ({"eos_token_id": -1}, "`eos_token_id` must be a token id"),
    ({"eos_token_id": "</s>"}, "`eos_token_id` must be a token id"),
    ({"eos_token_id": torch.tensor(3)}, "`eos_token_id` must be a token id"),
    ({"eos_token_id": []}, "`eos_token_id` must be a token id"),
    ({"pad_token_id": "x"}, "`pad_token_id` must be a token id"),
    ({"mask_token_id": True}, "`mask_token_id` must be a token id"),
]
# Options of token-by-token generation, each with a value that would ask for something.
ASKING = dict.fromkeys(MEANINGLESS, 3) | {
    "cache_implementation": "static",
    "early_stopping": True,
    "num_assistant_tokens_schedule": "heuristic",
    "dola_layers": "high",
    "assistant_ensemble_weight": 0.5,
    "output_scores": True,
    "prefill_chunk_size": 64,
    "use_mtp": True,
}


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: repr(value)[:50])
def test_a_wrong_option_is_refused_when_a_config_is_made_and_when_it_is_used(options, message):
    with pytest.raises(ValueError, match=message):
        DiffusionGenerationConfig(**options)
    model = ScriptedModel(*SCRIPT)
    with pytest.raises(ValueError, match=message):
        model.run(**options)
    if "eos_token_id" not in options and "pad_token_id" not in options and "max_new_tokens" not in options:
        with pytest.raises(ValueError, match=message):
            model.run(generation_config=GenerationConfig(**options))
    assert model.canvases == []


@pytest.mark.filterwarnings("ignore:Passing ContinuousBatchingConfig:FutureWarning")
@pytest.mark.parametrize("name", sorted(MEANINGLESS))
def test_an_option_without_a_meaning_is_refused(name):
    model = ScriptedModel(*SCRIPT)
    with pytest.raises(ValueError, match=f"`{name}` must be left alone for a diffusion model"):
        model.run(**{name: ASKING[name]})
    assert model.canvases == []
    # Nothing is asked for by these.
    model.run(**{name: None})


NESTED = [
    Stable(Factor(0.7), 0.9, 3),
    AdaBlock(16, 0.5, (3, 4), 0.5),
    FixedBlocks(7),
    SlidingBlocks(16, 40),
    LocalLeap(0.8, 0.5, 2),
    Klass(0.5, 0.1),
    Credit(0.4, 0.5, 0.1, 0.3),
]


@pytest.mark.parametrize("value", [*STRATEGIES, *NESTED], ids=repr)
def test_a_strategy_or_schedule_is_saved_and_loaded(value, tmp_path):
    name = "block_schedule" if isinstance(value, FixedBlocks) else "decoding"
    config = DiffusionGenerationConfig(**{name: value}, unmasking_filter="user/filter")
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())[name]
    assert isinstance(saved, dict)
    loaded = DiffusionGenerationConfig.from_pretrained(tmp_path)
    assert loaded.to_dict()[name] == saved == config.to_dict()[name] and loaded == config
    if name == "decoding":
        assert resolve_strategy(getattr(loaded, name), golden_filter()) == value
    else:
        from hf_learn2pd.blocks import resolve_schedule

        assert resolve_schedule(loaded.block_schedule, 32, None, 12) == value
    # What was loaded can be saved, too.
    loaded.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "generation_config.json").read_text())[name] == saved


def test_every_strategy_by_name_and_by_dict_is_a_valid_option():
    for name in [*UNMASKING_STRATEGIES, "pearl"]:
        DiffusionGenerationConfig(decoding=name)
    for name in UNMASKING_STRATEGIES:
        DiffusionGenerationConfig(decoding={"name": name})
    assert resolve_strategy({"name": "stable", "base": "factor"}) == Stable(Factor())


@dataclass(frozen=True)
class Mine(Threshold):
    extra: int = 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoding": Mine()}, "`decoding` must be one that JSON can hold to be saved .got Mine"),
        ({"decoding": Stable(Mine())}, "`decoding` must be one that JSON can hold"),
        ({"decoding": Stable(Learn2PD(golden_filter()))}, "`decoding` must be one that JSON can hold"),
        ({"decoding": Oracle(torch.ones(1, 2).long())}, "`decoding` must be one that JSON can hold"),
        ({"decoding": Learn2PD(golden_filter())}, "`unmasking_filter` must say where the filter"),
    ],
    ids=repr,
)
def test_what_cannot_be_saved_is_refused_on_saving_and_used_otherwise(options, message, tmp_path):
    config = DiffusionGenerationConfig(**options)
    assert repr(config)
    with pytest.raises(ValueError, match=message):
        config.save_pretrained(tmp_path)
    assert not (tmp_path / "generation_config.json").exists()


@pytest.mark.parametrize(
    ("decoding", "same"),
    [
        ({"name": "threshold", "threshold": 0.6}, Threshold(0.6)),
        ({"name": "stable", "base": {"name": "factor", "factor": 0.7}, "threshold": 0.5}, Stable(Factor(0.7), 0.5)),
        ("threshold", Threshold()),
    ],
)
def test_a_dict_decodes_like_the_instance_wherever_it_stands(decoding, same):
    model = ScriptedModel(*SCRIPT)
    expected = model.run(decoding=same, end_of_text=None).unmasking_steps.tolist()
    assert expected != model.run(decoding=LowConfidence(), end_of_text=None).unmasking_steps.tolist()
    assert model.run(decoding=decoding, end_of_text=None).unmasking_steps.tolist() == expected
    for config_class in (GenerationConfig, DiffusionGenerationConfig):
        config = config_class(decoding=decoding, end_of_text=None)
        assert model.run(generation_config=config).unmasking_steps.tolist() == expected
    for own in (decoding, same):
        model.generation_config.decoding, model.generation_config.end_of_text = own, None
        assert model.run().unmasking_steps.tolist() == expected


def test_a_schedule_by_dict_has_the_block_length_of_the_call():
    model = ScriptedModel([1, 2, 7, 1, 2, 3, 4, 7, *[5] * 8], [0.95] * 16)
    spec = {"name": "adablock", "delimiter_ids": [7], "window": 0.5}
    options = {"decoding": Threshold(0.9), "end_of_text": None}
    expected = model.run(block_schedule=AdaBlock(4, delimiter_ids=(7,), window=0.5), **options)
    for given in ({"block_schedule": spec, "block_length": 4}, {"block_schedule": spec | {"block_length": 4}}):
        assert torch.equal(model.run(**given, **options).unmasking_steps, expected.unmasking_steps)
    fixed = model.run(block_schedule="fixed", block_length=4, **options)
    assert torch.equal(fixed.unmasking_steps, model.run(block_length=4, **options).unmasking_steps)
    assert not torch.equal(fixed.unmasking_steps, expected.unmasking_steps)


def test_a_plain_config_of_transformers_may_be_assigned_to_the_model():
    model = ScriptedModel(*SCRIPT)
    model.generation_config = GenerationConfig(eos_token_id=10, pad_token_id=10, max_new_tokens=3)
    assert model.run(max_new_tokens=None).sequences.tolist() == [[1, 2, 5, 6, 7]]
    model.generation_config.decoding = {"name": "threshold", "threshold": 0.0}
    assert model.run(max_new_tokens=None).nfe.tolist() == [1]
    # Its defaults are not those of token-by-token generation: the answer is 256 long, and no top-k is taken.
    model = ScriptedModel([5, 10, 3], [0.9] * 3)
    model.generation_config = GenerationConfig(eos_token_id=10)
    assert model.run(max_new_tokens=None, decoding=Threshold(0.0)).forward_passes == [("full", 1, 258, 0)]
    model.generation_config = GenerationConfig(eos_token_id=10, blok_length=3)
    with pytest.raises(ValueError, match="`blok_length` must be an option"):
        model.run()


def test_an_end_of_text_that_a_call_does_not_name_is_the_models():
    model = ScriptedModel([5, 10, 3, 4], [0.9] * 4)
    model.generation_config.end_of_text = None
    assert model.run().sequences.shape == (1, 6)
    assert model.run(generation_config=DiffusionGenerationConfig(block_length=2)).sequences.shape == (1, 6)
    assert model.run(end_of_text="accepted").sequences.shape == (1, 4)
    model.generation_config.end_of_text = "accepted"
    assert model.run(end_of_text=None).sequences.shape == (1, 6)


def test_a_call_that_names_a_length_overrules_the_models():
    model = ScriptedModel(*SCRIPT)
    model.generation_config.max_new_tokens = 6
    assert model.run(max_new_tokens=None, max_length=4, end_of_text=None).sequences.shape == (1, 4)
    model.generation_config.max_new_tokens, model.generation_config.max_length = None, 4
    assert model.run(end_of_text=None).sequences.shape == (1, 8)


@pytest.mark.parametrize("config", [{}, {"decoding": "threshold"}, "threshold", 0])
def test_a_generation_config_of_another_type_is_refused(config):
    with pytest.raises(ValueError, match="`generation_config` must be a GenerationConfig"):
        ScriptedModel(*SCRIPT).run(generation_config=config)


def test_another_librarys_file_loads_without_what_means_nothing_here(tiny_llada, tmp_path, warnings_of_transformers):
    tiny_llada.save_pretrained(tmp_path)
    file = DREAM_FILE | {"mask_token_id": 500, "eos_token_id": 3, "pad_token_id": 3, "num_beams": 4}
    for marked in (True, False):
        (tmp_path / "generation_config.json").write_text(json.dumps(file | {"_from_model_config": marked}))
        warnings_of_transformers.clear()
        config = DiffusionGenerationConfig.from_pretrained(tmp_path)
        model = type(tiny_llada).from_pretrained(tmp_path)
        assert "eps" in warnings_of_transformers.text and "steps" in warnings_of_transformers.text
        for loaded in (config, model.generation_config):
            assert isinstance(loaded, DiffusionGenerationConfig)
            assert (loaded.eos_token_id, loaded.steps, loaded.num_beams) == (3, None, None)
            assert not hasattr(loaded, "alg") and not hasattr(loaded, "eps")
        assert model.generate(PROMPT, max_new_tokens=4, end_of_text=None, mask_token_id=500).shape == (1, 7)
        # What comes with the call is a user's.
        with pytest.raises(ValueError, match="`eps` must be an option"):
            DiffusionGenerationConfig.from_pretrained(tmp_path, eps=1)
    # One that names a strategy is meant for this package.
    (tmp_path / "generation_config.json").write_text(json.dumps({"decoding": "threshold", "steps": 12}))
    assert DiffusionGenerationConfig.from_pretrained(tmp_path).steps == 12
    assert type(tiny_llada).from_pretrained(tmp_path).generation_config.steps == 12
    (tmp_path / "generation_config.json").write_text(json.dumps({"decoding": "threshold", "blok_length": 12}))
    for load in (DiffusionGenerationConfig.from_pretrained, type(tiny_llada).from_pretrained):
        with pytest.raises(ValueError, match="`blok_length` must be an option"):
            load(tmp_path)


def test_steps_are_saved_and_loaded_with_the_model(tiny_llada, tmp_path):
    config = DiffusionGenerationConfig(steps=4, block_length=8)
    config.save_pretrained(tmp_path)
    assert DiffusionGenerationConfig.from_pretrained(tmp_path) == config
    assert DiffusionGenerationConfig.from_dict(config.to_dict()) == config


def test_the_models_strategy_is_saved_with_it(tiny_llada, tmp_path):
    model = type(tiny_llada)(tiny_llada.config)
    model.generation_config.decoding = Threshold(0.5)
    model.save_pretrained(tmp_path)
    loaded = type(tiny_llada).from_pretrained(tmp_path).generation_config
    assert loaded.decoding == {"name": "threshold", "threshold": 0.5, "relief": 0.0}
