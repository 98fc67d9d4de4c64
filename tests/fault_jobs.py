# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The long jobs of the package in miniature, for `faults.py`: how each is started, and what it leaves behind."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

# Everything that this file needs to know of where things lie.
EXAMPLES = Path(__file__).parents[1] / "examples"
CHECKPOINT = EXAMPLES / "tiny_llada"
FILTER = CHECKPOINT / "unmasking_filter"
FOLDERS = ("", "evaluation", "filter_training", "gsm_llada/training", "tiny_llada/training")
SCRIPTS = [EXAMPLES / folder for folder in FOLDERS]
EVALUATION, FILTER_TRAINING, TASKS = "run", "train_filter", "tasks"
TINY_TRAINING, GSM_TRAINING = "train_tiny_llada", "train_gsm_llada"

sys.path[:0] = map(str, SCRIPTS)
# Children of a process that has used several threads would wait for threads that they do not have.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from hf_learn2pd import UnmaskingFilter  # noqa: E402
from hf_learn2pd.datasets import generate_dataset  # noqa: E402
from hf_learn2pd.training.calibration import calibrate_threshold  # noqa: E402
from hf_learn2pd.training.trajectories import collect_trajectories, load_trajectories  # noqa: E402

__all__ = ["JOBS", "Job"]

torch.set_num_threads(1)
MODEL: Any = AutoModelForCausalLM.from_pretrained(CHECKPOINT)
# Its texts mean nothing, and cost next to nothing.
SMALL_MODEL: Any = AutoModelForCausalLM.from_pretrained(Path(__file__).parent / "goldens" / "tiny_llada")
SUMS = [f"add {number} and 5." for number in range(1, 7)]
TOKENIZER: Any = AutoTokenizer.from_pretrained(CHECKPOINT)
PROMPTS = [import_module(TASKS).task_sample(7, index).prompt for index in range(20)]
SHORT = {"max_new_tokens": 16, "progress": False}


@dataclass(frozen=True)
class Job:
    """
    A job, and how to tell what it has done.

    Args:
        name (`str`): What it is called.
        run (`Callable[[Path], Any]`): Starts it in a folder; the same call goes on after a kill.
        pieces (`Callable[[Path], dict[str, Any]]`):
            Reads what lies in the folder under final names, and raises if that is not whole; by file.
        kept (`bool`): Whether a piece stays as it is once it is there.
        renewed (`tuple[str, ...]`): Pieces that every run writes again.
    """

    name: str
    run: Callable[[Path], Any]
    pieces: Callable[[Path], dict[str, Any]]
    kept: bool = True
    renewed: tuple[str, ...] = ()

    def prepare(self, folder: Path) -> None:
        """Makes the folder."""
        folder.mkdir()


def tensors_of(file: Path) -> str:
    """Digests the tensors of a safetensors file; the header is in any order."""
    digest = hashlib.blake2b(digest_size=8)
    with safe_open(file, framework="pt") as opened:
        for name in sorted(opened.keys()):
            tensor = opened.get_tensor(name)
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def whole_files(folder: Path) -> dict[str, Any]:
    """Reads every file that has its final name."""
    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*.*")):
        name = str(file.relative_to(folder))
        if ".saving-" in name or file.is_dir():
            continue
        if file.suffix == ".safetensors":
            found[name] = tensors_of(file)
        elif file.suffix == ".json":
            found[name] = json.loads(file.read_text())
        elif file.suffix == ".jsonl":
            found[name] = [json.loads(line) for line in file.read_text().splitlines()]
    return found


def collect(folder: Path) -> None:
    options = SHORT | {"block_length": 8, "batch_size": 1, "texts": folder / "texts"}
    collect_trajectories(SMALL_MODEL, SUMS, folder / "trajectories", TOKENIZER, **options)
    load_trajectories(folder / "trajectories")


def answer(folder: Path) -> None:
    generate_dataset(SMALL_MODEL, TOKENIZER, SUMS, folder / "answers.jsonl", 1, decoding="threshold", **SHORT)


def evaluate(folder: Path) -> None:
    arguments = ["--num-prompts", "1", "--max-new-tokens", "16", "--ways", "none", "--methods", "threshold", "oracle"]
    import_module(EVALUATION).main(
        [*arguments, "--model", str(CHECKPOINT), "--filters", "--output", str(folder / "out")]
    )


def evaluated(folder: Path) -> dict[str, Any]:
    """A run says what it took, which no other run has to repeat."""
    runs = whole_files(folder)
    return {name: {key: value for key, value in run.items() if key != "seconds"} for name, run in runs.items()}


def train(folder: Path) -> None:
    counts = ["--num-prompts", "8", "--calibration-prompts", "14", "--max-loss", "0.2", "--epochs", "2"]
    counts += ["--test-prompts", "0", "--max-new-tokens", "16", "--block-lengths", "8", "--batch-size", "2"]
    paths = ["--trajectories", str(folder / "trajectories"), "--output", str(folder / "filter")]
    import_module(FILTER_TRAINING).main([*counts, *paths, "--model", str(CHECKPOINT)])
    UnmaskingFilter.load(folder / "filter")


def calibrate(folder: Path) -> None:
    filter = UnmaskingFilter.load(FILTER)
    options = SHORT | {"texts": folder / "texts", "batch_size": 2, "thresholds": (0.99, 0.9)}
    calibrate_threshold(MODEL, filter, PROMPTS[:14], 0.2, tokenizer=TOKENIZER, **options)
    filter.save_pretrained(folder / "filter")
    UnmaskingFilter.load(folder / "filter")


def train_model(module: str, extra: list[str], folder: Path) -> None:
    script = import_module(module)
    paths = ["--output", str(folder / "model"), "--state", str(folder / "state.safetensors"), "--device", "cpu"]
    options = ["--preset", "toy", "--steps", "12", *paths]
    script.train(script.parse_options([*options, *extra]))
    if module == GSM_TRAINING:
        script.train(script.parse_options([*options, "--export"]))
    AutoModelForCausalLM.from_pretrained(folder / "model")


def trained(folder: Path) -> dict[str, Any]:
    """The state has to be whole at any time; what was exported only at the end, which is when the job reads it."""
    state = folder / "state.safetensors"
    return {state.name: tensors_of(state)} if state.exists() else {}


WRITTEN_AT_THE_END = ("filter/config.json", "filter/model.safetensors")

JOBS = {
    job.name: job
    for job in (
        Job("collection", collect, whole_files, renewed=("trajectories/run.json",)),
        Job("dataset", answer, whole_files, renewed=("answers.jsonl",)),
        Job("evaluation", evaluate, evaluated),
        Job("training", train, whole_files, renewed=WRITTEN_AT_THE_END),
        Job("calibration", calibrate, whole_files, renewed=WRITTEN_AT_THE_END),
        Job(
            "tiny_training", partial(train_model, TINY_TRAINING, ["--save-every", "2", "--quiet"]), trained, kept=False
        ),
        Job("gsm_training", partial(train_model, GSM_TRAINING, ["--save-minutes", "0"]), trained, kept=False),
    )
}
