# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""SDAR with and without experts: official layout in and out, and the same tensors in Qwen3's classes."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_block_causal import naive
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, Qwen3ForCausalLM, Qwen3MoeForCausalLM

from hf_learn2pd import (
    SdarConfig,
    SdarForMaskedDiffusion,
    SdarModel,
    SdarMoeConfig,
    SdarMoeForMaskedDiffusion,
    SdarMoeModel,
    Threshold,
)

MASK, EOT, WIDTH, HEAD, EXPERTS = 127, 126, 32, 8, 6

# As the official config.json has it, but for the sizes.
DENSE = {
    "architectures": ["SDARForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": EOT,
    "eos_token_id": EOT,
    "head_dim": HEAD,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "mask_token_id": MASK,
    "max_position_embeddings": 512,
    "model_type": "sdar",
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
    "vocab_size": 128,
}
MOE = DENSE | {
    "architectures": ["SDARMoeForCausalLM"],
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "model_type": "sdar_moe",
    "moe_intermediate_size": 16,
    "norm_topk_prob": True,
    "num_experts": EXPERTS,
    "num_experts_per_tok": 2,
}
CLASSES = {
    "sdar": (SdarConfig, SdarModel, SdarForMaskedDiffusion, Qwen3ForCausalLM),
    "sdar_moe": (SdarMoeConfig, SdarMoeModel, SdarMoeForMaskedDiffusion, Qwen3MoeForCausalLM),
}


def shapes(config):
    """Names and shapes of an official checkpoint."""
    found = {"model.embed_tokens.weight": (128, WIDTH), "model.norm.weight": (WIDTH,), "lm_head.weight": (128, WIDTH)}
    for layer in range(2):
        name = f"model.layers.{layer}."
        heads = {"q": 4, "k": 2, "v": 2}
        found |= {f"{name}self_attn.{part}_proj.weight": (heads[part] * HEAD, WIDTH) for part in "qkv"}
        found[f"{name}self_attn.o_proj.weight"] = (WIDTH, 4 * HEAD)
        found |= {f"{name}self_attn.{part}_norm.weight": (HEAD,) for part in "qk"}
        found |= {f"{name}{each}_layernorm.weight": (WIDTH,) for each in ("input", "post_attention")}
        mlps = {"mlp.": 48}
        if config is MOE:
            mlps = {f"mlp.experts.{number}.": 16 for number in range(EXPERTS)}
            found[f"{name}mlp.gate.weight"] = (EXPERTS, WIDTH)
        for mlp, inner in mlps.items():
            found |= {f"{name}{mlp}{part}_proj.weight": (inner, WIDTH) for part in ("gate", "up")}
            found[f"{name}{mlp}down_proj.weight"] = (WIDTH, inner)
    return found


@pytest.fixture(scope="module", params=[DENSE, MOE], ids=["sdar", "sdar_moe"])
def checkpoint(request, tmp_path_factory):
    """A directory as it would lie on the Hub, its config and its tensors."""
    config = request.param
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) * 0.3 + float("norm" in name)
        for name, shape in shapes(config).items()
    }
    directory = tmp_path_factory.mktemp(config["model_type"])
    (directory / "config.json").write_text(json.dumps(config))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory, config, weights


@pytest.fixture(scope="module")
def model(checkpoint):
    loaded, info = AutoModelForCausalLM.from_pretrained(checkpoint[0], output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return loaded


@torch.no_grad()
def test_official_checkpoint_is_a_qwen3_that_sees_its_blocks(checkpoint, model, tmp_path):
    config_class, headless, model_class, qwen_class = CLASSES[checkpoint[1]["model_type"]]
    assert type(model) is model_class and type(model.config) is config_class and model.config.block_length == 4
    assert type(AutoModel.from_pretrained(checkpoint[0])) is headless
    ids = torch.randint(0, 128, (1, 11), generator=torch.Generator().manual_seed(1))
    # The same tensors in the class of an autoregressive model, with the mask written out.
    fields = checkpoint[1] | {"model_type": {"sdar": "qwen3", "sdar_moe": "qwen3_moe"}[checkpoint[1]["model_type"]]}
    (tmp_path / "config.json").write_text(json.dumps(fields | {"architectures": [qwen_class.__name__]}))
    save_file(checkpoint[2], tmp_path / "model.safetensors", metadata={"format": "pt"})
    qwen = qwen_class.from_pretrained(tmp_path)
    block = torch.arange(11) // 4
    mask = (block[None, :] <= block[:, None])[None, None]
    found = model(ids, attention_mask=mask).logits
    torch.testing.assert_close(found, qwen(ids, attention_mask=mask, use_cache=False).logits)
    # And it is neither causal nor blind to its block.
    assert not torch.allclose(found, qwen(ids, use_cache=False).logits, atol=1e-2)


def test_saved_checkpoint_has_the_official_layout(checkpoint, model, tmp_path):
    _, config, weights = checkpoint
    model.save_pretrained(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    assert written.keys() == weights.keys() and all(written[name].equal(weights[name]) for name in weights)
    saved = json.loads((tmp_path / "config.json").read_text())
    # Null and left out are the same; what grows token by token is never wanted.
    own = ("architectures", "use_cache", "rope_scaling")
    assert {name: saved.get(name) for name in config if name not in own} == {
        name: value for name, value in config.items() if name not in own
    }
    assert AutoConfig.from_pretrained(tmp_path).rope_parameters["rope_theta"] == config["rope_theta"]


def test_left_padded_batch_equals_a_loop_with_the_mask_written_out(model):
    prompts = [[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7], [1, 8, 2, 8, 1]]
    ids = torch.tensor([[EOT] * (9 - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (9 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = {"end_of_text": None, "max_new_tokens": 14, "return_dict_in_generate": True}
    output = model.generate(ids, attention_mask=mask, decoding=Threshold(0.2), **options)
    for row, prompt in enumerate(prompts):
        expected, passes = naive(model, prompt, 14, 4, 0.2)
        assert output.sequences[row, 9 - len(prompt) :].tolist() == expected
        assert output.nfe[row] == passes


def test_sliding_windows_are_refused():
    for config_class in (SdarConfig, SdarMoeConfig):
        with pytest.raises(ValueError, match="`use_sliding_window` must be False"):
            config_class(use_sliding_window=True)
