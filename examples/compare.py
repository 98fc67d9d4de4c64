# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Every method on the same questions: accuracy, forward passes, speed; the table of methods in the README is made here.

python examples/compare.py --num-prompts 200
python examples/compare.py --model GSAI-ML/LLaDA-8B-Instruct --data gsm8k.jsonl --filter user/filter --delimiter "\\n"

A line of `--data` is JSON with `prompt` and `answer`. Every finished method is kept in the output folder: a run that is
started again goes on behind it.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate import STOCK, Results, area_under_curve, common_arguments, measure_all
from measuring import write_file
from transformers import AutoTokenizer

from hf_learn2pd import (
    UNMASKING_STRATEGIES,
    AdaBlock,
    EntropyBound,
    Factor,
    Frechet,
    Klass,
    LocalLeap,
    Threshold,
    UnmaskingFilter,
    UnmaskingStrategy,
)

__all__ = ["METHODS", "main", "table"]


@dataclass(frozen=True)
class Method:
    """
    What the table says of a method.

    Args:
        call (`str`): How an instance is made, with its defaults.
        rule (`str`): What is unmasked in each step.
        paper (`str`): Id of the paper.
        variants (`tuple[UnmaskingStrategy, ...]`, *optional*): Other settings, for the area under the curve.
    """

    call: str
    rule: str
    paper: str
    variants: tuple[UnmaskingStrategy, ...] = ()


METHODS = {
    "low_confidence": Method(
        "LowConfidence()",
        "the most confident tokens, as many as `steps` schedules; one without it (LLaDA's stock loop)",
        "2502.09992",
    ),
    "random": Method("RandomOrder()", "as many, in a random order", "2502.09992"),
    "margin": Method("MarginOrder()", "as many, by the margin between the two best tokens", "2508.15487"),
    "entropy": Method("EntropyOrder()", "as many, by entropy", "2508.15487"),
    "threshold": Method(
        "Threshold(0.9)",
        "all with a confidence of at least the threshold",
        "2505.22618",
        (Threshold(0.8), Threshold(0.95), Threshold(0.98)),
    ),
    "factor": Method(
        "Factor(1.0)",
        "the longest run of ranks with c₍ₙ₎ ≥ 1 - factor / (n + 1)",
        "2505.22618",
        (Factor(0.5), Factor(0.25)),
    ),
    "local_leap": Method(
        "LocalLeap(0.9, 0.75, 4)",
        "what is confident, and within 4 positions of it what is a little less so",
        "2510.07081",
        (LocalLeap(0.95, 0.9), LocalLeap(0.98, 0.95)),
    ),
    "frechet": Method(
        "Frechet(0.25)",
        "the longest run of ranks that are likely right together, by the Fréchet bound",
        "2606.02955",
        (Frechet(0.5), Frechet(0.75)),
    ),
    "entropy_bound": Method(
        "EntropyBound(0.1)",
        "the least uncertain, while their entropies but the largest sum up to at most gamma",
        "2505.24857",
        (EntropyBound(0.3), EntropyBound(0.03)),
    ),
    "klass": Method(
        "Klass(0.6, 0.015)",
        "what is confident and whose distribution has hardly moved in two steps",
        "2511.05664",
        (Klass(0.9), Klass(0.95)),
    ),
    "credit": Method(
        "Credit(0.9)", "as a threshold, after tokens predicted again and again have been given credit", "2510.06133"
    ),
    "stable": Method(
        "Stable()",
        "the stock loop's schedule, and at once what is confident and predicted three times in a row",
        "2608.11235",
    ),
    "dilated": Method("Dilated()", "every 16th position of a block of 32, then every 8th, ...", "2506.19037"),
    "checkerboard": Method("Checkerboard()", "even positions, then odd ones", "2103.15306"),
    "learn2pd": Method("Learn2PD(filter, 0.96)", "all the filter accepts, and the most confident", "2509.25188"),
    "oracle": Method(
        "Oracle(reference_ids)", "exactly what equals a known output; an upper bound, for analysis", "2509.25188"
    ),
}
# Beside the strategies: names of the table's last rows, and what they are.
OTHERS = {
    "adablock": ("`block_schedule=AdaBlock()`", "blocks end at delimiters; here with a threshold of 0.9", "2509.26432"),
    "pearl": ("`verify=True`", "the stock loop's text, by drafting its next steps and verifying them", "2408.11850"),
    "pearl_dual": (
        "`verify=True`",
        'the same with `block_cache="dual"`, against that cache\'s stock loop',
        "2408.11850",
    ),
}


def table(results: Results) -> str:
    """
    Makes the README's table of methods.

    Args:
        results (`dict[str, dict[str, Any]]`): What was measured, by name; variants have a number behind the name.

    Returns:
        `str`
    """
    lines = [
        "| `decoding=` | class | unmasks in each step | paper | accuracy | NFE | TPF | tokens/s | AUP |",
        "|" + "---|" * 9,
    ]
    best = results[STOCK]["accuracy"]
    rows = {name: (f"`{method.call}`", method.rule, method.paper) for name, method in METHODS.items()} | OTHERS
    for name, (call, rule, paper) in rows.items():
        one = results.get(STOCK if name == "low_confidence" else name)
        if one is None:
            continue
        points = [
            (each["tokens_per_forward"], each["accuracy"])
            for variant, each in results.items()
            if variant.split(" ")[0] == name or each is one
        ]
        title = "pearl" if name == "pearl_dual" else "threshold" if name == "adablock" else name
        lines.append(
            f'| `"{title}"` | {call} | {rule} | [{paper}](https://huggingface.co/papers/{paper}) '
            f"| {one['accuracy']:.1f} | {one['nfe']:.1f} | {one['tokens_per_forward']:.2f} "
            f"| {one['tokens_per_second']:.0f} | {area_under_curve(points, best):.0f} |"
        )
    return "\n".join(lines)


def plot(results: Results, path: Path) -> None:
    """Draws accuracy against tokens per forward pass, a point for each setting."""
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(8, 5))
    for name in dict.fromkeys(each.split(" ")[0] for each in results):
        points = sorted(
            (one["tokens_per_forward"], one["accuracy"]) for each, one in results.items() if each.split(" ")[0] == name
        )
        panel.plot(*zip(*points, strict=True), "o-", alpha=0.8, label=name)
        panel.annotate(name, points[-1], textcoords="offset points", xytext=(4, 4), fontsize=7)
    panel.set(xlabel="tokens per forward pass", ylabel="accuracy, %")
    panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> Results:
    """Runs the comparison; writes and returns what was measured."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_arguments(parser, "comparison")
    parser.add_argument("--filter", default=str(here / "tiny_llada" / "unmasking_filter"), help="for learn2pd")
    parser.add_argument("--delimiter", default=".", help="ends a block of AdaBlock")
    parser.add_argument(
        "--methods", nargs="+", choices=[*METHODS, *OTHERS], default=[*METHODS, *OTHERS], help="beside the stock loop"
    )
    options = parser.parse_args(arguments)

    filter = UnmaskingFilter.load(options.filter)
    decoders: dict[str, dict[str, Any]] = {STOCK: {"decoding": "low_confidence"}}
    for name in UNMASKING_STRATEGIES:
        if name != "low_confidence":
            decoders[name] = {"decoding": name}
        for number, variant in enumerate(METHODS[name].variants):
            decoders[f"{name} {number}"] = {"decoding": variant}
    decoders["learn2pd"]["unmasking_filter"] = filter
    schedule = AdaBlock.from_tokenizer(
        AutoTokenizer.from_pretrained(options.model), (options.delimiter,), block_length=options.block_length
    )
    decoders["adablock"] = {"decoding": "threshold", "block_schedule": schedule}
    decoders["stock_dual"] = {"decoding": "low_confidence", "block_cache": "dual"}
    decoders["pearl"] = {"decoding": "pearl"}
    decoders["pearl_dual"] = {"decoding": "pearl", "block_cache": "dual"}
    wanted = {STOCK, *options.methods} | ({"stock_dual"} if "pearl_dual" in options.methods else set())
    decoders = {name: decoder for name, decoder in decoders.items() if name.split(" ")[0] in wanted}
    results, settings = measure_all(decoders, options, "comparison.json")

    lines = [table(results), ""]
    for name, stock in (("pearl", STOCK), ("pearl_dual", "stock_dual")):
        if name not in results:
            continue
        one, other = results[name], results[stock]
        equal = sum(left == right for left, right in zip(one["ids"], other["ids"], strict=True))
        lines.append(
            f"`{name}`: {equal} of {len(one['ids'])} texts equal those of {stock.replace('_', ', cache: ')}, "
            f"{other['nfe']:.1f} / {one['nfe']:.1f} = {other['nfe'] / one['nfe']:.2f}x fewer forward passes in "
            f"sequence (the acceptance length), {one['row_passes'] / other['row_passes']:.2f}x as many rows forwarded, "
            f"{one['tokens_per_second'] / other['tokens_per_second']:.2f}x its tokens per second."
        )
    text = "\n".join([*lines, "", settings])
    output = Path(options.output)
    write_file(output / "comparison.md", text + "\n")
    try:
        plot(results, output / "comparison.png")
    except ModuleNotFoundError:
        print('No plot: pip install "hf_learn2pd[plot]"')
    print(f"\n{text}")
    return results


if __name__ == "__main__":
    main()
