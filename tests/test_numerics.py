# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Narrow types, threads, long canvases, large vocabularies and ties."""

import copy

import pytest
import torch
from conftest import ScriptedModel, golden_model

from hf_learn2pd import Factor, LladaConfig, LladaForMaskedDiffusion, LowConfidence, MarginOrder, Threshold

PROMPTS = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5], [100, 200, 300, 400, 17]])
OPTIONS = {"max_new_tokens": 24, "block_length": 8, "end_of_text": None, "return_dict_in_generate": True}


@pytest.fixture
def one_thread():
    yield
    torch.set_num_threads(1)


def llada(vocab_size, positions, width=8, spread=0.5):
    sizes = {"hidden_size": width, "intermediate_size": width, "num_hidden_layers": 1 + width // 16}
    ids = {"mask_token_id": vocab_size - 1, "eos_token_id": vocab_size - 2, "end_of_turn_token_id": vocab_size - 3}
    ids["pad_token_id"] = vocab_size - 2
    torch.manual_seed(0)
    config = LladaConfig(
        vocab_size=vocab_size,
        max_position_embeddings=positions,
        num_attention_heads=width // 8,
        initializer_range=spread,
        **sizes,
        **ids,
    )
    return LladaForMaskedDiffusion(config).eval()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("block_cache", [None, "prefix", "dual", "local"])
@torch.no_grad()
def test_a_narrow_type_writes_what_float32_does_where_the_margin_is_wide(dtype, block_cache):
    model = llada(60, 64, width=32, spread=0.1)
    narrow, mask = copy.deepcopy(model).to(dtype), model.config.mask_token_id
    ids = torch.randint(0, 57, (64, 6), generator=torch.Generator().manual_seed(0))
    logits = model(torch.cat((ids, torch.full((64, 1), mask)), dim=1)).logits[:, -1]
    logits[:, mask] = -torch.inf
    first, second = logits.topk(2, dim=-1).values.unbind(dim=-1)
    # Some roundings of the largest logit, in each of the layers.
    wide = first - second > 8 * torch.finfo(dtype).eps * first.max()
    assert int(wide.sum()) > 32
    options = {"max_new_tokens": 1, "end_of_text": None, "block_cache": block_cache}
    tokens = narrow.generate(ids, attention_mask=torch.ones_like(ids), **options)[:, -1]
    assert torch.equal(tokens[wide], logits.argmax(dim=-1)[wide])


@pytest.mark.parametrize("decoding", [LowConfidence(), Threshold(0.01), Factor(2.0)])
def test_threads_batches_and_padding_change_no_greedy_text(decoding, one_thread):
    model = golden_model("tiny_llada")
    torch.set_num_threads(1)
    expected = model.generate(PROMPTS, decoding=decoding, **OPTIONS)
    torch.set_num_threads(2)
    threads = model.generate(PROMPTS, decoding=decoding, **OPTIONS)
    assert torch.equal(threads.sequences, expected.sequences) and torch.equal(threads.nfe, expected.nfe)
    torch.set_num_threads(1)
    for padding in (1, 7):
        ids = torch.nn.functional.pad(PROMPTS, (padding, 0), value=3)
        mask = torch.nn.functional.pad(torch.ones_like(PROMPTS), (padding, 0))
        for copies in (1, 3):
            batch = {"attention_mask": mask.repeat(copies, 1), "decoding": decoding}
            output = model.generate(ids.repeat(copies, 1), **batch, **OPTIONS)
            assert torch.equal(output.sequences[:, padding:], expected.sequences.repeat(copies, 1))
            assert torch.equal(output.nfe, expected.nfe.repeat(copies))


@pytest.mark.parametrize("block_cache", [None, "local"])
def test_a_canvas_of_4096_columns_is_filled(block_cache):
    model = llada(60, 4096)
    options = {"decoding": Threshold(0.0), "block_length": 512, "end_of_text": None, "block_cache": block_cache}
    output = model.generate(torch.ones(1, 96).long(), max_new_tokens=4000, return_dict_in_generate=True, **options)
    answer = output.sequences[0, 96:]
    assert len(answer) == 4000 and model.config.mask_token_id not in answer and output.nfe.tolist() == [8]


def test_a_vocabulary_of_126464_ids_is_read_to_its_end():
    model = llada(126_464, 64)
    options = OPTIONS | {"max_new_tokens": 8, "decoding": Threshold(0.5)}
    output = model.generate(torch.tensor([[126_000, 1, 126_081]]), **options)
    assert 126_463 not in output.sequences and int(output.sequences[0, 3:].max()) < 126_464
    # A confidence is a share of all ids.
    canvas = torch.cat((torch.tensor([[126_000, 1, 126_081]]), torch.full((1, 8), 126_463)), dim=1)
    with torch.no_grad():
        logits = model(canvas).logits[0, 3:].double()
    logits[:, 126_463] = -torch.inf
    confidence = logits.softmax(dim=-1).amax(dim=-1)
    first = model.generate(canvas[:, :3], **options, output_unmasking_steps=True).unmasking_steps[0] == 0
    expected = confidence >= 0.5
    expected[confidence.argmax()] = True
    assert torch.equal(first, expected)


@pytest.mark.parametrize("decoding", [LowConfidence(), MarginOrder(), Threshold(1.0)])
def test_ties_go_to_the_lowest_position_and_the_lowest_id(decoding):
    output = ScriptedModel([5] * 6, [0.5] * 6).run(decoding=decoding, end_of_text=None)
    assert output.unmasking_steps.tolist() == [[0, 1, 2, 3, 4, 5]]

    class Undecided(ScriptedModel):
        """All ids of a position are equally likely."""

        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.last_hidden_state.zero_()
            return output

    output = Undecided([5, 6, 7, 8, 3, 4], [0.5] * 6).run(decoding=decoding, end_of_text=None)
    assert output.sequences[0, 2:].tolist() == [0] * 6 and output.unmasking_steps.tolist() == [[0, 1, 2, 3, 4, 5]]
