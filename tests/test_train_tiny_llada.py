# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The training script: it learns, it resumes exactly, and what it exports loads."""

import pytest
import tiny_tokenizer
import torch
import train_tiny_llada
from safetensors.torch import load_file
from tasks import FAMILIES
from tiny_batches import curriculum_at, make_batches, mask_batch
from transformers import AutoModelForCausalLM, AutoTokenizer


@pytest.fixture
def toy_options(tmp_path):
    def options(name, *extra):
        paths = ["--output", str(tmp_path / name), "--state", str(tmp_path / f"{name}.state"), "--device", "cpu"]
        return train_tiny_llada.parse_options(["--preset", "toy", "--quiet", *paths, *extra])

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield options
    torch.set_num_threads(threads)


def test_a_toy_is_overfitted_and_its_export_loads(toy_options):
    options = toy_options("toy")
    assert train_tiny_llada.train(options) < 0.5
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(options.output),
        AutoTokenizer.from_pretrained(options.output),
    )
    assert type(model).__name__ == "LladaForMaskedDiffusion"
    assert model.config.mask_token_id == tokenizer.mask_token_id
    assert model.config.eos_token_id == tokenizer.eos_token_id
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "add 47 and 85."}], add_generation_prompt=True)
    assert tokenizer.unk_token_id not in ids["input_ids"]


def test_a_killed_run_ends_as_an_uninterrupted_one(toy_options, monkeypatch):
    # 17 steps cross the border between two pools.
    uninterrupted = toy_options("uninterrupted", "--steps", "17", "--save-every", "4")
    train_tiny_llada.train(uninterrupted)

    killed = toy_options("killed", "--steps", "17", "--save-every", "4")
    step = train_tiny_llada.Trainer.step

    def step_until_killed(trainer, batch):
        if trainer.position.step == 10:
            raise KeyboardInterrupt
        return step(trainer, batch)

    monkeypatch.setattr(train_tiny_llada.Trainer, "step", step_until_killed)
    with pytest.raises(KeyboardInterrupt):
        train_tiny_llada.train(killed)
    monkeypatch.setattr(train_tiny_llada.Trainer, "step", step)
    train_tiny_llada.train(killed)

    expected, found = (load_file(options.state) for options in (uninterrupted, killed))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_run_starts_from_the_weights_of_another_vocabulary_word_by_word(toy_options, monkeypatch):
    words = tiny_tokenizer.vocabulary()
    with monkeypatch.context() as patched:
        patched.setattr(tiny_tokenizer, "vocabulary", lambda: [word for word in words[::-1] if word != "dog"])
        first = toy_options("first", "--steps", "2")
        train_tiny_llada.train(first)
    source, vocabulary = AutoModelForCausalLM.from_pretrained(first.output), AutoTokenizer.from_pretrained(first.output)

    options = toy_options("second", "--weights", first.output, "--begin-at", "0.5")
    trainer = train_tiny_llada.Trainer(options)
    assert trainer.progress == trainer.position.pool_progress == 0.5
    embedding = trainer.model.model.embed_tokens.weight
    dog = trainer.tokenizer.get_vocab()["dog"]
    random = embedding[dog].clone()
    trainer.load_weights(options.weights)
    for name, parameter in trainer.model.named_parameters():
        if parameter is not embedding:
            assert torch.equal(parameter, source.state_dict()[name])
    for word, number in trainer.tokenizer.get_vocab().items():
        row = random if word == "dog" else source.model.embed_tokens.weight[vocabulary.get_vocab()[word]]
        assert torch.equal(embedding[number], row), word


def test_only_masked_answer_tokens_are_learned(toy_options):
    options = toy_options("masks", "--samples", "0")
    tokenizer = train_tiny_llada.build_tokenizer()
    for batch in make_batches(options, tokenizer, pool=0, progress=1.0):
        masked, learned = mask_batch(batch, torch.Generator().manual_seed(0))
        assert not (learned & ~masked).any()
        assert learned.any(1).all()
        assert not masked[torch.arange(batch.tokens.shape[1]) < batch.prompt_lengths].any()


def test_curriculum_widens_from_copying_to_everything():
    assert curriculum_at(0.0) == {name: (family.weight, 0.0) for name, family in FAMILIES.items() if family.copying}
    assert curriculum_at(1.0) == {name: (family.weight, 1.0) for name, family in FAMILIES.items()}
    numbers = [len(curriculum_at(progress / 20)) for progress in range(21)]
    assert numbers == sorted(numbers)
