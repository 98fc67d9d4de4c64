# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""`generate` for models that are not of this package."""

import json

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from hf_learn2pd import DiffusionGenerationMixin, LowConfidence, Threshold, disable_decoding, enable_decoding

MASK, EOT = 49, 48
SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}

# A model as it lies on the Hub: code of its own, which gives logits for ids and an attention mask and knows no more.
REMOTE_CODE = """
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput


class TinyDiffusionConfig(PreTrainedConfig):
    model_type = "tiny_diffusion"
    vocab_size: int = 50
    hidden_size: int = 16
    mask_token_id: int | None = 49
    eos_token_id: int | None = 48


class TinyDiffusionModel(PreTrainedModel):
    config_class = TinyDiffusionConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, attention_mask=None):
        hidden = self.embed(input_ids)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        # Distances between positions are all that counts, so left padding changes nothing.
        column = torch.arange(input_ids.shape[1])
        near = torch.exp(-(column[:, None] - column).abs().float()) * mask[:, None]
        return MaskedLMOutput(logits=self.head(hidden + near @ hidden))
"""


def bert():
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(**SIZES, initializer_range=0.3)).eval()


def modern_bert():
    torch.manual_seed(0)
    config = ModernBertConfig(**SIZES, initializer_range=0.3, pad_token_id=0, cls_token_id=1, sep_token_id=2)
    return ModernBertForMaskedLM(config).eval()


def remote(directory):
    """Saves a random model with its code, and loads it as one does from the Hub."""
    (directory / "modeling_tiny.py").write_text(REMOTE_CODE)
    names = {"AutoConfig": "modeling_tiny.TinyDiffusionConfig", "AutoModel": "modeling_tiny.TinyDiffusionModel"}
    (directory / "config.json").write_text(json.dumps({"model_type": "tiny_diffusion", "auto_map": names}))
    config = AutoModel.from_config
    torch.manual_seed(0)
    from transformers import AutoConfig

    model = config(AutoConfig.from_pretrained(directory, trust_remote_code=True), trust_remote_code=True)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    (directory / "config.json").unlink()
    model.save_pretrained(directory)
    config = json.loads((directory / "config.json").read_text()) | {"auto_map": names}
    (directory / "config.json").write_text(json.dumps(config))
    return AutoModel.from_pretrained(directory, trust_remote_code=True).eval()


def naive(model, prompt, length, block_length):
    """The stock loop, in the plainest words."""
    canvas = torch.cat((prompt, torch.full((1, length), MASK)), dim=1)
    for start in range(prompt.shape[1], canvas.shape[1], block_length):
        block = slice(start, min(start + block_length, canvas.shape[1]))
        while (canvas[:, block] == MASK).any():
            logits = model(input_ids=canvas, attention_mask=torch.ones_like(canvas)).logits[:, block].float()
            logits[..., MASK] = -torch.inf
            confidence, tokens = logits.softmax(dim=-1).max(dim=-1)
            confidence[canvas[:, block] != MASK] = -1.0
            best = int(confidence.argmax())
            canvas[0, start + best] = tokens[0, best]
    return canvas


@torch.no_grad()
@pytest.mark.parametrize("make", [bert, modern_bert])
def test_a_masked_language_model_writes(make):
    model = enable_decoding(make(), mask_token_id=MASK)
    prompt = torch.randint(3, 48, (1, 6), generator=torch.Generator().manual_seed(1))
    options = {"max_new_tokens": 12, "block_length": 5, "end_of_text": None}
    output = model.generate(prompt, decoding=LowConfidence(), **options)
    assert torch.equal(output, naive(model, prompt, 12, 5))
    assert torch.equal(model.generate(prompt, decoding="pearl", **options), output)
    # With left padding and a batch mate, where positions are the model's own affair.
    padded = torch.cat((torch.zeros(1, 2, dtype=torch.long), prompt), dim=1)
    batch = torch.cat((padded, torch.randint(3, 48, (1, 8), generator=torch.Generator().manual_seed(2))))
    mask = torch.ones_like(batch)
    mask[0, :2] = 0
    together = model.generate(batch, attention_mask=mask, decoding=LowConfidence(), **options)
    assert torch.equal(together[0, 8:], output[0, 6:])
    with pytest.raises(ValueError, match="`block_cache` must be None for a model that takes no cache"):
        model.generate(prompt, block_cache="dual", **options)


def test_the_end_of_a_text_has_to_be_known():
    with pytest.raises(ValueError, match="`eos_token_id` must be set"):
        enable_decoding(bert(), mask_token_id=MASK).generate(torch.tensor([[5]]), max_new_tokens=4)


@torch.no_grad()
def test_a_model_with_code_of_its_own_writes(tmp_path):
    model = enable_decoding(remote(tmp_path))
    prompt = torch.tensor([[5, 6, 7], [0, 9, 10]])
    mask = torch.tensor([[1, 1, 1], [0, 1, 1]])
    options = {"max_new_tokens": 10, "block_length": 5, "end_of_text": None, "decoding": LowConfidence()}
    output = model.generate(prompt, attention_mask=mask, **options)
    assert torch.equal(output[:1], naive(model, prompt[:1], 10, 5))
    assert torch.equal(output[1:, 1:], naive(model, prompt[1:, 1:], 10, 5))
    # The ends of its texts and its mask are in its config.
    (row,) = model.generate(prompt[:1], decoding=Threshold(0.2), max_new_tokens=40).tolist()
    assert MASK not in row and EOT not in row[3:-1]


@torch.no_grad()
def test_shifted_logits_are_read_one_column_to_the_left():
    class Shifted(BertForMaskedLM):
        def forward(self, input_ids=None, **kwargs):
            output = super().forward(input_ids, **kwargs)
            output.logits = output.logits.roll(-1, dims=1)
            return output

    plain = bert()
    shifted = Shifted(plain.config).eval()
    shifted.load_state_dict(plain.state_dict())
    enable_decoding(plain, mask_token_id=MASK)
    enable_decoding(shifted, mask_token_id=MASK, logits_shift=1)
    prompt = torch.tensor([[5, 6, 7, 8]])
    for decoding in (LowConfidence(), Threshold(0.05), "pearl"):
        options = {"max_new_tokens": 11, "block_length": 4, "end_of_text": None, "decoding": decoding}
        assert torch.equal(shifted.generate(prompt, **options), plain.generate(prompt, **options))


def test_only_this_instance_changes_and_back_again(tmp_path):
    model, other = bert(), bert()
    assert not hasattr(model, "generation_config")
    assert enable_decoding(model, mask_token_id=MASK, eos_token_id=EOT) is model
    assert isinstance(model, DiffusionGenerationMixin) and isinstance(model, BertForMaskedLM)
    assert type(other) is BertForMaskedLM and not isinstance(other, DiffusionGenerationMixin)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    with pytest.raises(ValueError, match="`model` must not have this package's `generate` yet"):
        enable_decoding(model, mask_token_id=MASK)
    assert disable_decoding(model) is model
    assert type(model) is BertForMaskedLM and vars(model).keys() == vars(other).keys()
    with pytest.raises(ValueError, match="`model` must be one that `enable_decoding` has changed"):
        disable_decoding(model)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (bert, {}, "`mask_token_id` must be below the vocabulary's size, 50 \\(got None\\)"),
        (bert, {"mask_token_id": 50}, "`mask_token_id` must be below the vocabulary's size, 50 \\(got 50\\)"),
        (bert, {"mask_token_id": MASK, "logits_shift": 2}, "`logits_shift` must be 0 or 1"),
        (lambda: BertModel(BertConfig(**SIZES)), {"mask_token_id": MASK}, "`model` must be a language model"),
        (
            lambda: T5ForConditionalGeneration(T5Config(vocab_size=50, d_model=8, d_ff=8, num_layers=1, num_heads=2)),
            {"mask_token_id": MASK},
            "`model` must not be an encoder-decoder",
        ),
    ],
)
def test_what_cannot_be_enabled_is_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        enable_decoding(make(), **options)


def llama(is_causal):
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, is_causal=is_causal, initializer_range=0.5, pad_token_id=EOT, eos_token_id=EOT)
    model = LlamaForCausalLM(config).eval()
    for layer in model.model.layers:
        layer.self_attn.is_causal = is_causal
    return enable_decoding(model, mask_token_id=MASK)


@pytest.mark.parametrize("suffix_length", [None, 3])
@pytest.mark.parametrize("block_cache", [None, "dual", "prefix", "local"])
def test_verified_text_is_that_of_its_own_stock_loop(block_cache, suffix_length):
    model = llama(is_causal=False)
    prompts = torch.tensor([[EOT, EOT, 3, 4], [5, 6, 7, 8], [EOT, 9, 8, 7]])
    options = {"attention_mask": (prompts != EOT).long(), "max_new_tokens": 24, "block_length": 8}
    options |= {"block_cache": block_cache, "suffix_length": suffix_length, "return_dict_in_generate": True}
    stock = model.generate(prompts, end_of_text=None, **options)
    verified = model.generate(prompts, end_of_text=None, verify=True, **options)
    assert torch.equal(verified.sequences, stock.sequences)
    assert (verified.nfe < stock.nfe).all()


def test_a_mask_for_each_query_is_not_given_to_a_causal_model():
    with pytest.raises(ValueError, match="`verify` must be False with a `block_cache` for a model that is causal"):
        llama(is_causal=True).generate(torch.tensor([[1, 2]]), max_new_tokens=8, verify=True, block_cache="dual")
