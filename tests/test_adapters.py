# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Adapters of PEFT: what they adapt by default, that they learn, and that merging them changes no text."""

import subprocess
import sys

import pytest
import torch
from transformers.integrations.peft import MIN_PEFT_VERSION
from transformers.utils.import_utils import is_peft_greater_or_equal

from hf_learn2pd import (
    DataCollatorForMaskedDiffusion,
    DreamConfig,
    DreamForMaskedDiffusion,
    FastDllmConfig,
    FastDllmForMaskedDiffusion,
    Llada2MoeConfig,
    Llada2MoeForMaskedDiffusion,
    LladaConfig,
    LladaForMaskedDiffusion,
    LladaMoeConfig,
    LladaMoeForMaskedDiffusion,
    SdarConfig,
    SdarForMaskedDiffusion,
    SdarMoeConfig,
    SdarMoeForMaskedDiffusion,
)

peft = pytest.importorskip("peft")

VOCAB, MASK, EOT = 40, 39, 38
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
SIZES |= {"intermediate_size": 24, "vocab_size": VOCAB, "initializer_range": 0.2}
SIZES |= {"mask_token_id": MASK, "eos_token_id": EOT, "pad_token_id": EOT}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
FAMILIES = {
    LladaForMaskedDiffusion: LladaConfig(**SIZES),
    DreamForMaskedDiffusion: DreamConfig(**SIZES),
    FastDllmForMaskedDiffusion: FastDllmConfig(**SIZES),
    SdarForMaskedDiffusion: SdarConfig(**SIZES),
    SdarMoeForMaskedDiffusion: SdarMoeConfig(**SIZES | EXPERTS),
    LladaMoeForMaskedDiffusion: LladaMoeConfig(**SIZES | EXPERTS),
    Llada2MoeForMaskedDiffusion: Llada2MoeConfig(**SIZES | EXPERTS),
}
# The version of PEFT that transformers wants for its own methods is at times one that is not out yet.
transformers_takes_peft = pytest.mark.skipif(
    not is_peft_greater_or_equal(MIN_PEFT_VERSION), reason=f"transformers wants PEFT {MIN_PEFT_VERSION}"
)
PROMPT = torch.tensor([[1, 2, 3]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LladaForMaskedDiffusion(FAMILIES[LladaForMaskedDiffusion])


@pytest.fixture
def config():
    torch.manual_seed(1)
    return peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=64)


def learn(model, steps: int = 1) -> list[float]:
    """Takes steps on one batch, always with the same masks, and returns its losses."""
    texts = [{"input_ids": [1, 2, 3, 4, 5, 6], "labels": [-100, -100, -100, 4, 5, 6]}, {"input_ids": [7, 8, 9]}]
    batch = DataCollatorForMaskedDiffusion(MASK, EOT, generator=torch.Generator().manual_seed(0))(texts)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=3e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_lora_without_target_modules_adapts_queries_and_values_of_every_layer(family, config):
    adapted = peft.get_peft_model(family(FAMILIES[family]), config)
    found = {name.split(".lora_A")[0].split("layers.")[1] for name, _ in adapted.named_parameters() if "lora_A" in name}
    assert found == {f"{layer}.self_attn.{projection}" for layer in (0, 1) for projection in family.lora_target_modules}


def test_a_step_changes_the_adapter_only_and_the_loss_falls(model, config):
    adapted = peft.get_peft_model(model, config)
    before = {name: value.clone() for name, value in adapted.state_dict().items()}
    learn(adapted)
    changed = {name for name, value in adapted.state_dict().items() if not value.equal(before[name])}
    assert changed and all(".lora_" in name for name in changed)
    losses = learn(adapted, 20)
    assert losses[-1] < 0.9 * losses[0]


def test_merging_changes_no_text_and_taking_the_adapter_away_does(model, config, tmp_path):
    options = {"max_new_tokens": 16, "end_of_text": None, "return_dict_in_generate": True}
    plain = model.generate(PROMPT, **options).sequences
    adapted = peft.get_peft_model(model, config)
    assert adapted.generate(PROMPT, **options).sequences.equal(plain)
    learn(adapted, 20)
    adapted.eval()
    output = adapted.generate(PROMPT, decoding="threshold", **options)
    learned = output.sequences
    with adapted.disable_adapter():
        assert adapted.generate(PROMPT, **options).sequences.equal(plain)
    adapted.save_pretrained(tmp_path)
    merged = adapted.merge_and_unload()
    assert type(merged) is LladaForMaskedDiffusion and not learned.equal(plain)
    assert merged.generate(PROMPT, decoding="threshold", **options).sequences.equal(learned)

    torch.manual_seed(0)
    fresh = LladaForMaskedDiffusion(FAMILIES[LladaForMaskedDiffusion])
    loaded = peft.PeftModel.from_pretrained(fresh, tmp_path)
    assert loaded.generate(PROMPT, decoding="threshold", **options).sequences.equal(learned)


@transformers_takes_peft
def test_add_adapter_adapts_by_default_what_lora_does(model, config):
    plain = model.generate(PROMPT, max_new_tokens=16, end_of_text=None)
    model.add_adapter(config)
    assert model.peft_config["default"].target_modules == set(model.lora_target_modules)
    learn(model, 20)
    model.eval()
    learned = model.generate(PROMPT, max_new_tokens=16, end_of_text=None)
    model.disable_adapters()
    assert model.generate(PROMPT, max_new_tokens=16, end_of_text=None).equal(plain) and not learned.equal(plain)


def test_targets_that_a_user_has_told_peft_are_kept(monkeypatch, config):
    table = peft.utils.constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    monkeypatch.setitem(table, "llada", ["o_proj"])
    adapted = peft.get_peft_model(LladaForMaskedDiffusion(FAMILIES[LladaForMaskedDiffusion]), config)
    assert adapted.peft_config["default"].target_modules == {"o_proj"}


def test_a_model_does_not_import_peft_and_its_targets_can_be_named_later():
    code = f"""
import sys
from hf_learn2pd import LladaConfig, LladaForMaskedDiffusion
model = LladaForMaskedDiffusion(LladaConfig(**{SIZES}))
assert "peft" not in sys.modules
from peft import LoraConfig, get_peft_model
adapted = get_peft_model(model, LoraConfig(target_modules=list(model.lora_target_modules)))
print(sorted(adapted.peft_config["default"].target_modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "['q_proj', 'v_proj']", done.stderr
