# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What holds for each block-causal family: rows are independent, drafts are verified, texts end and are streamed."""

import pytest
import torch
from conftest import STRATEGIES, golden_filter
from hypothesis import given, settings
from hypothesis import strategies as st
from test_block_causal import BLOCK, EOT, FAMILIES, PROMPTS, SEVERAL, generate
from transformers.generation.streamers import BaseStreamer

from hf_learn2pd import BlockCausal, Learn2PD, LowConfidence, Threshold, UnmaskingFilter

FILTER = UnmaskingFilter(architecture="transformer", features=["confidence", "position", "margin", "unchanged"])
ONE_OF_EACH = [*{type(strategy): strategy for strategy in STRATEGIES}.values(), Learn2PD(FILTER, 0.5)]
pytestmark = pytest.mark.parametrize("family", FAMILIES)


def assert_rows_are_those_alone(family, **options):
    """In a left-padded batch, which is returned."""

    def run(prompts):
        return generate(prompts, family, generator=torch.Generator().manual_seed(0), **options)

    width, together = run(SEVERAL)
    for row, prompt in enumerate(SEVERAL):
        _, alone = run([prompt])
        answer = alone.sequences[0, len(prompt) :]
        assert together.sequences[row, width : width + len(answer)].equal(answer)
        assert set(together.sequences[row, width + len(answer) :].tolist()) <= {EOT}
        assert together.nfe[row] == alone.nfe[0] <= options["max_new_tokens"]
        assert together.tokens_per_forward[row] == alone.tokens_per_forward[0]
    return together


@pytest.mark.parametrize("strategy", ONE_OF_EACH, ids=lambda strategy: type(strategy).__name__)
def test_no_strategy_lets_a_row_depend_on_batch_mates_or_the_cache(family, strategy):
    options = {"max_new_tokens": 10, "decoding": strategy}
    cached = assert_rows_are_those_alone(family, **options)
    generator = torch.Generator().manual_seed(0)
    _, uncached = generate(SEVERAL, family, generator=generator, block_cache=BlockCausal(reuse=False), **options)
    assert cached.sequences.equal(uncached.sequences) and cached.nfe.equal(uncached.nfe)


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("end_of_text", ["accepted", "cut", "predicted"])
def test_no_end_of_text_does_either(family, end_of_text, reuse):
    options = {"end_of_text": end_of_text, "eos_token_id": list(range(0, 126, 9)), "pad_token_id": EOT}
    options |= {"decoding": Learn2PD(golden_filter(), 0.3), "block_cache": BlockCausal(reuse)}
    assert_rows_are_those_alone(family, max_new_tokens=18, **options)


DRAFTERS = st.sampled_from([LowConfidence(), Threshold(0.2), "learn2pd"])
EXTRAS = st.sampled_from(
    [
        {},
        {"steps": 9},
        {"cfg_scale": 0.5},
        {"block_cache": BlockCausal(reuse=False)},
        {"end_of_text": "accepted", "eos_token_id": [3, 40, 77]},
    ]
)
LENGTHS = st.fixed_dictionaries({"max_new_tokens": st.integers(1, 21), "block_length": st.sampled_from([3, 4, 8])})


@settings(deadline=None, max_examples=10, derandomize=True)
@given(PROMPTS, DRAFTERS, LENGTHS, EXTRAS, st.integers(1, 9), st.integers(0, 3))
def test_verified_text_is_that_of_the_stock_loop(family, prompts, drafter, lengths, extra, draft_length, seed):
    options = {"family": family, "seed": seed} | lengths | extra
    _, stock = generate(prompts, decoding="low_confidence", **options)
    if drafter == "learn2pd":
        options |= {"unmasking_filter": golden_filter(), "filter_threshold": 0.3}
    _, drafted = generate(prompts, decoding=drafter, verify=True, max_draft_length=draft_length, **options)
    assert drafted.sequences.equal(stock.sequences)
    assert (drafted.nfe <= stock.nfe).all() and (drafted.acceptance_length >= 1).all()


def ending(family):
    """A batch without an end of text, and an id that stands in the middle of some rows and in others not at all."""
    options = {"max_new_tokens": 18, "decoding": Threshold(0.3), "pad_token_id": EOT}
    width, whole = generate(SEVERAL, family, output_unmasking_steps=True, **options)
    answers = whole.sequences[:, width:].tolist()
    ends = [[row.index(token) if token in row else None for row in answers] for token in range(126)]
    token = max(range(126), key=lambda token: (None in ends[token], sum(bool(end and end < 10) for end in ends[token])))
    assert None in ends[token] and any(end is not None and end < 10 for end in ends[token])
    return width, whole, ends[token], options | {"eos_token_id": token, "end_of_text": "accepted"}


def test_accepted_end_gives_the_text_of_no_end_and_stops_the_count(family):
    width, whole, ends, options = ending(family)
    _, output = generate(SEVERAL, family, **options)
    for row, end in enumerate(ends):
        answer, full = output.sequences[row, width:], whole.sequences[row, width:]
        if end is None:
            assert answer.equal(full) and output.nfe[row] == whole.nfe[row]
        else:
            assert answer[: end + 1].equal(full[: end + 1])
            # As many passes as it takes until the end of the text and all before it are unmasked.
            assert output.nfe[row] == 1 + whole.unmasking_steps[row, : end + 1].max() < whole.nfe[row]


class Collect(BaseStreamer):
    def __init__(self):
        self.parts = []

    def put(self, value):
        self.parts.append(value.flatten().tolist())

    def end(self):
        self.parts.append("end")


def test_streamed_text_is_the_returned_text(family):
    _, _, ends, options = ending(family)
    for prompt, end in zip(SEVERAL, ends, strict=True):
        streamer = Collect()
        _, output = generate([prompt], family, streamer=streamer, **options)
        first, *blocks, last = streamer.parts
        assert first == prompt and last == "end"
        assert [token for part in (first, *blocks) for token in part] == output.sequences[0].tolist()
        # The first block holds the prompt's tail.
        assert len(blocks[0]) <= BLOCK - len(prompt) % BLOCK
        several = -(-(len(prompt) + 18) // BLOCK) - len(prompt) // BLOCK
        # A token that is predicted from the block before is a block of its own.
        several += family == "fast_dllm" and len(prompt) + 18 > 24
        assert end is not None or len(blocks) == several
