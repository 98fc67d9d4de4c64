# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Filters that look at the model's hidden states, and thresholds for all that is unmasked together."""

from dataclasses import dataclass, replace

import pytest
import torch
from conftest import golden_model
from transformers import BatchEncoding

from hf_learn2pd import Learn2PD, LowConfidence, UnmaskingFilter, UnmaskingStrategy
from hf_learn2pd.training.replay import Trajectories, replay
from hf_learn2pd.training.training import choose_threshold, train_filter
from hf_learn2pd.training.trajectories import collect_trajectories, load_trajectories

PROMPT = torch.tensor([[510, 3, 4, 9], [5, 6, 7, 8]])
ATTENTION = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])


def hidden_filter(model, **options):
    torch.manual_seed(0)
    options = {"features": ("confidence", "hidden_state"), "state_size": model.config.hidden_size} | options
    return UnmaskingFilter(architecture="transformer", threshold=0.5, **options).eval()


def identity_filter(width, **options):
    """Its logits are the confidences."""
    filter = UnmaskingFilter(block_length=width, hidden_size=width, **options)
    with torch.no_grad():
        for parameter, value in zip(filter.parameters(), (torch.eye(width), 0, torch.eye(width), 0), strict=True):
            parameter.copy_(torch.as_tensor(value))
    return filter


def states_that_tell(samples=600, width=8, size=6):
    """Predictions are right exactly where the third number of the hidden state is above zero."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(samples, width, size, generator=generator)
    states[..., 2] = states[..., 2].sign() * 2
    confidence = torch.rand(samples, width, generator=generator)
    masked, zeros = torch.ones_like(confidence, dtype=torch.bool), torch.zeros_like(confidence)
    return Trajectories(confidence, zeros, zeros, zeros.long(), masked, masked, states[..., 2] > 0, states)


@dataclass(frozen=True)
class Seeing(UnmaskingStrategy):
    """The stock rule; keeps what it was shown."""

    seen: list

    @property
    def needs(self):
        return frozenset({"hidden_states"})

    def __call__(self, prediction):
        self.seen.append(prediction)
        return LowConfidence()(prediction)


@pytest.mark.parametrize("block_cache", [None, "dual", "local"])
@pytest.mark.parametrize("cfg_scale", [None, 0.5])
def test_hidden_states_are_those_that_tokens_are_predicted_from(block_cache, cfg_scale):
    model, seen = golden_model("tiny_llada"), []
    options = {"max_new_tokens": 24, "block_length": 8, "block_cache": block_cache, "end_of_text": None}
    model.generate(PROMPT, attention_mask=ATTENTION, decoding=Seeing(seen), **options, cfg_scale=cfg_scale)
    head = model.get_output_embeddings()
    for prediction in seen:
        assert prediction.hidden_states.shape == (*prediction.tokens.shape, model.config.hidden_size)
        if cfg_scale is None:
            logits = head(prediction.hidden_states).softmax(dim=-1).detach()
            confidence = logits.gather(-1, prediction.tokens[..., None]).squeeze(-1)
            assert torch.allclose(confidence[prediction.masked], prediction.confidence[prediction.masked], atol=1e-3)


def test_a_filter_learns_from_hidden_states_what_nothing_else_tells():
    trajectories = states_that_tell()
    options = {"architecture": "transformer", "epochs": 12, "batch_size": 64, "learning_rate": 3e-3, "progress": False}
    blind = train_filter(trajectories, features=["confidence"], **options)
    seeing = train_filter(trajectories, features=["confidence", "hidden_state"], **options)
    assert blind.threshold == 1.0 and seeing.threshold < 1.0
    with torch.no_grad():
        accepted = seeing.level(trajectories) > seeing.threshold
    assert trajectories.correct[accepted].double().mean() > 0.98
    assert accepted[trajectories.correct].double().mean() > 0.8


def test_rows_are_decoded_as_if_alone():
    model = golden_model("tiny_llada")
    filter = hidden_filter(model, joint=True)
    options = {"decoding": Learn2PD(filter, 0.2), "max_new_tokens": 32, "block_length": 8}
    together = model.generate(PROMPT, attention_mask=ATTENTION, return_dict_in_generate=True, **options)
    for row in range(2):
        ids = PROMPT[row : row + 1, 1 - int(ATTENTION[row, 0]) :]
        alone = model.generate(ids, attention_mask=torch.ones_like(ids), return_dict_in_generate=True, **options)
        answer = alone.sequences[0, ids.shape[1] :]
        assert torch.equal(together.sequences[row, 4 : 4 + len(answer)], answer)
        assert together.nfe[row] == alone.nfe[0] < 32


def test_drafts_of_such_a_filter_change_nothing():
    model = golden_model("tiny_llada")
    options = {"attention_mask": ATTENTION, "max_new_tokens": 24, "block_length": 8}
    stock = model.generate(PROMPT, decoding="low_confidence", **options)
    for cache in (None, "dual"):
        same = model.generate(PROMPT, decoding="low_confidence", block_cache=cache, **options) if cache else stock
        drafted = model.generate(
            PROMPT,
            decoding="learn2pd",
            unmasking_filter=hidden_filter(model),
            verify=True,
            block_cache=cache,
            **options,
        )
        assert torch.equal(drafted, same)


def test_hidden_states_are_collected_where_they_are_asked_for(tmp_path):
    model = golden_model("tiny_llada")
    stock = model.generate(PROMPT, attention_mask=ATTENTION, decoding="low_confidence", max_new_tokens=24)
    plain, seeing = (replay(model, PROMPT, stock[:, 4:], ATTENTION, 8, hidden_states=asked) for asked in (False, True))
    assert plain.hidden_states is None and torch.equal(plain.confidence, seeing.confidence)
    logits = model.get_output_embeddings()(seeing.hidden_states)
    assert torch.allclose(logits.softmax(dim=-1).amax(dim=-1).detach(), seeing.confidence, atol=1e-3)
    # Blocks of different lengths are joined like the other fields.
    both = Trajectories.cat([seeing, replay(model, PROMPT, stock[:, 4:], ATTENTION, 4, hidden_states=True)])
    assert both.hidden_states.shape == (*both.confidence.shape, model.config.hidden_size)


class Numbers:
    """Writes a chat as fixed ids."""

    padding_side = "left"

    def get_vocab(self):
        return {str(number): number for number in range(10)}

    def apply_chat_template(self, chats, **options):
        rows = [[int(number) for number in chat[0]["content"].split()] for chat in chats]
        return BatchEncoding({"input_ids": torch.tensor(rows), "attention_mask": torch.ones(len(rows), 3).long()})


def test_files_hold_hidden_states_and_say_so(tmp_path):
    model, prompts = golden_model("tiny_llada"), ["3 4 9", "5 6 7"]
    options = {"tokenizer": Numbers(), "max_new_tokens": 16, "block_length": 8, "progress": False}
    collected = collect_trajectories(model, prompts, tmp_path, hidden_states=True, **options)
    assert torch.equal(load_trajectories(tmp_path).hidden_states, collected.hidden_states)
    with pytest.raises(ValueError, match="got another hidden_states in"):
        collect_trajectories(model, prompts, tmp_path, **options)


def test_a_joint_threshold_bounds_the_chance_that_anything_is_wrong():
    block = states_that_tell(1, 4)
    logits = torch.tensor([[3.0, 5.0, 4.0, 6.0]])
    block = replace(block, confidence=logits, masked=torch.tensor([[True, True, True, False]]))
    wrong = (-logits[0]).sigmoid()
    level = identity_filter(4, joint=True).level(block)[0]
    # The most probable first: each has what is before it wrong as well. What is not masked adds nothing.
    assert level[1].item() == pytest.approx(1 - wrong[1].item(), abs=1e-6)
    assert level[2].item() == pytest.approx(1 - (wrong[1] + wrong[2]).item(), abs=1e-6)
    assert level[0].item() == pytest.approx(1 - wrong[:3].sum().item(), abs=1e-6)
    assert torch.equal(identity_filter(4).level(block), logits.sigmoid())
    # Equally probable ones count from the left.
    level = identity_filter(4, joint=True).level(replace(block, confidence=torch.full((1, 4), 3.0)))[0]
    assert level[0] > level[1] > level[2]


def test_the_first_threshold_of_a_joint_filter_is_for_its_own_rule():
    block = states_that_tell(1, 4)
    block = replace(block, confidence=torch.tensor([[3.0, 5.0, 4.0, 6.0]]), correct=torch.tensor([[0, 1, 1, 1]]).bool())
    for joint in (False, True):
        filter = identity_filter(4, joint=joint)
        threshold = choose_threshold(filter, block, 1.0)
        assert ((filter.level(block) > threshold) == block.correct).all()


def test_it_is_saved_and_loaded(tmp_path):
    filter = hidden_filter(golden_model("tiny_llada"), joint=True)
    filter.save_pretrained(tmp_path)
    loaded = UnmaskingFilter.from_pretrained(tmp_path)
    assert (loaded.joint, loaded.state_size, loaded.features) == (True, filter.state_size, filter.features)
    assert all(torch.equal(a, b) for a, b in zip(filter.parameters(), loaded.parameters(), strict=True))
    assert "together" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["hidden_state", "confidence"]}, "`state_size` must be an integer with these features .got None"),
        ({"state_size": 8}, "`state_size` must be None with these features .got 8"),
        ({"features": ["hidden_state"], "state_size": 8}, "`features` must hold a number beside the hidden state"),
        ({"features": ["confidence", "hidden_state"], "state_size": 0}, "`state_size` must be an integer from 1 to"),
        ({"joint": 1}, "`joint` must be True or False .got 1"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        UnmaskingFilter(architecture="transformer", **options)


def test_the_published_network_has_no_hidden_states():
    with pytest.raises(ValueError, match=r"`features` must be some of confidence, .*, unchanged \(got"):
        UnmaskingFilter(features=["confidence", "hidden_state"], state_size=8)


def test_what_it_needs_must_be_there():
    model = golden_model("tiny_llada")
    blind = replace(states_that_tell(20), hidden_states=None)
    with pytest.raises(ValueError, match="`trajectories` must hold hidden states"):
        train_filter(blind, "transformer", features=["confidence", "hidden_state"], epochs=1, progress=False)
    filter = hidden_filter(model, state_size=model.config.hidden_size + 1)
    with pytest.raises(ValueError, match="`unmasking_filter` must be trained on hidden states of width"):
        model.generate(PROMPT, decoding="learn2pd", unmasking_filter=filter, max_new_tokens=8)
