# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""lm-eval's model class: the scores of `generate` itself, whatever the batch and the number of processes."""

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import CHECKPOINT, EXAMPLES
from tasks import is_correct, task_sample
from transformers import AutoModelForCausalLM, AutoTokenizer

pytest.importorskip("lm_eval")

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

from hf_learn2pd.evaluation import Likelihood
from hf_learn2pd.evaluation.lm_eval import DiffusionLM

HARNESS = EXAMPLES / "evaluation" / "harness"
SAMPLES = [task_sample(4096, index, "test") for index in range(6)]
# So early that not all texts are right.
OPTIONS = {"decoding": {"name": "threshold", "threshold": 0.3}, "block_cache": "local", "suffix_length": 32}
OPTIONS |= {"max_new_tokens": 96}


@pytest.fixture(scope="module")
def loaded():
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT), AutoTokenizer.from_pretrained(CHECKPOINT)


def wrapped(loaded, **options):
    model, tokenizer = loaded
    return DiffusionLM(model, tokenizer=tokenizer, **options)


def prompts(loaded):
    chats = [[{"role": "user", "content": sample.prompt}] for sample in SAMPLES]
    return [loaded[1].apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]


def requests(loaded, **options):
    return [
        Instance("generate_until", {}, (text, dict(options)), number) for number, text in enumerate(prompts(loaded))
    ]


def written(loaded, **options):
    """Each text alone, from `generate`; and its forward passes, answer tokens and tokens per pass."""
    model, tokenizer = loaded
    texts, numbers = [], []
    for prompt in prompts(loaded):
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
        output = model.generate(ids, return_dict_in_generate=True, **options)
        answer = output.sequences[0, ids.shape[1] :].tolist()
        answer = answer[: answer.index(0) + 1] if 0 in answer else answer
        texts.append(tokenizer.decode(answer, skip_special_tokens=True))
        numbers.append((int(output.nfe), len(answer), len(answer) / int(output.nfe)))
    return texts, [sum(each) / len(texts) for each in zip(*numbers, strict=True)]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_answers_and_counts_are_those_of_generate(loaded, batch_size):
    lm = wrapped(loaded, batch_size=batch_size, **OPTIONS)
    # The task's own length gives way to the model argument.
    answers = lm.generate_until(requests(loaded, until=[], max_gen_toks=24), disable_tqdm=True)
    texts, (nfe, _, tokens_per_forward) = written(loaded, **OPTIONS)
    assert answers == texts and len(set(texts)) == len(texts)
    assert lm.measured["requests"] == len(texts) and lm.measured["nfe"] == pytest.approx(nfe)
    assert lm.measured["tokens_per_forward"] == pytest.approx(tokens_per_forward)
    assert lm.measured["tokens_per_second"] > 0


@pytest.mark.parametrize("until", [["."], ["the", "5"], "never"])
@pytest.mark.parametrize("end_of_text", ["accepted", None])
def test_stop_sequences_cut_what_generate_writes(loaded, until, end_of_text):
    options = OPTIONS | {"end_of_text": end_of_text, "max_new_tokens": 40}
    lm = wrapped(loaded, batch_size=4, **options)
    answers = lm.generate_until(requests(loaded, until=until), disable_tqdm=True)
    texts, (nfe, _, _) = written(loaded, **options)
    strings = [until] if isinstance(until, str) else until
    assert answers == [min((text.split(string)[0] for string in strings), key=len) for text in texts]
    # No pass is spent on what is cut away.
    assert lm.measured["nfe"] < nfe if "5" in until or "." in until else lm.measured["nfe"] == pytest.approx(nfe)


def test_without_a_model_argument_the_task_says_how_long_an_answer_is(loaded):
    lm = wrapped(loaded, batch_size=8, decoding="threshold")
    answers = lm.generate_until(requests(loaded, until=[], max_gen_toks=8), disable_tqdm=True)
    assert answers == written(loaded, decoding="threshold", max_new_tokens=8)[0] and lm.max_gen_toks == 256


def test_a_prompt_leaves_room_for_the_answer_of_a_model_argument(loaded):
    model, tokenizer = loaded
    options = {"decoding": "threshold", "max_new_tokens": 24}
    lm = wrapped(loaded, max_length=40, **options)
    asked = requests(loaded, until=[], max_gen_toks=4)[:1]
    ids = tokenizer(asked[0].args[0], return_tensors="pt", add_special_tokens=False).input_ids
    output = model.generate(ids[:, -16:], **options)[0, 16:]
    assert ids.shape[1] > 16
    assert lm.generate_until(asked, disable_tqdm=True) == [tokenizer.decode(output, skip_special_tokens=True)]


def test_likelihoods_are_those_of_the_tokens(loaded):
    lm, tokenizer = wrapped(loaded, batch_size=8, mc_num=8, seed=2), loaded[1]
    pairs = [(prompts(loaded)[0], " first add"), (prompts(loaded)[1], " the last is"), ("", "so the")]
    found = lm.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
    likelihood = Likelihood(loaded[0], mc_num=8, batch_size=8, seed=2)
    for (context, continuation), answer in zip(pairs, found, strict=True):
        start = tokenizer(context, add_special_tokens=False).input_ids or [tokenizer.bos_token_id]
        ids = tokenizer(continuation, add_special_tokens=False).input_ids
        assert len(ids) > 1 and answer == likelihood(start, ids)
    rolled = lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("so the",), 0)], disable_tqdm=True)
    assert rolled == [found[2][0]]
    too_long = Instance("loglikelihood", {}, ("a", " a" * 1300), 0)
    with pytest.raises(ValueError, match="`continuation` must be shorter than the model's 1280 positions"):
        lm.loglikelihood([too_long], disable_tqdm=True)


def test_a_task_is_scored_as_the_examples_do(loaded):
    lm = wrapped(loaded, batch_size=8, **OPTIONS)
    manager = TaskManager(include_path=str(HARNESS), include_defaults=False)
    found = simple_evaluate(
        lm, tasks=["worked_steps"], task_manager=manager, limit=6, apply_chat_template=True, bootstrap_iters=0
    )
    right = [is_correct(sample, text) for sample, text in zip(SAMPLES, written(loaded, **OPTIONS)[0], strict=True)]
    assert found["results"]["worked_steps"]["exact_match,none"] == sum(right) / 6
    assert 0 < sum(right) < 6
    assert found["config"]["nfe"] == lm.measured["nfe"] and found["config"]["options"] == OPTIONS


@pytest.mark.slow
def test_two_processes_get_the_score_of_one(loaded, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    # What `accelerate launch` starts on GPUs; for CPUs it would need MPI.
    command += ["-m", "hf_learn2pd.evaluation", "--model", "learn2pd", "--tasks", "worked_steps", "--limit", "6"]
    arguments = {"pretrained": str(CHECKPOINT), **OPTIONS}
    command += ["--model_args", json.dumps(arguments), "--include_path", str(HARNESS), "--apply_chat_template"]
    command += ["--batch_size", "2", "--output_path", str(tmp_path / "scores")]
    environment = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = (tmp_path / "scores").rglob("results_*.json")
    found = json.loads(file.read_text())
    texts, (nfe, _, _) = written(loaded, **OPTIONS)
    right = [is_correct(sample, text) for sample, text in zip(SAMPLES, texts, strict=True)]
    assert found["results"]["worked_steps"]["exact_match,none"] == sum(right) / 6
    assert found["config"]["requests"] == 6 and found["config"]["nfe"] == pytest.approx(nfe)
    assert f"6 requests: NFE {nfe:.2f}" in done.stderr


def test_the_class_has_a_name_in_lm_eval():
    assert get_model("learn2pd") is DiffusionLM


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": "auto"}, r"`batch_size` must be an integer above 0 \(got 'auto'\)"),
        ({"mc_num": 0}, r"`mc_num` must be an integer above 0 \(got 0\)"),
        ({"seed": -1}, r"`seed` must be an integer of at least 0 \(got -1\)"),
        ({"block_cache": "double"}, "`block_cache` must be prefix, dual"),
        ({"num_beams": 3}, "`num_beams` must"),
    ],
)
def test_wrong_options_are_refused_before_a_model_is_loaded(options, message):
    with pytest.raises(ValueError, match=message):
        DiffusionLM("no/such-model", **options)


def test_a_model_that_does_not_denoise_is_refused(loaded):
    model = torch.nn.Linear(1, 1)
    model.config, model.device, model.tie_weights = loaded[0].config, torch.device("cpu"), lambda: None
    with pytest.raises(ValueError, match=r"`pretrained` must be a diffusion LLM \(got a Linear\)"):
        DiffusionLM(model, tokenizer=loaded[1])
