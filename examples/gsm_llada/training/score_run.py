# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Scores a run of `examples/evaluation/run.py --data gsm`: final numbers, calculations, and every template.

python examples/gsm_llada/training/score_run.py evaluation/gsm/none/stock.json
"""

import argparse
import json
from pathlib import Path

from gsm_samples import held_out_samples
from scores import score_texts

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Prints the scores as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="JSON file of a run")
    options = parser.parse_args(arguments)
    run = json.loads(options.run.read_text(encoding="utf-8"))
    texts = [record["text"] for record in run["records"]]
    scores = score_texts(held_out_samples(len(texts)), texts)
    print(
        f"{100 * scores.exact_match:.1f} % of {len(texts)} final numbers and {100 * scores.calculations:.1f} % of the "
        f"calculations are right.\n\n| template | right | of |\n|---|---|---|"
    )
    for template, (right, count) in scores.by_template.items():
        print(f"| {template} | {right} | {count} |")


if __name__ == "__main__":
    main()
