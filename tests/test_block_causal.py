# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Models in which a block sees what is before it and itself, against a loop with the mask written out."""

import functools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_learn2pd import Threshold
from hf_learn2pd.models import SdarConfig, SdarForMaskedDiffusion

MASK, EOT, VOCAB, BLOCK = 127, 126, 128, 4


@functools.cache
def sdar():
    torch.manual_seed(0)
    config = SdarConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        initializer_range=0.5,
        mask_token_id=MASK,
        eos_token_id=EOT,
        pad_token_id=EOT,
        block_length=BLOCK,
        max_position_embeddings=512,
    )
    return SdarForMaskedDiffusion(config).eval()


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


def generate(prompts, **options):
    width = max(map(len, prompts))
    ids = torch.tensor([[EOT] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = {"end_of_text": None, "block_length": BLOCK, "return_dict_in_generate": True} | options
    return width, sdar().generate(ids, attention_mask=mask, **options)


PROMPTS = st.lists(st.lists(st.integers(0, 125), min_size=1, max_size=11), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(PROMPTS, st.integers(1, 21), st.sampled_from([3, 4, 8]), st.sampled_from([0.05, 0.3, 0.9]))
def test_batches_equal_a_loop_with_the_mask_written_out(prompts, length, block_length, threshold):
    width, output = generate(prompts, max_new_tokens=length, block_length=block_length, decoding=Threshold(threshold))
    for row, prompt in enumerate(prompts):
        expected, passes = naive(sdar(), prompt, length, block_length, threshold)
        assert output.sequences[row, width - len(prompt) :].tolist() == expected
        assert output.nfe[row] == passes


def test_finished_blocks_are_stored_with_the_first_pass_of_the_next():
    _, output = generate([[1, 2, 3, 4, 5]], max_new_tokens=11, decoding=Threshold(0.0))
    # The prompt with its block; then the finished block and the new one.
    assert output.forward_passes == [("block", 1, 8, 0), ("block", 1, 8, 4), ("block", 1, 8, 8)]
