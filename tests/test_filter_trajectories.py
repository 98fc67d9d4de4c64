# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Trajectories on disk: nothing lost, nothing repeated, the same from any number of processes."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import CHECKPOINT, ScriptedModel, golden_model
from safetensors import safe_open
from safetensors.torch import save_file
from tasks import task_sample
from transformers import AutoModelForCausalLM

from hf_learn2pd import Learn2PD, LowConfidence, Threshold, UnmaskingFilter
from hf_learn2pd.passes import DualCache
from hf_learn2pd.training.trajectories import Trajectories, collect_trajectories, load_trajectories, replay

PROMPTS = [task_sample(3, index).prompt for index in range(5)]
OPTIONS = {"max_new_tokens": 64, "block_length": 16, "batch_size": 2, "progress": False}


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def collected(model, tmp_path_factory):
    directory = tmp_path_factory.mktemp("trajectories")
    return directory, collect_trajectories(model, PROMPTS, directory, **OPTIONS)


def contents(directory):
    """Metadata and values; the bytes of a header are in any order."""
    found = {}
    for path in directory.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).tolist() for name in file.keys()}  # noqa: SIM118
            found[path.name] = file.metadata(), tensors
    return found


def test_one_file_for_each_batch(collected):
    directory, trajectories = collected
    assert set(json.loads((directory / "run.json").read_text())) == set(contents(directory))
    assert sorted(contents(directory)) == [f"trajectories-0000{number}.safetensors" for number in range(3)]
    assert all(values.shape == trajectories.confidence.shape for values in trajectories.tensors().values())
    assert trajectories.confidence.shape[1] == 16
    assert not (trajectories.correct & ~trajectories.in_block).any() and trajectories.masked.any(dim=-1).all()
    confidence, margin = trajectories.confidence[trajectories.masked], trajectories.margin[trajectories.masked]
    assert (confidence > 0).all() and (margin <= confidence).all()
    assert ((trajectories.entropy >= 0) & (trajectories.entropy <= 1)).all() and (trajectories.repeats >= 1).all()


def test_a_killed_run_goes_on_without_loss_or_repetition(model, collected, tmp_path, monkeypatch):
    expected, trajectories = collected
    calls = 0

    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return generate(*args, **kwargs)

    generate = model.generate
    monkeypatch.setattr(model, "generate", counted)
    with pytest.raises(KeyboardInterrupt):
        collect_trajectories(model, PROMPTS, tmp_path, **OPTIONS)
    assert len(contents(tmp_path)) == 2
    # Half a file, as a power cut would leave it, has another name.
    (tmp_path / "trajectories-00002.safetensors.0123.tmp").write_bytes(b"half")
    again = collect_trajectories(model, PROMPTS, tmp_path, **OPTIONS)
    assert calls == 4 and contents(tmp_path) == contents(expected)
    # Nothing is left over.
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in expected.iterdir()}
    assert all(torch.equal(values, again.tensors()[name]) for name, values in trajectories.tensors().items())


def test_files_of_other_prompts_or_options_are_refused(model, collected):
    directory, _ = collected
    before = contents(directory)
    for prompts, options in ((PROMPTS[1:], OPTIONS), (PROMPTS, OPTIONS | {"max_new_tokens": 32})):
        with pytest.raises(ValueError, match="`directory` must be empty or of the same prompts and options"):
            collect_trajectories(model, prompts, directory, **options)
    assert contents(directory) == before


def test_another_models_files_are_refused(collected, tmp_path):
    directory, _ = collected
    other = AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    with torch.no_grad():
        other.lm_head.weight[3, 3] += 0.5
    with pytest.raises(ValueError, match=r"\(got another model in .*trajectories-00000"):
        collect_trajectories(other, PROMPTS, directory, **OPTIONS)


def test_another_filter_of_the_same_shape_is_refused(model, tmp_path):
    options = OPTIONS | {"max_new_tokens": 16}
    first, second = Learn2PD(UnmaskingFilter()), Learn2PD(UnmaskingFilter())
    collect_trajectories(model, PROMPTS[:1], tmp_path, policy=first, **options)
    collect_trajectories(model, PROMPTS[:1], tmp_path, policy=first, **options)
    with pytest.raises(ValueError, match="got another policy in"):
        collect_trajectories(model, PROMPTS[:1], tmp_path, policy=second, **options)
    first.filter.threshold = 0.5
    with pytest.raises(ValueError, match="got another policy in"):
        collect_trajectories(model, PROMPTS[:1], tmp_path, policy=first, **options)


def test_damaged_and_foreign_files_are_named_and_made_again(model, collected, tmp_path):
    source, _ = collected
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    files = sorted(tmp_path.glob("*.safetensors"))
    files[0].write_bytes(files[0].read_bytes()[:-9])
    files[1].write_bytes(files[1].read_bytes()[:-1] + b"\x07")
    save_file({"weight": torch.ones(2)}, files[2])
    with pytest.raises(ValueError, match="trajectories-00000"):
        load_trajectories(tmp_path)
    with pytest.warns(UserWarning) as caught:
        collect_trajectories(model, PROMPTS, tmp_path, **OPTIONS)
    named = [str(warning.message) for warning in caught if "is made again" in str(warning.message)]
    assert len(named) == 3 and all(str(file) in line for file, line in zip(files, named, strict=True))
    assert contents(tmp_path) == contents(source)


def test_files_without_fingerprints_are_refused(model, collected, tmp_path):
    tensors = collected[1].tensors()
    save_file(tensors, tmp_path / "trajectories-00000.safetensors", metadata={"block_length": "16"})
    with pytest.raises(ValueError, match="without fingerprints by an older version"):
        collect_trajectories(model, PROMPTS, tmp_path, **OPTIONS)


def test_files_of_a_longer_run_are_left_out(model, collected, tmp_path):
    source, everything = collected
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    fewer = collect_trajectories(model, PROMPTS[:4], tmp_path, **OPTIONS)
    assert len(load_trajectories(tmp_path).confidence) == len(fewer.confidence) < len(everything.confidence)
    (tmp_path / "run.json").unlink()
    with pytest.raises(ValueError, match=r"with run.json \(got none in"):
        load_trajectories(tmp_path)


def test_no_prompts(model, tmp_path):
    with pytest.raises(ValueError, match=r"`prompts` must hold at least one prompt \(got none\)"):
        collect_trajectories(model, [], tmp_path, **OPTIONS)


def test_what_was_collected_can_be_read_again(collected, tmp_path):
    directory, trajectories = collected
    again = load_trajectories(directory)
    assert all(torch.equal(values, again.tensors()[name]) for name, values in trajectories.tensors().items())
    with pytest.raises(ValueError, match="`directory` must hold trajectories"):
        load_trajectories(tmp_path)


def test_blocks_of_different_lengths_are_joined(model, collected, tmp_path):
    _, short = collected
    long = collect_trajectories(model, PROMPTS[:2], tmp_path, **OPTIONS | {"block_length": 24})
    both = Trajectories.cat([short, long])
    count = len(short.confidence)
    assert both.confidence.shape == (count + len(long.confidence), 24)
    assert torch.equal(both.confidence[:count, :16], short.confidence) and not both.in_block[:count, 16:].any()
    assert not both.masked[:count, 16:].any() and torch.equal(both.masked[count:], long.masked)


@torch.no_grad()
def test_a_policy_decides_what_is_unmasked():
    """Four positions, of which the model is right at 0, 1 and 3; the policy takes 0 and 2, then what has risen."""
    model = ScriptedModel([5, 6, 9, 8], [0.95, 0.6, 0.92, 0.3], raise_by=0.2)
    model.prompt_length = 2
    answer = torch.tensor([[5, 6, 7, 8]])
    oracle = replay(model, torch.tensor([[1, 2]]), answer, block_length=4)
    # All that is right at once, then position 2 is filled in.
    assert oracle.masked.long().tolist() == [[1, 1, 1, 1], [0, 0, 1, 0]]
    followed = replay(model, torch.tensor([[1, 2]]), answer, block_length=4, policy=Threshold(0.9))
    # Positions 0 and 2, the wrong one with the answer's token; then, with nothing above 0.9, the most confident: 1.
    assert followed.masked.long().tolist() == [[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]]
    assert model.canvases[-1][0][2:] == [5, 6, 7, 11]
    assert followed.correct.long().tolist() == [[1, 1, 0, 1]] * 3


class Recorder(LowConfidence):
    """The stock loop's choice; keeps what it has seen."""

    def __init__(self):
        object.__setattr__(self, "seen", [])

    def __call__(self, prediction):
        self.seen.append((prediction.rows, prediction.masked, prediction.confidence))
        return super().__call__(prediction)


WAYS = [(None, None), (None, 4), ("dual", None), ("prefix", 8), ("local", 8), (DualCache(refresh_every=3), 4)]


@torch.no_grad()
@pytest.mark.parametrize(("block_cache", "suffix_length"), WAYS)
def test_a_replay_sees_what_decoding_sees(block_cache, suffix_length):
    """Towards the text that decoding has written, in the same order, through the same passes."""
    model, recorder = golden_model("tiny_llada"), Recorder()
    ids, mask = torch.tensor([[510, 3, 4, 9], [5, 6, 7, 8]]), torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    options = {"block_cache": block_cache, "suffix_length": suffix_length}
    output = model.generate(
        ids, attention_mask=mask, decoding=recorder, max_new_tokens=24, block_length=8, end_of_text=None, **options
    )
    replayed = replay(model, ids, output[:, 4:], mask, block_length=8, policy=LowConfidence(), **options)
    _, masked, confidence = map(torch.cat, zip(*recorder.seen, strict=True))
    assert torch.equal(replayed.masked, masked) and torch.equal(replayed.confidence, confidence)
    assert replayed.correct[masked].any()


def test_a_way_of_passes_is_part_of_what_files_were_made_with(model, collected, tmp_path):
    directory, exact = collected
    for changed in ({"block_cache": "dual"}, {"suffix_length": 8}):
        with pytest.raises(ValueError, match=f"got another {next(iter(changed))} in"):
            collect_trajectories(model, PROMPTS, directory, **OPTIONS, **changed)
    stale = collect_trajectories(model, PROMPTS, tmp_path, block_cache="local", suffix_length=8, **OPTIONS)
    assert stale.confidence.shape != exact.confidence.shape or not torch.equal(stale.confidence, exact.confidence)
    with pytest.raises(ValueError, match="`block_cache` must be prefix, dual"):
        collect_trajectories(model, PROMPTS, tmp_path / "other", block_cache="none", **OPTIONS)


def test_texts_are_decoded_once_for_all_rounds_and_by_the_passes_of_each_way(model, collected, tmp_path, monkeypatch):
    calls, generate = [], model.generate
    monkeypatch.setattr(model, "generate", lambda *args, **kwargs: calls.append(kwargs) or generate(*args, **kwargs))
    options = OPTIONS | {"texts": tmp_path / "texts"}
    exact = collect_trajectories(model, PROMPTS, tmp_path / "exact", **options)
    assert len(calls) == 3 and torch.equal(exact.confidence, collected[1].confidence)
    collect_trajectories(model, PROMPTS, tmp_path / "second", policy=Threshold(0.5), **options)
    assert len(calls) == 3
    collect_trajectories(model, PROMPTS, tmp_path / "dual", block_cache="dual", **options)
    assert len(calls) == 6 and {call["block_cache"] for call in calls[3:]} == {"dual"}


SCRIPT = """
import json, sys
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM
import hf_learn2pd
from hf_learn2pd import Threshold
from hf_learn2pd.training.trajectories import Trajectories, collect_trajectories, load_trajectories, replay
from hf_learn2pd.training.training import train_filter

torch.set_num_threads(1)
checkpoint, directory, prompts, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
trajectories = collect_trajectories(AutoModelForCausalLM.from_pretrained(checkpoint), prompts, directory, **options)
filter = train_filter(trajectories, epochs=2, progress=False)
print("threshold", filter.threshold, len(trajectories.confidence))
"""


def test_two_processes_write_the_same_files(collected, tmp_path):
    expected, trajectories = collected
    (tmp_path / "script.py").write_text(SCRIPT)
    directory = tmp_path / "shared"
    environment = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    # What `accelerate launch` starts on GPUs; for CPUs it would need MPI.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(tmp_path / "script.py"), str(CHECKPOINT), str(directory), json.dumps(PROMPTS), json.dumps(OPTIONS)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert contents(directory) == contents(expected)
    lines = [line for line in done.stdout.splitlines() if line.startswith("threshold")]
    # Both see all samples, and have trained the same filter.
    assert len(lines) == 2 and len(set(lines)) == 1 and lines[0].endswith(f" {len(trajectories.confidence)}")
