# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Models in which a block sees what is before it and itself, against a loop with the mask written out."""

import copy
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_learn2pd import AdaBlock, BlockCausal, Klass, Stable, Threshold
from hf_learn2pd.models import (
    FastDllmConfig,
    FastDllmForMaskedDiffusion,
    Llada2MoeConfig,
    Llada2MoeForMaskedDiffusion,
    SdarConfig,
    SdarForMaskedDiffusion,
    SdarMoeConfig,
    SdarMoeForMaskedDiffusion,
)
from hf_learn2pd.training.replay import replay

MASK, EOT, VOCAB, BLOCK = 127, 126, 128, 4
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.5,
    "mask_token_id": MASK,
    "eos_token_id": EOT,
    "pad_token_id": EOT,
    "max_position_embeddings": 512,
}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
FAMILIES = {
    "sdar": (SdarForMaskedDiffusion, SdarConfig(**SIZES, head_dim=8, block_length=BLOCK)),
    "sdar_moe": (SdarMoeForMaskedDiffusion, SdarMoeConfig(**SIZES, **EXPERTS, head_dim=8, block_length=BLOCK)),
    "llada2_moe": (
        Llada2MoeForMaskedDiffusion,
        Llada2MoeConfig(**SIZES, **EXPERTS, first_k_dense_replace=1, n_group=3, topk_group=2, block_length=BLOCK),
    ),
    # Blocks of 3, 4 and 8 fit into what attention sees.
    "fast_dllm": (FastDllmForMaskedDiffusion, FastDllmConfig(**SIZES, bd_size=24)),
}


@functools.cache
def tiny(family, seed=0):
    torch.manual_seed(seed)
    model_class, config = FAMILIES[family]
    return model_class(config).eval()


@torch.no_grad()
def naive(model, prompt, max_new_tokens, block_length, threshold):
    """One row: every pass runs over all that is before the block's end, with the mask written out."""
    length = len(prompt) + max_new_tokens
    canvas = torch.tensor(prompt + [MASK] * max_new_tokens)
    passes = 0
    for first in range(len(prompt) // block_length * block_length, length, block_length):
        end = min(first + block_length, length)
        block = torch.arange(end) // block_length
        mask = (block[None, :] <= block[:, None])[None, None]
        while (canvas[:end] == MASK).any():
            logits = model(canvas[None, :end], attention_mask=mask).logits[0]
            logits[:, MASK] = -torch.inf
            confidence, tokens = logits.softmax(dim=-1).max(dim=-1)
            confidence = confidence.masked_fill(canvas[:end] != MASK, -1.0)
            chosen = confidence >= threshold
            chosen[confidence.argmax()] = True
            canvas[:end][chosen] = tokens[chosen]
            passes += 1
    return canvas.tolist(), passes


def generate(prompts, family="sdar", seed=0, **options):
    width = max(map(len, prompts))
    ids = torch.tensor([[EOT] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = {"end_of_text": None, "block_length": BLOCK, "return_dict_in_generate": True} | options
    return width, tiny(family, seed).generate(ids, attention_mask=mask, **options)


PROMPTS = st.lists(st.lists(st.integers(0, 125), min_size=1, max_size=11), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(PROMPTS, st.integers(1, 21), st.sampled_from([3, 4, 8]), st.sampled_from([0.05, 0.3, 0.9]))
def test_batches_equal_a_loop_with_the_mask_written_out(prompts, length, block_length, threshold):
    width, output = generate(prompts, max_new_tokens=length, block_length=block_length, decoding=Threshold(threshold))
    for row, prompt in enumerate(prompts):
        expected, passes = naive(tiny("sdar"), prompt, length, block_length, threshold)
        assert output.sequences[row, width - len(prompt) :].tolist() == expected
        assert output.nfe[row] == passes


def test_finished_blocks_are_stored_with_the_first_pass_of_the_next():
    _, output = generate([[1, 2, 3, 4, 5]], max_new_tokens=11, decoding=Threshold(0.0))
    # The prompt with its block; then the finished block and the new one.
    assert output.forward_passes == [("block", 1, 8, 0), ("block", 1, 8, 4), ("block", 1, 8, 8)]


def test_default_block_is_the_one_that_the_model_was_trained_with():
    model, ids = copy.deepcopy(tiny("sdar")), torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])
    options = {"decoding": Threshold(0.0), "max_new_tokens": 16, "return_dict_in_generate": True, "end_of_text": None}

    def widths(**given):
        passes = model.generate(ids, attention_mask=torch.ones_like(ids), **options, **given).forward_passes
        return [width for _, _, width, _ in passes]

    # The prompt with the first block; then the finished block and the new one.
    assert widths() == widths(block_length=BLOCK) == [12, 8, 8, 8]
    model.config.block_length = 8
    assert widths() == [16, 16]
    model.generation_config.block_length = 2
    assert widths() == [10] + [4] * 7
    assert widths(block_length=16) == [16, 24]


def test_blocks_of_a_schedule_are_refused():
    for schedule in ("adablock", AdaBlock(delimiter_ids=(1,))):
        with pytest.raises(ValueError, match="`block_schedule` must be None for a block-causal model"):
            generate([[1, 2]], max_new_tokens=8, block_schedule=schedule)


def test_attention_has_to_take_a_mask_with_a_row_for_each_position():
    model, ids = copy.deepcopy(tiny("sdar")), torch.tensor([[1, 2, 3, 4, 5, 6]])
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 10, "end_of_text": None}
    expected = model.generate(ids, **options)
    model.set_attn_implementation("eager")
    assert model.generate(ids, **options).equal(expected)
    # As a model that was loaded with it says.
    model.config._attn_implementation_internal = "flash_attention_2"
    for more in ({}, {"verify": True}, {"block_cache": BlockCausal(reuse=False)}):
        with pytest.raises(ValueError, match=r"`attn_implementation` must take a mask .*got flash_attention_2"):
            model.generate(ids, **options, **more)


@torch.no_grad()
def test_a_replay_sees_what_decoding_sees():
    """Blocks before and the block itself; the answer is filled in where nothing is right."""
    model, prompt = tiny("sdar"), [3, 1, 4, 1, 5, 9]
    answer = torch.randint(0, 126, (9,), generator=torch.Generator().manual_seed(0))
    stock = torch.tensor(naive(model, prompt, 9, BLOCK, 0.3)[0])[len(prompt) :]
    # Every second token is what the model would write.
    answer = torch.where(torch.arange(9) % 2 == 0, stock, answer)
    text, confidences = torch.tensor(prompt + [MASK] * 9), []
    for end in (8, 12, 15):
        block = slice(max(len(prompt), (end - 1) // BLOCK * BLOCK), end)
        expected = answer[block.start - len(prompt) : end - len(prompt)]
        numbers = torch.arange(end) // BLOCK
        mask = (numbers[None, :] <= numbers[:, None])[None, None]
        while (text[block] == MASK).any():
            logits = model(text[None, :end], attention_mask=mask).logits[0, block]
            logits[:, MASK] = -torch.inf
            confidence, tokens = logits.softmax(dim=-1).max(dim=-1)
            confidences.append(torch.nn.functional.pad(confidence, (0, BLOCK - len(confidence))))
            masked = text[block] == MASK
            right = masked & (tokens == expected)
            text[block][right if right.any() else masked] = expected[right if right.any() else masked]
    found = replay(model, torch.tensor([prompt]), answer[None])
    torch.testing.assert_close(found.confidence, torch.stack(confidences))
    assert len(confidences) > 4


def test_states_that_stand_side_by_side_by_hand():
    """One token per step is one state; whoever drafts everything has three more in the second pass of a block."""
    options = {"max_new_tokens": 8, "decoding": "low_confidence", "max_draft_length": 4}
    _, stock = generate([[1, 2, 3, 4]], **options)
    _, drafted = generate([[1, 2, 3, 4]], verify=True, **options)
    assert stock.nfe.tolist() == [8] and drafted.sequences.equal(stock.sequences)
    # The first pass attends to nothing stored; a block that begins has nothing to draft from.
    begins = [passed for passed in drafted.forward_passes if passed[1] == 1 and passed[2] == 8]
    assert begins == [("block", 1, 8, 0), ("block", 1, 8, 4)]
    assert drafted.forward_passes[:2] == [("block", 1, 8, 0), ("block", 3, 4, 4)]


SEVERAL = [[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7], [1, 8, 2, 8, 1], [6, 6, 2, 6]]


@pytest.mark.parametrize("strategy", [Klass(0.1, 1.0), Stable(Threshold(0.6), 0.05)], ids=repr)
def test_what_compares_across_blocks_knows_nothing_of_what_batch_mates_have_in_sight(strategy):
    options = {"max_new_tokens": 18, "decoding": strategy, "block_length": BLOCK}
    _, together = generate(SEVERAL, **options)
    _, uncached = generate(SEVERAL, block_cache=BlockCausal(reuse=False), **options)
    assert together.sequences.equal(uncached.sequences) and together.nfe.equal(uncached.nfe)
