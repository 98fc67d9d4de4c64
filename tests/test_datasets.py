# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Data sets of answers: whole, in order, the same from any number of processes, batches and interruptions."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import CHECKPOINT
from tasks import task_sample
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd import Learn2PD, UnmaskingFilter
from hf_learn2pd.datasets import generate_dataset

PROMPTS = [task_sample(7, index).prompt for index in range(5)]
OPTIONS = {"decoding": "threshold", "max_new_tokens": 48, "progress": False}


@pytest.fixture(scope="module")
def loaded():
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT), AutoTokenizer.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def made(loaded, tmp_path_factory):
    return generate_dataset(
        *loaded, PROMPTS, tmp_path_factory.mktemp("data") / "answers.jsonl", batch_size=2, **OPTIONS
    )


def parts_of(file):
    return sorted(file.with_name(f"{file.name}.parts").iterdir())


def test_lines_are_what_generate_writes_in_the_order_of_the_prompts(loaded, made):
    model, tokenizer = loaded
    lines = [json.loads(line) for line in made.read_text().splitlines()]
    assert [line["prompt"] for line in lines] == PROMPTS and len(parts_of(made)) == 3
    for line in lines:
        chat = [{"role": "user", "content": line["prompt"]}]
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        output = model.generate(**inputs, decoding="threshold", max_new_tokens=48, return_dict_in_generate=True)
        answer = output.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        assert line["text"] == tokenizer.decode(answer, skip_special_tokens=True) and line["text"]
        assert line["nfe"] == int(output.nfe)
        assert line["tokens"] == (answer.index(0) + 1 if 0 in answer else len(answer))
    assert len({line["nfe"] for line in lines}) > 1


def test_what_lies_behind_the_end_of_a_text_is_no_part_of_it(loaded, made, tmp_path):
    file = generate_dataset(*loaded, PROMPTS[:2], tmp_path / "unstopped.jsonl", **OPTIONS, end_of_text=None)
    for line, stopped in zip(file.read_text().splitlines(), made.read_text().splitlines(), strict=False):
        line, stopped = json.loads(line), json.loads(stopped)
        assert (line["text"], line["tokens"]) == (stopped["text"], stopped["tokens"]) and line["nfe"] >= stopped["nfe"]


def test_chats_stay_chats(loaded, tmp_path):
    chat = [{"role": "user", "content": PROMPTS[0]}, {"role": "assistant", "content": "so"}]
    chat.append({"role": "user", "content": PROMPTS[1]})
    file = generate_dataset(*loaded, [chat, PROMPTS[2]], tmp_path / "chats.jsonl", **OPTIONS | {"max_new_tokens": 4})
    assert [json.loads(line)["prompt"] for line in file.read_text().splitlines()] == [chat, PROMPTS[2]]


SCRIPT = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from hf_learn2pd.datasets import generate_dataset

torch.set_num_threads(1)
checkpoint, file, prompts, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
model, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
generate_dataset(model, tokenizer, prompts, file, **options)
"""


@pytest.mark.slow
def test_two_processes_finish_what_a_killed_one_has_left(made, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    file = tmp_path / "answers.jsonl"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    arguments = [str(tmp_path / "script.py"), str(CHECKPOINT), str(file), json.dumps(PROMPTS)]
    alone = subprocess.Popen([sys.executable, *arguments, json.dumps(OPTIONS | {"batch_size": 1})], env=environment)
    parts = file.with_name("answers.jsonl.parts")
    while not list(parts.glob("*.json")):
        assert alone.poll() is None
        time.sleep(0.005)
    alone.send_signal(signal.SIGKILL)
    alone.wait()
    before = {part: part.stat().st_mtime_ns for part in parts.glob("*.json")}
    assert 0 < len(before) < len(PROMPTS) and not file.exists()
    # What `accelerate launch` starts on GPUs; for CPUs it would need MPI.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, *arguments, json.dumps(OPTIONS | {"batch_size": 3})]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert file.read_bytes() == made.read_bytes()
    assert {part: part.stat().st_mtime_ns for part in before} == before


def test_a_damaged_part_is_named_and_made_again(loaded, made, tmp_path):
    file = generate_dataset(*loaded, PROMPTS, tmp_path / "answers.jsonl", batch_size=2, **OPTIONS)
    half, changed, foreign = parts_of(file)
    expected = [part.read_bytes() for part in (half, changed, foreign)]
    half.write_bytes(expected[0][:-20])
    changed.write_bytes(expected[1].replace(b'"nfe": ', b'"nfe": 1'))
    foreign.write_text("[]")
    file.unlink()
    with pytest.warns(UserWarning) as caught:
        generate_dataset(*loaded, PROMPTS, file, batch_size=2, **OPTIONS)
    named = [str(warning.message) for warning in caught if "is damaged or foreign" in str(warning.message)]
    assert len(named) == 3 and all(any(str(part) in line for line in named) for part in (half, changed, foreign))
    assert file.read_bytes() == made.read_bytes() and [part.read_bytes() for part in parts_of(file)] == expected


def test_nothing_is_decoded_twice(loaded, made, monkeypatch):
    before = made.read_bytes()
    monkeypatch.setattr(loaded[0], "generate", None)
    generate_dataset(*loaded, PROMPTS, made, batch_size=4, **OPTIONS)
    assert made.read_bytes() == before


def test_parts_of_another_run_are_refused(loaded, made):
    before = made.read_bytes()
    for prompts, changed, name in (
        (PROMPTS[1:], {}, "prompts"),
        (PROMPTS, {"max_new_tokens": 32}, "options"),
        (PROMPTS, {"seed": 1}, "seed"),
        (PROMPTS, {"decoding": Learn2PD(UnmaskingFilter())}, "options"),
    ):
        with pytest.raises(ValueError, match=rf"of the same prompts and options, model .* \(got another {name} in"):
            generate_dataset(*loaded, prompts, made, **OPTIONS | changed)
    other = AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    with torch.no_grad():
        other.lm_head.weight[3, 3] += 0.5
    with pytest.raises(ValueError, match="got another model in"):
        generate_dataset(other, loaded[1], PROMPTS, made, **OPTIONS)
    assert made.read_bytes() == before


def test_a_file_without_its_parts_is_not_written_over(loaded, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("mine")
    with pytest.raises(ValueError, match=r"`output_path` must be a new file, .* \(got .*mine.jsonl, without them\)"):
        generate_dataset(*loaded, PROMPTS, file, **OPTIONS)
    assert file.read_text() == "mine"


def test_samples_are_the_same_again_and_others_with_another_seed(loaded, tmp_path):
    options = OPTIONS | {"do_sample": True, "temperature": 3.0, "max_new_tokens": 16}
    first, again, other = (
        generate_dataset(*loaded, PROMPTS[:2], tmp_path / f"{number}.jsonl", seed=seed, **options).read_text()
        for number, seed in enumerate((1, 1, 2))
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, r"`prompts` must hold at least one prompt \(got none\)"),
        (PROMPTS, {"batch_size": 0}, r"`batch_size` must be an integer above 0 \(got 0\)"),
        (PROMPTS, {"seed": -1}, r"`seed` must be an integer of at least 0 \(got -1\)"),
        (PROMPTS, {"block_cache": "double"}, "`block_cache` must be prefix, dual"),
        (PROMPTS, {"generator": torch.Generator()}, r"`generator` must be left out for a data set \(got Generator\)"),
    ],
)
def test_wrong_arguments_are_refused_and_leave_nothing(loaded, tmp_path, prompts, options, message):
    with pytest.raises(ValueError, match=message):
        generate_dataset(*loaded, prompts, tmp_path / "answers.jsonl", **OPTIONS | options)
    assert not list(tmp_path.iterdir())
