# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""How likely an answer is: LLaDA's estimate against every mask there is, the chain rule against a model of blocks."""

from itertools import combinations, product
from math import comb

import pytest
import torch
from conftest import golden_model

from hf_learn2pd import FastDllmConfig, FastDllmForMaskedDiffusion, SdarConfig, SdarForMaskedDiffusion
from hf_learn2pd.evaluation import Likelihood

PROMPT, ANSWER = [5, 9, 17, 3], [21, 4, 33]


def log_probabilities(model, ids, shift=0):
    """Of every token at every column but the first `shift`, from one text and the model's own forward pass."""
    logits = model(torch.tensor([ids])).logits[0].double()
    logits[:, model.config.mask_token_id] = -torch.inf
    return logits.log_softmax(dim=-1).roll(shift, dims=0)


@torch.no_grad()
def bound(model, prompt, answer, guidance=0.0):
    """The mean over all masks, each of `l` of `L` tokens as likely as any other of `l`; and what each mask gives."""
    length, mask, total, values = len(answer), model.config.mask_token_id, 0.0, []
    for count in range(1, length + 1):
        for chosen in combinations(range(length), count):
            noisy = [mask if place in chosen else token for place, token in enumerate(answer)]
            scores = log_probabilities(model, prompt + noisy, model.logits_shift)
            if guidance:
                logits = [model(torch.tensor([start + noisy])).logits[0] for start in (prompt, [mask] * len(prompt))]
                logits = logits[1] + (guidance + 1) * (logits[0] - logits[1])
                logits[:, mask] = -torch.inf
                scores = logits.double().log_softmax(dim=-1).roll(model.logits_shift, dims=0)
            value = length / count * sum(float(scores[len(prompt) + place, answer[place]]) for place in chosen)
            values.append((value, 1 / length / comb(length, count)))
            total += value / length / comb(length, count)
    return total, values


@pytest.mark.parametrize(
    ("name", "guidance"), [("tiny_llada_soft", 0.0), ("tiny_llada_soft", 0.5), ("tiny_dream", 0.0)]
)
def test_the_estimate_has_the_bound_as_its_mean(name, guidance):
    model = golden_model(name)
    exact, values = bound(model, PROMPT, ANSWER, guidance)
    mc_num = 32
    found = [
        Likelihood(model, mc_num, batch_size=8, cfg_scale=guidance, seed=seed)(PROMPT, ANSWER, False)[0]
        for seed in range(20)
    ]
    # What an estimate of draws that know nothing of each other would vary by; spread evenly, they vary less.
    variance = sum(weight * (value - exact) ** 2 for value, weight in values)
    error = (variance / mc_num / len(found)) ** 0.5
    assert variance > 0 and len(set(found)) > 15
    assert abs(sum(found) / len(found) - exact) < 3 * error
    assert sum((each - exact) ** 2 for each in found) / len(found) < 1.5 * variance / mc_num


def test_one_token_takes_one_mask():
    model = golden_model("tiny_llada_soft")
    with torch.no_grad():
        exact = float(log_probabilities(model, [*PROMPT, model.config.mask_token_id])[-1, 21])
    passes = []
    hook = model.model.register_forward_hook(lambda module, inputs, output: passes.append(len(output[0])))
    found, _ = Likelihood(model, mc_num=128)(PROMPT, [21], check_greedy=False)
    hook.remove()
    assert found == pytest.approx(exact, abs=1e-5) and passes == [1]


@pytest.mark.parametrize("name", ["tiny_llada_soft", "tiny_dream", "tiny_llada_moe"])
def test_a_seed_gives_one_number_whatever_the_batch(name):
    model = golden_model(name)
    alone, many, other = (Likelihood(model, 32, size, seed=seed) for size, seed in ((1, 3), (8, 3), (8, 4)))
    found = alone(PROMPT, ANSWER, False)[0]
    assert found == alone(PROMPT, ANSWER, False)[0] == pytest.approx(many(PROMPT, ANSWER, False)[0], rel=1e-5)
    assert found != pytest.approx(other(PROMPT, ANSWER, False)[0], rel=1e-5)


@pytest.mark.parametrize("name", ["tiny_llada_soft", "tiny_dream"])
def test_what_the_stock_loop_writes_is_greedy_and_nothing_else(name):
    model = golden_model(name)
    options = {"decoding": "low_confidence", "block_length": 6, "max_new_tokens": 6, "end_of_text": None}
    written = model.generate(torch.tensor([PROMPT]), **options)[0, len(PROMPT) :].tolist()
    likelihood = Likelihood(model, mc_num=1)
    assert likelihood(PROMPT, written)[1] and not likelihood(PROMPT, written, check_greedy=False)[1]
    for place in range(6):
        assert not likelihood(PROMPT, [*written[:place], (written[place] + 1) % 40, *written[place + 1 :]])[1]


SIZES = {"vocab_size": 7, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "mask_token_id": 6}
SIZES |= {"eos_token_id": 5, "pad_token_id": 5, "initializer_range": 0.5}


def block_causal(name):
    torch.manual_seed(5)
    if name == "sdar":
        return SdarForMaskedDiffusion(SdarConfig(**SIZES, head_dim=8, block_length=4)).eval()
    return FastDllmForMaskedDiffusion(FastDllmConfig(**SIZES, bd_size=8)).eval()


@torch.no_grad()
def chain(model, prompt, answer, length):
    """Token by token, all in one row: blocks up to the token's own, each seeing what is before it and itself."""
    total = 0.0
    for place, token in enumerate(answer, len(prompt)):
        end = (place // length + 1) * length
        ids = torch.tensor([(prompt + answer)[:place] + [model.config.mask_token_id] * (end - place)])
        block = torch.arange(end) // length
        bias = torch.zeros(end, end).masked_fill(block[None] > block[:, None], -torch.inf)
        logits = model(ids, attention_mask=bias[None, None]).logits[0, place - model.logits_shift].double()
        logits[model.config.mask_token_id] = -torch.inf
        total += float(logits.log_softmax(dim=-1)[token])
    return total


@pytest.mark.parametrize("name", ["sdar", "fast_dllm"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_block_causal_models_follow_the_chain_rule(name, attention):
    model = block_causal(name)
    model.set_attn_implementation(attention)
    length = 4 if name == "sdar" else 8
    prompt, answer = [1, 2, 3, 4, 5, 1], [2, 3, 4, 1, 0, 2, 5]
    exact = chain(model, prompt, answer, length)
    for size in (1, 3, 16):
        assert Likelihood(model, batch_size=size)(prompt, answer)[0] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("name", ["sdar", "fast_dllm"])
def test_the_chain_rule_is_exact_and_knows_the_most_probable_text(name):
    model = block_causal(name)
    likelihood = Likelihood(model)
    scores = {pair: likelihood([1, 2, 3], list(pair)) for pair in product(range(6), repeat=2)}
    assert sum(torch.tensor(score).exp().item() for score, _ in scores.values()) == pytest.approx(1, abs=1e-4)
    assert sum(greedy for _, greedy in scores.values()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mc_num": 0}, r"`mc_num` must be an integer above 0 \(got 0\)"),
        ({"batch_size": 0}, r"`batch_size` must be an integer above 0 \(got 0\)"),
        ({"cfg_scale": -1}, r"`cfg_scale` must be at least 0 \(got -1\)"),
        ({"seed": -1}, r"`seed` must be an integer of at least 0 \(got -1\)"),
    ],
)
def test_numbers_out_of_range(tiny_llada, options, message):
    with pytest.raises(ValueError, match=message):
        Likelihood(tiny_llada, **options)


def test_nothing_to_score(tiny_llada):
    with pytest.raises(ValueError, match=r"`prompt` must hold a token at least \(got none\)"):
        Likelihood(tiny_llada)([], ANSWER)
    with pytest.raises(ValueError, match=r"`answer` must hold a token at least \(got none\)"):
        Likelihood(tiny_llada)(PROMPT, [])
