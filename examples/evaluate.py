# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Compare decoders on questions with known answers: accuracy, forward passes, and the area under their curve.

python examples/evaluate.py --num-prompts 400
python examples/evaluate.py --filters mlp=my_mlp transformer=my_transformer --thresholds 0.7 0.8 0.9 0.95
python examples/evaluate.py --model GSAI-ML/LLaDA-8B-Instruct --data gsm8k.jsonl --filters flan=user/filter

A line of `--data` is JSON with `prompt` and `answer`; a text is right if it ends with the answer, or with the number
in it. Every finished decoder is kept in the output folder: a run that is started again goes on behind it.
"""

import argparse
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import environment, measure, write_file
from tasks import is_correct, task_sample
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd import Factor, Threshold, UnmaskingFilter

__all__ = ["area_under_curve", "common_arguments", "main", "measure_all", "plot", "table"]

# Of the stream of held-out samples, apart from those of the other scripts.
SEED = 4096

STOCK = "stock"
Results = dict[str, dict[str, Any]]


def ends_with(answer: str, text: str) -> bool:
    """Whether the last number of a text, or else its last words, are those of the answer."""
    numbers = [re.findall(r"-?\d[\d,]*\.?\d*", words) for words in (answer, text)]
    if all(numbers):
        one, other = (found[-1].replace(",", "").rstrip(".") for found in numbers)
        return float(one) == float(other)
    return text.strip().rstrip(".").endswith(answer.strip().rstrip("."))


def area_under_curve(points: list[tuple[float, float]], best: float, floor: float = 5.0) -> float:
    """
    Accuracy times parallelism (AUP): the area under the best accuracy reached at each number of tokens per forward.

    Args:
        points (`list[tuple[float, float]]`): Tokens per forward pass, and accuracy in percent.
        best (`float`): Accuracy of the stock loop, in percent.
        floor (`float`, *optional*, defaults to 5.0): Points below `best` from which on an accuracy counts nothing.

    Returns:
        `float`: In percent times tokens per forward pass.
    """
    area, last = 0.0, 0.0
    for parallel in sorted({parallel for parallel, _ in points}):
        # Who decodes this many tokens per pass, or more, serves for it.
        reached = max(accuracy for each, accuracy in points if each >= parallel)
        area += (parallel - last) * (reached if reached >= best - floor else 0.0)
        last = parallel
    return area


def table(results: Results, filters: list[str]) -> str:
    """Formats results as a Markdown table; the last column compares with threshold 0.9."""
    lines = ["| decoder | accuracy | NFE | TPF | texts equal to stock | passes of threshold 0.9 |", "|" + "---|" * 6]
    base = results.get("threshold 0.9")
    for name, one in results.items():
        ratio = "-" if base is None else f"{base['nfe'] / one['nfe']:.2f}x"
        lines.append(
            f"| {name} | {one['accuracy']:.2f} | {one['nfe']:.2f} | {one['tokens_per_forward']:.2f} "
            f"| {one['agreement']:.2f} | {ratio} |"
        )
    lines += ["", "| decoders | area under accuracy and TPF |", "|---|---|"]
    for kind in ("threshold", "factor", *filters):
        points = [(one["tokens_per_forward"], one["accuracy"]) for name, one in results.items() if kind in name]
        if points:
            lines.append(f"| {kind} | {area_under_curve(points, results[STOCK]['accuracy']):.0f} |")
    return "\n".join(lines)


def plot(results: Results, path: Path, filters: list[str]) -> None:
    """Draws accuracy against tokens per forward pass, a line for each kind of decoder."""
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(7, 4.5))
    for kind in (STOCK, "threshold", "factor", *filters, "oracle"):
        points = sorted((one["tokens_per_forward"], one["accuracy"]) for name, one in results.items() if kind in name)
        if points:
            panel.plot(*zip(*points, strict=True), "o-", label=kind)
    panel.set(xlabel="tokens per forward pass", ylabel="accuracy, %")
    best = results[STOCK]["accuracy"]
    panel.axhline(best - 0.5, color="gray", linewidth=0.8, linestyle=":")
    panel.set_ylim(bottom=max(0.0, best - 12), top=min(100.5, best + 2))
    panel.grid(alpha=0.3)
    panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def load_questions(data: str | None, num_prompts: int) -> tuple[list[str], list[Callable[[str], bool]]]:
    """
    Reads questions and how to tell whether an answer is right.

    Args:
        data (`str`, *optional*): JSONL file with `prompt` and `answer`; held-out questions of the tasks if None.
        num_prompts (`int`): How many.

    Returns:
        `tuple[list[str], list[Callable[[str], bool]]]`
    """
    right: list[Callable[[str], bool]]
    if data:
        lines = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines() if line]
        lines = lines[:num_prompts]
        prompts = [line["prompt"] for line in lines]
        right = [partial(ends_with, str(line["answer"])) for line in lines]
    else:
        samples = [task_sample(SEED, index, "test") for index in range(num_prompts)]
        prompts = [sample.prompt for sample in samples]
        right = [partial(is_correct, sample) for sample in samples]

    return prompts, right


def measure_all(decoders: dict[str, dict[str, Any]], options: argparse.Namespace, file: str) -> tuple[Results, str]:
    """
    Measures decoders on the same questions; what an earlier run has measured is not repeated.

    Args:
        decoders (`dict[str, dict[str, Any]]`): Options of `generate` by name; the first is the stock loop.
        options (`argparse.Namespace`):
            `model`, `data`, `num_prompts`, `max_new_tokens`, `block_length`, `batch_size`, and the folder `output`.
        file (`str`): Name of the JSON file in that folder.

    Returns:
        `tuple[dict[str, dict[str, Any]], str]`: Results by name, and a line on what they were measured with.

    Raises:
        ValueError: If the folder holds results of other questions or lengths.
    """
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    prompts, right = load_questions(options.data, options.num_prompts)
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    asked = {
        name: getattr(options, name) for name in ("model", "data", "num_prompts", "max_new_tokens", "block_length")
    }
    record: dict[str, Any] = {"asked": asked, "environment": environment(), "results": {}}
    if (output / file).exists():
        found = json.loads((output / file).read_text())
        if found["asked"] != asked:
            raise ValueError(f"`--output` must be empty or of the same questions and lengths (got {found['asked']})")
        record = found
    results: Results = record["results"]
    for name, settings in decoders.items():
        if name in results:
            continue
        if name == "oracle":
            settings = settings | {"references": results[STOCK]["ids"]}
        measured = measure(
            model,
            tokenizer,
            prompts,
            options.batch_size,
            max_new_tokens=options.max_new_tokens,
            block_length=options.block_length,
            **settings,
        )
        texts = measured.texts
        stock = texts if name == STOCK else results[STOCK]["texts"]
        results[name] = {
            "accuracy": 100 * sum(check(text) for check, text in zip(right, texts, strict=True)) / len(texts),
            "agreement": 100 * sum(one == other for one, other in zip(texts, stock, strict=True)) / len(texts),
            "nfe": measured.nfe,
            "tokens_per_forward": measured.tokens_per_forward,
            "tokens_per_second": measured.tokens_per_second,
            "row_passes": measured.row_passes,
            "texts": texts,
            "ids": measured.ids,
        }
        write_file(output / file, json.dumps(record))
        print(f"{name}: {results[name]['accuracy']:.2f} % in {measured.nfe:.2f} passes", flush=True)
    settings_line = (
        f"{len(prompts)} prompts, {options.max_new_tokens} new tokens, block length {options.block_length}, batch "
        f"{options.batch_size}; {record['environment']}"
    )
    return {name: results[name] for name in decoders}, settings_line


def common_arguments(parser: argparse.ArgumentParser, output: str) -> None:
    """Adds what [`measure_all`] reads."""
    parser.add_argument("--model", default=str(Path(__file__).parent / "tiny_llada"))
    parser.add_argument("--data", help="JSONL file (default: held-out questions of the tasks)")
    parser.add_argument("--num-prompts", type=int, default=400)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--block-length", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--output", default=output, help="folder (default: %(default)s)")


def main(arguments: list[str] | None = None) -> Results:
    """Runs the comparison; writes and returns what was measured, by decoder."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser, "evaluation")
    parser.add_argument("--filters", nargs="*", default=[f"filter={here / 'tiny_llada' / 'unmasking_filter'}"])
    parser.add_argument("--filter-thresholds", nargs="*", type=float, default=[], help="beside each filter's own")
    parser.add_argument("--thresholds", nargs="*", type=float, default=[0.7, 0.8, 0.9, 0.95])
    parser.add_argument("--factors", nargs="*", type=float, default=[0.5, 1.0])
    parser.add_argument("--no-oracle", action="store_true")
    options = parser.parse_args(arguments)

    decoders: dict[str, dict[str, Any]] = {STOCK: {"decoding": "low_confidence"}}
    decoders |= {f"threshold {value:g}": {"decoding": Threshold(value)} for value in options.thresholds}
    decoders |= {f"factor {value:g}": {"decoding": Factor(value)} for value in options.factors}
    filters = dict(each.split("=", 1) for each in options.filters)
    for name, source in filters.items():
        filter = UnmaskingFilter.load(source)
        for value in (None, *options.filter_thresholds):
            title = f"{name} {filter.threshold if value is None else value:.4f}{' (own)' if value is None else ''}"
            decoders[title] = {"decoding": "learn2pd", "unmasking_filter": filter, "filter_threshold": value}
    if not options.no_oracle:
        decoders["oracle"] = {"decoding": "oracle"}

    ordered, settings_line = measure_all(decoders, options, "evaluation.json")
    output = Path(options.output)
    text = table(ordered, list(filters))
    write_file(output / "evaluation.md", f"{text}\n\n{settings_line}\n")
    try:
        plot(ordered, output / "evaluation.png", list(filters))
    except ModuleNotFoundError:
        print('No plot: pip install "hf_learn2pd[plot]"')
    print(f"\n{text}\n\n{settings_line}")
    return ordered


if __name__ == "__main__":
    main()
