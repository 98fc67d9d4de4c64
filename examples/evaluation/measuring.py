# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Running a decoder on prompts and counting its work: forward passes, tokens, seconds, memory."""

import contextlib
import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

import hf_learn2pd
from hf_learn2pd.passes import PASS_POLICIES
from hf_learn2pd.training.files import write_whole

__all__ = [
    "Measurement",
    "environment",
    "measure",
    "peak_memory",
    "read_passes",
    "reset_peak_memory",
    "tokenize",
    "write_file",
]

# Seconds after which a measurement is not repeated.
LONG = 60.0


@dataclass(frozen=True)
class Measurement:
    """
    One decoder on a list of prompts.

    Args:
        texts (`list[str]`): The answers.
        ids (`list[list[int]]`): Their tokens, up to and including end-of-text.
        passes (`list[int]`): Number of forward passes of each prompt.
        nfe (`float`): Their mean.
        tokens_per_forward (`float`): Mean over prompts.
        tokens (`float`): Mean length of an answer, up to and including end-of-text.
        seconds (`list[float]`): Wall-clock seconds per prompt, one for each repetition.
        row_passes (`int`): Rows times forward passes, over all prompts.
        lockstep_row_passes (`int`): What it would be if the rows of a batch waited for each other at every block.
        peak_memory (`float`, *optional*): Megabytes in use at the peak, over those before; None where unknown.
    """

    texts: list[str]
    ids: list[list[int]]
    passes: list[int]
    nfe: float
    tokens_per_forward: float
    tokens: float
    seconds: list[float]
    row_passes: int
    lockstep_row_passes: int
    peak_memory: float | None

    @property
    def seconds_per_prompt(self) -> float:
        """The median."""
        return statistics.median(self.seconds)

    @property
    def tokens_per_second(self) -> float:
        """Answer tokens, up to and including end-of-text, by the median time."""
        return self.tokens / self.seconds_per_prompt


def tokenize(tokenizer: Any, prompts: Sequence[str], device: torch.device) -> Any:
    """Renders user messages with the chat template, padded on the left."""
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    return tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    ).to(device)


def reset_peak_memory() -> float:
    """Starts a new measurement of the peak; returns the megabytes now in use."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e6
    if Path("/proc/self/clear_refs").exists():
        # Freed memory that the process keeps would hide what is taken from it next.
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> float:
    """Megabytes at the peak since the last reset: of the GPU, else of the process; NaN where neither can be read."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    if not Path("/proc/self/status").exists():
        return float("nan")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def measure(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    batch_size: int,
    repeats: int = 1,
    references: list[list[int]] | None = None,
    **options: Any,
) -> Measurement:
    """
    Answers prompts in batches and measures the work.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer, padding on the left.
        prompts (`Sequence[str]`): User messages.
        batch_size (`int`): Prompts per call.
        repeats (`int`, *optional*, defaults to 1):
            How often all prompts are answered; what takes longer than a minute is not repeated.
        references (`list[list[int]]`, *optional*): The known answer of each prompt, for the oracle.
        options: Options of `generate`.

    Returns:
        [`Measurement`]
    """
    batches = [
        tokenize(tokenizer, prompts[start : start + batch_size], model.device)
        for start in range(0, len(prompts), batch_size)
    ]
    seconds: list[float] = []
    outputs: list[Any] = []
    before = reset_peak_memory()
    while len(seconds) < repeats and sum(seconds) * len(prompts) < LONG:
        began, outputs = time.perf_counter(), []
        for number, inputs in enumerate(tqdm(batches, unit="batch", leave=False)):
            if references is not None:
                known = [torch.tensor(ids) for ids in references[number * batch_size :][:batch_size]]
                filler = tokenizer.eos_token_id
                options["reference_ids"] = pad_sequence(known, batch_first=True, padding_value=filler)
            outputs.append(
                model.generate(**inputs, **options, return_dict_in_generate=True, output_unmasking_steps=True)
            )
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append((time.perf_counter() - began) / len(prompts))
    peak = peak_memory() - before

    texts: list[str] = []
    ids: list[list[int]] = []
    row_passes = lockstep = 0
    for inputs, output in zip(batches, outputs, strict=True):
        prompt_length = inputs["input_ids"].shape[1]
        for row in output.sequences[:, prompt_length:].tolist():
            end = row.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in row else len(row)
            ids.append(row[: end + 1])
            texts.append(tokenizer.decode(row[:end], skip_special_tokens=True))
        row_passes += sum(rows for _, rows, _, _ in output.forward_passes)
        block_length = options.get("block_length") or model.generation_config.block_length or 32
        for block in output.unmasking_steps.split(block_length, dim=-1):
            steps = [len(set(row) - {-1}) for row in block.tolist()]
            lockstep += len(steps) * max(steps)
    passes = torch.cat([output.nfe for output in outputs]).double()
    rates = torch.cat([output.tokens_per_forward for output in outputs]).double()
    return Measurement(
        texts=texts,
        ids=ids,
        passes=[int(number) for number in passes.tolist()],
        nfe=passes.mean().item(),
        tokens_per_forward=rates.mean().item(),
        tokens=(passes * rates).mean().item(),
        seconds=seconds,
        row_passes=row_passes,
        lockstep_row_passes=lockstep,
        peak_memory=None if peak != peak else peak,
    )


def read_passes(name: str) -> dict[str, Any]:
    """
    Reads what a pass computes from a word of the command line.

    Args:
        name (`str`): A cache or `"none"`, and after a plus how many columns of the suffix are in sight: `"local+64"`.

    Returns:
        `dict[str, Any]`: Options of `generate`.

    Raises:
        ValueError: If there is no such cache, or what follows the plus is not a number.
    """
    cache, plus, suffix = name.partition("+")
    if (cache != "none" and cache not in PASS_POLICIES) or bool(plus) != suffix.isdecimal():
        names = ", ".join(["none", *PASS_POLICIES])
        raise ValueError(f"`passes` must be one of {names}, with +64 for 64 columns of the suffix (got {name!r})")
    return {"block_cache": None if cache == "none" else cache, "suffix_length": int(suffix) if suffix else None}


def write_file(path: Path, text: str) -> None:
    """Writes under another name and moves into place."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def environment() -> str:
    """Says in one line what was measured with, for below a table."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {platform.machine()}"
    return (
        f"{device}, {torch.get_num_threads()} threads; torch {torch.__version__}, "
        f"transformers {transformers.__version__}, hf_learn2pd {hf_learn2pd.__version__}"
    )
