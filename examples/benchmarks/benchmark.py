# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Measure decoders: strategies, caches, batch sizes and lengths in one run, against a plain stock loop.

python examples/benchmarks/benchmark.py --quick                               # under a minute on two CPU cores
python examples/benchmarks/benchmark.py --lengths 1024 --batch-sizes 1 4 16 64  # the small checkpoint, in earnest
python examples/benchmarks/benchmark.py --prompts questions.txt --model GSAI-ML/LLaDA-8B-Instruct
python examples/benchmarks/benchmark.py --shape 8b                            # the loop itself, on random weights
python examples/benchmarks/benchmark.py --shape 8b --compile --bandwidth 3.35e12  # compiled as well, on an H100
python examples/benchmarks/benchmark.py --memory                              # peak memory with LLaDA's vocabulary
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from naive_loop import naive_generate
from profile_compiled import profile_compiled
from profile_loop import SHAPES, profile_memory, profile_shape
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd import Threshold

EXAMPLES = Path(__file__).parents[1]
for folder in ("evaluation", "tiny_llada/training"):
    sys.path.insert(0, str(EXAMPLES / folder))

from measuring import Measurement, environment, measure, read_passes, tokenize, write_file
from tasks import Sample, is_correct, task_sample

__all__ = ["main"]

# Of the stream of held-out samples, apart from those of the other scripts.
SEED = 31337

STOCK, STOPPED = "stock, no stop", "stock"
DECODERS: dict[str, dict[str, Any]] = {
    STOCK: {"decoding": "low_confidence", "end_of_text": None},
    STOPPED: {"decoding": "low_confidence"},
    "threshold 0.9": {"decoding": Threshold(0.9)},
    "learn2pd": {"decoding": "learn2pd"},
}
Results = list[dict[str, Any]]


def _answers(model: Any, tokenizer: Any, prompts: Sequence[str], length: int, block_length: int) -> dict[str, Any]:
    """Times the plain loop, which knows no batches."""
    seconds = []
    for prompt in tqdm(prompts, unit="prompt", leave=False):
        ids = tokenize(tokenizer, [prompt], model.device)["input_ids"]
        began = time.perf_counter()
        naive_generate(model, ids, length, block_length)
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "nfe": length}


def _score(samples: Sequence[Sample] | None, measured: Measurement) -> float | None:
    if samples is None:
        return None
    right = [is_correct(sample, text) for sample, text in zip(samples, measured.texts, strict=False)]
    return 100 * sum(right) / len(right)


def run(options: argparse.Namespace, save: Callable[[Results], None]) -> Results:
    """Measures every combination; returns one entry for each, and saves what there is after each."""
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    samples = None
    if options.prompts:
        prompts = [line for line in Path(options.prompts).read_text().splitlines() if line.strip()]
    else:
        samples = [task_sample(SEED, index, "test") for index in range(options.num_prompts)]
        prompts = [sample.prompt for sample in samples]
    few = prompts[: options.stock_prompts]
    results: Results = []
    first = options.batch_sizes[0]
    scored = max((size for size in options.batch_sizes if size <= 16), default=first)
    cells = [
        (length, batch_size, name, cache)
        for length in options.lengths
        for batch_size in options.batch_sizes
        for name in DECODERS
        for cache in options.caches
        # One token per step takes its time: each of these loops is measured once, without a cache.
        if name not in (STOCK, STOPPED) or (cache == "none" and batch_size == (first if name == STOCK else scored))
    ]
    bar = tqdm(total=len(cells) + len(options.lengths), unit="cell")
    for length in options.lengths:
        plain = _answers(model, tokenizer, few, length, options.block_length)
        cell = {"length": length, "batch_size": 1, "decoder": "naive loop", "cache": "none", "prompts": len(few)}
        results.append(cell | plain | {"seconds_per_prompt": statistics.median(plain["seconds"])})
        bar.update()
        for _, batch_size, name, cache in (cell for cell in cells if cell[0] == length):
            asked = prompts if batch_size == scored else prompts[: max(options.timed_prompts, batch_size)]
            asked = few if name == STOCK else asked
            settings = {
                **DECODERS[name],
                "max_new_tokens": length,
                "block_length": options.block_length,
                **read_passes(cache),
            }
            if settings["block_cache"] is not None:
                settings["refresh_every"] = options.refresh_every
            if name == "learn2pd" and options.filter_threshold is not None:
                settings["filter_threshold"] = options.filter_threshold
            # One short call first: allocations and kernel choices are not what is measured.
            short = {"max_new_tokens": 2 * options.block_length}
            measure(model, tokenizer, asked[:batch_size], batch_size, **settings | short)
            measured = measure(model, tokenizer, asked, batch_size, options.repeats, **settings)
            results.append(
                {"length": length, "batch_size": batch_size, "decoder": name, "cache": cache, "prompts": len(asked)}
                | asdict(measured)
                | {
                    "exact_match": _score(samples, measured),
                    "seconds_per_prompt": measured.seconds_per_prompt,
                    "tokens_per_second": measured.tokens_per_second,
                }
            )
            save(results)
            bar.update()
    bar.close()
    return results


def table(results: Results) -> str:
    """
    Formats results as a Markdown table.

    Speed-ups over the plain loop, which takes the same steps for every prompt, are ratios of seconds per prompt. Those
    over the stock loop that stops at the end of the text, which leave the share of decoding in parallel, and over
    threshold 0.9 with the same batch size and cache are ratios of tokens per second.

    Args:
        results (`list[dict[str, Any]]`): What was measured.

    Returns:
        `str`
    """
    lines = [
        "| new tokens | batch | decoder | cache | exact match | NFE | TPF | tokens/s (min-max) | naive loop "
        "| stock + EoTP | threshold 0.9 | row passes, of lockstep | peak MB |",
        "|" + "---|" * 13,
    ]

    def over(one: dict[str, Any], unit: str, **wanted: Any) -> str:
        same = {"length": one["length"]} | wanted
        found = [each for each in results if all(each[name] == value for name, value in same.items())]
        if not found or unit not in one:
            return "-"
        ratio = one[unit] / found[0][unit]
        return f"{1 / ratio if unit == 'seconds_per_prompt' else ratio:.2f}x"

    for one in results:
        ratios = [
            over(one, "seconds_per_prompt", decoder="naive loop"),
            over(one, "tokens_per_second", decoder=STOPPED),
            over(one, "tokens_per_second", decoder="threshold 0.9", batch_size=one["batch_size"], cache=one["cache"]),
        ]
        if one["decoder"] == "naive loop":
            cells = ["-", f"{one['nfe']:.1f}", "-", "-", *ratios, "-", "-"]
        else:
            low, high = (one["tokens"] / end(one["seconds"]) for end in (max, min))
            score, peak = one["exact_match"], one["peak_memory"]
            cells = [
                "-" if score is None else f"{score:.1f} ({one['prompts']})",
                f"{one['nfe']:.1f}",
                f"{one['tokens_per_forward']:.2f}",
                f"{one['tokens_per_second']:.0f} ({low:.0f}-{high:.0f})",
                *ratios,
                f"{one['row_passes']}, {one['lockstep_row_passes']}",
                "-" if peak is None else f"{peak:.0f}",
            ]
        name = one["decoder"] if one["decoder"] in (STOCK, "naive loop") else f"{one['decoder']} + EoTP"
        lines.append(f"| {one['length']} | {one['batch_size']} | {name} | {one['cache']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: Results, path: Path) -> None:
    """Draws tokens per second against batch size, one panel for each length."""
    from matplotlib import pyplot

    lengths = sorted({one["length"] for one in results})
    figure, panels = pyplot.subplots(1, len(lengths), figsize=(5 * len(lengths), 4), squeeze=False)
    for length, panel in zip(lengths, panels[0], strict=True):
        here = [one for one in results if one["length"] == length and "tokens_per_second" in one]
        for name, cache in dict.fromkeys((one["decoder"], one["cache"]) for one in here):
            line = [one for one in here if (one["decoder"], one["cache"]) == (name, cache)]
            label = name if cache == "none" else f"{name}, {cache} cache"
            sizes, speeds = ([one[axis] for one in line] for axis in ("batch_size", "tokens_per_second"))
            panel.plot(sizes, speeds, "o-", label=label)
        panel.set(title=f"{length} new tokens", xlabel="batch size", ylabel="tokens/s", xscale="log", yscale="log")
        panel.grid(alpha=0.3)
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> Results:
    """Runs the benchmark, prints the table and writes it with the numbers behind it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(EXAMPLES / "tiny_llada"))
    parser.add_argument("--prompts", help="a text file, one prompt per line, instead of held-out questions")
    parser.add_argument("--num-prompts", type=int, default=64, help="at the largest batch size up to 16")
    parser.add_argument("--timed-prompts", type=int, default=32, help="at other batch sizes, but a batch at least")
    parser.add_argument("--stock-prompts", type=int, default=4, help="for the stock loops where they are only timed")
    parser.add_argument("--lengths", type=int, nargs="+", default=[256])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16])
    parser.add_argument(
        "--caches",
        nargs="+",
        default=["none", "dual"],
        help="none, prefix, dual or local; +64 for 64 columns of the suffix in sight",
    )
    parser.add_argument("--block-length", type=int, default=32)
    parser.add_argument("--refresh-every", type=int)
    parser.add_argument("--filter-threshold", type=float)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shape", choices=SHAPES, help="profile the loop on random weights of this shape")
    parser.add_argument(
        "--compile", nargs="?", const="inductor", metavar="BACKEND", help="with --shape: passes with and without"
    )
    parser.add_argument("--bandwidth", type=float, help="with --compile: bytes per second that memory gives")
    parser.add_argument("--memory", action="store_true", help="peak memory with a vocabulary of 126,464 words")
    parser.add_argument("--quick", action="store_true", help="8 prompts, 128 new tokens, one repetition")
    parser.add_argument("--output", default="benchmark", help="directory for benchmark.json, .md and .png")
    options = parser.parse_args(arguments)
    command = "python examples/benchmarks/benchmark.py " + " ".join(sys.argv[1:] if arguments is None else arguments)
    if options.compile and not options.shape:
        parser.error("--compile wants a --shape")
    if options.compile:
        print(f"{profile_compiled(options.shape, options.bandwidth, options.compile)}\n{command}; {environment()}")
        return []
    if options.shape:
        print(f"{profile_shape(options.shape)}\n{command}; {environment()}")
        return []
    if options.memory:
        print(f"{profile_memory()}\n{command}; {environment()}")
        return []
    if options.quick:
        options.num_prompts, options.timed_prompts, options.stock_prompts, options.repeats = 8, 8, 1, 1
        options.lengths, options.batch_sizes = [128], [1, 8]

    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)

    def save(results: Results) -> None:
        record = {"command": command, "environment": environment(), "results": results}
        write_file(output / "benchmark.json", json.dumps(record))

    results = run(options, save)
    text = f"{table(results)}\n\n`{command}`: block length {options.block_length}, {environment()}.\n"
    write_file(output / "benchmark.md", text)
    try:
        plot(results, output / "benchmark.png")
    except ModuleNotFoundError:
        print('No plot: pip install "hf_learn2pd[plot]"')
    print(f"\n{text}")
    return results


if __name__ == "__main__":
    main()
