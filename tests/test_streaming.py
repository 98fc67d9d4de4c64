# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Streamers get the text that is returned, row by row, and drafts of it in between."""

import asyncio
import functools
from pathlib import Path

import pytest
import torch
from conftest import EOT as SCRIPTED_EOT
from conftest import ScriptedModel, golden_filter
from hypothesis import given, settings
from hypothesis import strategies as st
from test_block_causal import FAMILIES, SEVERAL
from test_block_causal import generate as generate_by_block
from test_edits import EDITED
from test_properties import CACHES, END_OF_TEXT, ENDS, EOT, LENGTHS, MASK, PROMPTS, STRATEGY, SUFFIXES, generate
from transformers import (
    AsyncTextIteratorStreamer,
    AutoModelForCausalLM,
    AutoTokenizer,
    StoppingCriteria,
    TextIteratorStreamer,
)
from transformers.generation.streamers import BaseStreamer, TextDiffusionStreamer

from hf_learn2pd import Learn2PD, SlidingBlocks, Threshold

SHIPPED = Path(__file__).parents[1] / "examples" / "tiny_llada"


class Collect(BaseStreamer):
    def __init__(self):
        self.parts, self.ends = [], 0

    def put(self, value):
        assert not self.ends
        self.parts.append(value.flatten().tolist())

    def end(self):
        self.ends += 1

    @property
    def text(self):
        return [token for part in self.parts for token in part]


class CollectDrafts(Collect):
    def __init__(self):
        super().__init__()
        self.drafts = []

    def put_draft(self, value):
        assert not self.ends and value.ndim == 2 and len(value) == 1
        # What was put, and what is drafted behind it.
        self.drafts.append((self.text, value[0].tolist()))


def assert_streamed(streamers, width, output, mask=MASK):
    """Streamers got the rows up to their ends, and drafts that go on from what they had."""
    for row, streamer in enumerate(streamers):
        end = width + int((output.unmasking_steps[row] >= 0).sum())
        text = output.sequences[row, :end].tolist()
        assert streamer.text == text and all(streamer.parts) and streamer.ends == 1
        if isinstance(streamer, CollectDrafts):
            assert len(streamer.drafts) == output.nfe[row]
            for before, draft in streamer.drafts:
                assert before == text[: len(before)] and draft and mask not in draft
            # The last step unmasks the rest, so that its draft is the text.
            before, draft = streamer.drafts[-1]
            assert before + draft == text


@settings(max_examples=20)
@given(PROMPTS, STRATEGY, LENGTHS, END_OF_TEXT, ENDS, CACHES, SUFFIXES, st.lists(st.booleans(), min_size=4, max_size=4))
def test_streamed_text_is_the_returned_text(prompts, decoding, lengths, end_of_text, eos, cache, suffix, drafts):
    streamers = [CollectDrafts() if each else Collect() for each in drafts[: len(prompts)]]
    options = {"end_of_text": end_of_text, "eos_token_id": eos, "suffix_length": suffix} | lengths | cache
    width, output = generate(prompts, decoding=decoding, streamer=streamers, **options)
    assert_streamed(streamers, width, output)


@pytest.mark.parametrize(
    "options",
    [
        {"decoding": "pearl", "block_length": 8},
        {"decoding": "pearl", "block_length": 8, "block_cache": "dual"},
        {"decoding": Threshold(0.004), "block_schedule": SlidingBlocks(8), "block_cache": "sliding"},
        {"decoding": Threshold(0.004), "block_length": 8, "do_sample": True},
    ],
)
def test_so_it_is_with_verified_sliding_and_sampled_blocks(options):
    streamers = [CollectDrafts() for _ in range(3)]
    width, output = generate([[5], [6, 7], [8]], max_new_tokens=20, end_of_text=None, streamer=streamers, **options)
    assert_streamed(streamers, width, output)


@pytest.mark.parametrize("family", FAMILIES)
def test_so_it_is_with_block_causal_models(family):
    streamers = [CollectDrafts() for _ in SEVERAL]
    options = {"decoding": Threshold(0.3), "max_new_tokens": 18, "output_unmasking_steps": True, "pad_token_id": EOT}
    options |= {"end_of_text": "accepted", "eos_token_id": list(range(0, 126, 9)), "pad_token_id": 120}
    width, output = generate_by_block(SEVERAL, family, streamer=streamers, **options)
    assert_streamed(streamers, width, output, mask=127)


def test_edited_text_is_streamed_when_it_is_final():
    streamers = [Collect() for _ in SEVERAL]
    options = EDITED | {"decoding": Threshold(0.3), "output_unmasking_steps": True}
    width, output = generate_by_block(SEVERAL, "llada2_moe", streamer=streamers, **options)
    assert_streamed(streamers, width, output)


def test_drafts_are_the_block_as_it_is_predicted():
    streamer = CollectDrafts()
    model = ScriptedModel([5, 6, 7, 8, SCRIPTED_EOT, SCRIPTED_EOT], [0.9, 0.8, 0.95, 0.9, 0.8, 0.7])
    model.run(block_length=3, streamer=streamer)
    first, second = [([1, 2], [5, 6, 7])] * 3, [([1, 2, 5, 6, 7], [8, SCRIPTED_EOT, SCRIPTED_EOT])]
    # When the end of the text is unmasked, and what is before it, the draft goes no further.
    assert streamer.drafts == [*first, *second, ([1, 2, 5, 6, 7], [8, SCRIPTED_EOT])]


class LengthOfBatch(StoppingCriteria):
    """Ends all rows at a length; of a kind that may keep state, so it is asked when all rows have got there."""

    def __init__(self, length):
        self.length = length

    def __call__(self, input_ids, scores, **kwargs):
        return torch.full((len(input_ids),), input_ids.shape[1] >= self.length)


def test_rows_ahead_of_a_criterion_are_held_back():
    prompts, streamers = [[5, 6], [7, 8], [9, 4]], [CollectDrafts() for _ in range(3)]
    options = {"decoding": Learn2PD(golden_filter(), 0.5), "max_new_tokens": 24, "block_length": 5, "end_of_text": None}
    _, free = generate(prompts, **options)
    assert len(set(free.nfe.tolist())) > 1, "rows must not be in step"
    _, output = generate(prompts, stopping_criteria=[LengthOfBatch(14)], streamer=streamers, **options)
    assert output.sequences.shape[1] == 14 and output.sequences.equal(free.sequences[:, :14])
    for streamer, row in zip(streamers, output.sequences.tolist(), strict=True):
        assert streamer.text == row and streamer.ends == 1
        assert all(before == row[: len(before)] for before, _ in streamer.drafts)


def test_a_streamer_ends_with_its_row():
    class Order(Collect):
        def end(self):
            super().end()
            order.append(self)

    order = []
    streamers = [Order(), Order()]
    # The second prompt is such that its answer ends at once.
    _, output = generate(
        [[5, 6], [7, 8]],
        decoding=Threshold(0.9),
        max_new_tokens=12,
        block_length=4,
        eos_token_id=first_tokens()[1],
        streamer=streamers,
    )
    assert output.nfe[1] < output.nfe[0] and order == streamers[::-1]


@functools.cache
def first_tokens():
    width, output = generate([[5, 6], [7, 8]], decoding=Threshold(0.9), max_new_tokens=12, block_length=4)
    return output.sequences[:, width].tolist()


@functools.cache
def shipped():
    return AutoModelForCausalLM.from_pretrained(SHIPPED), AutoTokenizer.from_pretrained(SHIPPED)


def chats(*questions):
    chats = [[{"role": "user", "content": question}] for question in questions]
    options = {"add_generation_prompt": True, "padding": True, "return_tensors": "pt", "return_dict": True}
    return shipped()[1].apply_chat_template(chats, **options)


def test_the_diffusion_streamer_of_transformers_prints_drafts_and_then_the_text(capsys):
    model, tokenizer = shipped()
    inputs = chats("What is 4 plus 5?")
    streamer = TextDiffusionStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    output = model.generate(**inputs, streamer=streamer, return_dict_in_generate=True)
    printed = capsys.readouterr().out
    text = tokenizer.decode(output.sequences[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    # Each draft is printed in yellow from a cursor that is saved, and cleared.
    assert printed.count("\0337\033[33m") == printed.count("\033[0m") == printed.count("\0338\033[J") == output.nfe[0]
    kept = "".join(part.split("\0338\033[J")[-1] for part in printed.split("\0337"))
    assert " ".join(kept.split()) == " ".join(text.split())


def test_iterators_of_several_rows_give_their_texts():
    model, tokenizer = shipped()
    inputs = chats("What is 4 plus 5?", "What is 17 minus 9?")
    streamers = [TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True) for _ in range(2)]
    output = model.generate(**inputs, streamer=streamers)
    texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert ["".join(streamer).split() for streamer in streamers] == [text.split() for text in texts]


def test_an_asynchronous_iterator_gives_the_text():
    model, tokenizer = shipped()
    inputs = chats("What is 4 plus 5?")

    async def run():
        streamer = AsyncTextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        generation = asyncio.to_thread(model.generate, **inputs, streamer=streamer)
        task = asyncio.create_task(generation)
        return "".join([part async for part in streamer]), await task

    streamed, output = asyncio.run(run())
    text = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert streamed.split() == text.split()


class TakesLogits(CollectDrafts):
    _takes_logits = True


@pytest.mark.parametrize(
    ("streamer", "message"),
    [
        (Collect(), "`streamer` must be a list of one streamer for each of the 2 rows .got 1"),
        ([Collect()] * 3, "`streamer` must be a list of one streamer for each of the 2 rows .got 3"),
        ([], "`streamer` must be a list of one streamer for each of the 2 rows .got 0"),
        ([Collect(), print], "`streamer` must have `put` and `end`, or be a list of such"),
        ([Collect(), TakesLogits()], "`streamer` must take its drafts as tokens .got TakesLogits"),
    ],
)
def test_streamers_that_do_not_fit_are_refused(streamer, message):
    model = ScriptedModel([5, 6], [0.9, 0.9])
    with pytest.raises(ValueError, match=message):
        model.run([[1], [2]], streamer=streamer)
    assert not model.canvases
    assert not any(each.parts for each in (streamer if isinstance(streamer, list) else [streamer]) if each is not print)
