# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Block schedules: fixed ones, and blocks that end at a delimiter."""

from pathlib import Path

import pytest
import torch
from conftest import EOT, ScriptedModel, golden_filter, golden_model
from hypothesis import given
from hypothesis import strategies as st
from test_properties import PROMPTS, generate
from transformers import AutoTokenizer

from hf_learn2pd import (
    AdaBlock,
    DreamForMaskedDiffusion,
    FixedBlocks,
    Learn2PD,
    LladaForMaskedDiffusion,
    Threshold,
    UnmaskingFilter,
)
from hf_learn2pd.blocks import resolve_schedule

TOKENIZER = Path(__file__).parents[1] / "examples" / "tiny_llada"
DOT = 7


def test_the_most_confident_delimiter_ends_the_block():
    schedule = AdaBlock(4, threshold=0.3, delimiter_ids=(DOT, 9))
    tokens = torch.tensor([[1, DOT, 3, 9, DOT, 2], [1, DOT, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, DOT]])
    confidence = torch.tensor([[0.9, 0.4, 0.9, 0.6, 0.5, 0.9], [0.9, 0.29, *[0.9] * 4], [0.9] * 6, [0.9] * 6])
    # 24 positions: 6 are searched. 20: 5, so that the last row's delimiter is not seen.
    assert schedule.widest(24) == 6 and schedule.widest(8) == 4 and schedule.widest(2) == 2
    assert schedule.adapt(tokens, confidence, 24).tolist() == [4, 4, 4, 6]
    assert schedule.adapt(tokens, confidence, 20).tolist() == [4, 4, 4, 4]
    assert AdaBlock(4, 0.2, (DOT,)).adapt(tokens, confidence, 24).tolist() == [5, 2, 4, 6]
    assert FixedBlocks(4).adapt(tokens, confidence, 24) is None


def test_blocks_by_hand():
    """Two delimiters in 16 positions: blocks of 3, of 5, and what remains in blocks of 4."""
    tokens = [1, 2, DOT, 1, 2, 3, 4, DOT, *[5] * 8]
    model = ScriptedModel(tokens, [0.95] * 16)
    schedule = AdaBlock(4, delimiter_ids=(DOT,), window=0.5)
    output = model.run(decoding=Threshold(0.9), block_schedule=schedule, end_of_text=None)
    assert output.sequences[0, 2:].tolist() == tokens
    # One pass for each block: the first step uses the pass that has found the delimiter.
    assert output.unmasking_steps[0].tolist() == [0] * 3 + [1] * 5 + [2] * 4 + [3] * 4
    assert output.nfe.tolist() == [4] == [len(output.forward_passes)]
    # A delimiter is nothing new once the block is done; the end of the text still ends the row.
    ended = ScriptedModel([1, DOT, EOT, 3, *[5] * 12], [0.95] * 16)
    output = ended.run(decoding=Threshold(0.9), block_schedule=schedule)
    assert output.sequences[0, 2:].tolist() == [1, DOT, EOT] and output.nfe.tolist() == [2]


@given(PROMPTS, st.integers(1, 40), st.integers(1, 16), st.sampled_from([None, "dual"]))
def test_a_threshold_above_one_gives_fixed_blocks(prompts, max_new_tokens, block_length, block_cache):
    options = {"max_new_tokens": max_new_tokens, "decoding": Threshold(0.01), "block_cache": block_cache}
    never = AdaBlock(block_length, threshold=1.01, delimiter_ids=tuple(range(512)))
    _, adaptive = generate(prompts, block_schedule=never, **options)
    _, fixed = generate(prompts, block_length=block_length, **options)
    for name in ("sequences", "nfe", "unmasking_steps"):
        assert torch.equal(getattr(adaptive, name), getattr(fixed, name))


def test_a_filter_of_one_block_length_is_refused_where_blocks_may_be_wider():
    prompt, options = torch.tensor([[1, 2, 3]]), {"max_new_tokens": 160, "end_of_text": None}
    schedule = AdaBlock(32, delimiter_ids=(407,))
    with pytest.raises(ValueError, match=r"`block_length` must be at most that of the filter, 32 \(got 40\)"):
        golden_model("tiny_llada").generate(
            prompt, decoding=Learn2PD(golden_filter(), 0.5), block_schedule=schedule, **options
        )
    wide = UnmaskingFilter(architecture="transformer", threshold=0.5)
    output = golden_model("tiny_llada").generate(prompt, decoding=Learn2PD(wide), block_schedule=schedule, **options)
    assert output.shape == (1, 163)


def test_delimiters_come_from_the_tokenizer():
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    (dot,) = tokenizer(".", add_special_tokens=False)["input_ids"]
    assert AdaBlock.from_tokenizer(tokenizer, (".",), threshold=0.5) == AdaBlock(threshold=0.5, delimiter_ids=(dot,))
    with pytest.raises(ValueError, match="`delimiters` must be one known token each"):
        AdaBlock.from_tokenizer(tokenizer, ("one two",))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdaBlock(0), "`block_length` must be an integer above 0"),
        (lambda: AdaBlock(threshold=-0.1), "`threshold` must be at least 0"),
        (lambda: AdaBlock(window=0), "`window` must be above 0 and at most 1"),
        (lambda: AdaBlock(delimiter_ids=()), "`delimiter_ids` must be token ids"),
        (
            lambda: ScriptedModel([1, 2], [0.9, 0.8]).run(block_schedule="adablock"),
            "`block_schedule` must be an AdaBlock with `delimiter_ids` of this model, or come with a `tokenizer`",
        ),
        (lambda: ScriptedModel([1, 2], [0.9, 0.8]).run(block_schedule="ada"), "`block_schedule` must be adablock"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_adablock_has_the_published_defaults_of_a_family():
    schedule = resolve_schedule("adablock", 32, None, 151936, DreamForMaskedDiffusion.adablock)
    assert schedule.threshold == 0.5 and len(schedule.delimiter_ids) == 24 and 198 in schedule.delimiter_ids
    assert resolve_schedule({"name": "adablock", "threshold": 0.7}, 32, None, 151936).threshold == 0.7
    assert resolve_schedule("adablock", 32, None, 126464, LladaForMaskedDiffusion.adablock) == AdaBlock()
    with pytest.raises(ValueError, match="`delimiter_ids` of this model"):
        resolve_schedule("adablock", 32, None, 500, DreamForMaskedDiffusion.adablock)
