# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Fine-tuning with plain Trainer: the loss, its weights, the collator, and a filter that follows its model."""

import json
import shutil

import pytest
import torch
from conftest import CHECKPOINT
from tasks import is_correct, task_sample
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from hf_learn2pd import (
    DataCollatorForMaskedDiffusion,
    DreamConfig,
    DreamForMaskedDiffusion,
    LladaConfig,
    LladaForMaskedDiffusion,
    LladaMoeConfig,
    LladaMoeForMaskedDiffusion,
)

VOCAB, MASK, EOT = 40, 39, 38
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
SIZES |= {"intermediate_size": 24, "vocab_size": VOCAB, "initializer_range": 0.2}
SIZES |= {"mask_token_id": MASK, "eos_token_id": EOT, "pad_token_id": EOT}


def make(family: str) -> tuple:
    torch.manual_seed(0)
    if family == "llada":
        return LladaForMaskedDiffusion(LladaConfig(**SIZES))
    if family == "Dream":
        return DreamForMaskedDiffusion(DreamConfig(**SIZES))
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    return LladaMoeForMaskedDiffusion(LladaMoeConfig(**SIZES | experts))


@pytest.fixture(params=["llada", "Dream", "lladamoe"])
def model(request):
    return make(request.param)


@pytest.fixture
def canvas():
    """Clean ids and a mask over parts of two rows, never in the first column, which nothing of Dream's predicts."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, EOT, (2, 9), generator=generator)
    masked = torch.rand(2, 9, generator=generator) < 0.5
    masked[:, 0] = False
    return ids, masked


def predictions(model, noisy):
    """Logits in the columns that they are about."""
    logits = model(input_ids=noisy).logits
    return logits.roll(1, dims=1) if isinstance(model, DreamForMaskedDiffusion) else logits


def test_the_loss_is_the_cross_entropy_of_the_masked_tokens(model, canvas):
    ids, masked = canvas
    noisy = ids.masked_fill(masked, MASK)
    loss = model(input_ids=noisy, labels=ids.masked_fill(~masked, -100)).loss
    torch.testing.assert_close(loss, cross_entropy(predictions(model, noisy)[masked], ids[masked]))


def test_each_row_is_weighted_as_asked(model, canvas):
    ids, masked = canvas
    noisy, weights = ids.masked_fill(masked, MASK), torch.tensor([0.5, 3.0])
    loss = model(input_ids=noisy, labels=ids.masked_fill(~masked, -100), loss_weights=weights).loss
    losses = cross_entropy(predictions(model, noisy)[masked], ids[masked], reduction="none")
    torch.testing.assert_close(loss, (losses * weights[:, None].expand(2, 9)[masked]).mean())


def test_the_loss_of_nothing_masked_is_zero(model):
    loss = model(input_ids=torch.tensor([[1, 2]]), labels=torch.full((1, 2), -100)).loss
    loss.backward()
    assert loss.item() == 0


def test_weights_that_are_not_one_per_row_are_refused(model):
    ids = torch.tensor([[1, 2]])
    with pytest.raises(ValueError, match=r"`loss_weights` must be one number per row, of shape \(1,\) \(got \(2,\)\)"):
        model(input_ids=ids, labels=ids, loss_weights=torch.ones(2))


def test_a_mixture_of_experts_adds_the_loss_of_its_router(canvas):
    ids, masked = canvas
    model, labels = make("lladamoe"), ids.masked_fill(~masked, -100)
    plain = model(input_ids=ids, labels=labels)
    output = model(input_ids=ids, labels=labels, output_router_logits=True)
    assert plain.aux_loss is None and output.aux_loss > 0
    torch.testing.assert_close(output.loss, plain.loss + model.config.router_aux_loss_coef * output.aux_loss)


def arguments(directory, **options):
    quiet = {"report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True, "seed": 0}
    quiet |= {"dataloader_pin_memory": False}
    return TrainingArguments(str(directory), use_cpu=True, **quiet | options)


def test_accumulated_gradients_are_those_of_the_whole_batch(model, tmp_path):
    texts = [{"input_ids": list(range(3, 3 + length)), "labels": [-100, *range(4, 3 + length)]} for length in (9, 4)]
    collator = DataCollatorForMaskedDiffusion(MASK, EOT, generator=torch.Generator().manual_seed(2))
    whole = collator(texts)
    rows = [{name: value[row] for name, value in whole.items()} for row in range(2)]
    assert len({int((row["labels"] != -100).sum()) for row in rows}) == 2
    start, gradients = {name: value.clone() for name, value in model.state_dict().items()}, []
    for batch_size in (2, 1):
        model.load_state_dict(start)
        options = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": 2 // batch_size}
        options |= {"max_steps": 1, "learning_rate": 1.0, "optim": "sgd", "max_grad_norm": 0.0}
        Trainer(model, arguments(tmp_path, lr_scheduler_type="constant", **options), train_dataset=rows).train()
        gradients.append({name: start[name] - value for name, value in model.state_dict().items()})
    for name, whole_step in gradients[0].items():
        torch.testing.assert_close(whole_step, gradients[1][name], atol=1e-6, rtol=1e-4)
    assert any(step.abs().max() > 1e-3 for step in gradients[0].values())


def test_only_answers_are_masked_and_only_masks_are_learned():
    texts = [{"input_ids": [1, 2, 3, 4, 5], "labels": [-100, -100, 3, 4, 5]}, {"input_ids": [6, 7, 8]}]
    clean, prompt = (
        torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, EOT, EOT]]),
        torch.tensor([[1, 1, 0, 0, 0], [0] * 5]).bool(),
    )
    collator = DataCollatorForMaskedDiffusion(MASK, EOT, generator=torch.Generator().manual_seed(0))
    ever = torch.zeros(2, 5, dtype=torch.bool)
    for _ in range(50):
        batch = collator(texts)
        masked = batch["input_ids"] == MASK
        assert not (masked & prompt).any()
        assert torch.equal(batch["input_ids"], clean.masked_fill(masked, MASK))
        assert torch.equal(batch["labels"], clean.masked_fill(~masked, -100))
        ever |= masked
    # The fill is learned like the answer.
    assert torch.equal(ever, ~prompt)


def test_a_row_is_masked_with_the_probability_that_its_weight_tells():
    collator = DataCollatorForMaskedDiffusion(MASK, EOT, eps=0.1, generator=torch.Generator().manual_seed(0))
    batch = collator([{"input_ids": [1] * 400}] * 300)
    masked, ratio = (batch["input_ids"] == MASK).float(), 0.55 / batch["loss_weights"]
    assert ratio.min() >= 0.1 and ratio.max() <= 1 and abs(ratio.mean() - 0.55) < 0.05
    assert (masked.mean(dim=1) - ratio).abs().max() < 0.12
    # Over all masked tokens the weights have mean 1, and without weights there are none.
    assert abs((masked * batch["loss_weights"][:, None]).sum() / masked.sum() - 1) < 0.06
    assert "loss_weights" not in DataCollatorForMaskedDiffusion(MASK, EOT, weighted=False)([{"input_ids": [1]}])


def test_one_seed_gives_one_noise():
    texts = [{"input_ids": list(range(30))}]
    first, second = (
        DataCollatorForMaskedDiffusion(MASK, EOT, generator=torch.Generator().manual_seed(4))(texts) for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0.0}, "`eps` must be above 0 and below 1"),
        ({"eps": 1.0}, "`eps` must be above 0 and below 1"),
        ({"mask_token_id": None}, "`mask_token_id` must be a token id"),
        ({"pad_token_id": -1}, "`pad_token_id` must be a token id"),
    ],
)
def test_a_collator_that_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DataCollatorForMaskedDiffusion(**{"mask_token_id": 1, "pad_token_id": 2} | options)


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"`labels` must be as many as `input_ids` \(got 1 for 2\)"):
        DataCollatorForMaskedDiffusion(MASK, EOT)([{"input_ids": [1, 2], "labels": [1]}])


def text_of(tokenizer, sample):
    chat = [{"role": "user", "content": sample.prompt}]
    head = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    body = [*tokenizer(sample.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return {"input_ids": head + body, "labels": [-100] * len(head) + body}


def test_fine_tuning_the_shipped_model_on_its_own_tasks_keeps_it_right(tmp_path):
    tokenizer, model = AutoTokenizer.from_pretrained(CHECKPOINT), AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    texts = [text_of(tokenizer, task_sample(3, index)) for index in range(80)]
    collator = DataCollatorForMaskedDiffusion(
        model.config.mask_token_id, tokenizer.pad_token_id, generator=torch.Generator().manual_seed(0)
    )
    options = arguments(tmp_path, max_steps=10, per_device_train_batch_size=8, learning_rate=1e-4)
    Trainer(model, options, train_dataset=texts, data_collator=collator).train()
    model.eval()
    for index in range(4):
        sample = task_sample(7, index, "test")
        prompt = torch.tensor(
            [[id for id, label in zip(*text_of(tokenizer, sample).values(), strict=True) if label < 0]]
        )
        output = model.generate(prompt, max_new_tokens=160)
        assert is_correct(sample, tokenizer.decode(output[0, prompt.shape[1] :], skip_special_tokens=True))


def test_the_example_trains_an_adapter_and_saves_the_merged_model(tmp_path):
    pytest.importorskip("peft")
    import finetune

    merged = finetune.main(["--output", str(tmp_path), "--steps", "2", "--batch_size", "2"])
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    before = AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(loaded.state_dict()[name], merged.state_dict()[name])
    assert not torch.equal(loaded.state_dict()[name], before.state_dict()[name])
    assert loaded.generate(torch.tensor([[5, 6, 7, 8]]), max_new_tokens=8).shape[1] > 4


@pytest.mark.parametrize("named", [None, ":unmasking_filter_mlp"])
def test_a_saved_model_takes_its_filter_along(named, tmp_path):
    model, prompt = AutoModelForCausalLM.from_pretrained(CHECKPOINT), torch.tensor([[5, 6, 7, 8]])
    model.generation_config.unmasking_filter = named and f"{CHECKPOINT}{named}"
    expected = model.generate(prompt, max_new_tokens=40, return_dict_in_generate=True)
    model.save_pretrained(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "moved")
    shutil.rmtree(tmp_path / "first")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "moved")
    assert json.loads((tmp_path / "moved" / "generation_config.json").read_text())["unmasking_filter"] is None
    output = loaded.generate(prompt, max_new_tokens=40, return_dict_in_generate=True)
    assert torch.equal(output.sequences, expected.sequences) and torch.equal(output.nfe, expected.nfe)
    # Saving in its own place changes nothing.
    loaded.save_pretrained(tmp_path / "moved")
    assert torch.equal(loaded.generate(prompt, max_new_tokens=40), expected.sequences)


def test_a_filter_with_a_hub_id_of_its_own_is_not_copied(tmp_path):
    model = make("llada")
    model.generation_config.unmasking_filter = "user/filter"
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "unmasking_filter").exists()
    assert json.loads((tmp_path / "generation_config.json").read_text())["unmasking_filter"] == "user/filter"
