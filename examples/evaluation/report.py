# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Make tables and plots of what `run.py` has written, and put them into RESULTS.md.

python examples/evaluation/report.py evaluation/tasks evaluation/gsm

Each folder gets `report.md`, with the table of methods in it. In RESULTS.md, what stands between
`<!-- table: NAME -->` and `<!-- end -->` is replaced; tables of other folders stay as they are. Tokens per second are
left out unless `--speeds` is given: they are worth something where nothing else ran beside.
"""

import argparse
import re
from pathlib import Path

from measuring import write_file
from methods import methods_table, verified_lines
from plots import AXES, plot
from records import Run, read_runs
from selection import stock_of
from tables import footer, make_tables

__all__ = ["fill", "main"]

HERE = Path(__file__).parent


def fill(text: str, tables: dict[str, str]) -> str:
    """
    Replaces tables between their markers.

    Args:
        text (`str`): A document with markers.
        tables (`dict[str, str]`): Tables by name; those without a marker are left out.

    Returns:
        `str`: The document; what stands between markers of other names is unchanged.
    """

    def replace(found: re.Match[str]) -> str:
        if found[2] not in tables:
            return found[0]
        return f"{found[1]}\n{tables[found[2]]}\n{found[3]}"

    return re.sub(r"(<!-- table: ([^\n]+?) -->)\n.*?(<!-- end -->)", replace, text, flags=re.DOTALL)


def draw(runs: list[Run], folder: Path, axes: list[str]) -> dict[str, str]:
    """Draws the plots of a folder's runs; returns links to them by table."""
    links: dict[str, str] = {}
    for way in dict.fromkeys(run.way for run in runs):
        for axis in axes:
            path = folder / f"{runs[0].asked['data']}_{way.replace('+', '_')}_{axis}.png"
            plot([run for run in runs if run.way == way], stock_of(runs, way).accuracy, axis, path)
            name = f"{runs[0].asked['data']} {way}"
            links[name] = links.get(name, "") + f"\n\n![accuracy against {AXES[axis][0]}]({folder.name}/{path.name})"
    return links


def main(arguments: list[str] | None = None) -> dict[str, str]:
    """Writes the report; returns its tables by name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders that run.py has written")
    parser.add_argument("--results", type=Path, default=HERE / "RESULTS.md", help="document whose tables are replaced")
    parser.add_argument("--plots", type=Path, help="folder of the plots (default: plots/ beside the document)")
    parser.add_argument("--speeds", action="store_true", help="show tokens per second")
    options = parser.parse_args(arguments)
    plots = options.plots or options.results.parent / "plots"
    plots.mkdir(parents=True, exist_ok=True)

    tables: dict[str, str] = {}
    for folder in options.folders:
        runs = read_runs(folder)
        made = make_tables(runs, options.speeds)
        methods = "\n".join([methods_table(runs), "", *verified_lines(runs), "", footer(runs, runs)])
        sections = {**made, "methods": methods}
        text = "\n\n".join(f"## {name}\n\n{table}" for name, table in sections.items()) + "\n"
        write_file(folder / "report.md", text)
        print(text)
        tables |= made
        try:
            for name, links in draw(runs, plots, list(AXES) if options.speeds else ["tpf"]).items():
                tables[name] += links
        except ModuleNotFoundError:
            print('No plot: pip install "hf_learn2pd[plot]"')
    write_file(options.results, fill(options.results.read_text(encoding="utf-8"), tables))
    return tables


if __name__ == "__main__":
    main()
