# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Fast-dLLM v2: official layout in and out, and the release's loop with its mask written out."""

import functools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, Qwen2ForCausalLM, Qwen2Tokenizer

from hf_learn2pd import BlockCausal, FastDllmConfig, FastDllmForMaskedDiffusion, FastDllmModel, Threshold

MASK, EOT, PAD, WIDTH, HEAD = 127, 126, 125, 32, 8

# As the official config.json has it, but for the sizes.
CONFIG = {
    "architectures": ["Fast_dLLM_QwenForCausalLM"],
    "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration.Fast_dLLM_QwenConfig", "AutoModel": "modeling.Fast_dLLM_QwenModel"},
    "bd_size": 8,
    "bos_token_id": PAD,
    "eos_token_id": EOT,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "layer_types": ["full_attention", "full_attention"],
    "max_position_embeddings": 512,
    "max_window_layers": 28,
    "model_type": "Fast_dLLM_Qwen",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 128,
}


def shapes(tied):
    """Names and shapes of an official checkpoint."""
    found = {"model.embed_tokens.weight": (128, WIDTH), "model.norm.weight": (WIDTH,)}
    if not tied:
        found["lm_head.weight"] = (128, WIDTH)
    for layer in range(2):
        name = f"model.layers.{layer}."
        for part, heads in {"q": 4, "k": 2, "v": 2}.items():
            found[f"{name}self_attn.{part}_proj.weight"] = (heads * HEAD, WIDTH)
            found[f"{name}self_attn.{part}_proj.bias"] = (heads * HEAD,)
        found[f"{name}self_attn.o_proj.weight"] = (WIDTH, 4 * HEAD)
        found |= {f"{name}{each}_layernorm.weight": (WIDTH,) for each in ("input", "post_attention")}
        found |= {f"{name}mlp.{part}_proj.weight": (48, WIDTH) for part in ("gate", "up")}
        found[f"{name}mlp.down_proj.weight"] = (WIDTH, 48)
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["7B", "1.5B"])
def checkpoint(request, tmp_path_factory):
    """A directory as it would lie on the Hub, its config and its tensors; the smaller model's embeddings are tied."""
    config, generator = CONFIG | {"tie_word_embeddings": request.param}, torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) * 0.3 + float("norm" in name)
        for name, shape in shapes(request.param).items()
    }
    directory = tmp_path_factory.mktemp("fast_dllm")
    (directory / "config.json").write_text(json.dumps(config))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory, config, weights


@torch.no_grad()
def test_official_checkpoint_is_a_qwen2_that_sees_its_blocks(checkpoint, tmp_path):
    directory, config, weights = checkpoint
    model, info = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(model) is FastDllmForMaskedDiffusion and type(model.config) is FastDllmConfig
    assert type(AutoModel.from_pretrained(directory)) is FastDllmModel
    # The same tensors in the class of an autoregressive model, with the mask written out.
    fields = config | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "auto_map": None}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    qwen = Qwen2ForCausalLM.from_pretrained(tmp_path)
    ids = torch.randint(0, 128, (1, 21), generator=torch.Generator().manual_seed(1))
    block = torch.arange(21) // 8
    mask = (block[None, :] <= block[:, None])[None, None]
    found = model(ids, attention_mask=mask).logits
    torch.testing.assert_close(found, qwen(ids, attention_mask=mask, use_cache=False).logits)
    assert not torch.allclose(found, qwen(ids, use_cache=False).logits, atol=1e-2)


def test_saved_checkpoint_has_the_official_layout(checkpoint, tmp_path):
    directory, config, weights = checkpoint
    AutoModelForCausalLM.from_pretrained(directory).save_pretrained(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    assert written.keys() == weights.keys() and all(written[name].equal(weights[name]) for name in weights)
    saved = json.loads((tmp_path / "config.json").read_text())
    own = ("architectures", "auto_map", "use_cache", "rope_scaling")
    assert {name: saved.get(name) for name in config if name not in own} == {
        name: value for name, value in config.items() if name not in own
    }
    assert AutoConfig.from_pretrained(tmp_path).rope_parameters["rope_theta"] == config["rope_theta"]


def test_released_ids_are_the_defaults():
    config = FastDllmConfig()
    assert (config.bd_size, config.mask_token_id, config.eos_token_id) == (32, 151665, 151645)
    with pytest.raises(ValueError, match="`use_sliding_window` must be False for a Fast_dLLM_Qwen model"):
        FastDllmConfig(use_sliding_window=True)


def test_a_tokenizer_loads_without_remote_code(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2, "<|im_end|>": 3}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded, Qwen2Tokenizer) and loaded("ab")["input_ids"] == [2]


@functools.cache
def tiny(seed=0):
    torch.manual_seed(seed)
    fields = CONFIG | {"initializer_range": 0.5, "mask_token_id": MASK, "pad_token_id": PAD}
    return FastDllmForMaskedDiffusion(FastDllmConfig(**fields)).eval()


@torch.no_grad()
def naive(model, prompt, length, small, threshold):
    """
    The release's loop on one row, every pass over all that is before the end of a block, with the mask written out.

    What it stores when a block is complete is here the pass that runs over the text up to there.
    """
    size, limit, passes = model.config.bd_size, len(prompt) + length, 0
    text = torch.tensor(prompt + [MASK] * length)

    def probabilities(end):
        block = torch.arange(end) // size
        mask = (block[None, :] <= block[:, None])[None, None]
        logits = model(text[None, :end], attention_mask=mask).logits[0]
        logits[:, MASK] = -torch.inf
        return logits.softmax(dim=-1)

    for start in range(len(prompt) // size * size, limit, size):
        end = min(start + size, limit)
        if text[start] == MASK:
            # The last logit of what is complete gives the next block's first token, whatever its confidence.
            text[start] = probabilities(start)[-1].argmax()
            passes += 1
        for first in range(start, end, small):
            part = slice(first, min(first + small, end))
            while (text[part] == MASK).any():
                block = probabilities(end)[start:]
                shifted = torch.cat((block[:1], block[:-1]))[first - start : part.stop - start]
                confidence, tokens = shifted.max(dim=-1)
                confidence = confidence.masked_fill(text[part] != MASK, -1.0)
                chosen = confidence >= threshold
                chosen[confidence.argmax()] = True
                text[part][chosen] = tokens[chosen]
                passes += 1
    return text.tolist(), passes


def generate(prompts, seed=0, **options):
    width = max(map(len, prompts))
    ids = torch.tensor([[EOT] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = {"end_of_text": None, "block_length": 4, "return_dict_in_generate": True} | options
    return width, tiny(seed).generate(ids, attention_mask=mask, **options)


PROMPTS = st.lists(st.lists(st.integers(0, 124), min_size=1, max_size=19), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    PROMPTS,
    st.integers(1, 25),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([0.05, 0.3, 0.9]),
    st.booleans(),
    st.integers(0, 2),
)
def test_batches_equal_the_loop_of_the_release(prompts, length, small, threshold, reuse, seed):
    options = {"max_new_tokens": length, "block_length": small, "decoding": Threshold(threshold), "seed": seed}
    width, output = generate(prompts, block_cache=BlockCausal(reuse), **options)
    for row, prompt in enumerate(prompts):
        expected, passes = naive(tiny(seed), prompt, length, small, threshold)
        assert output.sequences[row, width - len(prompt) :].tolist() == expected
        assert output.nfe[row] == passes


def test_passes_by_hand():
    """Everything is taken at once, in blocks that see 8 positions and are denoised 4 at a time."""
    options = {"decoding": Threshold(0.0), "output_unmasking_steps": True}
    _, output = generate([list(range(1, 9))], max_new_tokens=16, **options)
    # The prompt, which gives the first token; 3 more and 4 of the first block; that block once more, now complete: it
    # is stored and gives the next token; 3 more and 4.
    passes = [("block", 1, 8, 0), ("block", 1, 8, 8), ("block", 1, 8, 8), ("block", 1, 8, 8)]
    assert output.forward_passes == [*passes, ("block", 1, 8, 16), ("block", 1, 8, 16)]
    assert output.nfe.tolist() == [6]
    assert output.unmasking_steps.tolist() == [[0, 1, 1, 1, 2, 2, 2, 2, 3, 4, 4, 4, 5, 5, 5, 5]]
    # A prompt that ends within a block is not predicted from before: its tail is in the first pass.
    _, output = generate([[1, 2, 3, 4, 5]], max_new_tokens=4, **options)
    assert output.forward_passes == [("block", 1, 8, 0), ("block", 1, 8, 0)]
    assert output.unmasking_steps.tolist() == [[0, 0, 0, 1]]


def test_a_blocks_first_token_is_taken_whatever_its_confidence():
    _, output = generate([list(range(1, 9))], max_new_tokens=12, decoding=Threshold(1.0), output_unmasking_steps=True)
    steps = output.unmasking_steps[0].tolist()
    assert steps[0] == 0 and steps[8] == 8 and sorted(steps) == list(range(12))


def test_small_blocks_divide_the_block_that_the_model_was_trained_with():
    ids, model = torch.arange(1, 9)[None], tiny()
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 8, "decoding": Threshold(0.0)}
    options |= {"end_of_text": None, "return_dict_in_generate": True}
    # The release's 8 by default.
    assert model.trained_options() == {"block_length": 8} and model.generate(ids, **options).nfe == 2
    for length in (3, 16):
        with pytest.raises(ValueError, match=f"`block_length` must divide the model's `bd_size` of 8 \\(got {length}"):
            model.generate(ids, block_length=length, **options)
