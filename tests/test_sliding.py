# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Blocks that slide, and their cache, against plain loops that share nothing with the package."""

import pytest
import torch
from conftest import EOT, STRATEGIES, ScriptedModel, golden_filter, golden_model
from hypothesis import given, settings
from hypothesis import strategies as st
from test_properties import END_OF_TEXT, ENDS, MASK, PROMPTS, SUFFIXES, generate
from test_stopping import Recorder
from transformers import DynamicCache, MaxTimeCriteria
from transformers.generation.streamers import BaseStreamer

from hf_learn2pd import (
    AdaBlock,
    Checkerboard,
    Credit,
    Dilated,
    DualCache,
    FixedBlocks,
    Klass,
    Learn2PD,
    LowConfidence,
    NeighbourCache,
    SlidingBlocks,
    SlidingCache,
    Stable,
    Threshold,
    UnmaskingFilter,
)
from hf_learn2pd.compatibility import cache_argument

PROMPT = [115, 254, 301, 473, 353]


def say(model, ids, columns, length, cache=None):
    """Tokens and confidences of some columns of a canvas of this length, as seen by all of them or by what is kept."""
    everything = torch.ones(1, 1, len(columns), length if cache is not None else len(columns), dtype=torch.bool)
    kept = {"use_cache": False} if cache is None else {cache_argument(model.forward): cache, "use_cache": True}
    logits = model(ids[None, columns], attention_mask=everything, position_ids=columns[None], **kept).logits[0]
    logits[:, MASK] = -torch.inf
    return logits.float().softmax(dim=-1).max(dim=-1)


def take(canvas, columns, said, start, end, threshold):
    """Unmasks what is confident among columns from start to end, or the best; returns how many that are."""
    confidence, tokens = said
    masked = (canvas[columns] == MASK) & (columns >= start) & (columns < end)
    confidence = confidence.masked_fill(~masked, -1.0)
    chosen = confidence >= threshold
    chosen[confidence.argmax()] = True
    canvas[columns[chosen]] = tokens[chosen]
    return int(chosen.sum())


@torch.no_grad()
def naive(prompt, max_new_tokens, masks, cap, threshold, eos, margin=None):
    """
    One row, by the paper's formulas: from the first mask to min(P + B + unmasked, first mask + cap).

    With a margin, by those of its cache: all is computed again after B tokens.
    """
    model, length = golden_model("tiny_llada"), len(prompt) + max_new_tokens
    canvas, everything = torch.tensor(prompt + [MASK] * max_new_tokens), torch.arange(length)
    start, unmasked, since, passes, cache = len(prompt), 0, masks, 0, None
    while (canvas == MASK).any():
        before, start = start, int((canvas == MASK).nonzero()[0])
        if set(canvas[len(prompt) : start].tolist()) & {eos}:
            break
        end = min(len(prompt) + masks + unmasked, start + cap, length)
        if margin is None or since >= masks:
            columns, since, cache = everything, 0, Kept(length)
        else:
            columns = everything[start - min(max(start - before, margin), start) : end]
        cache.columns = columns
        said = say(model, canvas, columns, length, None if margin is None else cache)
        count = take(canvas, columns, said, start, end, threshold)
        unmasked, since, passes = unmasked + count, since + count, passes + 1
    text = canvas[len(prompt) :].tolist()
    return text[: text.index(eos) + 1] if eos in text else text, passes


class Kept(DynamicCache):
    """Keys and values of a whole canvas, of which a pass replaces some columns."""

    def __init__(self, length):
        super().__init__()
        self.length, self.columns, self.all = length, None, {}

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        if layer_idx not in self.all:
            self.all[layer_idx] = key_states.clone(), value_states.clone()
        for kept, new in zip(self.all[layer_idx], (key_states, value_states), strict=True):
            kept[:, :, self.columns] = new
        return self.all[layer_idx]

    def get_mask_sizes(self, *args, **kwargs):
        return self.length, 0


LENGTHS = st.tuples(st.integers(1, 40), st.integers(1, 16), st.sampled_from([None, 1, 3, 40]))
THRESHOLDS = st.sampled_from([0.2, 0.4, 0.6, 0.9])


def sliding(masks, more):
    """Blocks of some masks; `more` is how many positions they may be longer."""
    return SlidingBlocks(masks, None if more is None else masks + more)


@given(PROMPTS, LENGTHS, THRESHOLDS, ENDS, st.integers(0, 5))
def test_a_batch_equals_a_plain_loop_over_each_row(prompts, lengths, threshold, eos, padding):
    max_new_tokens, masks, more = lengths
    options = {"decoding": Threshold(threshold), "max_new_tokens": max_new_tokens, "eos_token_id": eos}
    width, output = generate(prompts, extra_padding=padding, block_schedule=sliding(masks, more), **options)
    for row, prompt in enumerate(prompts):
        text, passes = naive(prompt, max_new_tokens, masks, masks + (more or 0), threshold, eos)
        got = output.sequences[row, width:].tolist()
        assert got[: len(text)] == text and set(got[len(text) :]) <= {510} and output.nfe[row] == passes


@settings(max_examples=30)
@given(PROMPTS, LENGTHS, THRESHOLDS, ENDS, st.integers(0, 5), st.sampled_from([0, 3, 24]))
def test_its_cache_equals_a_plain_loop_that_keeps_all_keys(prompts, lengths, threshold, eos, padding, margin):
    max_new_tokens, masks, more = lengths
    options = {"decoding": Threshold(threshold), "max_new_tokens": max_new_tokens, "eos_token_id": eos}
    options |= {"block_schedule": sliding(masks, more), "block_cache": SlidingCache(margin=margin)}
    width, output = generate(prompts, extra_padding=padding, **options)
    for row, prompt in enumerate(prompts):
        text, passes = naive(prompt, max_new_tokens, masks, masks + (more or 0), threshold, eos, margin)
        got = output.sequences[row, width:].tolist()
        assert got[: len(text)] == text and output.nfe[row] == passes


def test_the_plain_loop_with_a_cache_is_another_one():
    """Its keys do get old, so that the comparison above says something."""
    exact, cached = (naive(PROMPT, 24, 8, 8, 0.5, 510, margin) for margin in (None, 3))
    assert exact != cached


def test_blocks_by_hand():
    """The constant variant holds 4 positions, the greedy one 4 masks; a threshold of 0.9."""
    tokens, confidence = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1], [0.95, 0.5, 0.95, 0.6, 0.95, 0.95, 0.7, 0.95, 0.95, 0.95]
    options = {"decoding": Threshold(0.9), "end_of_text": None}
    constant = ScriptedModel(tokens, confidence).run(block_schedule=SlidingBlocks(4), **options)
    # Positions 0-3; 1-4; 1-4, where 3 is the best; 1; 5-8 without 6; 6-9 without 6; 6.
    assert constant.unmasking_steps.tolist() == [[0, 3, 0, 2, 1, 4, 6, 4, 4, 5]]
    greedy = ScriptedModel(tokens, confidence).run(block_schedule=SlidingBlocks(4, 10), **options)
    # Positions 0-3; 1-5, 1-7, 1-8 and 1-9, each with four masks; of 1, 3 and 6 the best in each step.
    assert greedy.unmasking_steps.tolist() == [[0, 7, 0, 6, 1, 1, 5, 2, 3, 4]]
    middle = ScriptedModel(tokens, confidence).run(block_schedule=SlidingBlocks(4, 5), **options)
    # Positions 0-3; 1-5; 1-5, where 3 is the best; 1; 6-9; 6.
    assert middle.unmasking_steps.tolist() == [[0, 3, 0, 2, 1, 1, 5, 4, 4, 4]]
    fixed = ScriptedModel(tokens, confidence).run(block_length=4, **options)
    assert [output.nfe.item() for output in (constant, greedy, middle, fixed)] == [7, 8, 6, 6]
    for output in (constant, greedy, middle):
        assert output.sequences[0, 2:].tolist() == tokens and len(output.forward_passes) == output.nfe


def test_all_that_is_sure_is_unmasked_a_block_at_a_time():
    output = ScriptedModel([1] * 10, [0.95] * 10).run(
        decoding=Threshold(0.9), end_of_text=None, block_schedule="sliding", block_length=4
    )
    assert output.unmasking_steps.tolist() == [[0] * 4 + [1] * 4 + [2] * 2]


def test_the_end_of_the_text_waits_for_what_stands_before_it():
    tokens, confidence = [1, 2, EOT, 4, 5, 6], [0.5, 0.95, 0.95, 0.95, 0.95, 0.95]
    run = {"decoding": Threshold(0.9), "block_schedule": SlidingBlocks(3)}
    output = ScriptedModel(tokens, confidence).run(**run)
    assert output.sequences.tolist() == [[1, 2, 1, 2, EOT]] and output.nfe.tolist() == [2]
    model = ScriptedModel(tokens, confidence)
    output = model.run(**run, end_of_text="cut")
    # In the second pass nothing behind the end is seen any more.
    assert output.sequences.tolist() == [[1, 2, 1, 2, EOT]] and [len(each[0]) for each in model.canvases] == [8, 5]


@pytest.mark.parametrize("margin", [3, 24])
def test_passes_of_the_cache_by_hand(margin):
    """Windows of a margin, at most up to the first column, and a block of 8; everything after each 8 tokens."""
    model, options = golden_model("tiny_llada"), {"max_new_tokens": 24, "end_of_text": None}
    output = model.generate(
        torch.tensor([PROMPT]),
        block_schedule=SlidingBlocks(8),
        block_cache=SlidingCache(margin=margin),
        decoding=LowConfidence(),
        return_dict_in_generate=True,
        output_unmasking_steps=True,
        **options,
    )
    steps = output.unmasking_steps[0].tolist()
    assert sorted(steps) == list(range(24)) and output.nfe.tolist() == [24]
    before, expected = 5, []
    for step in range(24):
        start = 5 + next(place for place, other in enumerate(steps) if other >= step)
        left = min(max(start - before, margin), start)
        window = ("sliding", 1, min(start + 8, 29) - start + left, 29)
        expected.append(("full", 1, 29, 0) if step % 8 == 0 else window)
        before = start
    assert output.forward_passes == expected


CACHES = st.sampled_from(
    [
        {},
        {"block_cache": "sliding"},
        {"block_cache": SlidingCache(margin=2)},
        {"block_cache": SlidingCache(4, margin=0)},
        {"block_cache": "local"},
        {"block_cache": "local", "refresh_every": 3},
    ]
)
SERVED = st.sampled_from(
    [each for each in STRATEGIES if not each.compares and not isinstance(each, Checkerboard | Dilated)]
)


def slid(lengths):
    max_new_tokens, masks, more = lengths
    return {"max_new_tokens": max_new_tokens, "block_schedule": sliding(masks, more)}


@settings(max_examples=20)
@given(PROMPTS, SERVED, LENGTHS, END_OF_TEXT, ENDS, st.integers(0, 5), CACHES, SUFFIXES, st.sampled_from([0.0, 0.5]))
def test_row_does_not_depend_on_batch_mates_nor_on_padding(
    prompts, decoding, lengths, end_of_text, eos, padding, cache, suffix, cfg_scale
):
    options = {"decoding": decoding, "end_of_text": end_of_text, "eos_token_id": eos, "cfg_scale": cfg_scale}
    options |= slid(lengths) | cache | {"suffix_length": suffix}
    if isinstance(decoding, Learn2PD) and options["block_schedule"].widest(lengths[0]) > 32:
        return
    width, together = generate(prompts, extra_padding=padding, **options)
    for row, prompt in enumerate(prompts):
        start, alone = generate([prompt], **options)
        length = alone.sequences.shape[1] - start
        assert MASK not in alone.sequences and 1 <= alone.nfe[0] <= lengths[0]
        assert together.sequences[row, width : width + length].tolist() == alone.sequences[0, start:].tolist()
        assert together.nfe[row] == alone.nfe[0]
        assert together.unmasking_steps[row, :length].tolist() == alone.unmasking_steps[0].tolist()
        if end_of_text is None:
            assert set(alone.unmasking_steps[0].tolist()) == set(range(int(alone.nfe[0])))


@given(PROMPTS, LENGTHS, END_OF_TEXT, ENDS, SUFFIXES, st.sampled_from(["sliding", "local"]))
def test_a_cache_refreshed_in_every_step_is_no_cache(prompts, lengths, end_of_text, eos, suffix, block_cache):
    # With a cache, the end of the text is looked for in the block only.
    end_of_text = "cut" if end_of_text == "predicted" else end_of_text
    options = {"decoding": Threshold(0.5), "end_of_text": end_of_text, "eos_token_id": eos, "suffix_length": suffix}
    _, cached = generate(prompts, block_cache=block_cache, refresh_every=1, **options | slid(lengths))
    _, plain = generate(prompts, **options | slid(lengths))
    assert cached.forward_passes == plain.forward_passes
    for name in ("sequences", "nfe", "unmasking_steps"):
        assert torch.equal(getattr(cached, name), getattr(plain, name))


@given(PROMPTS, LENGTHS, st.sampled_from([None, "sliding"]))
def test_a_suffix_as_long_as_the_answer_changes_nothing(prompts, lengths, block_cache):
    options = {"decoding": Threshold(0.4), "end_of_text": None, "block_cache": block_cache} | slid(lengths)
    _, seen = generate(prompts, suffix_length=lengths[0], **options)
    _, plain = generate(prompts, **options)
    for name in ("sequences", "nfe", "unmasking_steps"):
        assert torch.equal(getattr(seen, name), getattr(plain, name))


OTHERS = st.sampled_from([FixedBlocks(1), FixedBlocks(5), FixedBlocks(8), AdaBlock(4, 0.1, tuple(range(0, 512, 4)))])


@given(PROMPTS, st.integers(1, 40), OTHERS, ENDS)
def test_other_blocks_are_computed_anew_where_they_begin(prompts, max_new_tokens, schedule, eos):
    """Without a margin, as with the dual cache."""
    options = {"decoding": Threshold(0.5), "max_new_tokens": max_new_tokens, "block_schedule": schedule}
    _, sliding = generate(prompts, block_cache=SlidingCache(margin=0), eos_token_id=eos, **options)
    _, dual = generate(prompts, block_cache=DualCache(), eos_token_id=eos, **options)
    for name in ("sequences", "nfe", "unmasking_steps"):
        assert torch.equal(getattr(sliding, name), getattr(dual, name))


class Puts(BaseStreamer):
    def __init__(self):
        self.parts, self.ended = [], False

    def put(self, value):
        self.parts.append(value.flatten().tolist())

    def end(self):
        self.ended = True


@pytest.mark.parametrize("longest", [None, 12, 40])
@pytest.mark.parametrize("end_of_text", ["accepted", "cut", "predicted", None])
def test_what_is_streamed_is_the_text(longest, end_of_text):
    streamer = Puts()
    text = golden_model("tiny_llada").generate(
        torch.tensor([PROMPT]),
        max_new_tokens=40,
        decoding=Threshold(0.5),
        block_schedule=SlidingBlocks(8, longest),
        streamer=streamer,
        end_of_text=end_of_text,
        eos_token_id=115,
    )
    assert streamer.ended and all(streamer.parts) and len(streamer.parts) > 2
    assert [token for part in streamer.parts for token in part] == text[0].tolist()


def test_only_what_nothing_masked_stands_before_is_streamed():
    streamer = Puts()
    model = ScriptedModel([1, 2, 3, 4, 5], [0.95, 0.5, 0.95, 0.6, 0.95])
    model.run(decoding=Threshold(0.9), block_schedule=SlidingBlocks(3), streamer=streamer, end_of_text=None)
    # 0 and 2 in the first pass, 3 in the second, which is the best of 1 to 3, then 1, then 4.
    assert streamer.parts == [[1, 2], [1], [2, 3, 4], [5]]


def test_criteria_see_complete_texts_column_by_column():
    tokens, confidence = [5, 6, 7, 8, 3, 4], [0.95, 0.5, 0.95, 0.6, 0.95, 0.95]
    recorder = Recorder(8)
    run = {"decoding": Threshold(0.9), "block_schedule": SlidingBlocks(3)}
    output = ScriptedModel(tokens, confidence).run([[1], [2]], stopping_criteria=[recorder], **run)
    assert recorder.calls == [[[row, *tokens[:count]] for row in (1, 2)] for count in range(1, 5)]
    assert output.sequences.tolist() == [[1, 5, 6, 7, 8], [2, 5, 6, 7, 8]] and output.nfe.tolist() == [3, 3]
    # What stands before the first mask is seen at once, though the block is not done.
    output = ScriptedModel(tokens, confidence).run([[1], [2]], stopping_criteria=[Recorder(5)], **run)
    assert output.sequences.tolist() == [[1, 5], [2, 5]] and output.nfe.tolist() == [1, 1]
    # A time limit keeps what is complete.
    output = ScriptedModel(tokens, confidence).run(stopping_criteria=[MaxTimeCriteria(max_time=0.0)], **run)
    assert output.sequences.tolist() == [[1, 2, 5]] and output.nfe.tolist() == [1]


def test_a_filter_decodes_in_blocks_no_longer_than_its_own():
    """It reads the same number of positions as in the blocks it was trained on."""
    decoding, prompt = Learn2PD(golden_filter(), 0.5), torch.tensor([PROMPT])
    options = {"max_new_tokens": 48, "end_of_text": None}
    model = golden_model("tiny_llada")
    assert MASK not in model.generate(prompt, decoding=decoding, block_schedule=SlidingBlocks(16, 32), **options)
    with pytest.raises(ValueError, match=r"`block_length` must be at most that of the filter, 32 \(got 33\)"):
        model.generate(prompt, decoding=decoding, block_schedule=SlidingBlocks(16, 33), **options)


UNCHANGED = UnmaskingFilter(architecture="transformer", features=("confidence", "unchanged"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoding": Klass()}, r"`decoding` must be a strategy that looks at one step.*\(got Klass\)"),
        ({"decoding": Credit()}, "looks at one step"),
        ({"decoding": Stable()}, "looks at one step"),
        ({"decoding": Learn2PD(UNCHANGED)}, "looks at one step"),
        ({"decoding": Dilated()}, "at no order of positions"),
        ({"decoding": "checkerboard"}, "at no order of positions"),
        ({"steps": 2}, r"`steps` must be None with sliding blocks, which have no share in them \(got 2\)"),
        ({"steps": 2, "schedule_eps": 1e-3, "block_length": 8}, "no `block_schedule`"),
        ({"verify": True}, "`verify` must be False with sliding blocks"),
        ({"decoding": "pearl"}, "`verify` must be False with sliding blocks"),
        ({"block_cache": "dual"}, r"`block_cache` must be sliding, local or None with sliding blocks.*\(got 'dual'\)"),
        ({"block_cache": "prefix"}, "`block_cache` must be sliding, local or None"),
        ({"block_cache": DualCache()}, "`block_cache` must be sliding, local or None"),
        ({"block_schedule": {"name": "sliding", "longest": 31}}, "`longest` must be an integer of at least 32"),
        ({"block_schedule": {"name": "sliding", "cap": 1}}, "`block_schedule` must hold options of 'sliding' only"),
    ],
)
def test_what_blocks_that_slide_cannot_serve_is_refused(options, message):
    prompt = torch.tensor([PROMPT])
    with pytest.raises(ValueError, match=message):
        golden_model("tiny_llada").generate(prompt, **{"block_schedule": "sliding", "max_new_tokens": 8} | options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SlidingBlocks(8, 7), "`longest` must be an integer of at least 8"),
        (lambda: SlidingBlocks(8, True), "`longest` must be an integer"),
        (lambda: SlidingBlocks(0), "`block_length` must be an integer above 0"),
        (lambda: SlidingCache(margin=-1), "`margin` must be an integer of at least 0"),
        (lambda: SlidingCache(0), "`refresh_every` must be an integer above 0"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_policies_say_whether_they_serve_blocks_that_slide():
    assert SlidingCache.slides and NeighbourCache.slides and not DualCache.slides
    assert SlidingBlocks.slides and not FixedBlocks.slides and not AdaBlock.slides
    assert SlidingBlocks(8).widest(256) == 8 and SlidingBlocks(8, 20).widest(256) == 20
    assert SlidingBlocks(8).widest(5) == SlidingBlocks(8, 20).widest(5) == 5
