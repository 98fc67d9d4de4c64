# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""LLaDA2: a tiny random checkpoint in the official layout, against the definition written out here."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_block_causal import naive
from torch.nn.functional import scaled_dot_product_attention, silu
from transformers import AutoModel, AutoModelForCausalLM

from hf_learn2pd import Llada2MoeConfig, Llada2MoeForMaskedDiffusion, Llada2MoeModel, Threshold

MASK, EOT, WIDTH, HEADS, GROUPS, HEAD, EXPERTS = 127, 126, 32, 4, 2, 16, 8

# As the official config.json has it, but for the sizes.
CONFIG = {
    "architectures": ["LLaDA2MoeModelLM"],
    "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration_llada2_moe.LLaDA2MoeConfig"},
    "embedding_dropout": 0.0,
    "eos_token_id": EOT,
    "first_k_dense_replace": 1,
    "head_dim": HEAD,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "mask_token_id": MASK,
    "max_position_embeddings": 512,
    "max_window_layers": 28,
    "model_type": "llada2_moe",
    "moe_intermediate_size": 16,
    "moe_router_enable_expert_bias": True,
    "n_group": 4,
    "norm_head": False,
    "norm_softmax": False,
    "norm_topk_prob": True,
    "num_attention_heads": HEADS,
    "num_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 3,
    "num_key_value_heads": GROUPS,
    "num_shared_experts": 1,
    "output_dropout": 0.0,
    "output_router_logits": False,
    "pad_token_id": EOT,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 600000,
    "rotary_dim": 8,
    "routed_scaling_factor": 2.5,
    "router_dtype": "fp32",
    "score_function": "sigmoid",
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "topk_group": 2,
    "use_bias": False,
    "use_cache": False,
    "use_qk_norm": True,
    "use_qkv_bias": False,
    "use_rmsnorm": True,
    "use_sliding_window": False,
    "vocab_size": 128,
}


def shapes():
    """Names and shapes of an official checkpoint."""
    found = {"model.word_embeddings.weight": (128, WIDTH), "model.norm.weight": (WIDTH,)}
    found["lm_head.weight"] = (128, WIDTH)
    for layer in range(CONFIG["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        found[f"{name}attention.query_key_value.weight"] = ((HEADS + 2 * GROUPS) * HEAD, WIDTH)
        found[f"{name}attention.dense.weight"] = (WIDTH, HEADS * HEAD)
        found |= {f"{name}attention.{part}_layernorm.weight": (HEAD,) for part in ("query", "key")}
        found |= {f"{name}{each}_layernorm.weight": (WIDTH,) for each in ("input", "post_attention")}
        mlps = {"mlp.": 48}
        if layer:
            mlps = {f"mlp.experts.{number}.": 16 for number in range(EXPERTS)} | {"mlp.shared_experts.": 16}
            found |= {f"{name}mlp.gate.weight": (EXPERTS, WIDTH), f"{name}mlp.gate.expert_bias": (EXPERTS,)}
        for mlp, inner in mlps.items():
            found |= {f"{name}{mlp}{part}_proj.weight": (inner, WIDTH) for part in ("gate", "up")}
            found[f"{name}{mlp}down_proj.weight"] = (WIDTH, inner)
    return found


def norm(states, weight):
    return states * torch.rsqrt(states.pow(2).mean(dim=-1, keepdim=True) + 1e-6) * weight


def rotate(states):
    """RoPE over the first half of the last dimension, positions along the one before."""
    turned, kept = states.split(HEAD // 2, dim=-1)
    first, second = turned.split(HEAD // 4, dim=-1)
    angle = torch.arange(states.shape[-2])[:, None] / 600000 ** (torch.arange(HEAD // 4) / (HEAD // 4))
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((first * cos - second * sin, second * cos + first * sin, kept), dim=-1)


def mlp(states, part, name):
    gate, up, down = (part[f"{name}{each}_proj.weight"].T for each in ("gate", "up", "down"))
    return (silu(states @ gate) * (states @ up)) @ down


def route(state, part):
    """Weight of each expert for one token: the best 2 of the best 2 of 4 groups, by score and bias."""
    scores = (state @ part["mlp.gate.weight"].T).sigmoid()
    biased = scores + part["mlp.gate.expert_bias"]
    groups = biased.view(4, 2).sum(dim=-1).topk(2).indices.tolist()
    allowed = [expert for expert in range(EXPERTS) if expert // 2 in groups]
    best = sorted(allowed, key=lambda expert: -float(biased[expert]))[:2]
    weights = torch.zeros(EXPERTS)
    weights[best] = scores[best] / scores[best].sum() * 2.5
    return weights


def definition(weights, ids, block_length):
    """Logits of one row in which blocks see those before them and themselves."""
    block = torch.arange(len(ids)) // block_length
    states = weights["model.word_embeddings.weight"][ids]
    for layer in range(CONFIG["num_hidden_layers"]):
        head = f"model.layers.{layer}."
        part = {name.removeprefix(head): value for name, value in weights.items() if name.startswith(head)}
        fused = norm(states, part["input_layernorm.weight"]) @ part["attention.query_key_value.weight"].T
        fused = fused.unflatten(-1, (-1, HEAD)).transpose(0, 1)
        queries, keys, values = fused.split((HEADS, GROUPS, GROUPS))
        queries = rotate(norm(queries, part["attention.query_layernorm.weight"]))
        keys = rotate(norm(keys, part["attention.key_layernorm.weight"]))
        keys, values = (each.repeat_interleave(HEADS // GROUPS, dim=0) for each in (keys, values))
        attended = scaled_dot_product_attention(queries, keys, values, block[None, :] <= block[:, None])
        states = states + attended.transpose(0, 1).flatten(1) @ part["attention.dense.weight"].T
        normed = norm(states, part["post_attention_layernorm.weight"])
        if layer:
            routed = torch.stack([route(state, part) for state in normed])
            each = torch.stack([mlp(normed, part, f"mlp.experts.{number}.") for number in range(EXPERTS)], dim=1)
            states = states + (each * routed[..., None]).sum(dim=1) + mlp(normed, part, "mlp.shared_experts.")
        else:
            states = states + mlp(normed, part, "mlp.")
    return norm(states, weights["model.norm.weight"]) @ weights["lm_head.weight"].T


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A directory as it would lie on the Hub, and its tensors."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) * 0.3 + float("norm" in name) for name, shape in shapes().items()
    }
    directory = tmp_path_factory.mktemp("llada2")
    (directory / "config.json").write_text(json.dumps(CONFIG))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory, weights


@pytest.fixture(scope="module")
def model(checkpoint):
    loaded, info = AutoModelForCausalLM.from_pretrained(checkpoint[0], output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return loaded


@torch.no_grad()
def test_official_checkpoint_computes_the_definition(checkpoint, model):
    assert type(model) is Llada2MoeForMaskedDiffusion and type(model.config) is Llada2MoeConfig
    ids = torch.randint(0, 128, (21,), generator=torch.Generator().manual_seed(1))
    for block_length in (4, 32):
        block = torch.arange(21) // block_length
        mask = (block[None, :] <= block[:, None])[None, None]
        found = model(ids[None], attention_mask=mask).logits[0]
        torch.testing.assert_close(found, definition(checkpoint[1], ids, block_length), atol=2e-4, rtol=1e-4)


def test_saved_checkpoint_has_the_official_layout(checkpoint, model, tmp_path):
    weights = checkpoint[1]
    fresh = Llada2MoeForMaskedDiffusion(Llada2MoeConfig(**CONFIG))
    fresh.load_state_dict(model.state_dict())
    for number, saved in enumerate((model, fresh)):
        saved.save_pretrained(tmp_path / str(number))
        written = load_file(tmp_path / str(number) / "model.safetensors")
        assert written.keys() == weights.keys()
        assert all(written[name].equal(weights[name]) for name in weights)
        config = json.loads((tmp_path / str(number) / "config.json").read_text())
        own = ("architectures", "auto_map")
        assert {name: config.get(name) for name in CONFIG if name not in own} == {
            name: value for name, value in CONFIG.items() if name not in own
        }


def test_headless_model_loads_from_the_same_files(checkpoint, model, tmp_path):
    headless, info = AutoModel.from_pretrained(checkpoint[0], output_loading_info=True)
    assert type(headless) is Llada2MoeModel and not info["missing_keys"]
    assert all(value.equal(headless.state_dict()[name]) for name, value in model.model.state_dict().items())


@pytest.mark.parametrize("threshold", [0.05, 0.9])
def test_left_padded_batch_equals_a_loop_with_the_mask_written_out(model, threshold):
    prompts = [[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7], [1, 8, 2, 8, 1]]
    ids = torch.tensor([[EOT] * (9 - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (9 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = {"end_of_text": None, "max_new_tokens": 14, "block_length": 4, "return_dict_in_generate": True}
    output = model.generate(ids, attention_mask=mask, decoding=Threshold(threshold), **options)
    for row, prompt in enumerate(prompts):
        expected, passes = naive(model, prompt, 14, 4, threshold)
        assert output.sequences[row, 9 - len(prompt) :].tolist() == expected
        assert output.nfe[row] == passes


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("score_function", "softmax", "`score_function` must be 'sigmoid' for a LLaDA2 model"),
        ("use_qkv_bias", True, "`use_qkv_bias` must be False"),
        ("use_qk_norm", False, "`use_qk_norm` must be True"),
        ("norm_topk_prob", False, "`norm_topk_prob` must be True"),
        ("num_experts_per_tok", 1, "`num_experts_per_tok` must be at least 2"),
        ("num_shared_experts", 0, "`n_shared_experts` must be at least 1"),
        ("use_sliding_window", True, "`use_sliding_window` must be False"),
    ],
)
def test_other_architectures_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        Llada2MoeConfig(**CONFIG | {field: value})
