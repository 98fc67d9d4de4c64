# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The public code of Learn2PD and Fast-dLLM, and this package, on the same prompts with the same settings in one run.

git clone https://github.com/ims-kdks/Learning-to-Parallel-Decoding
git clone https://github.com/NVlabs/Fast-dLLM
python -m venv reference && reference/bin/pip install "transformers==4.57.*" torch einops accelerate
python examples/benchmarks/side_by_side.py --python reference/bin/python \\
    --learn2pd Learning-to-Parallel-Decoding/llada --fast-dllm Fast-dLLM/llada
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd import Threshold

EXAMPLES = Path(__file__).parents[1]
for folder in ("evaluation", "tiny_llada/training"):
    sys.path.insert(0, str(EXAMPLES / folder))

from measuring import environment, peak_memory, reset_peak_memory
from tasks import is_correct, task_sample

__all__ = ["main"]

SEED = 4711

# The releases' functions, and the options of `generate` that ask for the same.
FUNCTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "learn2pd": {
        "generate_learn2parallel": {"decoding": "learn2pd", "end_of_text": None},
        "generate_l2p_eot": {"decoding": "learn2pd", "end_of_text": "predicted"},
        "generate_with_dual_cache": {"decoding": "learn2pd", "end_of_text": "predicted", "block_cache": "dual"},
    },
    "fast_dllm": {
        "generate": {"decoding": Threshold(0.9), "end_of_text": None},
        "generate_with_prefix_cache": {"decoding": Threshold(0.9), "end_of_text": None, "block_cache": "prefix"},
        "generate_with_dual_cache": {"decoding": Threshold(0.9), "end_of_text": None, "block_cache": "dual"},
    },
}
# The fastest that ours has, which no release does: another cache, fewer columns in sight; with the same filter, and
# with the one that comes with the checkpoint.
FASTEST = {"decoding": "learn2pd", "end_of_text": "accepted", "block_cache": "local", "suffix_length": 64}


def _ours(
    model: Any, prompts: list[list[int]], batch_size: int, pad: int, options: dict[str, Any]
) -> tuple[list[list[int]], float, float]:
    """Generates in batches; returns the ids behind every prompt, seconds in all, and megabytes at the peak."""
    outputs: list[list[int]] = []
    seconds = 0.0
    before = reset_peak_memory()
    for start in tqdm(range(0, len(prompts), batch_size), leave=False, unit="batch"):
        batch = prompts[start : start + batch_size]
        width = max(len(prompt) for prompt in batch)
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in batch])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch])
        began = time.perf_counter()
        output = model.generate(ids, attention_mask=mask, return_dict_in_generate=True, **options)
        seconds += time.perf_counter() - began
        outputs += output.sequences[:, width:].tolist()
    return outputs, seconds, peak_memory() - before


def _same(one: list[int], other: list[int], pad: int) -> bool:
    return one[: len(other)] == other and set(one[len(other) :]) <= {pad}


def _text(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids


def main(arguments: list[str] | None = None) -> None:
    """Prints a table of equality, speed and memory."""
    checkpoint = EXAMPLES / "tiny_llada"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learn2pd", help="folder with that release's generate.py for LLaDA")
    parser.add_argument("--fast-dllm", help="folder with that release's generate.py for LLaDA")
    parser.add_argument("--python", required=True, help="interpreter of an environment with transformers 4.57")
    parser.add_argument("--model", default=str(checkpoint))
    parser.add_argument("--filter", default=str(checkpoint / "unmasking_filter_mlp"))
    parser.add_argument("--threshold", type=float, default=0.96)
    parser.add_argument("--num-prompts", type=int, default=50)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256])
    names = sorted({name for functions in FUNCTIONS.values() for name in functions})
    parser.add_argument("--functions", nargs="+", choices=names, default=names, help="of the releases")
    options = parser.parse_args(arguments)

    tokenizer: Any = AutoTokenizer.from_pretrained(options.model)
    model: Any = AutoModelForCausalLM.from_pretrained(options.model)
    torch.set_flush_denormal(True)
    samples = [task_sample(SEED, index, "test") for index in range(options.num_prompts)]
    prompts = []
    for sample in samples:
        chat = [{"role": "user", "content": sample.prompt}]
        prompts.append(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"])
    lines = [
        "| release | function | new tokens | ours | batch | equal outputs | exact match, release and ours "
        "| release, s/prompt | ours, s/prompt | tokens/s, ratio | peak MB, release | peak MB, ours |",
        "|" + "---|" * 12,
    ]

    def score(outputs: list[list[int]]) -> float:
        texts = tokenizer.batch_decode([_text(ids, eos) for ids in outputs], skip_special_tokens=True)
        return 100 * sum(map(is_correct, samples, texts)) / len(samples)

    eos = tokenizer.eos_token_id
    releases = [name for name in FUNCTIONS if getattr(options, name)]
    if not releases:
        parser.error("one of --learn2pd and --fast-dllm is needed")
    for length, release in itertools.product(options.lengths, releases):
        for function, settings in FUNCTIONS[release].items():
            if function not in options.functions:
                continue
            settings = {"max_new_tokens": length, "block_length": 32, **settings}
            job: dict[str, Any] = {
                "reference": str(Path(getattr(options, release)).resolve()),
                "function": function,
                "model": options.model,
                "prompts": prompts,
                "mask_token_id": model.config.mask_token_id,
                "eos_token_id": eos,
                "threads": torch.get_num_threads(),
                "length": length,
                "block_length": 32,
            }
            filter = {"unmasking_filter": options.filter, "filter_threshold": options.threshold}
            if release == "learn2pd":
                settings |= filter
                job |= {"filter": str(Path(options.filter) / "model.safetensors"), "threshold": options.threshold}
            with tempfile.TemporaryDirectory() as temporary:
                file = Path(temporary) / "job.json"
                file.write_text(json.dumps(job))
                worker = str(Path(__file__).parent / "reference_worker.py")
                subprocess.run([options.python, worker, str(file)], check=True)
                reference = json.loads(Path(f"{file}.out").read_text())
            theirs = sum(reference["seconds"]) / len(prompts)
            # Where the release goes on behind the end of the text, ours is measured with a stop there as well.
            ends = [settings["end_of_text"]] + (["accepted"] if settings["end_of_text"] is None else [])
            asked = [settings | {"end_of_text": end} for end in ends]
            fastest = {"max_new_tokens": length, "block_length": 32} | FASTEST
            names = [f"stop: {end or 'none'}" for end in ends] + ["fastest", "fastest, own filter"]
            asked += [fastest | filter, fastest]
            for (name, ours_as), batch_size in itertools.product(zip(names, asked, strict=True), (1, 16)):
                _ours(model, prompts[:batch_size], batch_size, tokenizer.pad_token_id, ours_as)
                found, seconds, memory = _ours(model, prompts, batch_size, tokenizer.pad_token_id, ours_as)
                pairs = zip(found, reference["outputs"], strict=True)
                if ours_as["end_of_text"] == "accepted":
                    equal = sum(_text(one, eos) == _text(other, eos) for one, other in pairs)
                else:
                    # The release cuts the canvas where ours pads.
                    equal = sum(_same(one, other, tokenizer.pad_token_id) for one, other in pairs)
                ours = seconds / len(prompts)
                lines.append(
                    f"| {release} | {function} | {length} | {name} | {batch_size} | {equal} of {len(prompts)} "
                    f"| {score(reference['outputs']):.1f}, {score(found):.1f} | {theirs:.4f} | {ours:.4f} "
                    f"| {theirs / ours:.2f}x | {reference['peak_memory']:.0f} | {memory:.0f} |"
                )
                print(lines[-1], flush=True)
    print("\n".join(["", *lines, "", environment()]))


if __name__ == "__main__":
    main()
