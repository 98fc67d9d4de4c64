# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import json
import shutil

import pytest
import torch
from conftest import GOLDENS, golden_cases
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, pipeline

from hf_learn2pd import DiffusionGenerationConfig, LladaConfig, LladaForMaskedDiffusion, LladaModel

OFFICIAL = json.loads((GOLDENS / "tiny_llada" / "config.json").read_text())
SPECIAL = {"mask_token_id": 29, "eos_token_id": 28, "pad_token_id": 28}


@pytest.mark.parametrize("case", ["full", "batch2", "left_padded"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_equal_the_original_implementation(case, attention):
    golden = golden_cases("forward")[case]
    model = AutoModelForCausalLM.from_pretrained(GOLDENS / "tiny_llada", attn_implementation=attention)
    mask = golden.get("attention_mask")
    with torch.no_grad():
        logits = model(torch.tensor(golden["input_ids"]), attention_mask=mask and torch.tensor(mask)).logits
    expected = torch.tensor(golden["logits"]).reshape(len(logits), len(golden["rows"]), -1)
    torch.testing.assert_close(logits[:, golden["rows"]], expected, atol=2e-4, rtol=1e-4)
    attended = torch.ones(logits.shape[:2], dtype=torch.bool) if mask is None else torch.tensor(mask).bool()
    argmax = torch.tensor(golden["argmax"]).reshape(attended.shape)
    assert torch.equal(logits.argmax(-1)[attended], argmax[attended])


def test_attention_is_bidirectional(tiny_llada):
    ids = torch.arange(8)[None]
    changed = ids.clone()
    changed[0, -1] = 99
    with torch.no_grad():
        assert not torch.allclose(tiny_llada(ids).logits[0, 0], tiny_llada(changed).logits[0, 0])


@pytest.mark.parametrize("auto", [AutoModelForMaskedLM, AutoModelForCausalLM])
def test_auto_classes_load_an_official_directory_without_remote_code(auto):
    model, info = auto.from_pretrained(GOLDENS / "tiny_llada", output_loading_info=True)
    assert type(model) is LladaForMaskedDiffusion
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_save_pretrained_writes_the_official_layout(tiny_llada, tmp_path):
    tiny_llada.save_pretrained(tmp_path)
    saved, official = (load_file(folder / "model.safetensors") for folder in (tmp_path, GOLDENS / "tiny_llada"))
    assert set(saved) == set(official)
    assert all(torch.equal(saved[name], official[name]) for name in official)
    config = json.loads((tmp_path / "config.json").read_text())
    ignored = {"transformers_version", "architectures"}
    assert {key: config[key] for key in OFFICIAL if key not in ignored} == {
        key: value for key, value in OFFICIAL.items() if key not in ignored
    }
    # The original config class has properties of these names and fails on attributes.
    assert not {"hidden_size", "num_attention_heads", "num_hidden_layers", "rope_parameters"} & set(config)


def test_a_config_made_here_is_saved_with_official_names_and_loads_again(tmp_path):
    config = LladaConfig(
        hidden_size=32, n_layers=2, n_heads=2, mlp_hidden_size=48, vocab_size=40, weight_tying=True, **SPECIAL
    )
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert (saved["d_model"], saved["n_layers"], saved["rope_theta"], saved["alibi"]) == (32, 2, 500000.0, False)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert (loaded.hidden_size, loaded.d_model, loaded.head_dim, loaded.n_kv_heads) == (32, 32, 16, 2)
    assert loaded.tie_word_embeddings is True and loaded.embedding_size == 40


def test_official_nulls_mean_what_the_official_code_makes_of_them():
    nulls = {"mlp_hidden_size": None, "n_kv_heads": None, "bias_for_layer_norm": None, "multi_query_attention": False}
    config = LladaConfig(**OFFICIAL | nulls)
    assert (config.intermediate_size, config.num_key_value_heads) == (4 * 64, 4)


def test_defaults_describe_llada_8b():
    with torch.device("meta"):
        model = LladaForMaskedDiffusion(LladaConfig())
    assert model.num_parameters() == 8_015_581_184
    assert len(model.state_dict()) == 291
    assert (model.config.mask_token_id, model.config.end_of_turn_token_id) == (126336, 126348)


def test_tied_embeddings_round_trip(tmp_path):
    config = LladaConfig(
        d_model=16, n_layers=1, n_heads=2, mlp_hidden_size=24, vocab_size=30, weight_tying=True, **SPECIAL
    )
    model = LladaForMaskedDiffusion(config).eval()
    model.save_pretrained(tmp_path)
    assert "model.transformer.ff_out.weight" not in load_file(tmp_path / "model.safetensors")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(10)[None]
    assert torch.equal(model(ids).logits, loaded(ids).logits)


def test_the_embedding_of_end_of_text_is_trained(tiny_llada):
    loss = tiny_llada(torch.tensor([[1, 510, 2]])).logits.square().mean()
    (gradient,) = torch.autograd.grad(loss, tiny_llada.model.embed_tokens.weight)
    assert gradient[510].abs().sum() > 0


def test_grouped_query_attention_loads(tmp_path):
    config = LladaConfig(d_model=16, n_layers=1, n_heads=4, n_kv_heads=2, mlp_hidden_size=24, vocab_size=30, **SPECIAL)
    LladaForMaskedDiffusion(config).save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors")["model.transformer.blocks.0.k_proj.weight"].shape == (8, 16)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config.num_key_value_heads == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dtype_and_device_map_work_as_for_any_model(dtype):
    model = AutoModelForCausalLM.from_pretrained(GOLDENS / "tiny_llada", dtype=dtype, device_map="cpu")
    assert model.dtype == dtype
    prompt = torch.tensor([[1, 2, 3]])
    output = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, block_length=4)
    assert output.shape[1] <= 11 and 511 not in output


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alibi", True),
        ("include_bias", True),
        ("include_qkv_bias", True),
        ("bias_for_layer_norm", True),
        ("activation_type", "gelu"),
        ("block_type", "sequential"),
        ("block_group_size", 2),
        ("layer_norm_type", "default"),
        ("layer_norm_with_affine", False),
        ("attention_layer_norm", True),
        ("input_emb_norm", True),
        ("rope", False),
        ("rope_full_precision", False),
        ("scale_logits", True),
        ("residual_dropout", 0.1),
        ("multi_query_attention", True),
        ("clip_qkv", 8.0),
        ("n_kv_heads", 3),
        ("embedding_size", 640),
    ],
)
def test_a_config_that_cannot_be_honoured_names_its_field(field, value, tmp_path):
    shutil.copytree(GOLDENS / "tiny_llada", tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text(json.dumps(OFFICIAL | {field: value}))
    with pytest.raises(ValueError, match=f"`{field}`.*got {value!r}"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_generation_config_is_stored_and_loaded_with_the_model(tiny_llada, tmp_path):
    tiny_llada.save_pretrained(tmp_path)
    stored = DiffusionGenerationConfig(decoding="threshold", block_length=4, max_new_tokens=8, eos_token_id=510)
    stored.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(model.generation_config, DiffusionGenerationConfig)
    assert (model.generation_config.decoding, model.generation_config.block_length) == ("threshold", 4)
    prompt = torch.tensor([[1, 2, 3]])
    by_default = model.generate(prompt, attention_mask=torch.ones_like(prompt))
    named = tiny_llada.generate(
        prompt, attention_mask=torch.ones_like(prompt), decoding="threshold", block_length=4, max_new_tokens=8
    )
    assert torch.equal(by_default, named)


def test_kernels_that_go_by_a_flag_are_not_told_to_be_causal(tiny_llada):
    # Flash attention gets no mask where nothing is padded; it asks the layer.
    assert [layer.self_attn.is_causal for layer in tiny_llada.model.layers] == [False] * len(tiny_llada.model.layers)


def test_a_headless_model_reads_and_writes_the_official_names(tiny_llada, tmp_path):
    headless, info = AutoModel.from_pretrained(GOLDENS / "tiny_llada", output_loading_info=True)
    assert type(headless) is LladaModel and not info["missing_keys"]
    ids = torch.arange(8)[None]
    with torch.no_grad():
        expected = tiny_llada.model(ids).last_hidden_state
        assert torch.equal(headless(ids).last_hidden_state, expected)
    headless.save_pretrained(tmp_path)
    saved, official = (load_file(folder / "model.safetensors") for folder in (tmp_path, GOLDENS / "tiny_llada"))
    assert set(saved) == {name.removeprefix("model.") for name in official} - {"transformer.ff_out.weight"}
    for auto in (AutoModel, AutoModelForCausalLM):
        loaded, info = auto.from_pretrained(tmp_path, output_loading_info=True)
        assert not info["unexpected_keys"] and set(info["missing_keys"]) <= {"lm_head.weight"}
        with torch.no_grad():
            assert torch.equal(loaded.base_model(ids).last_hidden_state, expected)


def test_a_fresh_model_has_an_embedding_for_end_of_text():
    sizes = {"d_model": 64, "n_layers": 1, "n_heads": 2, "mlp_hidden_size": 24, "vocab_size": 30}
    for fresh in (
        LladaForMaskedDiffusion(LladaConfig(**sizes, **SPECIAL)),
        LladaModel(LladaConfig(**sizes, **SPECIAL)),
    ):
        rows = fresh.get_input_embeddings().weight
        assert 0.01 < rows[28].std() < 0.03 and 0.01 < rows[27].std() < 0.03


def test_forward_returns_no_cache_unless_asked(tiny_llada):
    output = tiny_llada(torch.arange(8)[None])
    assert tiny_llada.config.use_cache is False
    assert LladaConfig(use_cache=True).use_cache is False
    assert all(getattr(output, name, None) is None for name in ("past_key_values", "cache"))


def test_the_fill_mask_pipeline_fills_masks():
    checkpoint = GOLDENS.parents[1] / "examples" / "tiny_llada"
    fill = pipeline("fill-mask", model=str(checkpoint), tokenizer=AutoTokenizer.from_pretrained(checkpoint))
    prompt = "<|startoftext|> the answer <|mdm_mask|> 7."
    best, ids = fill(prompt)[0], fill.tokenizer(prompt, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        score, token = fill.model(ids).logits.softmax(dim=-1)[ids == fill.tokenizer.mask_token_id][0].max(dim=-1)
    assert best["token"] == token and abs(best["score"] - score) < 1e-5


def test_the_text_generation_pipeline_is_greedy():
    write = pipeline("text-generation", model=str(GOLDENS.parents[1] / "examples" / "tiny_llada"))
    chat = [{"role": "user", "content": "Repeat apple banana"}]
    inputs = write.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    output = write.model.generate(**inputs, max_new_tokens=32, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    greedy = write.tokenizer.decode(output, skip_special_tokens=True)
    for seed in range(8):
        torch.manual_seed(seed)
        assert write(chat, max_new_tokens=32)[0]["generated_text"][-1]["content"] == greedy


@pytest.mark.parametrize("field", ["num_experts", "moe_intermediate_size", "qk_layernorm", "sliding_window"])
def test_a_field_of_another_architecture_is_refused(field):
    with pytest.raises(ValueError, match=f"`{field}` must be left out for a LLaDA model.*{field}=8"):
        LladaConfig(**OFFICIAL | {field: 8})
