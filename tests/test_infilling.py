# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Masks inside of prompts: they are denoised where they stand, and nothing else is touched."""

import pytest
import torch
from conftest import EOT, MASK, STRATEGIES, ScriptedModel, golden_model
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast, pipeline
from transformers.generation.streamers import BaseStreamer
from transformers.modeling_outputs import MaskedLMOutput

from hf_learn2pd import Oracle, SdarConfig, SdarForMaskedDiffusion, Threshold, enable_decoding, infill_inputs

TINY_MASK, TINY_EOT = 511, 510


def fill(ids, tokens, confidence, mask=None, **options):
    """Runs a scripted model that predicts these tokens in the columns of the prompt."""
    model = ScriptedModel(tokens, confidence)
    model.prompt_length = 0
    prompt = torch.tensor(ids)
    options["attention_mask"] = torch.ones_like(prompt) if mask is None else torch.tensor(mask)
    options = {"infill": True, "return_dict_in_generate": True, "output_unmasking_steps": True} | options
    return model, model.generate(prompt, **options)


def test_masks_are_filled_where_they_stand_and_nothing_is_written_behind():
    ids = [[1, MASK, MASK, 2, 3, MASK, 4]]
    model, output = fill(ids, [5, 6, 7, 8, 9, 3, 5], [0.9, 0.5, 0.7, 0.9, 0.9, 0.6, 0.9])
    # The most confident first: columns 2, 5, 1.
    assert output.sequences.tolist() == [[1, 6, 7, 2, 3, 3, 4]]
    assert output.unmasking_steps.tolist() == [[-1, 2, 0, -1, -1, 1, -1]]
    assert output.nfe.tolist() == [3] and output.tokens_per_forward.tolist() == [1.0]
    assert model.canvases[1] == [[1, MASK, 7, 2, 3, MASK, 4]]


def test_blocks_begin_at_the_first_mask_and_jump_over_what_is_given():
    ids = [[1, MASK, 2, MASK, 3, 4, MASK, MASK]]
    confidence = [0.5, 0.4, 0.5, 0.6, 0.5, 0.5, 0.95, 0.9]
    _, output = fill(ids, [5, 6, 7, 8, 9, 3, 5, 6], confidence, block_length=2)
    # Blocks are columns 1-2, 3-4, 6-7, whatever the confidence of those further to the right.
    assert output.unmasking_steps.tolist() == [[-1, 0, -1, 1, -1, -1, 2, 3]]
    _, output = fill(ids, [5, 6, 7, 8, 9, 3, 5, 6], confidence, block_length=3)
    # Columns 1-3, 6-7.
    assert output.unmasking_steps.tolist() == [[-1, 1, -1, 0, -1, -1, 2, 3]]


def test_rows_have_blocks_of_their_own_and_leave_on_their_own():
    ids = [[EOT, EOT, 1, MASK, 2, 3], [MASK, 2, MASK, MASK, 1, MASK]]
    mask = [[0, 0, 1, 1, 1, 1], [1] * 6]
    _, output = fill(ids, [5, 6, 7, 8, 9, 3], [0.9] * 6, mask, decoding=Threshold(0.8), block_length=3)
    assert output.sequences.tolist() == [[EOT, EOT, 1, 8, 2, 3], [5, 2, 7, 8, 1, 3]]
    # The second row's blocks: columns 0-2, 3-5.
    assert output.nfe.tolist() == [1, 2] and output.tokens_per_forward.tolist() == [1.0, 2.0]
    assert [rows for _, rows, _, _ in output.forward_passes] == [2, 1]


def test_an_end_of_text_inside_of_a_prompt_ends_nothing():
    ids = [[1, MASK, MASK, EOT, 2, MASK]]
    _, output = fill(ids, [5, EOT, 7, 8, 9, 3], [0.9] * 6)
    assert output.sequences.tolist() == [[1, EOT, 7, EOT, 2, 3]]
    assert fill(ids, [5, EOT, 7, 8, 9, 3], [0.9] * 6, end_of_text=None)[1].sequences.tolist() == [
        [1, EOT, 7, EOT, 2, 3]
    ]


def test_an_answer_is_written_behind_the_prompt_if_the_call_asks_for_it():
    ids, tokens = [[1, MASK, 2], [1, 3, 2]], [5, EOT, 7, 8, EOT, 9, 9]
    _, output = fill(ids, tokens, [0.9] * 7, max_new_tokens=4, decoding=Threshold(0.8))
    # A block ends with the prompt, so the first row needs two passes; its first EoT ends no text, its second does.
    assert output.sequences.tolist() == [[1, EOT, 2, 8, EOT], [1, 3, 2, 8, EOT]]
    assert output.nfe.tolist() == [2, 1] and output.tokens_per_forward.tolist() == [1.5, 2.0]
    assert output.unmasking_steps.tolist() == [[-1, 0, -1, 1, 1], [-1, -1, -1, 0, 0]]
    assert fill(ids, tokens, [0.9] * 7, max_length=7)[1].sequences.tolist() == output.sequences.tolist()


def test_steps_are_spread_over_the_masks_of_each_row():
    ids = [[MASK, 1, MASK, MASK, 2, MASK], [3, 1, MASK, 3, 2, MASK]]
    _, output = fill(ids, [5, 6, 7, 8, 9, 3], [0.9, 0.5, 0.8, 0.7, 0.5, 0.6], steps=2, block_length=6)
    assert output.unmasking_steps.tolist() == [[0, -1, 0, 1, -1, 1], [-1, -1, 0, -1, -1, 1]]


def test_the_share_of_masks_that_is_left_counts_what_is_given():
    ids = [[MASK, 1, MASK, 1, 1, 1, 1, 1]]
    # With 2 of 8 masked the threshold falls to 0.9 * (1 - 0.5 * 0.75) = 0.5625.
    _, output = fill(ids, [5] * 8, [0.6] * 8, decoding=Threshold(0.9, relief=0.5), block_length=4)
    assert output.nfe.tolist() == [1]
    _, output = fill(ids, [5] * 8, [0.55] * 8, decoding=Threshold(0.9, relief=0.5), block_length=4)
    assert output.nfe.tolist() == [2]


def test_the_models_own_length_is_not_a_call_for_an_answer():
    model = ScriptedModel([5, 6, 7], [0.9] * 3)
    model.prompt_length = 0
    model.generation_config.max_new_tokens = 4
    ids = torch.tensor([[1, MASK, 2]])
    assert model.generate(ids, infill=True).tolist() == [[1, 6, 2]]
    model.generation_config.infill = True
    assert model.generate(ids).tolist() == [[1, 6, 2]]


def test_processors_see_both_sides_of_a_mask():
    ids = [[MASK, 2, 3, MASK, 4]]
    tokens, confidence = [5, 6, 7, 8, 9], [0.9] * 5
    assert fill(ids, tokens, confidence, bad_words_ids=[[8, 4]])[1].sequences[0, 3] != 8
    assert fill(ids, tokens, confidence, suppress_tokens=[5])[1].sequences[0, 0] != 5
    # Nothing stands before the first column, which transformers never asks about.
    _, output = fill(ids, tokens, confidence, repetition_penalty=1.5, no_repeat_ngram_size=2)
    assert output.sequences.tolist() == [[5, 2, 3, 8, 4]]


def test_the_oracle_reproduces_whole_sequences():
    ids, mask = [[EOT, 1, MASK, MASK, 2, MASK], [MASK, 1, MASK, MASK, 2, MASK]], [[0] + [1] * 5, [1] * 6]
    tokens = [5, 6, 7, 8, 9, 3]
    reference = torch.tensor([[EOT, 1, 7, 8, 2, 3], [5, 1, 7, 9, 2, 3]])
    _, output = fill(ids, tokens, [0.9] * 6, mask, decoding=Oracle(reference))
    assert output.unmasking_steps.tolist() == [[-1, -1, 0, 0, -1, 0], [0, -1, 0, 1, -1, 0]]


def naive_fill(model, ids, mask_id, block_length, threshold):
    """Fills one row: the most confident mask of the block in every step, and all from the threshold on."""
    ids, nfe, start = list(ids), 0, 0
    while mask_id in ids[start:]:
        start = ids.index(mask_id, start)
        block = range(start, min(start + block_length, len(ids)))
        while any(ids[column] == mask_id for column in block):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0].float()
            logits[:, mask_id] = -torch.inf
            probabilities = logits.softmax(dim=-1)
            best = (-1.0, -1)
            sure = []
            for column in block:
                if ids[column] == mask_id:
                    p, _ = probabilities[column - model.logits_shift].max(dim=-1)
                    best = max(best, (p.item(), -column))
                    if p >= threshold:
                        sure.append(column)
            for column in {*sure, -best[1]}:
                ids[column] = probabilities[column - model.logits_shift].argmax().item()
            nfe += 1
        start = block.stop
    return ids, nfe


@pytest.mark.parametrize(("name", "mask_id"), [("tiny_llada", TINY_MASK), ("tiny_dream", None)])
@pytest.mark.parametrize(("block_length", "threshold"), [(32, 2.0), (4, 2.0), (4, 0.02), (3, 0.01)])
def test_rows_of_a_padded_batch_are_what_a_plain_loop_makes_of_each(name, mask_id, block_length, threshold):
    model = golden_model(name)
    mask_id = model.config.mask_token_id if mask_id is None else mask_id
    m = mask_id
    rows = [
        [7, m, 8, 9, m, m, m, 30, m],
        [40, 41, m, m, m, 42, 43, 44, 45, 46, 47, 48, m, 49],
        [50, 51, 52, 53, m],
    ]
    width = max(map(len, rows)) + 2
    ids = torch.tensor([[m] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    decoding = "low_confidence" if threshold > 1 else Threshold(threshold)
    options = {"decoding": decoding, "infill": True, "block_length": block_length, "return_dict_in_generate": True}
    output = model.generate(ids, attention_mask=mask, **options)
    for row, (text, nfe) in enumerate(naive_fill(model, row, m, block_length, threshold) for row in rows):
        assert output.sequences[row, width - len(text) :].tolist() == text
        assert output.nfe[row] == nfe
    # A cache that is renewed in every step is none; drafts that are verified change nothing.
    for exact in (
        {"block_cache": "dual"},
        {"block_cache": "prefix"},
        {"block_cache": "local"},
        {"block_cache": "sliding"},
    ):
        same = model.generate(ids, attention_mask=mask, refresh_every=1, **exact, **options)
        assert torch.equal(same.sequences, output.sequences) and torch.equal(same.nfe, output.nfe)
    if threshold > 1:
        same = model.generate(ids, attention_mask=mask, verify=True, **options)
        assert torch.equal(same.sequences, output.sequences) and (same.nfe <= output.nfe).all()


def test_guidance_masks_what_is_given():
    model, ids = golden_model("tiny_llada"), [[44, *[TINY_MASK] * 4, 433, 260, *[TINY_MASK] * 6, 379]]

    class Guided:
        """Logits of guidance, of rows whose masks are those of `ids`."""

        logits_shift = 0

        def __call__(self, texts):
            bare = torch.where(torch.tensor(ids) == TINY_MASK, texts, TINY_MASK)
            with torch.no_grad():
                plain, without = model(texts).logits, model(bare).logits
            return MaskedLMOutput(logits=without + 2.5 * (plain - without))

    text, _ = naive_fill(Guided(), ids[0], TINY_MASK, 32, 2.0)
    assert model.generate(torch.tensor(ids), infill=True, cfg_scale=1.5).tolist() == [text]
    assert text != naive_fill(model, ids[0], TINY_MASK, 32, 2.0)[0]


def test_any_masked_language_model_fills_in():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16)
    bert = enable_decoding(BertForMaskedLM(config).eval(), mask_token_id=59)
    ids = [3, 59, 4, 59, 59, 5]
    text, nfe = naive_fill(bert, ids, 59, 2, 2.0)
    output = bert.generate(
        torch.tensor([ids]), infill=True, block_length=2, end_of_text=None, return_dict_in_generate=True
    )
    assert output.sequences.tolist() == [text] and output.nfe.tolist() == [nfe]


ROWS = st.lists(
    st.lists(st.one_of(st.integers(0, 509), st.just(TINY_MASK)), min_size=1, max_size=10).filter(
        lambda r: TINY_MASK in r
    ),
    min_size=1,
    max_size=3,
)
CACHES = st.sampled_from(
    [{}, {}, {"block_cache": "prefix"}, {"block_cache": "dual", "refresh_every": 2}, {"block_cache": "local"}]
)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(ROWS, st.sampled_from(STRATEGIES), st.integers(1, 8), CACHES, st.sampled_from([0.0, 0.5]), st.integers(0, 3))
def test_given_tokens_are_kept_no_mask_is_left_and_rows_are_independent(
    rows, decoding, block_length, cache, cfg_scale, padding
):
    def run(prompts, width):
        ids = torch.tensor([[TINY_EOT] * (width - len(row)) + row for row in prompts])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
        return ids, golden_model("tiny_llada").generate(
            ids,
            attention_mask=mask,
            infill=True,
            decoding=decoding,
            block_length=block_length,
            cfg_scale=cfg_scale,
            return_dict_in_generate=True,
            generator=torch.Generator().manual_seed(0),
            **cache,
        )

    width = max(map(len, rows)) + padding
    ids, output = run(rows, width)
    masked = ids == TINY_MASK
    assert output.sequences.shape == ids.shape and TINY_MASK not in output.sequences
    assert torch.equal(output.sequences[~masked], ids[~masked])
    assert (output.nfe <= masked.sum(dim=-1)).all()
    assert torch.equal(output.tokens_per_forward, masked.sum(dim=-1) / output.nfe)
    for row, prompt in enumerate(rows):
        _, alone = run([prompt], len(prompt))
        assert output.sequences[row, width - len(prompt) :].tolist() == alone.sequences[0].tolist()
        assert output.nfe[row] == alone.nfe[0]


REFUSED = [
    ({"infill": 1}, "`infill` must be a bool"),
    ({"end_of_text": "cut"}, "`end_of_text` must be accepted or None with `infill` .got 'cut'"),
    ({"end_of_text": "predicted"}, "`end_of_text` must be accepted or None with `infill`"),
    ({"block_schedule": "sliding"}, "`block_schedule` must be None with `infill` .got 'sliding'"),
    ({"suffix_length": 4}, "`suffix_length` must be None with `infill` .got 4"),
    ({"schedule_eps": 0.1, "steps": 2, "block_length": 256}, "`schedule_eps` must be None with `infill`"),
    ({"max_time": 3.0}, "`max_time` must be None with `infill`"),
    ({"stop_strings": ["a"]}, "`stop_strings` must be None with `infill`"),
    ({"output_history": True}, "`output_history` must be False with `infill` .got True"),
    (
        {"stopping_criteria": [lambda ids, scores: False]},
        "`stopping_criteria` must be None with `infill`.*got function",
    ),
    ({"max_new_tokens": 0}, "`max_new_tokens` must be an integer above 0"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_infilling_would_have_to_ignore_is_refused(options, message):
    model = ScriptedModel([5, 6, 7], [0.9] * 3)
    with pytest.raises(ValueError, match=message):
        model.generate(torch.tensor([[1, MASK, 2]]), **({"infill": True} | options))
    assert model.canvases == []


class Silent(BaseStreamer):
    def put(self, value):
        pass


def test_prompts_that_cannot_be_filled_are_refused():
    model = ScriptedModel([5, 6, 7], [0.9] * 3)
    ids = torch.tensor([[1, MASK, 2], [MASK, 1, 2]])
    with pytest.raises(ValueError, match=r"`input_ids` must hold the mask token 11 in every row.*none in row 1"):
        model.generate(ids, attention_mask=torch.tensor([[1, 1, 1], [0, 1, 1]]), infill=True)
    with pytest.raises(ValueError, match="must not hold the mask token 11 without `infill`"):
        model.generate(ids)
    with pytest.raises(ValueError, match=r"`streamer` must be None with `infill` .got Silent"):
        model.generate(ids[:1], infill=True, streamer=Silent())
    assert model.canvases == []
    dream = golden_model("tiny_dream")
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 8}
    sdar = SdarForMaskedDiffusion(
        SdarConfig(vocab_size=600, mask_token_id=5, eos_token_id=4, pad_token_id=4, num_key_value_heads=1, **size)
    )
    first = torch.tensor([[5, dream.config.mask_token_id], [dream.config.mask_token_id, 5]])
    with pytest.raises(ValueError, match=r"`input_ids` must not begin with the mask token \d+ for a.*got row 1"):
        dream.generate(first, infill=True)
    with pytest.raises(ValueError, match="`infill` must be False for a block-causal model"):
        sdar.generate(torch.tensor([[1, 5, 2]]), infill=True)


def words(**special):
    """A tokenizer that writes <s> and </s> around a text."""
    vocab = {word: number for number, word in enumerate(["a", "b", "c", "d", "e", "[M]", "<s>", "</s>"])}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="a"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 6), ("</s>", 7)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def test_a_gap_stands_between_prefix_and_suffix():
    tokenizer = words(mask_token="[M]")
    assert infill_inputs(tokenizer, "a b", "c", 2)["input_ids"].tolist() == [[6, 0, 1, 5, 5, 2, 7]]
    assert infill_inputs(tokenizer, "", "c", 1)["input_ids"].tolist() == [[6, 5, 2, 7]]
    assert infill_inputs(words(), "c", "", 1, mask_token_id=3)["input_ids"].tolist() == [[6, 2, 3, 7]]
    assert infill_inputs(tokenizer, "a", "b", 1)["attention_mask"].tolist() == [[1] * 5]
    for arguments, message in (
        (("a", "b", 0), "`length` must be an integer above 0"),
        (("", " ", 1), "`prefix` or `suffix` must hold a token"),
    ):
        with pytest.raises(ValueError, match=message):
            infill_inputs(tokenizer, *arguments)
    with pytest.raises(ValueError, match="`mask_token_id` must be given for a tokenizer without a mask token"):
        infill_inputs(words(), "a", "b", 1)


def test_the_fill_mask_pipeline_of_transformers_takes_a_llada():
    model, tokenizer = golden_model("tiny_llada"), words(mask_token="[M]")
    found = pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=3)("a [M] c")
    with torch.no_grad():
        best = model(tokenizer("a [M] c", return_tensors="pt")["input_ids"]).logits[0, 2].topk(3).indices
    assert [each["token"] for each in found] == best.tolist()
