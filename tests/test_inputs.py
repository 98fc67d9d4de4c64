# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What `generate` is given: right, or refused by name before anything is computed."""

import copy
import io
import math
import pickle

import pytest
import torch
from conftest import EOT, MASK, VOCAB, ScriptedModel, golden_filter, golden_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from hf_learn2pd import (
    AdaBlock,
    Credit,
    EntropyBound,
    Factor,
    FixedBlocks,
    Frechet,
    Klass,
    Learn2PD,
    LocalLeap,
    Oracle,
    Stable,
    Threshold,
    disable_decoding,
    enable_decoding,
)

SCRIPT = ([5, 6, 7, 8], [0.9, 0.8, 0.7, 0.6])
IDS = torch.tensor([[1, 2, 3, 4]])
TWO = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
ONES = torch.ones_like(IDS)


def refused(message, prompt=IDS, **options):
    model = ScriptedModel(*SCRIPT)
    with pytest.raises(ValueError, match=message):
        model.generate(prompt, **({"max_new_tokens": 4} | options))
    assert model.canvases == []


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.tensor([[0, 1, 1]]), r"`attention_mask` must have the shape of `input_ids`, \(1, 4\) \(got \(1, 3\)\)"),
        (torch.tensor([0, 1, 1, 1]), "`attention_mask` must have the shape"),
        (torch.ones(2, 4).long(), "`attention_mask` must have the shape"),
        (torch.ones(1, 1, 4, 4).long(), "`attention_mask` must have the shape"),
        (torch.tensor([[-1, 1, 1, 1]]), r"`attention_mask` must hold 0 and 1 only \(got \[-1, 1\]\)"),
        (torch.tensor([[0, 2, 2, 2]]), "`attention_mask` must hold 0 and 1 only"),
        (torch.tensor([[0, 1, 0, 1]]), "`attention_mask` must be left-padded"),
        (torch.tensor([[1, 1, 1, 0]]), "`attention_mask` must be left-padded"),
        (torch.zeros(1, 4).long(), "`attention_mask` must be left-padded"),
        (torch.ones(1, 4), "`attention_mask` must be a tensor of integers or bools"),
        ([[1, 1, 1, 1]], "`attention_mask` must be a tensor of integers or bools .got list"),
    ],
)
def test_a_mask_that_is_no_left_padding_is_refused(mask, message):
    refused(message, attention_mask=mask)


def test_one_mask_row_for_two_prompts_is_refused():
    refused("`attention_mask` must have the shape", TWO, attention_mask=ONES)


@pytest.mark.parametrize("dtype", [torch.long, torch.int32, torch.int8, torch.bool])
def test_a_mask_may_be_of_any_integer_type(dtype):
    model = golden_model("tiny_llada")
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    options = {"max_new_tokens": 8, "end_of_text": None}
    expected = model.generate(TWO, attention_mask=mask, **options)
    assert torch.equal(model.generate(TWO, attention_mask=mask.to(dtype), **options), expected)
    assert torch.equal(model.generate(TWO[:1, 2:], **options)[0], expected[0, 2:])


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (IDS.int(), "`input_ids` must be a LongTensor .*got torch.int32"),
        (IDS.float(), "`input_ids` must be a LongTensor .*got torch.float32"),
        (IDS[0], "`input_ids` must be a LongTensor of shape"),
        (IDS[None], "`input_ids` must be a LongTensor of shape"),
        (torch.empty(0, 5, dtype=torch.long), "`input_ids` must be a LongTensor .*a row and a token"),
        (torch.empty(2, 0, dtype=torch.long), "`input_ids` must be a LongTensor .*a row and a token"),
        ([[1, 2]], "`input_ids` must be a LongTensor .got list"),
        (torch.tensor([[1, VOCAB]]), r"`input_ids` must be from 0 to below the vocabulary's 12 \(got 1 to 12\)"),
        (torch.tensor([[-100, 1]]), "`input_ids` must be from 0 to below the vocabulary's 12"),
        (torch.tensor([[1, MASK, 2]]), "`input_ids` must not hold the mask token 11"),
    ],
)
def test_prompts_of_another_kind_are_refused(prompt, message):
    refused(message, prompt)
    model = ScriptedModel(*SCRIPT)
    with pytest.raises(ValueError, match=message):
        model.generate(input_ids=prompt, max_new_tokens=4)


def test_padding_may_be_the_mask_token():
    model = golden_model("tiny_llada")
    mask_token_id = model.config.mask_token_id
    ids = torch.tensor([[mask_token_id, mask_token_id, 1, 2]])
    options = {"max_new_tokens": 8, "end_of_text": None}
    padded = model.generate(ids, attention_mask=torch.tensor([[0, 0, 1, 1]]), **options)
    assert torch.equal(padded[:, 2:], model.generate(ids[:, 2:], **options))


def test_what_does_not_fit_into_the_positions_is_refused():
    limit = {"max_position_embeddings": 10}
    model = ScriptedModel(*SCRIPT, **limit)
    model.prompt_length = 4
    message = (
        r"`max_new_tokens` must be at most 6 behind 4 tokens with the model's `max_position_embeddings` of 10 \(got 7\)"
    )
    with pytest.raises(ValueError, match=message):
        model.generate(IDS, max_new_tokens=7)
    with pytest.raises(ValueError, match="`input_ids` must leave room in the model's `max_position_embeddings` of 10"):
        model.generate(torch.ones(1, 10).long(), max_new_tokens=1)
    assert model.canvases == []
    model.generate(IDS, max_new_tokens=6, end_of_text=None)
    # Padding takes no positions.
    model.generate(IDS, attention_mask=torch.tensor([[0, 1, 1, 1]]), max_new_tokens=7, end_of_text=None)
    # Scaled rotary embeddings reach further.
    model = ScriptedModel(*SCRIPT, **limit, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4})
    model.prompt_length = 4
    model.generate(IDS, max_new_tokens=7, end_of_text=None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("position_ids", IDS),
        ("labels", IDS),
        ("cache", object()),
        ("past_key_values", object()),
        ("inputs_embeds", torch.zeros(1, 1, 1)),
        ("negative_prompt_ids", IDS),
        ("negative_prompt_attention_mask", IDS),
        ("assistant_model", object()),
        ("prefix_allowed_tokens_fn", print),
        ("synced_gpus", True),
        ("logits_to_keep", 1),
    ],
)
def test_an_argument_that_would_be_ignored_is_refused(name, value):
    refused(f"`{name}` must be None for a diffusion model", **{name: value})
    ScriptedModel(*SCRIPT).run(**{name: None})


def test_token_types_are_refused_unless_zero():
    refused("`token_type_ids` must be zero", token_type_ids=IDS)
    model = ScriptedModel(*SCRIPT)
    model.run(token_type_ids=torch.zeros(1, 2).long())


@pytest.mark.parametrize("name", ["generate_batch", "init_continuous_batching", "continuous_batching_context_manager"])
def test_continuous_batching_is_refused(name):
    with pytest.raises(ValueError, match="`generate_batch` must be `generate` for a diffusion model"):
        getattr(ScriptedModel(*SCRIPT), name)([[1, 2]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_token_id": VOCAB}, r"`mask_token_id` must be below the vocabulary's size, 12 \(got 12\)"),
        ({"eos_token_id": VOCAB}, r"`eos_token_id` must be below the vocabulary's size, 12 \(got 12\)"),
        ({"eos_token_id": [EOT, 90]}, r"`eos_token_id` must be below the vocabulary's size, 12 \(got \[10, 90\]\)"),
    ],
)
def test_special_tokens_outside_of_the_vocabulary_are_refused(options, message):
    refused(message, **options)


BAD_NUMBERS = [math.nan, math.inf, -math.inf, -0.5, "0.5", True, None, torch.tensor(0.5)]


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda value: Threshold(value), "threshold"),
        (lambda value: Factor(value), "factor"),
        (lambda value: Frechet(value), "bound"),
        (lambda value: EntropyBound(value), "gamma"),
        (lambda value: Klass(value), "threshold"),
        (lambda value: Klass(divergence=value), "divergence"),
        (lambda value: Credit(value), "threshold"),
        (lambda value: Credit(decay=value), "decay"),
        (lambda value: Credit(exponent=value), "exponent"),
        (lambda value: Credit(weight=value), "weight"),
        (lambda value: LocalLeap(value), "threshold"),
        (lambda value: LocalLeap(relaxed_threshold=value), "relaxed_threshold"),
        (lambda value: LocalLeap(radius=value), "radius"),
        (lambda value: Stable(threshold=value), "threshold"),
        (lambda value: Stable(steps=value), "steps"),
        (lambda value: AdaBlock(threshold=value), "threshold"),
        (lambda value: AdaBlock(window=value), "window"),
        (lambda value: AdaBlock(delimiter_ids=(value,)), "delimiter_ids"),
        (lambda value: FixedBlocks(value), "block_length"),
        (lambda value: AdaBlock(value), "block_length"),
        (lambda value: Learn2PD(golden_filter(), value), "filter_threshold"),
    ],
)
def test_no_option_of_a_strategy_takes_what_is_no_number(make, name, value):
    if name == "filter_threshold" and value is None:
        return
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        make(value)


@pytest.mark.parametrize("make", [Threshold, Klass, Credit, LocalLeap])
def test_a_threshold_above_one_is_refused(make):
    with pytest.raises(ValueError, match=r"`threshold` must be between 0 and 1 \(got 1.5"):
        make(threshold=1.5)


def test_a_known_output_has_to_be_ids():
    with pytest.raises(ValueError, match=r"`reference_ids` must be integers \(got torch.float32"):
        Oracle(torch.ones(1, 4))


@pytest.mark.parametrize("options", [{}, {"decoding": Threshold(0.5)}, {"decoding": "pearl"}, {"block_cache": "dual"}])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_broken_weights_are_named(options, value):
    model = copy.deepcopy(golden_model("tiny_llada"))
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = value
    with pytest.raises(ValueError, match="`model` must give finite logits"):
        model.generate(IDS, max_new_tokens=8, **options)


def bert():
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    return BertForMaskedLM(BertConfig(**sizes, num_attention_heads=4, max_position_embeddings=64)).eval()


def test_a_model_with_decoding_enabled_can_be_pickled_and_copied():
    model = enable_decoding(bert(), mask_token_id=49)
    options = {"max_new_tokens": 6, "end_of_text": None}
    expected = model.generate(IDS, **options)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        torch.load(file, weights_only=False),
    ):
        assert other is not model and isinstance(other, BertForMaskedLM)
        assert torch.equal(other.generate(IDS, **options), expected)
        assert type(disable_decoding(other)) is BertForMaskedLM


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eos_token_id": "x"}, "`eos_token_id` must be a token id"),
        ({"eos_token_id": torch.tensor(3)}, "`eos_token_id` must be a token id"),
        ({"logits_shift": True}, "`logits_shift` must be 0 or 1"),
    ],
)
def test_enabling_with_wrong_arguments_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        enable_decoding(bert(), mask_token_id=49, **options)


def test_with_a_tokenizer_what_it_cannot_decode_is_never_predicted():
    # The embedding of some models is padded beyond their tokenizer, and what stands there is trained on nothing.
    model = ScriptedModel([9, 6, 9, 8], [0.9, 0.8, 0.7, 0.6])
    words = {f"w{number}": number for number in range(9)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")))
    assert model.run(end_of_text=None).sequences[0, 2:].tolist() == [9, 6, 9, 8]
    answer = model.run(end_of_text=None, tokenizer=tokenizer).sequences[0, 2:]
    assert answer.max() < len(tokenizer) and answer[[1, 3]].tolist() == [6, 8]
