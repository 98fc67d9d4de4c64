# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The table of methods in RESULTS.md and, shorter, in the README: what each unmasks, and what its defaults reach."""

from dataclasses import dataclass

from decoders import LEARNED
from records import Run
from selection import area_under_curve

__all__ = ["METHODS", "OTHERS", "methods_table", "verified_lines"]


@dataclass(frozen=True)
class Method:
    """
    What the table says of a method.

    Args:
        call (`str`): How an instance is made, with its defaults.
        rule (`str`): What is unmasked in each step.
        paper (`str`): Id of the paper.
    """

    call: str
    rule: str
    paper: str


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
    ),
    "factor": Method(
        "Factor(1.0)",
        "the longest run of ranks with c₍ₙ₎ ≥ 1 - factor / (n + 1)",
        "2505.22618",
    ),
    "local_leap": Method(
        "LocalLeap(0.9, 0.75, 4)",
        "what is confident, and within 4 positions of it what is a little less so",
        "2510.07081",
    ),
    "frechet": Method(
        "Frechet(0.25)",
        "the longest run of ranks that are likely right together, by the Fréchet bound",
        "2606.02955",
    ),
    "entropy_bound": Method(
        "EntropyBound(0.1)",
        "the least uncertain, while their entropies but the largest sum up to at most gamma",
        "2505.24857",
    ),
    "klass": Method(
        "Klass(0.6, 0.015)",
        "what is confident and whose distribution has hardly moved in two steps",
        "2511.05664",
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


def find(runs: list[Run], name: str) -> tuple[Run | None, list[Run]]:
    """Finds a method's run with its defaults, and those with all of its settings; of filters, those of the first."""
    way = "dual" if name == "pearl_dual" else "none"
    kind = {"low_confidence": "stock", "pearl_dual": "pearl"}.get(name, name)
    here = [run for run in runs if run.way == way and run.kind == kind]
    if kind == LEARNED:
        here = [run for run in here if run.first_filter]
    return next((run for run in here if run.default), None), here


def methods_table(runs: list[Run]) -> str:
    """
    Makes the table of methods; the README shows the columns of NFE and accuracy only.

    Args:
        runs (`list[Run]`): All runs of a folder, the stock loop without a cache among them.

    Returns:
        `str`
    """
    lines = [
        "| `decoding=` | class | unmasks in each step | paper | accuracy | NFE | TPF | tokens/s | AUP |",
        "|" + "---|" * 9,
    ]
    stock, _ = find(runs, "low_confidence")
    rows = {name: (f"`{method.call}`", method.rule, method.paper) for name, method in METHODS.items()} | OTHERS
    for name, (call, rule, paper) in rows.items():
        one, curve = find(runs, name)
        if one is None or stock is None:
            continue
        area = area_under_curve([(run.tokens_per_forward, run.accuracy) for run in curve], stock.accuracy)
        title = "pearl" if name == "pearl_dual" else "threshold" if name == "adablock" else name
        lines.append(
            f'| `"{title}"` | {call} | {rule} | [{paper}](https://huggingface.co/papers/{paper}) '
            f"| {one.accuracy:.1f} | {one.nfe:.1f} | {one.tokens_per_forward:.2f} "
            f"| {one.tokens_per_second:.0f} | {area:.0f} |"
        )
    return "\n".join(lines)


def verified_lines(runs: list[Run]) -> list[str]:
    """
    Says what verifying drafts takes, beside the stock loop with the same cache.

    Args:
        runs (`list[Run]`): All runs of a folder.

    Returns:
        `list[str]`: A line for each way of passes at which drafts were verified.
    """
    lines = []
    for one in (run for run in runs if run.method == "pearl"):
        other = next(run for run in runs if run.method == "stock" and run.way == one.way)
        equal = round(one.agreement(other) * len(one.records) / 100)
        lines.append(
            f"- `pearl`, cache: {one.way}: {equal} of {len(one.records)} texts equal those of stock, "
            f"{other.nfe:.1f} / {one.nfe:.1f} = {other.nfe / one.nfe:.2f}x fewer forward passes in sequence (the "
            f"acceptance length), {one.row_passes / other.row_passes:.2f}x as many rows forwarded, "
            f"{one.tokens_per_second / other.tokens_per_second:.2f}x its tokens per second."
        )
    return lines
