# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Accuracy against tokens per pass and against tokens per second."""

from pathlib import Path

from records import Run

__all__ = ["plot"]

# Points of accuracy below the stock loop's that a plot shows.
SHOWN = 12.0
AXES = {"tpf": ("tokens per forward pass", "tokens_per_forward"), "speed": ("tokens per second", "tokens_per_second")}


def plot(runs: list[Run], stock: float, axis: str, path: Path) -> None:
    """
    Draws a line for each method at one way of passes.

    Args:
        runs (`list[Run]`): Runs at that way.
        stock (`float`): Accuracy of the stock loop, in percent.
        axis (`str`): `"tpf"` or `"speed"`.
        path (`Path`): The picture to write.
    """
    from matplotlib import pyplot

    label, attribute = AXES[axis]
    figure, panel = pyplot.subplots(figsize=(8, 4.8))
    colors = pyplot.get_cmap("tab20")
    for number, method in enumerate(dict.fromkeys(run.method for run in runs)):
        points = sorted((getattr(run, attribute), run.accuracy) for run in runs if run.method == method)
        points = [point for point in points if point[1] >= stock - SHOWN]
        if points:
            style = "*" if method == "oracle" else "o-"
            panel.plot(*zip(*points, strict=True), style, label=method, color=colors(number % 20), markersize=5)
    panel.axhline(stock - 0.5, color="gray", linewidth=0.8, linestyle=":")
    panel.set(xlabel=label, ylabel="accuracy, %")
    panel.set_ylim(bottom=max(0.0, stock - SHOWN), top=min(100.5, stock + 2))
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
