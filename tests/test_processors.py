# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Logits processors on a block: what each position sees, and what a text can hold in the end."""

import inspect
import math

import pytest
import torch
from conftest import EOT, MASK, VOCAB, ScriptedModel, golden_model
from hypothesis import given, settings
from hypothesis import strategies as st
from test_properties import PROMPTS, generate
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation import logits_process as hf

from hf_learn2pd import LowConfidence, RandomOrder, Threshold
from hf_learn2pd import processors as module
from hf_learn2pd.forbidden import Forbidden
from hf_learn2pd.processors import Processors
from hf_learn2pd.special_tokens import SpecialTokens

WIDTH, ANSWER = 4, 12
NONE = torch.empty(0, dtype=torch.long)
SPECIAL = SpecialTokens(MASK, EOT, torch.tensor([EOT]), never_predicted=torch.tensor([MASK]), never_confident=NONE)


class CountTokens(LogitsProcessor):
    """A user's own: it looks at all tokens before, and writes into what it is given."""

    def __call__(self, input_ids, scores):
        scores += torch.nn.functional.one_hot(input_ids, VOCAB).sum(dim=1)
        return scores


# Made as transformers makes them, of a prompt.
MAKERS = {
    "temperature": lambda prompt: hf.TemperatureLogitsWarper(0.7),
    "top_k": lambda prompt: hf.TopKLogitsWarper(3),
    "top_p": lambda prompt: hf.TopPLogitsWarper(0.6),
    "top_h": lambda prompt: hf.TopHLogitsWarper(0.4),
    "min_p": lambda prompt: hf.MinPLogitsWarper(0.3),
    "typical_p": lambda prompt: hf.TypicalLogitsWarper(0.5),
    "epsilon_cutoff": lambda prompt: hf.EpsilonLogitsWarper(0.05),
    "eta_cutoff": lambda prompt: hf.EtaLogitsWarper(0.2),
    "renormalize_logits": lambda prompt: hf.LogitNormalization(),
    "suppress_tokens": lambda prompt: hf.SuppressTokensLogitsProcessor([3, 4]),
    "begin_suppress_tokens": lambda prompt: hf.SuppressTokensAtBeginLogitsProcessor([3, 4], prompt.shape[1]),
    "min_length": lambda prompt: hf.MinLengthLogitsProcessor(8, EOT),
    "min_new_tokens": lambda prompt: hf.MinNewTokensLengthLogitsProcessor(prompt.shape[1], 3, EOT),
    "exponential_decay": lambda prompt: hf.ExponentialDecayLengthPenalty((1, 1.5), EOT, prompt.shape[1]),
    "forced_eos": lambda prompt: hf.ForcedEOSTokenLogitsProcessor(prompt.shape[1] + ANSWER, EOT),
    "repetition_penalty": lambda prompt: hf.RepetitionPenaltyLogitsProcessor(1.7),
    "repetition_penalty_of_answer": lambda prompt: hf.RepetitionPenaltyLogitsProcessor(
        1.7, prompt_ignore_length=prompt.shape[1]
    ),
    "encoder_repetition_penalty": lambda prompt: hf.EncoderRepetitionPenaltyLogitsProcessor(1.7, prompt),
    "no_repeat_1": lambda prompt: hf.NoRepeatNGramLogitsProcessor(1),
    "no_repeat_2": lambda prompt: hf.NoRepeatNGramLogitsProcessor(2),
    "no_repeat_3": lambda prompt: hf.NoRepeatNGramLogitsProcessor(3),
    "encoder_no_repeat_2": lambda prompt: hf.EncoderNoRepeatNGramLogitsProcessor(2, prompt),
    "bad_words": lambda prompt: hf.NoBadWordsLogitsProcessor([[4], [1, 2], [2, 1], [1, 1], [0, 1, 2]], EOT),
    "sequence_bias": lambda prompt: hf.SequenceBiasLogitsProcessor(
        {(5,): 2.0, (1, 2): -3.0, (2, 0): -math.inf, (1, 0, 1): 4.0}
    ),
    "of_a_user": lambda prompt: CountTokens(),
}


def process(processor, prompt, padding, answer, columns, scores):
    """What the library makes of the scores at `columns` of a row, a position of the answer each."""
    row = torch.tensor([prompt + answer])
    mask = torch.ones(1, len(prompt), dtype=torch.long)
    mask[:, :padding] = 0
    processors = Processors([processor], row[:, : len(prompt)], mask, SPECIAL, ANSWER, VOCAB)
    columns = torch.tensor([columns]) + len(prompt)
    return processors(scores[None].clone(), row, columns, torch.tensor([0]))[0]


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("name", MAKERS)
def test_the_next_token_is_processed_as_transformers_does_it_without_padding(name, padding):
    generator = torch.Generator().manual_seed(1)
    changed = 0
    # transformers 5.17 leaves out sequences that are longer than the text, although the next token may complete them.
    for length in (3, 5) if name in ("bad_words", "sequence_bias") else (1, 2, 5):
        for written in range(ANSWER):
            prompt, answer = torch.randint(0, 3, (length + ANSWER,), generator=generator).split((length, ANSWER))
            scores = torch.randn(VOCAB, generator=generator)
            text = torch.cat((prompt, answer[:written]))[None]
            alone = scores.clone()
            alone[MASK] = -torch.inf
            expected = MAKERS[name](prompt[None])(text, alone[None].clone())[0]
            expected[MASK] = -torch.inf
            padded = [EOT] * padding + prompt.tolist()
            line = answer[:written].tolist() + [MASK] * (ANSWER - written)
            got = process(MAKERS[name](torch.tensor([padded])), padded, padding, line, [written], alone[None])
            torch.testing.assert_close(got[0], expected)
            changed += not torch.equal(expected, alone)
    assert changed


@pytest.mark.parametrize("name", ["repetition_penalty", "repetition_penalty_of_answer", "of_a_user"])
def test_each_position_sees_the_unmasked_tokens_before_it(name):
    """Against a loop over positions."""
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        prompt = [EOT, EOT, *torch.randint(0, 8, (3,), generator=generator).tolist()]
        answer = torch.randint(0, 8, (ANSWER,), generator=generator)
        answer = answer.masked_fill(torch.rand(ANSWER, generator=generator) < 0.5, MASK).tolist()
        scores = torch.randn(WIDTH, VOCAB, generator=generator)
        columns = [4, 5, 6, 7]
        got = process(MAKERS[name](torch.tensor([prompt])), prompt, 2, answer, columns, scores)
        for position, column in enumerate(columns):
            seen = [token for token in prompt[2:] + answer[:column] if token != MASK]
            processor = MAKERS[name](torch.tensor([prompt[2:]]))
            expected = processor(torch.tensor([seen]), scores[position : position + 1].clone())[0]
            expected[MASK] = -torch.inf
            torch.testing.assert_close(got[position], expected)


def test_biased_sequences_do_not_reach_over_a_mask():
    bias = hf.SequenceBiasLogitsProcessor({(1, 2): 3.0})
    got = process(bias, [0], 0, [1, MASK, MASK, 1, MASK] + [MASK] * 7, [1, 2, 4], torch.zeros(3, VOCAB))
    assert got[:, 2].tolist() == [3.0, 0.0, 3.0]


def test_every_processor_of_transformers_is_decided():
    """A new one is no user's: it has to be put among those that see scores, columns, or nothing here."""
    found = {each for _, each in inspect.getmembers(hf, inspect.isclass) if issubclass(each, hf.LogitsProcessor)}
    made = {type(make(torch.tensor([[1, 2]]))) for make in MAKERS.values()}
    assert found - {hf.LogitsProcessor, hf.InfNanRemoveLogitsProcessor} == (made - {CountTokens}) | set(module._REFUSED)


class Logits(ScriptedModel):
    """A scripted model that fails instead of going on for ever."""

    def forward(self, *args, **kwargs):
        assert len(self.canvases) < 50, "the loop does not end"
        return super().forward(*args, **kwargs)


SCRIPT = [5, 6, 7, 8, 3, 4], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]


def change(function):
    class Changes(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return function(scores)

    return LogitsProcessorList([Changes()])


@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("decoding", ["low_confidence", Threshold(0.5)])
def test_the_mask_token_stays_impossible(decoding, do_sample):
    processors = change(lambda scores: scores.index_fill(-1, torch.tensor([MASK]), 99.0))
    output = Logits(*SCRIPT).run(decoding=decoding, logits_processor=processors, do_sample=do_sample)
    assert MASK not in output.sequences


@pytest.mark.parametrize("value", [-torch.inf, torch.nan, torch.inf])
@pytest.mark.parametrize("do_sample", [False, True])
def test_a_processor_that_leaves_nothing_ends_all_the_same(value, do_sample):
    processors = change(lambda scores: torch.full_like(scores, value))
    model = Logits(*SCRIPT)
    output = model.run(logits_processor=processors, do_sample=do_sample, end_of_text=None)
    assert MASK not in output.sequences and output.nfe.tolist() == [6]
    if not do_sample and value != torch.inf:
        # The model's own tokens.
        assert output.sequences[0, 2:].tolist() == SCRIPT[0]


def test_positions_for_which_nothing_is_left_come_last():
    """The last is the most confident here."""
    never = change(lambda scores: scores.masked_fill((scores.argmax(dim=-1) == 4)[:, None], -torch.inf))
    script = SCRIPT[0], SCRIPT[1][::-1]
    assert Logits(*script).run().unmasking_steps[0].tolist() == [5, 4, 3, 2, 1, 0]
    output = Logits(*script).run(logits_processor=never)
    assert output.unmasking_steps[0].tolist() == [4, 3, 2, 1, 0, 5] and output.sequences[0, 7] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forced_bos_token_id": 3}, "`forced_bos_token_id` must be None for a diffusion model"),
        ({"forced_eos_token_id": MASK}, "`forced_eos_token_id` must not be a token that is never predicted"),
        ({"forced_eos_token_id": EOT, "logits_eos_inf": True}, "`forced_eos_token_id` must not be a token that is"),
        ({"exponential_decay_length_penalty": (0, 1e300)}, "`exponential_decay_length_penalty` must have a factor"),
        ({"bad_words_ids": [[1, 99]]}, "vocabulary size is 12"),
        ({"no_repeat_ngram_size": 2, "verify": True}, "must be None with `verify`"),
        ({"bad_words_ids": [[1, 2]], "verify": True}, "must be None with `verify`"),
    ],
)
def test_what_cannot_be_right_is_refused(options, message):
    model = ScriptedModel(*SCRIPT)
    with pytest.raises(ValueError, match=message):
        model.run(**options)
    assert not model.canvases


class TakesMore(LogitsProcessor):
    def __call__(self, input_ids, scores, beam):
        return scores


OTHER = torch.tensor([[7, 7]])


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (TakesMore(), "`logits_processor` must take `input_ids` and `scores` only .got TakesMore"),
        (hf.ClassifierFreeGuidanceLogitsProcessor(1.5), "`guidance_scale` must be None for a diffusion model"),
        (hf.WatermarkLogitsProcessor(VOCAB, "cpu"), "`watermarking_config` must be None for a diffusion model"),
        (hf.PrefixConstrainedLogitsProcessor(lambda *_: [1], 1), "`prefix_allowed_tokens_fn` must be None"),
        (hf.EncoderRepetitionPenaltyLogitsProcessor(1.5, OTHER), "`encoder_repetition_penalty` must be about the"),
        (hf.EncoderNoRepeatNGramLogitsProcessor(2, OTHER), "`encoder_no_repeat_ngram_size` must be about the"),
    ],
)
def test_processors_that_cannot_be_right_are_refused(processor, message):
    model = ScriptedModel(*SCRIPT)
    with pytest.raises(ValueError, match=message):
        model.run(logits_processor=LogitsProcessorList([processor]))
    assert not model.canvases


def test_scores_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"`logits_processor` must return scores of shape \(6, 12\) \(got NoneType"):
        ScriptedModel(*SCRIPT).run(logits_processor=change(lambda scores: None))


def test_a_length_penalty_counts_from_the_end_of_the_prompt():
    model = golden_model("tiny_llada")
    prompt = torch.tensor([[5, 6, 7, 8]])
    free = model.generate(prompt, max_new_tokens=16)
    late = model.generate(prompt, max_new_tokens=16, exponential_decay_length_penalty=(14, 1.5))
    assert late.shape == free.shape
    early = model.generate(prompt, max_new_tokens=16, exponential_decay_length_penalty=(2, 9.0))
    assert 4 + 3 <= early.shape[1] < free.shape[1]


def test_the_last_token_is_forced():
    output = ScriptedModel(*SCRIPT).run([[1, 2], [EOT, 2]], forced_eos_token_id=EOT)
    assert output.sequences[:, 2:].tolist() == [[5, 6, 7, 8, 3, EOT]] * 2


OPTIONS = [
    {"repetition_penalty": 1.5},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"encoder_repetition_penalty": 3.0},
    {"encoder_no_repeat_ngram_size": 1},
    {"exponential_decay_length_penalty": (4, 1.3)},
    {"begin_suppress_tokens": [407, 115]},
    {"bad_words_ids": [[407, 407], [115, 407], [407, 115, 115]], "sequence_bias": {(407,): 2.0, (115, 407): 5.0}},
]
DECODING = st.sampled_from([LowConfidence(), RandomOrder(), Threshold(0.0), Threshold(0.01)])


@pytest.mark.parametrize("decoding", [LowConfidence(), Threshold(0.01)])
@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: next(iter(option)))
def test_row_does_not_depend_on_batch_mates_nor_on_padding(option, decoding):
    prompts = [[5, 6, 7, 8], [7, 8, 9, 7, 8, 9], [510, 115]]
    options = {"decoding": decoding, "max_new_tokens": 9, "block_length": 6, "eos_token_id": 407} | option
    width, together = generate(prompts, extra_padding=2, **options)
    for row, prompt in enumerate(prompts):
        start, alone = generate([prompt], **options)
        length = alone.sequences.shape[1] - start
        assert together.sequences[row, width : width + length].tolist() == alone.sequences[0, start:].tolist()
        assert together.nfe[row] == alone.nfe[0]


def sequences_of(text, size):
    return [tuple(text[start : start + size]) for start in range(len(text) - size + 1)]


@settings(max_examples=12)
@given(
    st.lists(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6), min_size=1, max_size=3),
    DECODING,
    st.integers(2, 3),
    st.booleans(),
)
def test_no_sequence_occurs_twice_in_whatever_order_it_was_written(prompts, decoding, size, do_sample):
    """Four tokens are likely, so that there is much to repeat."""
    likely = change(lambda scores: scores * 0.01 + (torch.arange(scores.shape[-1]) < 4) * 9.0)
    width, output = generate(
        prompts,
        decoding=decoding,
        max_new_tokens=12,
        block_length=5,
        no_repeat_ngram_size=size,
        do_sample=do_sample,
        logits_processor=likely,
        end_of_text=None,
    )
    for prompt, answer in zip(prompts, output.sequences[:, width:].tolist(), strict=True):
        text = prompt + answer
        # A prompt may repeat itself.
        before = sequences_of(prompt, size)
        new = sequences_of(text, size)[len(before) :]
        assert len(set(new)) == len(new) and not set(new) & set(before)


@settings(max_examples=12)
@given(PROMPTS, DECODING, st.booleans())
def test_no_bad_word_occurs_in_whatever_order_it_was_written(prompts, decoding, do_sample):
    words = [[one, other] for one in range(4) for other in range(4) if one != other] + [[2, 2, 2], [3, 3]]
    likely = change(lambda scores: scores * 0.01 + (torch.arange(scores.shape[-1]) < 5) * 9.0)
    width, output = generate(
        prompts,
        decoding=decoding,
        max_new_tokens=12,
        block_length=5,
        bad_words_ids=words,
        do_sample=do_sample,
        logits_processor=likely,
        end_of_text=None,
    )
    for prompt, answer in zip(prompts, output.sequences[:, width:].tolist(), strict=True):
        text = prompt + answer
        for word in words:
            assert tuple(word) not in sequences_of(text, len(word))[max(0, len(prompt) - len(word) + 1) :]


def test_forbidden_sequences_look_to_both_sides():
    text = Forbidden([[(1, 2), (3, 4, 5)]]).text(0, [1, None, None, 4, 5], 0)
    assert text.banned(1) == {2} and text.banned(2) == {3}


def test_a_run_of_one_token_repeats_itself():
    text = Forbidden([()], repeats=2).text(0, [7, None, 7, 8], 0)
    # 7 7 would stand there twice; 7 8 stands there already, 8 may come before 7.
    assert text.banned(1) == {7, 8}
    assert Forbidden([()], repeats=2).text(0, [6, None, 7, 8], 0).banned(1) == set()


def test_what_lies_behind_the_end_of_a_text_may_repeat():
    forbidden = Forbidden([()], repeats=2, eos=frozenset([EOT]))
    assert forbidden.text(0, [1, None, EOT, EOT, EOT], 1).banned(1) == set()
    # But a prompt that has ended behind a token keeps the answer from it, as in transformers.
    assert forbidden.text(0, [1, EOT, 1, None], 3).banned(3) == {EOT}


def test_of_tokens_that_forbid_each_other_the_most_confident_is_taken():
    words = hf.NoBadWordsLogitsProcessor([[5, 6], [7, 8]])
    output = ScriptedModel([5, 6, 7, 8], [0.6, 0.9, 0.8, 0.7]).run(
        decoding=Threshold(0.5), logits_processor=LogitsProcessorList([words])
    )
    answer = output.sequences[0, 2:].tolist()
    assert answer[1:3] == [6, 7] and answer[0] != 5 and answer[3] != 8
    assert output.unmasking_steps[0, 1:3].tolist() == [0, 0] and output.nfe > 1


def test_answers_of_one_prompt_share_what_its_processors_know():
    model = golden_model("tiny_llada")
    options = {"max_new_tokens": 8, "encoder_repetition_penalty": 2.0, "encoder_no_repeat_ngram_size": 1}
    prompts, mask = torch.tensor([[510, 5, 6], [7, 8, 9]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    once = model.generate(prompts, attention_mask=mask, **options)
    twice = model.generate(prompts, attention_mask=mask, do_sample=True, top_k=1, num_return_sequences=2, **options)
    assert torch.equal(twice, once.repeat_interleave(2, dim=0))


@pytest.mark.parametrize("option", [{"repetition_penalty": 1.5}, {"exponential_decay_length_penalty": (4, 1.3)}])
def test_verified_drafts_are_processed_as_the_stock_loop_is(option):
    prompts = [[5, 6, 7, 8], [9, 4]]
    options = {"max_new_tokens": 16, "block_length": 8, "eos_token_id": 407} | option
    _, stock = generate(prompts, **options)
    _, drafted = generate(prompts, verify=True, **options)
    assert torch.equal(drafted.sequences, stock.sequences)
