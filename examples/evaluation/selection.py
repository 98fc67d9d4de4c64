# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Which setting of each method is best, and how good a method is over all of them."""

from dataclasses import dataclass

from bootstrap import Difference, paired_difference
from decoders import LEARNED
from records import Run

__all__ = ["MARGIN", "Scored", "area_under_curve", "best_settings", "ratios", "score", "stock_of"]

# Points of accuracy that a setting may lose to the stock loop, by the lower end of the interval.
MARGIN = 0.5


@dataclass(frozen=True)
class Scored:
    """
    A run beside the stock loop.

    Args:
        run ([`Run`]): The run.
        difference ([`Difference`]): Its accuracy less that of the stock loop.
        agreement (`float`): Percent of the prompts with the stock loop's text.
    """

    run: Run
    difference: Difference
    agreement: float


def stock_of(runs: list[Run], way: str) -> Run:
    """
    Finds the stock loop that runs at a way of passes are compared with.

    Args:
        runs (`list[Run]`): All runs of a folder.
        way (`str`): The way of passes.

    Returns:
        [`Run`]: The stock loop that has no cache and sees the whole canvas, or, where that was not run, at this way.

    Raises:
        ValueError: If neither is among them.
    """
    stock = {run.way: run for run in runs if run.method == "stock"}
    found = stock.get("none", stock.get(way))
    if found is None:
        raise ValueError(f"`runs` must hold stock at the way 'none' or {way!r} (got {sorted(stock)})")
    return found


def score(runs: list[Run]) -> list[Scored]:
    """
    Compares runs with the stock loop; see [`stock_of`] for which one.

    Args:
        runs (`list[Run]`): All runs of a folder.

    Returns:
        `list[Scored]`: In the same order.

    Raises:
        ValueError: If the stock loop is not among them.
    """
    return [
        Scored(run, paired_difference(run.right, stock.right), run.agreement(stock))
        for run in runs
        for stock in [stock_of(runs, run.way)]
    ]


def best_settings(scored: list[Scored], margin: float = MARGIN) -> dict[str, Scored | None]:
    """
    Selects of each method the setting with the most tokens per pass among those that surely lose little.

    Args:
        scored (`list[Scored]`): Runs at one way of passes.
        margin (`float`, *optional*, defaults to 0.5):
            Points that may be lost, by the lower end of the interval, not by the point.

    Returns:
        `dict[str, Scored | None]`: By method, most tokens per pass first; None, last, where each setting may lose more.
    """
    best: dict[str, Scored | None] = {}
    for one in scored:
        found = best.setdefault(one.run.method, None)
        if one.difference.low < -margin:
            continue
        if found is None or one.run.tokens_per_forward > found.run.tokens_per_forward:
            best[one.run.method] = one
    return dict(sorted(best.items(), key=lambda each: -each[1].run.tokens_per_forward if each[1] else 0.0))


def ratios(best: dict[str, Scored | None]) -> dict[str, tuple[float | None, float | None]]:
    """
    Compares tokens per pass with the best method that has not learned and knows no answer, and with the oracle.

    Args:
        best (`dict[str, Scored | None]`): Of [`best_settings`].

    Returns:
        `dict[str, tuple[float | None, float | None]]`: By method; None where there is nothing to compare.
    """
    rates = {name: one.run.tokens_per_forward for name, one in best.items() if one is not None}
    rules = [rate for name, rate in rates.items() if name != "oracle" and best[name].run.kind != LEARNED]  # type: ignore[union-attr]
    oracle = rates.get("oracle")
    return {
        name: (rate / max(rules) if rules else None, rate / oracle if oracle else None) for name, rate in rates.items()
    }


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
