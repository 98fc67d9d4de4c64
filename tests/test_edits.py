# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Token editing, LLaDA2.1's: by hand on a scripted model, and against the release's loop with its mask written out."""

import pytest
import torch
from conftest import STRATEGIES, ScriptedModel
from hypothesis import given, settings
from hypothesis import strategies as st
from test_block_causal import EOT, MASK, PROMPTS, SEVERAL, generate, tiny
from test_block_causal_families import Collect

from hf_learn2pd import BlockCausal, Threshold

SCRIPT = ([1, 2, 3, 4], [0.9, 0.6, 0.9, 0.6])
BY_HAND = {"block_length": 4, "decoding": Threshold(0.8), "edit_threshold": 0.5, "end_of_text": None}


class Editor(ScriptedModel):
    """Once two tokens stand there, it would rather have a 7 in the first place."""

    block_causal = trained_to_edit = True
    other = 7

    def forward(self, input_ids=None, **kwargs):
        output = super().forward(input_ids, **kwargs)
        changed = (input_ids[:, 4:] != 11).sum(dim=-1) >= 2
        output.last_hidden_state[changed, 4] = 0.0
        output.last_hidden_state[changed, 4, self.wanted(input_ids)[changed]] = 9.0
        return output

    def wanted(self, input_ids):
        return torch.full_like(input_ids[:, 4], 7)

    def run(self, **options):
        prompt = [[1, 2, 3, 4]]
        return super().run(prompt, block_cache=BlockCausal(reuse=False), **BY_HAND | options)


class Undecided(Editor):
    """It always wants what does not stand there."""

    def wanted(self, input_ids):
        return torch.where(input_ids[:, 4] == 7, 1, 7)


def test_a_confident_other_token_replaces_one_that_is_unmasked():
    output = Editor(*SCRIPT).run()
    assert output.sequences.tolist() == [[1, 2, 3, 4, 7, 2, 3, 4]]
    # 1 and 3; the 7 in place of the 1, and 2; 4; and a pass that replaces nothing.
    assert output.nfe.tolist() == [4] and output.unmasking_steps.tolist() == [[1, 1, 0, 2]]
    # Without edits the first token stays, and the last pass is not needed.
    output = Editor(*SCRIPT).run(edit_threshold=None)
    assert output.sequences.tolist() == [[1, 2, 3, 4, 1, 2, 3, 4]]
    assert output.nfe.tolist() == [3] and output.unmasking_steps.tolist() == [[0, 1, 0, 2]]


def test_what_is_not_confident_enough_replaces_nothing():
    assert Editor(*SCRIPT).run(edit_threshold=1.0).sequences.tolist() == [[1, 2, 3, 4, 1, 2, 3, 4]]


@pytest.mark.parametrize("max_post_steps", [0, 1, 2, 5])
def test_a_block_that_does_not_come_to_rest_is_done_after_some_passes(max_post_steps):
    output = Undecided(*SCRIPT).run(max_post_steps=max_post_steps)
    assert output.nfe.tolist() == [3 + max_post_steps]
    # Replaced in the second pass and in every later one.
    assert output.sequences[0, 4] == (7 if max_post_steps % 2 else 1)
    assert output.unmasking_steps.tolist() == [[2 + max_post_steps, 1, 0, 2]]
    assert Undecided(*SCRIPT).run().nfe.tolist() == [3 + 16]


def test_an_end_of_text_counts_when_it_cannot_be_replaced_any_more():
    """The first place holds an end of text until the second pass."""
    script = ([10, 2, 3, 4], SCRIPT[1])
    options = {"end_of_text": "accepted", "eos_token_id": 10}
    assert Editor(*script).run(edit_threshold=None, **options).sequences.tolist() == [[1, 2, 3, 4, 10]]
    for max_post_steps in (0, 16):
        output = Editor(*script).run(max_post_steps=max_post_steps, **options)
        assert output.sequences.tolist() == [[1, 2, 3, 4, 7, 2, 3, 4]]
    # And the other way round: what stands behind an end of text is no text.
    output = Editor(*SCRIPT).run(end_of_text="accepted", eos_token_id=7)
    assert output.sequences.tolist() == [[1, 2, 3, 4, 7]] and output.nfe.tolist() == [4]


@torch.no_grad()
def naive(model, prompt, length, block_length, threshold, edit_threshold, max_post_steps):
    """The release's loop on one row, every pass over all that is before the block's end."""
    limit, passes = len(prompt) + length, 0
    text = torch.tensor(prompt + [MASK] * length)
    for first in range(len(prompt) // block_length * block_length, limit, block_length):
        end, post_steps = min(first + block_length, limit), 0
        numbers = torch.arange(end) // block_length
        mask = (numbers[None, :] <= numbers[:, None])[None, None]
        answer = torch.arange(first, end) >= len(prompt)
        while True:
            old = text[first:end].clone()
            masked = old == MASK
            post_steps += not masked.any()
            if post_steps > max_post_steps:
                break
            logits = model(text[None, :end], attention_mask=mask).logits[0, first:]
            logits[:, MASK] = -torch.inf
            confidence, tokens = logits.softmax(dim=-1).max(dim=-1)
            passes += 1
            chosen = masked & (confidence >= threshold)
            if masked.any() and not chosen.any():
                chosen[confidence.masked_fill(~masked, -1.0).argmax()] = True
            edited = ~masked & answer & (confidence > edit_threshold) & (tokens != old)
            text[first:end] = torch.where(chosen | edited, tokens, old)
            if not masked.any() and not edited.any():
                break
    return text.tolist(), passes


OPTIONS = st.fixed_dictionaries(
    {
        "max_new_tokens": st.integers(1, 17),
        "block_length": st.sampled_from([3, 4, 8]),
        "edit_threshold": st.sampled_from([0, 0.1, 0.3, 0.8]),
        "max_post_steps": st.sampled_from([0, 1, 3, 16]),
    }
)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(PROMPTS, OPTIONS, st.sampled_from([0.05, 0.3, 0.9]), st.booleans(), st.integers(0, 2))
def test_batches_equal_the_loop_of_the_release(prompts, options, threshold, reuse, seed):
    cache = BlockCausal(reuse)
    width, output = generate(prompts, "llada2_moe", seed, decoding=Threshold(threshold), block_cache=cache, **options)
    names = ("max_new_tokens", "block_length", "edit_threshold", "max_post_steps")
    length, block_length, edit_threshold, most = (options[name] for name in names)
    for row, prompt in enumerate(prompts):
        model = tiny("llada2_moe", seed)
        expected, passes = naive(model, prompt, length, block_length, threshold, edit_threshold, most)
        assert output.sequences[row, width - len(prompt) :].tolist() == expected
        assert output.nfe[row] == passes


EDITED = {"max_new_tokens": 12, "edit_threshold": 0.1, "pad_token_id": EOT}


def test_accepted_end_gives_the_text_of_no_end():
    width, whole = generate(SEVERAL, "llada2_moe", decoding=Threshold(0.3), **EDITED)
    shorter = 0
    for token in whole.sequences[:, width:].unique().tolist()[::6]:
        options = {"end_of_text": "accepted", "eos_token_id": token, "decoding": Threshold(0.3)}
        _, output = generate(SEVERAL, "llada2_moe", **EDITED | options)
        for row, answer in enumerate(whole.sequences[:, width:].tolist()):
            text = answer[: answer.index(token) + 1] if token in answer else answer
            found = output.sequences[row, width:].tolist()
            assert found[: len(text)] == text and set(found[len(text) :]) <= {EOT}
            assert output.nfe[row] <= whole.nfe[row]
            shorter += bool(output.nfe[row] < whole.nfe[row])
    assert shorter


@pytest.mark.parametrize(
    "strategy", {type(each): each for each in STRATEGIES}.values(), ids=lambda each: type(each).__name__
)
def test_every_strategy_edits_with_rows_apart(strategy):
    def run(prompts):
        return generate(prompts, "llada2_moe", decoding=strategy, generator=torch.Generator().manual_seed(0), **EDITED)

    width, together = run(SEVERAL)
    for row, prompt in enumerate(SEVERAL):
        _, alone = run([prompt])
        assert together.sequences[row, width - len(prompt) :].equal(alone.sequences[0])
        assert together.nfe[row] == alone.nfe[0]


def test_streamed_text_is_the_returned_text():
    streamer = Collect()
    _, output = generate(SEVERAL[:1], "llada2_moe", decoding=Threshold(0.3), streamer=streamer, **EDITED)
    assert [token for part in streamer.parts[:-1] for token in part] == output.sequences[0].tolist()


def test_processors_are_applied_to_edits():
    options = EDITED | {"edit_threshold": 0, "decoding": Threshold(0.3)}
    width, free = generate(SEVERAL, "llada2_moe", **options)
    unwanted = free.sequences[:, width:].unique().tolist()
    _, output = generate(SEVERAL, "llada2_moe", suppress_tokens=unwanted, **options)
    assert not torch.isin(output.sequences[:, width:], torch.tensor(unwanted)).any()


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("sdar", {}, "`edit_threshold` must be None for a model that was not trained to edit, SdarForMaskedDiffusion"),
        ("fast_dllm", {"edit_threshold": 0}, "not trained to edit"),
        ("llada2_moe", {"verify": True}, "`edit_threshold` must be None with `verify`"),
        ("llada2_moe", {"end_of_text": "cut"}, "`end_of_text` must be accepted or None with `edit_threshold`"),
        (
            "llada2_moe",
            {"end_of_text": "predicted", "edit_threshold": 0},
            "must be accepted or None with `edit_thresho",
        ),
        ("llada2_moe", {"no_repeat_ngram_size": 2}, "`no_repeat_ngram_size`.* must be None with `edit_threshold`"),
        ("llada2_moe", {"edit_threshold": 1.5}, "`edit_threshold` must be between 0 and 1"),
        ("llada2_moe", {"max_post_steps": -1}, "`max_post_steps` must be an integer of at least 0"),
        ("llada2_moe", {"editing_threshold": 0.5}, "`editing_threshold` must be an option .*`edit_threshold`"),
    ],
)
def test_what_cannot_be_edited_is_refused(family, options, message):
    with pytest.raises(ValueError, match=message):
        generate([[1, 2]], family, **{"max_new_tokens": 4, "edit_threshold": 0.5} | options)
