# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What holds for every strategy, any batch, any padding and any length."""

import torch
from conftest import STRATEGIES, golden_model
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_learn2pd import AdaBlock, DualCache, LowConfidence, NeighbourCache, Oracle, PrefixCache

MASK, EOT = 511, 510
settings.register_profile("project", max_examples=30, deadline=None, derandomize=True)
settings.load_profile("project")

PROMPTS = st.lists(st.lists(st.integers(0, 509), min_size=1, max_size=9), min_size=1, max_size=4)
STRATEGY = st.sampled_from(STRATEGIES)
FIXED = st.fixed_dictionaries({"max_new_tokens": st.integers(1, 40), "block_length": st.integers(1, 32)})
# The tiny checkpoint is sure of nothing, so that any of a quarter of its tokens may end a block.
ADAPTIVE = st.fixed_dictionaries(
    {
        "max_new_tokens": st.integers(1, 40),
        "block_schedule": st.sampled_from([AdaBlock(8, 0.004, tuple(range(0, 512, 4)), window=0.5)]),
    }
)
LENGTHS = st.one_of(FIXED, FIXED, ADAPTIVE)
END_OF_TEXT = st.sampled_from([None, "accepted", "cut", "predicted"])
# A common token of the tiny checkpoint stands in for EoT, so that texts do end.
ENDS = st.sampled_from([407, 115, EOT])
EVERY = st.sampled_from([None, 2, 5])


class Prefix(PrefixCache):
    columns_per_pass = 0


class Dual(DualCache):
    columns_per_pass = 0


class Local(NeighbourCache):
    columns_per_pass = 0


# Rows that need different widths go in turn, as they do in batches too large for these tests.
IN_TURN = st.builds(lambda policy, every: {"block_cache": policy(every)}, st.sampled_from([Prefix, Dual, Local]), EVERY)
CACHES = st.one_of(
    st.just({}),
    IN_TURN,
    st.fixed_dictionaries({"block_cache": st.sampled_from(["prefix", "dual", "local"]), "refresh_every": EVERY}),
)
SUFFIXES = st.sampled_from([None, None, 0, 3, 12])


def generate(prompts, **options):
    width = max(map(len, prompts)) + options.pop("extra_padding", 0)
    ids = torch.tensor([[EOT] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    output = golden_model("tiny_llada").generate(
        ids,
        attention_mask=mask,
        pad_token_id=EOT,
        return_dict_in_generate=True,
        output_unmasking_steps=True,
        **{"generator": torch.Generator().manual_seed(0)} | options,
    )
    return width, output


@settings(max_examples=80)
@given(
    PROMPTS, STRATEGY, LENGTHS, END_OF_TEXT, ENDS, st.integers(0, 5), CACHES, SUFFIXES, st.sampled_from([0.0, 0.0, 0.5])
)
def test_row_does_not_depend_on_batch_mates_nor_on_padding(
    prompts, decoding, lengths, end_of_text, eos, padding, cache, suffix, cfg_scale
):
    cache = cache | {"suffix_length": suffix}
    options = {"decoding": decoding, "end_of_text": end_of_text, "eos_token_id": eos, "cfg_scale": cfg_scale}
    options |= lengths | cache
    width, together = generate(prompts, extra_padding=padding, **options)
    for row, prompt in enumerate(prompts):
        start, alone = generate([prompt], **options)
        length = alone.sequences.shape[1] - start
        assert together.sequences[row, width : width + length].tolist() == alone.sequences[0, start:].tolist()
        assert set(together.sequences[row, width + length :].tolist()) <= {EOT}
        assert together.nfe[row] == alone.nfe[0]
        assert together.tokens_per_forward[row] == alone.tokens_per_forward[0]
        assert together.unmasking_steps[row, :length].tolist() == alone.unmasking_steps[0].tolist()


@given(PROMPTS, STRATEGY, LENGTHS, END_OF_TEXT, ENDS, CACHES)
def test_shape_progress_and_prompt(prompts, decoding, lengths, end_of_text, eos, cache):
    options = {"decoding": decoding, "end_of_text": end_of_text, "eos_token_id": eos} | lengths | cache
    width, output = generate(prompts, **options)
    answer = output.sequences[:, width:]
    assert MASK not in answer and 1 <= answer.shape[1] <= lengths["max_new_tokens"]
    if end_of_text is None:
        assert answer.shape[1] == lengths["max_new_tokens"]
    for row, prompt in enumerate(prompts):
        assert output.sequences[row, width - len(prompt) : width].tolist() == prompt
        assert 1 <= output.nfe[row] <= lengths["max_new_tokens"]
        steps = output.unmasking_steps[row]
        kept = steps[steps >= 0]
        # Every forward pass unmasks something, of which a cut may drop what lies behind it.
        assert kept.max() < output.nfe[row]
        if end_of_text is None:
            assert set(kept.tolist()) == set(range(int(output.nfe[row])))
    # With a cache some rows wait in some passes.
    assert output.nfe.max() <= len(output.forward_passes) <= output.nfe.sum()
    assert cache or len(output.forward_passes) == output.nfe.max()


@given(PROMPTS, STRATEGY, LENGTHS, ENDS, CACHES, SUFFIXES)
def test_accepted_gives_exactly_the_text_of_no_stop(prompts, decoding, lengths, eos, cache, suffix):
    options = {"decoding": decoding, "eos_token_id": eos, "suffix_length": suffix} | lengths | cache
    width, stopped = generate(prompts, end_of_text="accepted", **options)
    _, unstopped = generate(prompts, end_of_text=None, **options)
    for row in range(len(prompts)):
        full = unstopped.sequences[row, width:].tolist()
        text = full[: full.index(eos) + 1] if eos in full else full
        got = stopped.sequences[row, width:].tolist()
        assert got[: len(text)] == text and set(got[len(text) :]) <= {EOT}
        assert stopped.nfe[row] <= unstopped.nfe[row]


@given(PROMPTS, STRATEGY, LENGTHS, st.booleans(), st.sampled_from([0.0, 0.5]))
def test_the_same_call_gives_the_same_answer(prompts, decoding, lengths, do_sample, cfg_scale):
    options = {"decoding": decoding, "do_sample": do_sample, "cfg_scale": cfg_scale, "end_of_text": None} | lengths

    def run():
        return generate(prompts, generator=torch.Generator().manual_seed(3), **options)[1].sequences

    assert torch.equal(run(), run())


@given(PROMPTS, LENGTHS)
def test_oracle_unmasks_together_only_what_equals_the_reference(prompts, lengths):
    width, stock = generate(prompts, decoding=LowConfidence(), end_of_text=None, **lengths)
    reference = stock.sequences[:, width:]
    _, oracle = generate(prompts, decoding=Oracle(reference), end_of_text=None, **lengths)
    for row in range(len(prompts)):
        steps = oracle.unmasking_steps[row]
        # A step with a single token may be one in which nothing was right.
        together = steps.bincount()[steps] > 1
        assert torch.equal(oracle.sequences[row, width:][together], reference[row][together])


@given(PROMPTS, FIXED, st.integers(1, 60))
def test_steps_bound_the_forward_passes(prompts, lengths, steps):
    _, output = generate(prompts, decoding="low_confidence", steps=steps, end_of_text=None, **lengths)
    blocks = -(-lengths["max_new_tokens"] // lengths["block_length"])
    assert output.nfe.max() <= max(steps, blocks) + blocks


@given(PROMPTS, STRATEGY, LENGTHS, END_OF_TEXT, ENDS, st.sampled_from(["prefix", "dual", "local"]), SUFFIXES)
def test_a_cache_refreshed_in_every_step_is_no_cache(prompts, decoding, lengths, end_of_text, eos, block_cache, suffix):
    if end_of_text == "predicted":
        # With a cache, the end of the text is looked for in the block only.
        end_of_text = "cut"
    options = {"decoding": decoding, "end_of_text": end_of_text, "eos_token_id": eos, "suffix_length": suffix} | lengths
    _, cached = generate(prompts, block_cache=block_cache, refresh_every=1, **options)
    _, plain = generate(prompts, **options)
    assert cached.forward_passes == plain.forward_passes
    for name in ("sequences", "nfe", "unmasking_steps"):
        assert torch.equal(getattr(cached, name), getattr(plain, name))
