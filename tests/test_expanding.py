# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Answers that are as long as the model needs."""

import math
from types import SimpleNamespace

import pytest
import torch
from conftest import EOT, VOCAB, ScriptedModel, golden_model

from hf_learn2pd import SdarConfig, SdarForMaskedDiffusion, Threshold


class LongAnswers(ScriptedModel):
    """Writes ten times as many tokens as the last one of the prompt says, then EoT; nothing of it is certain before."""

    def __init__(self):
        super().__init__([5], [0.9])
        self.last_columns = []

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, use_cache=None):
        self.canvases.append(input_ids.tolist())
        self.last_columns.append(position_ids[0, -1].item())
        logits = torch.zeros(*input_ids.shape, VOCAB)
        place = torch.arange(input_ids.shape[1]) - self.prompt_length
        text = place < 10 * input_ids[:, self.prompt_length - 1, None]
        # A probability of 0.9, and 0.01 for each of the others but the mask.
        logits.scatter_(2, torch.where(text, 5, EOT)[..., None], math.log(90))
        return SimpleNamespace(last_hidden_state=logits)


OPTIONS = {"expand": True, "max_new_tokens": 120, "decoding": Threshold(0.8)}


def test_an_answer_grows_until_its_end_is_in_sight():
    model = LongAnswers()
    output = model.run([[1, 7]], **OPTIONS)
    # Of the last 32, 18 have to be EoT: with 88 positions 56 to 87 are looked at, of which those from 70 on are.
    assert [query for _, _, query, _ in output.forward_passes] == [66, 74, 82, 90, 90, 90, 90]
    assert output.sequences.tolist() == [[1, 7, *[5] * 70, EOT]]
    assert output.nfe.tolist() == [7] and output.unmasking_steps[0, [0, 32, 64, 70]].tolist() == [4, 5, 6, 6]
    # With 104 positions 72 to 103 are looked at, of which those from 80 on are.
    assert model.run([[1, 8]], end_of_text=None, **OPTIONS).sequences.shape == (1, 106)
    # Without a stop all of it is written, and no more.
    assert model.run([[1, 7]], end_of_text=None, **OPTIONS).sequences.shape == (1, 90)


def test_the_last_column_in_sight_is_that_of_the_answer_that_was_found():
    model = LongAnswers()
    output = model.run([[1, 7]], suffix_length=8, **OPTIONS)
    assert [query for _, _, query, _ in output.forward_passes] == [66, 74, 82, 90, 43, 75, 90]
    assert model.last_columns == [65, 73, 81, 89, 89, 89, 89]


@pytest.mark.parametrize(("length", "looks"), [(40, 0), (64, 0), (65, 1), (80, 2)])
def test_an_answer_never_grows_beyond_what_is_asked_for(length, looks):
    output = LongAnswers().run([[1, 9]], **OPTIONS | {"max_new_tokens": length})
    assert output.sequences.tolist() == [[1, 9, *[5] * length]]
    assert output.nfe.tolist() == [looks + -(-length // 32)]


@pytest.mark.parametrize(
    "options",
    [{}, {"end_of_text": None}, {"end_of_text": "cut"}, {"verify": True}, {"cfg_scale": 0.5}, {"suffix_length": 8}],
)
def test_rows_have_the_length_that_they_have_alone(options):
    model, prompts = LongAnswers(), [[EOT, 1, 7], [2, 3, 1], [EOT, EOT, 9]]
    mask = torch.tensor([[0, 1, 1], [1, 1, 1], [0, 0, 1]])
    together = model.run(prompts, **OPTIONS | options | {"attention_mask": mask})
    for row, (prompt, padding) in enumerate(zip(prompts, [1, 0, 2], strict=True)):
        alone = model.run([prompt[padding:]], **OPTIONS | options)
        text, nfe = alone.sequences[0, 3 - padding :], alone.nfe[0]
        assert together.sequences[row, 3 : 3 + len(text)].tolist() == text.tolist()
        assert set(together.sequences[row, 3 + len(text) :].tolist()) <= {EOT}
        assert together.nfe[row] == nfe
        assert together.unmasking_steps[row, : len(text)].tolist() == alone.unmasking_steps[0].tolist()


@pytest.mark.parametrize("cache", ["prefix", "dual", "local"])
@pytest.mark.parametrize("name", ["tiny_llada", "tiny_dream"])
def test_a_cache_begins_with_the_answer_that_was_found(name, cache):
    model = golden_model(name)
    # With every token an end of text the model is sure of it; rows are as short as can be.
    options = {"eos_token_id": list(range(500)), "end_of_text": None, "max_new_tokens": 72, "decoding": "dilated"}
    options |= {"expand": True, "return_dict_in_generate": True}
    plain = model.generate(torch.tensor([[5, 6, 7]]), **options)
    assert plain.sequences.shape == (1, 67)
    cached = model.generate(torch.tensor([[5, 6, 7]]), block_cache=cache, refresh_every=1, **options)
    assert torch.equal(cached.sequences, plain.sequences) and torch.equal(cached.nfe, plain.nfe)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expand": 1}, "`expand` must be a bool"),
        ({"infill": True}, "`infill` must be False with `expand`"),
        ({"steps": 4}, "`steps` must be None with `expand` .got 4"),
        ({"logits_eos_inf": True}, "`logits_eos_inf` must be False with `expand`"),
        ({"output_history": True}, "`output_history` must be False with `expand` .got True"),
    ],
)
def test_what_expanding_would_have_to_ignore_is_refused(options, message):
    model = LongAnswers()
    with pytest.raises(ValueError, match=message):
        model.run(**{"expand": True} | options)
    assert model.canvases == []


def test_models_that_cannot_look_ahead_or_know_no_end_are_refused():
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 8}
    sdar = SdarForMaskedDiffusion(
        SdarConfig(vocab_size=600, mask_token_id=5, eos_token_id=4, pad_token_id=4, num_key_value_heads=1, **size)
    )
    with pytest.raises(ValueError, match="`expand` must be False for a block-causal model"):
        sdar.generate(torch.tensor([[1, 2]]), expand=True)
    endless = ScriptedModel([5], [0.9], eos_token_id=None)
    with pytest.raises(ValueError, match="`eos_token_id` must be set for `expand`"):
        endless.run(expand=True, end_of_text=None)
