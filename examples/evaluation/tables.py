# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The tables of a report, in Markdown."""

from decoders import WAYS
from records import Run
from selection import Scored, area_under_curve, best_settings, ratios, score, stock_of

__all__ = ["best_table", "curve_table", "footer", "make_tables"]


def row(*cells: str) -> str:
    """Formats a row."""
    return f"| {' | '.join(cells)} |"


def head(*names: str) -> list[str]:
    """Formats the head of a table."""
    return [row(*names), "|" + "---|" * len(names)]


def numbers(one: Scored, speeds: bool) -> list[str]:
    """Formats what every table says of a run."""
    run, difference = one.run, one.difference
    cells = [
        f"{run.accuracy:.1f}",
        f"{difference.mean:+.1f} ({difference.low:+.1f} to {difference.high:+.1f})",
        f"{one.agreement:.1f}",
        f"{run.nfe:.1f}",
        f"{run.tokens_per_forward:.2f}",
    ]
    return cells + ([f"{run.tokens_per_second:.0f}"] if speeds else [])


def columns(speeds: bool) -> list[str]:
    """Names the columns of [`numbers`]."""
    names = ["accuracy", "difference to stock (95 %)", "texts of stock", "NFE", "TPF"]
    return names + (["tokens/s"] if speeds else [])


def ordered(scored: list[Scored]) -> list[Scored]:
    """Sorts by way, method, and tokens per pass."""
    ways = list(WAYS)
    return sorted(scored, key=lambda one: (ways.index(one.run.way), one.run.method, one.run.tokens_per_forward))


def best_table(scored: list[Scored], speeds: bool) -> str:
    """
    Makes the table of the best setting of every method, for each way of passes.

    Args:
        scored (`list[Scored]`): All runs of a folder.
        speeds (`bool`): Whether tokens per second are shown.

    Returns:
        `str`
    """
    lines = head("passes", "method", "setting", *columns(speeds), "TPF, of the best rule", "TPF, of the oracle")
    for way in WAYS:
        best = best_settings([one for one in scored if one.run.way == way])
        compared = ratios(best)
        for method, one in best.items():
            if one is None:
                lines.append(row(way, method, "none", *["-"] * (len(columns(speeds)) + 2)))
                continue
            cells = ["-" if ratio is None else f"{ratio:.2f}x" for ratio in compared[method]]
            lines.append(row(way, method, one.run.setting or "-", *numbers(one, speeds), *cells))
    return "\n".join(lines)


def curve_table(scored: list[Scored], speeds: bool) -> str:
    """
    Makes the table of all settings at one way of passes, and of the areas under the curves.

    Args:
        scored (`list[Scored]`): Runs at that way.
        speeds (`bool`): Whether tokens per second are shown.

    Returns:
        `str`
    """
    lines = head("method", "setting", *columns(speeds))
    lines += [row(one.run.method, one.run.setting or "-", *numbers(one, speeds)) for one in ordered(scored)]
    stock = next(one.run.accuracy - one.difference.mean for one in scored)
    areas = {}
    for method in dict.fromkeys(one.run.method for one in ordered(scored)):
        points = [(one.run.tokens_per_forward, one.run.accuracy) for one in scored if one.run.method == method]
        areas[method] = area_under_curve(points, stock)
    lines += ["", *head("method", "AUP")]
    lines += [row(method, f"{area:.0f}") for method, area in sorted(areas.items(), key=lambda each: -each[1])]
    return "\n".join(lines)


def footer(shown: list[Run], runs: list[Run]) -> str:
    """Says what the runs in a table were asked, with what, and which of all runs they are compared with."""
    asked = shown[0].asked
    environments = "; and ".join(dict.fromkeys(run.environment for run in shown))
    alike = any(stock_of(runs, run.way).way != "none" for run in shown)
    compared = " Stock is the stock loop with the same passes: without a cache it was not run." if alike else ""
    return (
        f"{asked['num_prompts']} prompts, {asked['max_new_tokens']} new tokens, block length {asked['block_length']}, "
        f"batch {asked['batch_size']}; {environments}.{compared}"
    )


def make_tables(runs: list[Run], speeds: bool) -> dict[str, str]:
    """
    Makes all tables of a folder: each behind its commands, and with versions and hardware below.

    Args:
        runs (`list[Run]`): All runs of the folder.
        speeds (`bool`): Whether tokens per second are shown.

    Returns:
        `dict[str, str]`: By name: the data with `best` or with a way of passes.
    """
    data, scored = runs[0].asked["data"], score(runs)
    tables = {f"{data} best": (runs, best_table(scored, speeds))}
    for way in WAYS:
        here = [one for one in scored if one.run.way == way]
        if here:
            tables[f"{data} {way}"] = ([one.run for one in here], curve_table(here, speeds))
    blocks = {}
    for name, (shown, text) in tables.items():
        ways = " ".join(way for way in WAYS if any(run.way == way for run in shown))
        commands = "\n".join(dict.fromkeys(f"{run.command} --ways {ways}" for run in shown))
        blocks[name] = f"```bash\n{commands}\n```\n\n{text}\n\n{footer(shown, runs)}"
    return blocks
