# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What long jobs do when they are killed, the disk is full, or what they read is damaged."""

import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import golden_model
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from hf_learn2pd import UnmaskingFilter
from hf_learn2pd.datasets import generate_dataset
from hf_learn2pd.training.files import write_whole
from hf_learn2pd.training.prompts import read_prompts
from hf_learn2pd.training.texts import StockTexts
from hf_learn2pd.training.trajectories import collect_trajectories, load_trajectories

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples"
CHECKPOINT = EXAMPLES / "tiny_llada"

import train_tiny_llada  # noqa: E402
from questions import load_questions  # noqa: E402
from records import read_runs  # noqa: E402

PROMPTS = ["add 4 and 5.", "add 7 and 8.", "add 3 and 1."]
OPTIONS = {"max_new_tokens": 8, "batch_size": 1, "progress": False}


@pytest.fixture(scope="module")
def tokenizer():
    """Its vocabulary fits into that of the golden model."""
    return AutoTokenizer.from_pretrained(CHECKPOINT)


def collect(directory, tokenizer, **options):
    model = golden_model("tiny_llada")
    return collect_trajectories(model, PROMPTS, directory, tokenizer, block_length=8, **OPTIONS | options)


def answer(file, tokenizer):
    return generate_dataset(golden_model("tiny_llada"), tokenizer, PROMPTS, file, **OPTIONS)


def same(one, other):
    return all(torch.equal(values, other.tensors()[name]) for name, values in one.tensors().items())


@contextmanager
def files_of_at_most(size):
    """A disk that is full, as far as a process can tell: no file grows beyond a number of bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def run_script(*arguments):
    command = [sys.executable, str(TESTS / "faults.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(TESTS.parent)})


def test_killed_jobs_end_as_if_nobody_had_killed_them():
    done = run_script("--kills", "3", "--what", "dataset", "collection")
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["dataset", "collection"]
    assert all(int(row[1]) >= 3 and row[4] == "yes" for row in rows)


def test_a_full_disk_is_named_and_the_same_call_goes_on_when_there_is_room(tokenizer, tmp_path):
    whole = collect(tmp_path / "whole", tokenizer)
    (tmp_path / "full").mkdir()
    with files_of_at_most(500), pytest.raises(OSError, match=r"trajectories-00000.safetensors could not be written"):
        collect(tmp_path / "full", tokenizer)
    assert not list((tmp_path / "full").iterdir())
    with files_of_at_most(200), pytest.raises(OSError, match=r"stock-.* could not be written"):
        collect(tmp_path / "full", tokenizer, texts=tmp_path / "texts")
    assert not list((tmp_path / "texts").iterdir())
    assert same(whole, collect(tmp_path / "full", tokenizer, texts=tmp_path / "texts"))

    expected = answer(tmp_path / "whole.jsonl", tokenizer).read_text()
    with files_of_at_most(200), pytest.raises(OSError, match=r"\.json could not be written"):
        answer(tmp_path / "full.jsonl", tokenizer)
    assert not list((tmp_path / "full.jsonl.parts").iterdir())
    assert answer(tmp_path / "full.jsonl", tokenizer).read_text() == expected


def test_a_filter_stays_what_it_was_where_another_does_not_fit(tmp_path):
    filter = UnmaskingFilter(threshold=0.7)
    filter.save_pretrained(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    filter.threshold = 0.2
    with files_of_at_most(1000), pytest.raises(Exception, match="too large"):
        filter.save_pretrained(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_weights_of_a_filter_are_never_beside_the_threshold_of_another(tmp_path, monkeypatch):
    """Whenever saving is killed, the folder holds one filter or the other, or none."""
    old, new = UnmaskingFilter(threshold=0.7), UnmaskingFilter(threshold=0.2)
    found = []

    def look():
        try:
            filter = UnmaskingFilter.from_pretrained(tmp_path)
        except ValueError as error:
            assert "must hold model.safetensors (got none" in str(error)
            found.append(None)
            return
        expected = {0.7: old, 0.2: new}[filter.threshold].state_dict()
        assert all(torch.equal(weight, expected[name]) for name, weight in filter.state_dict().items())
        found.append(filter.threshold)

    def replace_and_look(*paths):
        look()
        replace(*paths)
        look()

    old.save_pretrained(tmp_path)
    replace = os.replace
    monkeypatch.setattr(os, "replace", replace_and_look)
    new.save_pretrained(tmp_path)
    assert found == [None, None, None, 0.2]


def test_a_file_where_a_directory_has_to_be_is_named(tokenizer, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ValueError, match=r"`directory` must be a directory, or a place for one \(got .*file"):
        collect(file, tokenizer)
    with pytest.raises(ValueError, match=r"`texts` must be a directory, or a place for one \(got .*file"):
        collect(tmp_path / "other", tokenizer, texts=file)
    with pytest.raises(ValueError, match=r"`output_path` must be a directory, or a place for one \(got .*file"):
        answer(file / "answers.jsonl", tokenizer)
    assert file.read_text() == "mine"


def test_writers_of_the_same_file_do_not_disturb_each_other(tmp_path):
    file = tmp_path / "answers.jsonl"
    others = [tmp_path / name for name in ("answers.tmp", "answers.jsonl.gz.tm", "answers.json.ab.tmp")]
    for other in others:
        other.write_text("another's")
    (tmp_path / "answers.jsonl.0123.tmp").write_text("half")

    def slowly(temporary):
        with temporary.open("w") as half:
            half.write("half")
            # The other one begins later, is done earlier, and takes this half for what a killed one has left.
            write_whole(file, lambda path: path.write_text("half and half"))
            half.write(" and half")

    write_whole(file, slowly)
    assert file.read_text() == "half and half"
    assert sorted(tmp_path.iterdir()) == sorted([file, *others])
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "missing" / "file", lambda path: path.write_text(""))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        "3",
        '{"a": 1}',
        '{"../trajectories-00000.safetensors": {}}',
        '{"..": {}}',
        "[" * 9999,
    ],
)
def test_a_damaged_list_of_files_is_named(tokenizer, tmp_path, text):
    collect(tmp_path / "run", tokenizer)
    (tmp_path / "run" / "run.json").write_text(text)
    os.link(tmp_path / "run" / "trajectories-00000.safetensors", tmp_path / "trajectories-00000.safetensors")
    with pytest.raises(ValueError, match=r"`directory` must hold"):
        load_trajectories(tmp_path / "run")


@pytest.mark.parametrize("damage", ["truncated", "changed", "foreign", "of other rows"])
def test_damaged_texts_are_named_and_made_again(tmp_path, damage):
    batch = {"input_ids": torch.tensor([[5, 6], [7, 8]]), "attention_mask": torch.ones(2, 2, dtype=torch.long)}
    texts = StockTexts(golden_model("tiny_llada"), tmp_path, 8, 8)
    expected = texts(batch)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    if damage == "truncated":
        file.write_bytes(content[:-1])
    elif damage == "changed":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        parts = {"weight": torch.ones(1)} if damage == "foreign" else {k: v[:1] for k, v in load_file(file).items()}
        save_file(parts, file)
    with pytest.warns(UserWarning, match=rf"{file.name} is damaged .* and is made again"):
        again = texts(batch)
    assert all(torch.equal(values, again[name]) for name, values in expected.items())


def test_prompts_that_end_amid_a_character_or_line_say_where(tmp_path):
    file = tmp_path / "prompts.jsonl"
    whole = '{"prompt": "one\u2028two", "answer": "3"}\n{"prompt": "größer", "answer": "4"}'.encode()
    file.write_bytes(whole)
    # A line separator inside of a string ends no line.
    assert load_questions(str(file), 2)[0] == ["one\u2028two", "größer"]
    assert [chat[0]["content"] for chat in read_prompts(file)] == ["one\u2028two", "größer"]
    for length in (whole.index("ö".encode()) + 1, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"`prompts` must be JSON in every line \(got .*prompts.jsonl:2\)"):
            list(read_prompts(file))
        with pytest.raises(ValueError, match=r"`--data` must hold .* in every line \(got .*prompts.jsonl:2\)"):
            load_questions(str(file), 2)


@pytest.mark.parametrize("text", ["", '{"asked": {}', "[]", "{}", '{"asked": {}, "records": [3]}'])
def test_a_damaged_run_of_an_evaluation_is_named(tmp_path, text):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "stock.json").write_text(text)
    with pytest.raises(ValueError, match=r"none/stock.json` must be a run as it was written"):
        read_runs(tmp_path)


def test_a_damaged_state_of_training_is_named(tmp_path):
    paths = ["--output", str(tmp_path / "model"), "--state", str(tmp_path / "state"), "--device", "cpu", "--quiet"]
    options = train_tiny_llada.parse_options(["--preset", "toy", "--steps", "1", *paths])
    train_tiny_llada.train(options)
    whole = (tmp_path / "state").read_bytes()
    for damaged in (whole[:-1], whole[:100], b""):
        (tmp_path / "state").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"`--state` must be whole and of this run \(got "):
            train_tiny_llada.train(options)
    (tmp_path / "state").write_bytes(whole)
    options.d_model = 32
    with pytest.raises(ValueError, match=r"`--state` must be whole and of this run \(got "):
        train_tiny_llada.train(options)


SCRIPT = """
import json, os, signal, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from hf_learn2pd.training import trajectories

torch.set_num_threads(1)
checkpoint, directory, prompts, options, dies = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:])
model, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
if dies and os.environ.get("RANK") == "1":
    sys.addaudithook(lambda event, _: event == "os.rename" and os.kill(os.getpid(), signal.SIGKILL))
trajectories.collect_trajectories(model, prompts, directory, tokenizer, block_length=8, **options)
"""


@pytest.mark.slow
def test_processes_that_share_a_folder_by_chance_or_die_leave_nothing_half(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(TESTS.parent)}
    # What `accelerate launch` starts on GPUs; for CPUs it would need MPI.
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

    def command(folder, dies, *before):
        told = [json.dumps(each) for each in (PROMPTS * 2, OPTIONS, dies)]
        return [sys.executable, *before, str(script), str(CHECKPOINT), str(folder), *told]

    both = [subprocess.Popen(command(tmp_path / "both", False), env=environment) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    expected = load_trajectories(tmp_path / "both")
    assert not list((tmp_path / "both").glob("*.tmp"))

    died = subprocess.run(
        command(tmp_path / "died", True, *launch), env=environment, capture_output=True, text=True, timeout=300
    )
    assert died.returncode != 0 and "SIGKILL" in died.stderr
    with pytest.raises(ValueError, match=r"with run.json \(got none in"):
        load_trajectories(tmp_path / "died")
    subprocess.run(command(tmp_path / "died", False, *launch), env=environment, check=True)
    assert same(load_trajectories(tmp_path / "died"), expected)
    assert not list((tmp_path / "died").glob("*.tmp"))
