# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""How texts were written, in a terminal."""

from typing import Any

from .history import History
from .report import Texts, described, passes_by_kind

__all__ = ["print_report"]

# Backgrounds of the first and of the last step, on which black can be read.
_EARLY, _LATE = (253, 233, 169), (90, 169, 230)


def print_report(output: Any, history: History, tokenizer: Any = None, console: Any = None) -> None:
    """
    Prints the texts of a batch, each token shaded by the step in which it became final, and what they took.

    Args:
        output ([`DiffusionGenerationOutput`]): The texts and their counts.
        history ([`History`]): What was recorded of them.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): The model's tokenizer.
        console (`rich.console.Console`, *optional*): Where to print, standard output if None.

    Raises:
        ImportError: If `rich` is not installed.
    """
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError as error:
        raise ImportError('`rich` must be installed for a report: pip install "hf_learn2pd[report]"') from error
    console = console or Console()
    texts, steps = Texts(tokenizer), max(len(history.steps) - 1, 1)
    table = Table("passes", "width", "count", "positions computed")
    for line in passes_by_kind(output.forward_passes):
        table.add_row(*map(str, line))
    console.print(table)
    for row, tokens in enumerate(output.sequences.tolist()):
        found, start = history.row(row), history.prompt_length
        console.print(Text(f"Row {row + 1}: {described(output, row, found)}", style="bold"))
        # Pieces of Text, which rich does not read as markup.
        console.print(Text(texts.join(tokens[history.padding[row] : start]), style="dim"))
        blocks, answer = {first for _, first, *_ in found.predictions}, Text()
        for position, (token, step) in enumerate(zip(tokens[start:], found.final_in, strict=False)):
            if position in blocks:
                answer.append("\u258f", style="bold")
            share = step / steps
            shade = (round(early + (late - early) * share) for early, late in zip(_EARLY, _LATE, strict=True))
            answer.append(texts(token), style=f"black on rgb({','.join(map(str, shade))})")
        answer.append("\u00b7" * len(found.computations_behind()), style="red")
        console.print(answer)
