# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Compiled passes: few graphs, none after warm-up, and the text of passes that are not compiled."""

import copy
import functools

import pytest
import torch
import torch._dynamo
from conftest import golden_filter
from torch._dynamo.testing import CompileCounter
from transformers import BertConfig, BertForMaskedLM, CompileConfig, GenerationConfig

from hf_learn2pd import (
    AdaBlock,
    BlockCache,
    DiffusionGenerationConfig,
    DualCache,
    Learn2PD,
    LladaConfig,
    LladaForMaskedDiffusion,
    Stable,
    Threshold,
    enable_decoding,
)
from hf_learn2pd.compatibility import cache_argument
from hf_learn2pd.compiling import _KEPT, round_columns, round_rows
from hf_learn2pd.models import (
    DreamConfig,
    DreamForMaskedDiffusion,
    SdarConfig,
    SdarForMaskedDiffusion,
    SdarMoeConfig,
    SdarMoeForMaskedDiffusion,
)

MASK, EOT, VOCAB, BLOCK = 127, 126, 128, 16
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.5,
    "mask_token_id": MASK,
    "eos_token_id": EOT,
    "pad_token_id": EOT,
    "max_position_embeddings": 1024,
}
FAMILIES = {
    "llada": (LladaForMaskedDiffusion, LladaConfig),
    "dream": (DreamForMaskedDiffusion, DreamConfig),
    "sdar": (SdarForMaskedDiffusion, functools.partial(SdarConfig, head_dim=8, block_length=BLOCK)),
}


@pytest.fixture(autouse=True)
def forget_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def tiny(family="llada", **options):
    torch.manual_seed(0)
    model_class, config_class = FAMILIES[family]
    return model_class(config_class(**SIZES | options)).eval()


def batch(rows, width, seed=0):
    """Prompts of several lengths, the first of them the longest."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 120, (rows, width), generator=generator)
    lengths = torch.randint(1, width + 1, (rows,), generator=generator)
    lengths[0] = width
    return {"input_ids": ids, "attention_mask": (torch.arange(width) >= width - lengths[:, None]).long()}


def run(model, inputs, **options):
    defaults = {"max_new_tokens": 200, "block_length": BLOCK, "decoding": Threshold(0.2), "end_of_text": None}
    output = model.generate(**inputs, return_dict_in_generate=True, **defaults | options)
    return output.sequences.tolist(), output.nfe.tolist(), output.forward_passes


# Ends of text here and there let rows leave the batch one by one.
STOPS = {"eos_token_id": [3, 9], "pad_token_id": EOT, "end_of_text": "accepted"}


@pytest.mark.parametrize(
    "family, block_caches, most",
    [("llada", [None], 2), ("llada", ["dual", "prefix", "local"], 4), ("sdar", [None], 4)],
    ids=["none", "caches", "block-causal"],
)
def test_four_graphs_at_most_and_none_after_warm_up(family, block_caches, most):
    model, counter = tiny(family, num_hidden_layers=1), CompileCounter()
    compiled = {"compile_config": CompileConfig(backend=counter, fullgraph=True)}
    suffix = {"suffix_length": 24} if family == "llada" else {}

    def same(inputs, **options):
        # The compiled passes first: graphs may not be used up by what other passes leave behind.
        found = run(model, inputs, **options, **compiled)
        assert run(model, inputs, **options) == found
        return found[2]

    passes = same(batch(5, 20), block_cache=block_caches[0], **STOPS)
    assert len({rows for _, rows, _, _ in passes}) > 2
    same(batch(1, 20), block_cache=block_caches[0], max_new_tokens=32)
    assert counter.frame_count == most
    # All caches run through the same graphs.
    for block_cache in block_caches:
        same(batch(3, 41, seed=1), block_cache=block_cache, **STOPS)
        same(batch(7, 90, seed=2), block_cache=block_cache, **suffix, max_new_tokens=230)
        same(batch(1, 70, seed=3), block_cache=block_cache, **suffix)
    assert counter.frame_count == most


def test_sizes_are_graphs_of_their_own_without_dynamic_shapes():
    model, counter = tiny(num_hidden_layers=1), CompileCounter()
    options = {"compile_config": CompileConfig(backend=counter, dynamic=False), "max_new_tokens": 32}
    for width in (16, 32, 20):
        run(model, batch(1, width), **options)
    assert counter.frame_count == 2


@pytest.mark.parametrize("how", ["the model", "the decoder"])
def test_a_model_that_is_compiled_already_is_taken_as_it_is(how):
    model, counter = tiny(num_hidden_layers=1), CompileCounter()
    expected = [run(model, batch(rows, 20), **STOPS) for rows in (5, 3)]
    (model if how == "the model" else model.model).compile(backend=counter, fullgraph=True)
    assert [run(model, batch(rows, 20), **STOPS) for rows in (5, 3)] == expected
    assert counter.frame_count == 1
    if how == "the model":
        logits = model(**batch(2, 20), use_cache=False).logits
        assert counter.frame_count == 2
        assert torch.equal(logits, tiny(num_hidden_layers=1)(**batch(2, 20), use_cache=False).logits)


def test_a_model_with_decoding_enabled_is_compiled():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    bert = BertForMaskedLM(BertConfig(vocab_size=VOCAB, max_position_embeddings=64, initializer_range=0.5, **sizes))
    enable_decoding(bert.eval(), mask_token_id=MASK)
    inputs, options = batch(1, 9), {"max_new_tokens": 40, "eos_token_id": 3, "pad_token_id": EOT}
    expected = run(bert, inputs, **options)
    counter = CompileCounter()
    assert run(bert, inputs, **options, compile_config=CompileConfig(backend=counter)) == expected
    bert.compile(backend=counter)
    assert run(bert, inputs, **options) == expected
    assert counter.frame_count == 2


def test_mixtures_of_experts_are_one_graph_where_experts_run_in_batches():
    torch.manual_seed(0)
    sizes = SIZES | {"num_hidden_layers": 1, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    config = SdarMoeConfig(**sizes, head_dim=8, block_length=BLOCK, experts_implementation="batched_mm")
    model, counter = SdarMoeForMaskedDiffusion(config).eval(), CompileCounter()
    options = {"max_new_tokens": 32}
    expected = run(model, batch(3, 9), **options)
    config = CompileConfig(backend=counter, fullgraph=True)
    assert run(model, batch(3, 9), **options, compile_config=config) == expected
    assert counter.frame_count == 2


def test_what_was_wrapped_by_torch_compile_knows_nothing_of_it():
    # The wrapper hands out the method of what it wraps.
    model, counter = tiny(num_hidden_layers=1), CompileCounter()
    wrapped = torch.compile(model, backend=counter)
    assert run(wrapped, batch(2, 9), max_new_tokens=16) == run(model, batch(2, 9), max_new_tokens=16)
    assert counter.frame_count == 0


PADDED = [
    ("llada", None, {"end_of_text": "cut", "eos_token_id": [3, 9]}),
    ("llada", None, {"end_of_text": "predicted", "eos_token_id": [3, 9], "decoding": Learn2PD(golden_filter(), 0.9)}),
    ("llada", None, {"decoding": Stable(Threshold(0.6), 0.3), "suffix_length": 10}),
    ("llada", None, {"verify": True}),
    ("llada", "dual", {"cfg_scale": 1.5, **STOPS}),
    ("llada", "dual", {"end_of_text": "predicted", "eos_token_id": [3, 9], "decoding": Learn2PD(golden_filter(), 0.9)}),
    ("llada", "dual", {"verify": True, "max_draft_length": 4, "suffix_length": 10}),
    ("llada", "prefix", {"verify": True, "cfg_scale": 0.5}),
    ("llada", "prefix", {"block_schedule": AdaBlock(block_length=BLOCK, delimiter_ids=(3, 7)), **STOPS}),
    ("llada", "local", {"suffix_length": 10, "refresh_every": 3, **STOPS}),
    ("llada", "local", {"decoding": Stable(Threshold(0.6), 0.3)}),
    ("llada", "sliding", {"block_schedule": "sliding", **STOPS}),
    ("llada", None, STOPS | {"attention": "eager"}),
    ("llada", "local", STOPS | {"attention": "eager"}),
    ("dream", "dual", {"suffix_length": 10, **STOPS}),
    ("dream", "prefix", {"cfg_scale": 1.5, **STOPS}),
    ("dream", "local", {"verify": True, "max_draft_length": 3}),
    ("sdar", None, {"cfg_scale": 1.5, **STOPS}),
    ("sdar", None, {"verify": True}),
]


@pytest.mark.parametrize("family, block_cache, options", PADDED)
def test_padded_passes_change_no_token_and_no_count(family, block_cache, options):
    options = {"max_new_tokens": 56, "pad_token_id": EOT, "block_cache": block_cache, "attention": "sdpa"} | options
    model = tiny(family, attn_implementation=options.pop("attention"))
    # Nothing is compiled, but passes are made as if it were.
    for inputs in (batch(5, 20), batch(1, 33, seed=1)):
        expected = run(model, inputs, **options)
        with torch.compiler.set_stance("force_eager"):
            assert run(model, inputs, **options, compile_config=CompileConfig(backend="eager")) == expected


def test_buffers_keep_their_place_and_are_marked_so():
    model, marks = tiny(num_hidden_layers=2), []
    name = cache_argument(model.model.forward)

    def backend(graph, inputs):
        nodes = [node for node in graph.graph.nodes if node.op == "placeholder" and name in node.name]
        tagged = [node.meta.get("tensor_dict", {}).get("_dynamo_static_input_type") for node in nodes]
        marks.append(tagged.count("unguarded"))
        return graph.forward

    def places(rows, width, **options):
        options = {"max_new_tokens": 64, "compile_config": CompileConfig(backend=backend)} | options
        run(model, batch(rows, width), block_cache="dual", **options)
        return [buffer.data_ptr() for layer in _KEPT[model][1].layers for buffer in layer.buffers]

    found = places(3, 40, **STOPS)
    assert len(found) == 4 and places(3, 9) == places(2, 50) == found
    # More than ever before: another place, which then is the one.
    found = places(4, 20, verify=True)
    assert places(4, 20, verify=True) == places(2, 9) == found
    # Keys and values of both layers are marked for CUDA graphs: in a pass over everything, in a window, and in one in
    # which each position sees something else.
    assert marks == [4, 4, 4]


def test_a_call_that_has_not_ended_leaves_nothing_nor_does_a_copy_take_anything_along():
    model = tiny(num_hidden_layers=1)
    options = {"block_cache": "dual", "max_new_tokens": 20, "compile_config": CompileConfig(backend="eager")}
    with torch.compiler.set_stance("force_eager"):
        run(model, batch(2, 9), **options)
        assert model in _KEPT and copy.deepcopy(model) not in _KEPT
        with pytest.raises(ZeroDivisionError):
            run(model, batch(2, 9), stopping_criteria=[lambda *_, **__: 1 // 0], **options)
    assert model not in _KEPT


def test_what_is_kept_serves_another_dtype_and_inference_mode():
    model = tiny(num_hidden_layers=1)
    options = {"block_cache": "dual", "max_new_tokens": 40, "compile_config": CompileConfig(backend="eager")}
    with torch.compiler.set_stance("force_eager"):
        with torch.inference_mode():
            first = run(model, batch(2, 9), **options)
        # What a call leaves behind reaches no other.
        _KEPT[model][1].layers[0].buffers[1].fill_(torch.nan)
        assert run(model, batch(2, 9), **options) == first
        with torch.autocast("cpu", torch.bfloat16):
            run(model, batch(2, 9), **options)
        run(model.to(torch.bfloat16), batch(2, 9), **options)
        assert _KEPT[model][1].layers[0].buffers[0].dtype == torch.bfloat16


@pytest.mark.parametrize(
    "given, message",
    [
        ({"backend": "eager"}, r"`compile_config` must be a CompileConfig \(got \{'backend': 'eager'\}\)"),
        (CompileConfig(fullgraph=1), "`compile_config` must have a bool as `fullgraph` \\(got 1\\)"),
        (CompileConfig(dynamic="yes"), "`compile_config` must have a bool or None as `dynamic` \\(got 'yes'\\)"),
        (CompileConfig(backend=3), "`compile_config` must have a name or a function as `backend` \\(got 3\\)"),
        (CompileConfig(mode=1), "`compile_config` must have a name or None as `mode` \\(got 1\\)"),
        (CompileConfig(options=[]), "`compile_config` must have a dict or None as `options`"),
        (CompileConfig(backend="nonesuch"), "`compile_config` must be what torch.compile takes .*nonesuch"),
        (CompileConfig(mode="fast"), "`compile_config` must be what torch.compile takes .*fast"),
        (CompileConfig(mode=None, options={"nonesuch": 1}), "`compile_config` must be what torch.compile takes"),
        (CompileConfig(options={"max_autotune": True}), "`compile_config` must be what torch.compile takes .*mode or"),
    ],
)
def test_other_arguments_are_refused_before_anything_is_computed(given, message):
    model = tiny(num_hidden_layers=1)
    model.model.register_forward_pre_hook(lambda *_: pytest.fail("the model was called"))
    with pytest.raises(ValueError, match=message):
        run(model, batch(2, 9), compile_config=given)


def test_unknown_fields_are_refused():
    config = CompileConfig(backend="eager")
    config.disable = True
    with pytest.raises(ValueError, match=r"`compile_config` must hold .* only \(got disable=True\)"):
        run(tiny(num_hidden_layers=1), batch(2, 9), compile_config=config)


def test_attention_without_such_a_mask_and_foreign_caches_are_refused():
    model, options = tiny(num_hidden_layers=1), {"compile_config": CompileConfig(backend="eager")}

    class Own(DualCache):
        def begin(self, canvas, setting):
            return super().begin(canvas, setting._replace(compiled_cache=lambda size: BlockCache(setting.config, size)))

    with pytest.raises(ValueError, match=r"`block_cache` must take its cache from .*\(got a BlockCache\)"):
        run(model, batch(2, 9), block_cache=Own(), **options)
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(ValueError, match=r"`compile_config` must be None, .*\(got flash_attention_2\)"):
        run(model, batch(2, 9), **options)


def test_generation_configs_hold_it_and_disable_compile_switches_it_off(tmp_path):
    model, counter = tiny(num_hidden_layers=1), CompileCounter()
    given = GenerationConfig(compile_config=CompileConfig(backend=counter))
    options = {"max_new_tokens": 16}
    expected = run(model, batch(2, 9), **options)
    assert run(model, batch(2, 9), generation_config=given, disable_compile=True, **options) == expected
    assert counter.frame_count == 0
    assert run(model, batch(2, 9), generation_config=given, **options) == expected
    assert counter.frame_count == 1
    model.generation_config.compile_config = CompileConfig(backend="eager", dynamic=True)
    assert run(model, batch(2, 9), **options) == expected
    # As in transformers it is not written into a file.
    assert "compile" in repr(model.generation_config)
    model.save_pretrained(tmp_path)
    assert DiffusionGenerationConfig.from_pretrained(tmp_path).compile_config is None


def test_sizes_are_few_and_not_much_larger():
    assert [round_rows(rows) for rows in (1, 2, 3, 4, 5, 64, 65)] == [1, 2, 4, 4, 8, 64, 128]
    sizes = [round_columns(columns) for columns in range(1, 4097)]
    assert len(set(sizes)) == 28 and all(size % 16 == 0 for size in sizes)
    assert all(1 <= size / columns <= 1.25 for columns, size in enumerate(sizes, 1) if columns > 64)
