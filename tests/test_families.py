# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Dream and LLaDA-MoE: tiny random checkpoints in the official layout, against the definitions written out here."""

import json

import pytest
import torch
from conftest import golden_cases, golden_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn.functional import scaled_dot_product_attention, silu
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    Qwen2Tokenizer,
)

from hf_learn2pd import (
    DreamConfig,
    DreamForMaskedDiffusion,
    DreamModel,
    Learn2PD,
    LladaConfig,
    LladaForMaskedDiffusion,
    LladaMoeConfig,
    LladaMoeForMaskedDiffusion,
    LladaMoeModel,
    LowConfidence,
    Threshold,
    UnmaskingFilter,
)

MASK, EOT = 59, 58

# As the official config.json has it, but for the sizes.
DREAM = {
    "architectures": ["DreamModel"],
    "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
    "bos_token_id": EOT,
    "eos_token_id": EOT,
    "hidden_act": "silu",
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "mask_token_id": MASK,
    "max_position_embeddings": 128,
    "max_window_layers": 28,
    "model_type": "Dream",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pad_token_id": EOT,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 60,
}
MOE = {
    "architectures": ["LLaDAMoEModelLM"],
    "attention_bias": False,
    "clip_qkv": None,
    "dense_intermediate_size": 48,
    "eos_token_id": EOT,
    "expert_intermediate_size": 16,
    "hidden_act": "silu",
    "hidden_size": 32,
    "mask_token_id": MASK,
    "max_position_embeddings": 128,
    "model_type": "lladamoe",
    "moe_layer_freq": [0, 1],
    "norm_topk_prob": False,
    "num_attention_heads": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "pad_token_id": EOT,
    "partial_rotary_factor": 1,
    "qk_layernorm": True,
    "rms_norm_eps": 1e-05,
    "rope_theta": 50000.0,
    "routed_scaling_factor": 1,
    "shared_expert_intermediate_size": None,
    "tie_word_embeddings": False,
    "vocab_size": 60,
}


def shapes_of(config):
    """Names and shapes of an official checkpoint."""
    width, heads, groups = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    head = width // heads
    moe = config["model_type"] == "lladamoe"
    shapes = {"model.embed_tokens.weight": (60, width), "model.norm.weight": (width,), "lm_head.weight": (60, width)}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        sizes = {"q": heads * head, "k": groups * head, "v": groups * head}
        for part, size in sizes.items():
            shapes[f"{name}self_attn.{part}_proj.weight"] = (size, width)
            if not moe:
                shapes[f"{name}self_attn.{part}_proj.bias"] = (size,)
        if moe:
            shapes |= {f"{name}self_attn.{part}_norm.weight": (head,) for part in "qk"}
        shapes[f"{name}self_attn.o_proj.weight"] = (width, width)
        shapes |= {f"{name}{norm}.weight": (width,) for norm in ("input_layernorm", "post_attention_layernorm")}
        mlps = {"mlp.": config.get("intermediate_size", config.get("dense_intermediate_size"))}
        if moe and config["moe_layer_freq"][layer]:
            mlps = {f"mlp.experts.{number}.": config["expert_intermediate_size"] for number in range(4)}
            shapes[f"{name}mlp.gate.weight"] = (4, width)
        for mlp, inner in mlps.items():
            shapes |= {f"{name}{mlp}{part}_proj.weight": (inner, width) for part in ("gate", "up")}
            shapes[f"{name}{mlp}down_proj.weight"] = (width, inner)
    return shapes


def norm(states, weight, eps):
    return states * torch.rsqrt(states.pow(2).mean(dim=-1, keepdim=True) + eps) * weight


def rotate(states, theta):
    """RoPE over the last dimension, positions along the one before."""
    half = states.shape[-1] // 2
    angle = torch.arange(states.shape[-2])[:, None] / theta ** (torch.arange(half) / half)
    first, second = states[..., :half], states[..., half:]
    return torch.cat((first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()), dim=-1)


def definition(weights, config, ids):
    """Logits of a whole canvas, not shifted."""
    eps, heads, groups = config["rms_norm_eps"], config["num_attention_heads"], config["num_key_value_heads"]
    states = weights["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        part = {
            name.split(f"layers.{layer}.")[1]: value for name, value in weights.items() if f"layers.{layer}." in name
        }
        normed = norm(states, part["input_layernorm.weight"], eps)
        queries, keys, values = (
            (normed @ part[f"self_attn.{each}_proj.weight"].T + part.get(f"self_attn.{each}_proj.bias", 0.0))
            .unflatten(-1, (-1, 32 // heads))
            .transpose(1, 2)
            for each in "qkv"
        )
        if "self_attn.q_norm.weight" in part:
            queries = norm(queries, part["self_attn.q_norm.weight"], eps)
            keys = norm(keys, part["self_attn.k_norm.weight"], eps)
        queries, keys = (rotate(each, config["rope_theta"]) for each in (queries, keys))
        keys, values = (each.repeat_interleave(heads // groups, dim=1) for each in (keys, values))
        attended = scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        states = states + attended @ part["self_attn.o_proj.weight"].T
        normed = norm(states, part["post_attention_layernorm.weight"], eps)
        if "mlp.gate.weight" in part:
            scores, chosen = (normed @ part["mlp.gate.weight"].T).softmax(dim=-1).topk(2, dim=-1)
            everything = torch.stack([mlp(normed, part, f"mlp.experts.{number}.") for number in range(4)], dim=-2)
            picked = everything.take_along_dim(chosen[..., None], dim=-2)
            states = states + (picked * scores[..., None]).sum(dim=-2)
        else:
            states = states + mlp(normed, part, "mlp.")
    return norm(states, weights["model.norm.weight"], eps) @ weights["lm_head.weight"].T


def mlp(states, part, name):
    gate, up, down = (part[f"{name}{each}_proj.weight"].T for each in ("gate", "up", "down"))
    return (silu(states @ gate) * (states @ up)) @ down


@pytest.fixture(scope="module", params=["Dream", "lladamoe"])
def family(request, tmp_path_factory):
    """A directory as it would lie on the Hub, its config and its tensors."""
    config = {"Dream": DREAM, "lladamoe": MOE}[request.param]
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) * 0.3 + float("norm" in name)
        for name, shape in shapes_of(config).items()
    }
    directory = tmp_path_factory.mktemp(request.param)
    (directory / "config.json").write_text(json.dumps(config))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory, config, weights


@torch.no_grad()
def test_official_checkpoints_load_and_compute_the_definition(family):
    directory, config, weights = family
    expected = {"Dream": DreamForMaskedDiffusion, "lladamoe": LladaMoeForMaskedDiffusion}[config["model_type"]]
    ids = torch.randint(0, 60, (2, 11), generator=torch.Generator().manual_seed(1))
    logits = definition(weights, config, ids)
    loaders = (
        [AutoModelForCausalLM] if config["model_type"] == "Dream" else [AutoModelForCausalLM, AutoModelForMaskedLM]
    )
    for loader in loaders:
        for attention in ("sdpa", "eager"):
            model, report = loader.from_pretrained(directory, attn_implementation=attention, output_loading_info=True)
            assert type(model) is expected and not report["missing_keys"] and not report["unexpected_keys"]
            torch.testing.assert_close(model(ids).logits, logits, atol=2e-5, rtol=1e-4)
            # What kernels go by that are given no mask.
            assert not any(layer.self_attn.is_causal for layer in model.model.layers)


def test_saving_writes_the_official_layout(family, tmp_path):
    directory, config, weights = family
    AutoModelForCausalLM.from_pretrained(directory).save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == weights.keys()
    assert all(torch.equal(saved[name], weights[name]) for name in weights)
    written = json.loads((tmp_path / "config.json").read_text())
    ours = ("architectures", "auto_map", "rope_scaling", "rope_theta", "use_cache")
    assert {name: written[name] for name in config if name not in ours} == {
        name: value for name, value in config.items() if name not in ours
    }
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.rope_parameters["rope_theta"] == config["rope_theta"]


@torch.no_grad()
def naive(weights, config, prompt, length, block_length):
    """The stock loop on the definition; Dream's logits belong to the position behind."""
    canvas = torch.cat((prompt, torch.full((1, length), MASK)), dim=1)
    for start in range(prompt.shape[1], canvas.shape[1], block_length):
        block = slice(start, min(start + block_length, canvas.shape[1]))
        while (canvas[:, block] == MASK).any():
            logits = definition(weights, config, canvas)
            if config["model_type"] == "Dream":
                logits = torch.cat((logits[:, :1], logits[:, :-1]), dim=1)
            logits[..., MASK] = -torch.inf
            confidence, tokens = logits[:, block].softmax(dim=-1).max(dim=-1)
            confidence[canvas[:, block] != MASK] = -1.0
            best = int(confidence.argmax())
            canvas[0, start + best] = tokens[0, best]
    return canvas


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(0, 57), min_size=1, max_size=6), st.integers(1, 14), st.integers(1, 8))
def test_the_stock_loop_is_that_of_the_definition(family, prompt, length, block_length):
    directory, config, weights = family
    model, prompt = AutoModelForCausalLM.from_pretrained(directory), torch.tensor([prompt])
    options = {"max_new_tokens": length, "block_length": block_length, "end_of_text": None}
    expected = naive(weights, config, prompt, length, block_length)
    assert torch.equal(model.generate(prompt, decoding=LowConfidence(), **options), expected)
    assert torch.equal(model.generate(prompt, decoding="pearl", **options), expected)


FILTER = UnmaskingFilter(architecture="transformer", features=["confidence", "position", "margin"], threshold=0.5)


@pytest.mark.parametrize("block_cache", [None, "prefix", "dual"])
@pytest.mark.parametrize("end_of_text", [None, "accepted", "cut", "predicted"])
@pytest.mark.parametrize("decoding", [LowConfidence(), Threshold(0.1), Learn2PD(FILTER, 0.5)])
def test_rows_are_independent_with_everything_else(family, block_cache, end_of_text, decoding):
    model = AutoModelForCausalLM.from_pretrained(family[0])
    prompts = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    ids = torch.tensor([[EOT] * (6 - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (6 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = {"decoding": decoding, "block_cache": block_cache, "end_of_text": end_of_text}
    options |= {"max_new_tokens": 21, "block_length": 8, "eos_token_id": 21, "return_dict_in_generate": True}
    together = model.generate(ids, attention_mask=mask, **options)
    for row, prompt in enumerate(prompts):
        alone = model.generate(torch.tensor([prompt]), **options)
        answer = alone.sequences[0, len(prompt) :]
        assert together.sequences[row, 6 : 6 + len(answer)].tolist() == answer.tolist()
        assert together.nfe[row] == alone.nfe[0]
    if block_cache is not None and end_of_text != "predicted":
        fresh = model.generate(ids, attention_mask=mask, refresh_every=1, **options)
        plain = model.generate(ids, attention_mask=mask, **options | {"block_cache": None})
        assert torch.equal(fresh.sequences, plain.sequences)


@pytest.mark.parametrize("block_cache", ["prefix", "dual"])
@pytest.mark.parametrize("decoding", [LowConfidence(), Threshold(0.1), "pearl"])
def test_with_one_layer_a_cache_is_exact(block_cache, decoding):
    """Keys and values of the first layer know nothing of other positions, so those that are stored stay right."""
    torch.manual_seed(3)
    model = DreamForMaskedDiffusion(DreamConfig(**DREAM | {"num_hidden_layers": 1, "initializer_range": 0.3})).eval()
    prompt = torch.tensor([[EOT, EOT, 5, 6, 7], [8, 9, 10, 11, 12]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    options = {"attention_mask": mask, "decoding": decoding, "max_new_tokens": 19, "block_length": 8}
    cached = model.generate(prompt, block_cache=block_cache, end_of_text=None, **options)
    assert torch.equal(cached, model.generate(prompt, end_of_text=None, **options))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DreamConfig(use_sliding_window=True), "`use_sliding_window` must be False for a Dream model"),
        (lambda: LladaMoeConfig(use_sliding_window=True), "`use_sliding_window` must be False for a LLaDA-MoE model"),
        (lambda: LladaMoeConfig(norm_topk_prob=True), "`norm_topk_prob` must be False for a LLaDA-MoE model"),
        (lambda: LladaMoeConfig(moe_router_score_function="sigmoid"), "`moe_router_score_function` must be 'softmax'"),
        (lambda: LladaMoeConfig(qk_layernorm=False), "`qk_layernorm` must be True for a LLaDA-MoE model"),
        (lambda: LladaMoeConfig(clip_qkv=8.0), "`clip_qkv` must be None"),
        (lambda: LladaMoeConfig(shared_expert_intermediate_size=8), "`shared_expert_intermediate_size` must be None"),
        (lambda: LladaMoeConfig(moe_router_enable_expert_bias=True), "`moe_router_enable_expert_bias` must be None"),
    ],
)
def test_other_architectures_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@torch.no_grad()
def test_a_headless_model_is_the_decoder(family, tmp_path):
    directory, config, weights = family
    headless = AutoModel.from_pretrained(directory)
    assert type(headless) is {"Dream": DreamModel, "lladamoe": LladaMoeModel}[config["model_type"]]
    states = headless(torch.arange(9)[None]).last_hidden_state
    expected = definition(weights, config, torch.arange(9)[None])
    torch.testing.assert_close(states @ weights["lm_head.weight"].T, expected, atol=2e-5, rtol=1e-4)
    assert headless.config.use_cache is False
    headless.save_pretrained(tmp_path)
    assert torch.equal(AutoModel.from_pretrained(tmp_path)(torch.arange(9)[None]).last_hidden_state, states)


def test_fresh_models_have_an_embedding_for_end_of_text():
    for fresh in (DreamForMaskedDiffusion(DreamConfig(**DREAM)), LladaMoeForMaskedDiffusion(LladaMoeConfig(**MOE))):
        assert 0.01 < fresh.get_input_embeddings().weight[EOT].std() < 0.04


@torch.no_grad()
@pytest.mark.parametrize("family", ["lladamoe"], indirect=True)
def test_a_mixture_of_experts_is_told_apart_where_its_model_type_is_that_of_llada(family, tmp_path):
    _, config, weights = family
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "llada", "norm_topk_prob": None}))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert type(AutoConfig.from_pretrained(tmp_path)) is LladaMoeConfig
    ids = torch.arange(9)[None]
    for loader in (AutoModelForCausalLM, AutoModelForMaskedLM, LladaMoeForMaskedDiffusion):
        model = loader.from_pretrained(tmp_path)
        assert type(model) is LladaMoeForMaskedDiffusion
        torch.testing.assert_close(model(ids).logits, definition(weights, config, ids), atol=2e-5, rtol=1e-4)
    for dense in (LladaConfig, LladaForMaskedDiffusion):
        with pytest.raises(ValueError, match="`num_experts` must be left out for a LLaDA model"):
            dense.from_pretrained(tmp_path)


def test_a_tokenizer_of_dream_loads_without_remote_code(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(DREAM))
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    remote = {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]}
    tokenizer = {"tokenizer_class": "DreamTokenizer", "auto_map": remote, "eos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded, Qwen2Tokenizer) and loaded("ab")["input_ids"] == [2]


def test_decoding_a_mixture_of_experts_equals_the_original_implementation():
    model = golden_model("tiny_llada_moe")
    for case in golden_cases("adablock_off_llada_moe"):
        options = {"max_new_tokens": case["args"]["gen_length"], "block_length": case["args"]["block_length"]}
        output = model.generate(
            torch.tensor(case["prompt"]),
            decoding=Threshold(case["args"]["threshold"]),
            end_of_text=None,
            return_dict_in_generate=True,
            **options,
        )
        assert output.sequences.tolist() == case["output"] and output.nfe.tolist() == [case["nfe"]], case["id"]
