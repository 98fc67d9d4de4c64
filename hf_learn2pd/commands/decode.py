# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Answer one prompt, and say how many forward passes that took."""

import argparse
from pathlib import Path

from ..training.files import write_whole
from .answer import add_generation_arguments, generation_options, write_answer
from .models import add_model_arguments, load

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model, the prompt and the options of `generate`."""
    add_model_arguments(parser)
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="the user's message")
    parser.add_argument("--report", type=Path, metavar="FILE", help="HTML page to write, of how the text was denoised")
    add_generation_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """
    Prints the answer and the work that it took; writes a report, if one is asked for.

    Args:
        options (`argparse.Namespace`): What [`add_arguments`] has asked for.

    Raises:
        ValueError: If the model is of no family of this package, or an option out of range.
    """
    generation = generation_options(options) | {"output_history": options.report is not None}
    model, tokenizer = load(options.model, options.device, options.dtype)
    answer = write_answer(model, tokenizer, [{"role": "user", "content": options.prompt}], **generation)
    print(f"{answer.text}\n\n{answer.summary()}")
    if options.report is not None:
        page = answer.output.report(tokenizer)
        write_whole(options.report, lambda temporary: temporary.write_text(page, encoding="utf-8"))
