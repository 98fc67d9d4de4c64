# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Every public argument with values of wrong types and out of range: each is refused by name, before any compute."""

import inspect
import math
from dataclasses import MISSING, fields
from typing import Any

import pytest
import torch
from conftest import ScriptedModel, golden_filter, golden_model
from test_filter_calibration import Numbers
from test_filter_training import separable

import hf_learn2pd as hf
from hf_learn2pd import UNMASKING_STRATEGIES, DataCollatorForMaskedDiffusion, UnmaskingFilter, enable_decoding
from hf_learn2pd.blocks import BLOCK_SCHEDULES
from hf_learn2pd.datasets import generate_dataset
from hf_learn2pd.inherited import INHERITED
from hf_learn2pd.options import OPTIONS
from hf_learn2pd.passes.resolve import PASS_POLICIES
from hf_learn2pd.training.calibration import calibrate_threshold
from hf_learn2pd.training.training import train_filter
from hf_learn2pd.training.trajectories import collect_trajectories

# None of these is a value of any argument; then, what is none of one type.
NEVER = [object(), {1}, b"x", 1j, math.nan, -math.inf, 10**400, -(10**400)]
WRONG: dict[str, list[Any]] = {
    "int": ["3", "", 2.5, True, -1, [3], {}],
    "float": ["0.5", "", True, -0.5, [0.5], {}],
    "bool": [1, 0.0, "True", "", [True], {}],
    "str": ["no such name:", "", 3, 0.5, True, ["x"], {}],
    "list": ["x", 3, 0.5, True, [-1], [True], ["x"], [[]]],
    "dict": ["x", 3, 0.5, True, [3], [[3]], {3: 0.5}, {(3,): "x"}],
    "object": ["x", 3, 0.5, True, [3]],
}
# Options of transformers by type; every other one is a row of the table.
KINDS = {
    "bool": (
        [
            "do_sample",
            "renormalize_logits",
            "remove_invalid_values",
            "return_dict_in_generate",
            "use_cache",
            "disable_compile",
        ]
    ),
    "float": [
        "temperature",
        "top_p",
        "min_p",
        "top_h",
        "typical_p",
        "epsilon_cutoff",
        "eta_cutoff",
        "repetition_penalty",
        "max_time",
        "encoder_repetition_penalty",
    ],
    "int": [
        "top_k",
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "max_length",
        "num_return_sequences",
        "bos_token_id",
        "forced_bos_token_id",
    ],
    "list": [
        "forced_eos_token_id",
        "suppress_tokens",
        "begin_suppress_tokens",
        "bad_words_ids",
        "exponential_decay_length_penalty",
    ],
    "dict": ["sequence_bias"],
    "object": ["watermarking_config"],
}
# Values of the lists above that are right for an option all the same.
RIGHT: dict[str, list[Any]] = {
    "forced_eos_token_id": [3],
    "stop_strings": ["no such name:", ["x"]],
    "unmasking_filter": ["no such name"],
    "eos_token_id": [[3]],
}


def kind_of(name: str) -> str:
    for kind, names in KINDS.items():
        if name in names:
            return kind
    if name == "stop_strings":
        return "str"
    kind = OPTIONS[name].type.partition("`")[2].partition("`")[0]
    return kind if kind in WRONG else "object"


def wrong_values(name: str, kind: str) -> list[Any]:
    return [each for each in [*WRONG[kind], *NEVER] if each not in RIGHT.get(name, []) or isinstance(each, bool)]


def refused(call: Any, name: str, value: Any) -> None:
    try:
        call()
    except ValueError as error:
        assert f"`{name}`" in str(error), f"{value!r:.40}: {error}"
    else:
        pytest.fail(f"{name}={value!r:.40} was taken")


class Untouched(ScriptedModel):
    """A model that must not be run."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        pytest.fail("the model was run")


NAMES = sorted((INHERITED | OPTIONS.keys()) - {"transformers_version"})


@pytest.mark.parametrize("name", NAMES)
def test_no_option_of_generate_takes_a_value_of_another_type(name):
    model, prompt = Untouched([5, 6, 7, 8], [0.9, 0.8, 0.7, 0.6]), torch.tensor([[1, 2, 3]])
    for value in wrong_values(name, kind_of(name)):
        # Sampling asks transformers for all processors.
        options = {"max_new_tokens": 4, "do_sample": True} if name != "max_length" else {"do_sample": True}
        refused(lambda options=options, value=value: model.generate(prompt, **options | {name: value}), name, value)


def test_the_types_of_all_options_of_transformers_are_known():
    assert {name for names in KINDS.values() for name in names} | {"stop_strings"} >= INHERITED - OPTIONS.keys() - {
        "transformers_version"
    }


CLASSES = {**UNMASKING_STRATEGIES, **BLOCK_SCHEDULES, **PASS_POLICIES}
FIELDS = [
    (cls, field)
    for cls in dict.fromkeys(CLASSES.values())
    for field in fields(cls)
    if field.init and not (field.default is MISSING and field.default_factory is MISSING)
]


@pytest.mark.parametrize(
    ("cls", "field"), FIELDS, ids=lambda each: getattr(each, "__name__", getattr(each, "name", ""))
)
def test_no_field_of_a_strategy_schedule_or_policy_takes_a_value_of_another_type(cls, field):
    # Learn2PD calls its threshold what `generate` does.
    name = "filter_threshold" if cls is hf.Learn2PD else field.name
    kind = str(field.type).partition(" ")[0].partition(".")[2] or str(field.type).partition(" ")[0]
    kind = getattr(field.type, "__name__", kind)
    own = {"filter": golden_filter()} if cls is hf.Learn2PD else {}
    for value in wrong_values(field.name, kind if kind in WRONG else "list"):
        refused(lambda value=value: cls(**own, **{field.name: value}), name, value)


def test_an_unknown_field_is_a_type_error():
    for cls in CLASSES.values():
        with pytest.raises(TypeError):
            cls(no_such_field=1)


FILTER = {
    "block_length": "int",
    "hidden_size": "int",
    "threshold": "float",
    "architecture": "str",
    "features": "list",
    "num_layers": "int",
    "state_size": "int",
    "joint": "bool",
}


@pytest.mark.parametrize("name", FILTER)
def test_no_argument_of_a_filter_takes_a_value_of_another_type(name):
    for value in wrong_values(name, FILTER[name]):
        refused(lambda value=value: UnmaskingFilter(**{name: value}), name, value)
    assert set(inspect.signature(UnmaskingFilter.__init__).parameters) - {"self", "base_model", "calibration"} == set(
        FILTER
    )


COLLATOR = {
    "mask_token_id": "int",
    "pad_token_id": "int",
    "eps": "float",
    "weighted": "bool",
    "generator": "object",
}


@pytest.mark.parametrize("name", COLLATOR)
def test_no_argument_of_the_collator_takes_a_value_of_another_type(name):
    assert {field.name for field in fields(DataCollatorForMaskedDiffusion)} == set(COLLATOR)
    for value in wrong_values(name, COLLATOR[name]):
        options = {"mask_token_id": 1, "pad_token_id": 2, name: value}
        refused(lambda options=options: DataCollatorForMaskedDiffusion(**options), name, value)


TRAINING = {
    "trajectories": "object",
    "architecture": "str",
    "features": "list",
    "hidden_size": "int",
    "num_layers": "int",
    "learning_rate": "float",
    "batch_size": "int",
    "epochs": "int",
    "patience": "int",
    "false_accept_weight": "float",
    "masked_only": "bool",
    "joint": "bool",
    "precision": "float",
    "seed": "int",
    "progress": "bool",
}
COLLECTING = {
    "prompts": "object",
    "directory": "path",
    "max_new_tokens": "int",
    "block_length": "int",
    "batch_size": "int",
    "policy": "object",
    "block_cache": "str",
    "suffix_length": "int",
    "texts": "path",
    "hidden_states": "bool",
    "progress": "bool",
}
CALIBRATING = {
    "filter": "object",
    "prompts": "object",
    "max_loss": "float",
    "confidence": "float",
    "score": "object",
    "max_new_tokens": "int",
    "block_length": "int",
    "batch_size": "int",
    "thresholds": "list",
    "texts": "path",
    "progress": "bool",
}
ANSWERING = {"prompts": "object", "output_path": "path", "batch_size": "int", "seed": "int", "progress": "bool"}
WRONG["path"] = ["", 3, 0.5, True, [3], {}]


def of(function: Any, kinds: dict[str, str], *others: str) -> list[Any]:
    """An entry for each argument; the arguments that are not tried are named, so that a new one is noticed."""
    parameters = inspect.signature(function).parameters.values()
    known = {each.name for each in parameters if each.kind is not each.VAR_KEYWORD}
    assert known == {*kinds, *others}
    return [pytest.param(function, name, kind, id=f"{function.__name__}-{name}") for name, kind in kinds.items()]


@pytest.mark.parametrize(
    ("function", "name", "kind"),
    [
        *of(train_filter, TRAINING, "base_model"),
        *of(collect_trajectories, COLLECTING, "model", "tokenizer"),
        *of(calibrate_threshold, CALIBRATING, "model", "tokenizer"),
        *of(generate_dataset, ANSWERING, "model", "tokenizer"),
    ],
)
def test_no_argument_of_training_takes_a_value_of_another_type(function, name, kind, tmp_path):
    model = Untouched([5, 6, 7, 8], [0.9, 0.8, 0.7, 0.6])
    prompts = [f"What is {number}?" for number in range(20)]
    arguments: dict[str, Any] = {
        "train_filter": {"trajectories": separable(60), "epochs": 1},
        "collect_trajectories": {
            "model": model,
            "prompts": prompts,
            "directory": tmp_path / "one",
            "tokenizer": Numbers(),
        },
        "calibrate_threshold": {
            "model": model,
            "filter": golden_filter(),
            "prompts": prompts,
            "max_loss": 0.5,
            "tokenizer": Numbers(),
        },
        "generate_dataset": {
            "model": model,
            "tokenizer": Numbers(),
            "prompts": prompts,
            "output_path": tmp_path / "two",
        },
    }[function.__name__]
    for value in wrong_values(name, kind):
        refused(lambda value=value: function(**arguments | {"progress": False, name: value}), name, value)


def test_a_filter_of_hidden_states_is_refused_by_a_model_that_gives_logits_only():
    from test_inputs import bert

    model = enable_decoding(bert(), mask_token_id=49)
    options = {"features": ["confidence", "hidden_state"], "state_size": 32, "hidden_size": 8}
    filter = UnmaskingFilter(architecture="transformer", **options).eval()
    with pytest.raises(ValueError, match="`unmasking_filter` must not look at hidden states with a model of `enable_d"):
        model.generate(torch.tensor([[1, 2]]), decoding=hf.Learn2PD(filter), max_new_tokens=4, end_of_text=None)
    with pytest.raises(ValueError, match="`hidden_states` must be False with a model of `enable_decoding`"):
        collect_trajectories(model, ["x"], "nowhere", Numbers(), hidden_states=True)


@pytest.mark.parametrize("value", [2**31, 10**30])
@pytest.mark.parametrize("name", ["steps", "suffix_length", "block_length", "max_new_tokens", "max_post_steps"])
def test_counts_that_64_bits_would_not_hold_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer of at most 2147483647"):
        hf.DiffusionGenerationConfig(**{name: value})
    hf.DiffusionGenerationConfig(**{name: 2**31 - 1})


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 2**31 - 1},
        {"suffix_length": 2**31 - 1},
        {"block_length": 2**31 - 1},
        {"block_cache": "dual", "refresh_every": 2**31 - 1},
        {"block_cache": hf.SlidingCache(margin=2**31 - 1)},
        {"block_schedule": hf.SlidingBlocks(4, 2**31 - 1)},
        {"decoding": hf.LocalLeap(0.02, 0.01, 2**31 - 1)},
    ],
    ids=repr,
)
def test_the_largest_counts_mean_no_limit(options):
    model, prompt = golden_model("tiny_llada"), torch.tensor([[1, 2, 3]])
    given = {"max_new_tokens": 12, "block_length": 8, "end_of_text": None}
    large = model.generate(prompt, **given | options)
    small = {
        name: each
        if name == "block_cache" and isinstance(each, str)
        else {"block_cache": hf.SlidingCache(margin=15), "block_schedule": hf.SlidingBlocks(4, 12)}.get(name, 12)
        for name, each in options.items()
        if name != "decoding"
    }
    small |= {"decoding": hf.LocalLeap(0.02, 0.01, 12)} if "decoding" in options else {}
    assert torch.equal(large, model.generate(prompt, **given | small))


def test_padding_ids_inside_of_a_prompt_are_text():
    model, ids = golden_model("tiny_llada"), torch.tensor([[5, 6, 7, 8], [9, 7, 3, 7]])
    options = {"max_new_tokens": 8, "end_of_text": None, "pad_token_id": 7}
    expected = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    assert torch.equal(model.generate(ids, **options), expected)
