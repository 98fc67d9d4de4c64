# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""BlockCache: what is stored, where a window goes, and what rows see of each other's refreshes."""

import pytest
import torch
import torch._dynamo.testing
from conftest import GOLDENS, golden_filter, golden_model
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
from transformers.masking_utils import flash_attention_mask

from hf_learn2pd import BlockCache, Learn2PD, Threshold
from hf_learn2pd.compatibility import cache_argument

CANVAS = torch.tensor([[1, 2, 3, 511, 511, 511, 511, 511], [4, 5, 6, 7, 511, 511, 511, 511]])
COLUMNS = torch.arange(8).expand(2, -1)


@torch.no_grad()
def forward(model, ids, positions, cache, mask=None):
    return model.model(
        input_ids=ids,
        position_ids=positions,
        attention_mask=mask,
        use_cache=True,
        **{cache_argument(model.forward): cache},
    ).last_hidden_state


@pytest.fixture
def filled(tiny_llada):
    cache = BlockCache(tiny_llada.config, max_cache_len=8)
    cache.refresh(COLUMNS, 8)
    return cache, forward(tiny_llada, CANVAS, COLUMNS, cache)


def test_a_window_of_an_unchanged_canvas_equals_the_whole(tiny_llada, filled):
    cache, whole = filled
    # Row 0 in its block of columns 3 to 5, row 1 in columns 5 to 7.
    columns = torch.tensor([[3, 4, 5], [5, 6, 7]])
    cache.window(columns, 8)
    window = forward(tiny_llada, CANVAS.gather(1, columns), columns, cache)
    torch.testing.assert_close(window, whole.take_along_dim(columns[..., None], dim=1))


def test_a_window_replaces_its_own_columns_in_place(tiny_llada, filled):
    cache, _ = filled
    layer = cache.layers[1]
    before, place = layer.keys.clone(), layer.keys.data_ptr()
    columns = torch.tensor([[3, 4], [6, 7]])
    for _ in range(3):
        cache.window(columns, 8)
        forward(tiny_llada, torch.tensor([[9, 9], [9, 9]]), columns, cache)
    changed = (layer.keys != before).any(dim=-1).any(dim=1)
    assert changed.nonzero().tolist() == [[0, 3], [0, 4], [1, 6], [1, 7]]
    assert layer.keys.data_ptr() == place and cache.get_seq_length() == 8


def test_positions_behind_the_canvas_are_not_stored(tiny_llada, filled):
    cache, _ = filled
    before = cache.layers[0].values.clone()
    columns = torch.tensor([[5, 6], [7, 8]])
    cache.window(columns, 6)
    assert cache.get_seq_length() == 6 and cache.get_mask_sizes(2, 0) == (6, 0)
    forward(tiny_llada, torch.tensor([[9, 9], [9, 9]]), columns, cache)
    cache.window(columns, 8)
    changed = (cache.layers[0].values != before).any(dim=-1).any(dim=1)
    assert changed.nonzero().tolist() == [[0, 5]]


def test_some_rows_are_refreshed_while_the_others_stay(tiny_llada, filled):
    cache, _ = filled
    before = cache.layers[2].keys.clone()
    cache.refresh(COLUMNS[:1], 8, torch.tensor([1]))
    assert cache.get_mask_sizes(8, 0) == (8, 0)
    forward(tiny_llada, CANVAS[:1], COLUMNS[:1], cache)
    torch.testing.assert_close(cache.layers[2].keys, before[[0, 0]])


def test_rows_are_selected_reordered_and_repeated_as_transformers_does(filled):
    cache, _ = filled
    keys = cache.layers[0].keys.clone()
    assert (len(cache), cache.batch_size, cache.get_seq_length()) == (3, 2, 8)
    cache.reorder_cache(torch.tensor([1, 0]))
    assert torch.equal(cache.layers[0].keys, keys[[1, 0]])
    cache.batch_repeat_interleave(2)
    assert torch.equal(cache.layers[0].keys, keys[[1, 1, 0, 0]])
    cache.batch_select_indices(torch.tensor([2]))
    assert torch.equal(cache.layers[0].keys, keys[[0]]) and cache.batch_size == 1


def test_crop_and_reset(tiny_llada, filled):
    cache, whole = filled
    cache.crop(-3)
    assert cache.get_seq_length() == 5 and cache.layers[0].values.shape[-2] == 5
    cache.reset()
    assert cache.get_seq_length() == 0 and cache.batch_size == 0
    cache.refresh(COLUMNS, 8)
    torch.testing.assert_close(forward(tiny_llada, CANVAS, COLUMNS, cache), whole)
    assert cache.get_seq_length() == 8


def test_misuse_is_refused(tiny_llada, filled):
    with pytest.raises(ValueError, match="`refresh` must come before the first `window`"):
        BlockCache(tiny_llada.config, 8).window(COLUMNS, 8)
    with pytest.raises(ValueError, match=r"`length` must be between 1 and 8 \(got 9\)"):
        filled[0].window(COLUMNS, 9)
    for options, message in (
        ({"block_cache": "both"}, "`block_cache` must be prefix, dual, local, sliding or None"),
        ({"block_cache": "dual", "refresh_every": 0}, "`refresh_every` must be an integer above 0"),
        ({"refresh_every": 4}, "`refresh_every` must be None without a `block_cache`"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny_llada.generate(CANVAS[:, :3], **options)


PROMPTS = torch.tensor([[510, 510, 3, 4], [5, 6, 7, 8], [510, 9, 8, 7], [1, 2, 3, 4], [510, 9, 1, 3]])
ATTENTION = (PROMPTS != 510).long()
OPTIONS = {"attention_mask": ATTENTION, "max_new_tokens": 40, "block_length": 8, "return_dict_in_generate": True}


@pytest.mark.parametrize("block_cache", ["prefix", "dual"])
@pytest.mark.parametrize("end_of_text", ["accepted", "cut", "predicted"])
def test_attention_implementations_agree(block_cache, end_of_text):
    decoding = Learn2PD(golden_filter(), 0.9)
    outputs = []
    for implementation in ("sdpa", "eager"):
        model = AutoModelForCausalLM.from_pretrained(GOLDENS / "tiny_llada", attn_implementation=implementation)
        options = OPTIONS | {"block_cache": block_cache, "end_of_text": end_of_text, "decoding": decoding}
        outputs.append(model.generate(PROMPTS, **options))
    assert torch.equal(outputs[0].sequences, outputs[1].sequences)
    assert outputs[0].forward_passes == outputs[1].forward_passes


def flash_layout(module, query, key, value, attention_mask, scaling, **kwargs):
    """What transformers does around flash kernels: queries are taken to be the last columns of the 2-D mask."""
    hidden = None if attention_mask is None else attention_mask.bool()
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=None if hidden is None else hidden[:, None, None, :], scale=scaling
    )
    if hidden is not None:
        output = output * hidden[:, None, -query.shape[2] :, None]
    return output.transpose(1, 2), None


@pytest.mark.parametrize("block_cache", ["prefix", "dual"])
def test_flash_attention_sees_the_same_windows(block_cache):
    AttentionInterface.register("unpadded", flash_layout)
    AttentionMaskInterface.register("unpadded", flash_attention_mask)
    options = OPTIONS | {"block_cache": block_cache, "decoding": Learn2PD(golden_filter(), 0.9)}
    expected = golden_model("tiny_llada").generate(PROMPTS, **options)
    model = AutoModelForCausalLM.from_pretrained(GOLDENS / "tiny_llada", attn_implementation="unpadded")
    assert torch.equal(model.generate(PROMPTS, **options).sequences, expected.sequences)
    # Such kernels cannot be loaded everywhere, and the check comes before any forward pass.
    model.config._attn_implementation_internal = "flash_attention_2"
    for end_of_text in ("cut", "predicted"):
        with pytest.raises(ValueError, match="`block_cache` must be None with flash_attention_2"):
            model.generate(PROMPTS, **options | {"end_of_text": end_of_text})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_stored_as_computed(dtype):
    model = AutoModelForCausalLM.from_pretrained(GOLDENS / "tiny_llada", dtype=dtype)
    kept = []
    name = cache_argument(model.forward)
    model.model.register_forward_hook(lambda module, args, output: kept.append(output[name]))
    output = model.generate(PROMPTS, block_cache="dual", decoding=Threshold(0.9), **OPTIONS)
    assert output.sequences.shape[0] == 5 and 511 not in output.sequences
    assert kept[-1].layers[0].keys.dtype == dtype


def test_a_compiled_model_gives_the_same_answer_from_one_graph_per_shape():
    options = OPTIONS | {"block_cache": "dual", "decoding": Threshold(0.9), "attention_mask": ATTENTION[1:2]}
    expected = golden_model("tiny_llada").generate(PROMPTS[1:2], **options)
    model = AutoModelForCausalLM.from_pretrained(GOLDENS / "tiny_llada")
    # Traced and partitioned as for any backend; only the code generation, which takes minutes, is left out.
    graphs = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    model.model.forward = torch.compile(model.model.forward, backend=graphs, dynamic=False, fullgraph=True)
    output = model.generate(PROMPTS[1:2], **options)
    assert torch.equal(output.sequences, expected.sequences)
    assert output.forward_passes == expected.forward_passes and len(output.forward_passes) > 10
    # The whole canvas with an empty cache, the whole canvas, the block.
    assert graphs.frame_count <= 3


def test_rows_at_a_block_start_wait_until_they_are_a_quarter_of_the_batch():
    rows = 8
    prompts = PROMPTS[[1]].repeat(rows, 1)
    prompts[:, -1] = torch.arange(rows)
    options = {"max_new_tokens": 64, "block_length": 8, "end_of_text": None, "block_cache": "dual"}
    options |= {"attention_mask": torch.ones_like(prompts), "decoding": Threshold(0.7)}
    output = golden_model("tiny_llada").generate(prompts, return_dict_in_generate=True, **options)
    passes = output.forward_passes
    assert passes[0] == ("full", rows, 68, 0)
    sizes = [size for kind, size, _, _ in passes if kind == "full"]
    assert set(sizes) - {rows}
    for number, (kind, size, query, cached) in enumerate(passes):
        if kind == "dual":
            assert (query, cached) == (8, 68)
        else:
            following = next((left for other, left, _, _ in passes[number:] if other == "dual"), 0)
            assert 4 * size >= following
    # Every row is refreshed once in each of its eight blocks.
    assert sum(sizes) == rows * 8
