# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Publish a trained filter on the Hub, with its card.

hf auth login
python examples/push_filter.py my_filter user/my-filter --base-model GSAI-ML/LLaDA-8B-Instruct
"""

import argparse
from pathlib import Path

from hf_learn2pd import UnmaskingFilter

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> str:
    """Uploads; returns and prints where the commit is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("filter", help="directory that `save_pretrained` has written")
    parser.add_argument("repo_id", help="where to: user/name")
    parser.add_argument("--base-model", help="Hub id of the model it was trained for")
    parser.add_argument("--training", help="Markdown file for the card's section on training")
    parser.add_argument("--results", help="Markdown file for the card's results, such as evaluation/report.py writes")
    parser.add_argument("--private", action="store_true")
    parser.add_argument("--branch", help="default: main")
    options = parser.parse_args(arguments)

    filter = UnmaskingFilter.load(options.filter)
    filter.base_model = options.base_model or filter.base_model
    sections = {
        name: Path(path).read_text(encoding="utf-8")
        for name in ("training", "results")
        if (path := getattr(options, name)) is not None
    }
    url = filter.push_to_hub(
        options.repo_id, private=options.private or None, branch=options.branch, model_card_kwargs=sections
    )
    print(url)
    return url


if __name__ == "__main__":
    main()
