# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Runs public code of Learn2PD or Fast-dLLM on given prompts in an environment of its own, for side_by_side.py."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

__all__ = ["main"]

# The release has LLaDA's end-of-text id written into its functions.
LLADA_EOS = 126081


def main(job_file: str) -> None:
    """Reads a job, runs it, writes `<job>.out` with the generated ids and the seconds of every prompt."""
    job = json.loads(Path(job_file).read_text())
    directory = Path(job["reference"])
    sys.path.insert(0, str(directory))
    code: dict[str, Any] = {"__name__": "reference"}
    source = (directory / "generate.py").read_text().replace(str(LLADA_EOS), str(job["eos_token_id"]))
    exec(compile(source, str(directory / "generate.py"), "exec"), code)

    torch.set_num_threads(job["threads"])
    torch.set_flush_denormal(True)
    model = code["LLaDAModelLM"].from_pretrained(job["model"]).eval()
    function = code[job["function"]]
    positional, named = [], {"threshold": 0.9}
    if "filter" in job:
        small_model = code["LogisticRegression"](job["block_length"])
        small_model.load_state_dict(load_file(job["filter"]))
        positional, named = [small_model.eval(), job["threshold"]], {}
    status, memory = Path("/proc/self/status"), []
    outputs, seconds = [], []
    for number, prompt in enumerate([job["prompts"][0], *job["prompts"]]):
        if number == 1:
            # The first call only warms up.
            Path("/proc/self/clear_refs").write_text("5")
            memory.append(_peak(status))
        began = time.perf_counter()
        result = function(
            model,
            *positional,
            torch.tensor([prompt]),
            steps=job["length"],
            gen_length=job["length"],
            block_length=job["block_length"],
            mask_id=job["mask_token_id"],
            **named,
        )
        if number:
            seconds.append(time.perf_counter() - began)
            # Fast-dLLM also returns the number of forward passes.
            ids = result[0] if isinstance(result, tuple) else result
            outputs.append(ids[0, len(prompt) :].tolist())
    result = {"outputs": outputs, "seconds": seconds, "peak_memory": _peak(status) - memory[0]}
    Path(job_file + ".out").write_text(json.dumps(result))


def _peak(status: Path) -> float:
    """Megabytes at the peak of this process since the last reset."""
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e3


if __name__ == "__main__":
    main(sys.argv[1])
