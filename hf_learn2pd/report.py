# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""How texts were written, as an HTML page."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from .history import History, RowHistory

__all__ = ["Texts", "described", "html_page", "passes_by_kind"]

# What would end a script element, or begin a comment in it.
_IN_SCRIPT = {ord(each): f"\\u{ord(each):04x}" for each in "<>&"}


class Texts:
    """
    Writes token ids so that each can be seen: control characters, and others without a shape, by their numbers.

    Args:
        tokenizer (`PreTrainedTokenizerBase`, *optional*): Decodes ids; they are written as numbers without it.
    """

    def __init__(self, tokenizer: Any = None):
        self.tokenizer = tokenizer
        self.known: dict[int, str] = {}

    def __call__(self, token: int) -> str:
        if token not in self.known:
            text = f"{token} " if self.tokenizer is None else self._decode(token)
            self.known[token] = "".join(map(_visible, text)) or "\u2205"
        return self.known[token]

    def _decode(self, token: int) -> str:
        """What a token is behind another one: many tokenizers leave out a space at the beginning of a text."""
        once: str = self.tokenizer.decode([token])
        twice: str = self.tokenizer.decode([token, token])
        return twice[len(once) :] if twice.startswith(once) else once

    def join(self, tokens: Iterable[int]) -> str:
        """Writes tokens one behind the other."""
        return "".join(map(self, tokens))


def _visible(character: str) -> str:
    if character == "\n":
        return "\u21b5\n"
    # Control, format, surrogate and unassigned characters would be invisible, change others, or not be text.
    shapeless = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return f"\\u{ord(character):04x}" if shapeless else character


def passes_by_kind(forward_passes: list[tuple[str, int, int, int]]) -> list[tuple[str, int, int, int]]:
    """Counts passes: kind, width, how many there were, and how many positions they computed, of all rows."""
    counts: Counter[tuple[str, int]] = Counter()
    positions: Counter[tuple[str, int]] = Counter()
    for kind, rows, width, _ in forward_passes:
        counts[kind, width] += 1
        positions[kind, width] += rows * width
    return [(*key, count, positions[key]) for key, count in counts.items()]


def described(output: Any, row: int, history: RowHistory) -> str:
    """Says in a line what a row took."""
    total = history.inside + history.behind
    return (
        f"{len(history.final_in)} tokens in {int(output.nfe[row])} forward passes, "
        f"{float(output.tokens_per_forward[row]):.2f} tokens per forward; {total} positions computed, "
        f"{history.behind} of them ({history.behind / total:.0%}) behind the end of the text"
    )


def html_page(output: Any, history: History, tokenizer: Any = None) -> str:
    """
    Writes the page.

    Args:
        output ([`DiffusionGenerationOutput`]): The texts and their counts.
        history ([`History`]): What was recorded of them.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): The model's tokenizer.

    Returns:
        `str`: The page, which needs no network and no other file.
    """
    texts, steps = Texts(tokenizer), len(history.steps)
    sections, rows = [], []
    for row, tokens in enumerate(output.sequences.tolist()):
        found = history.row(row)
        sections.append(_section(output, history, row, tokens, found, texts))
        predictions = [
            # Thousandths, which are shorter.
            [step, start, end, tokens, [round(1000 * each) for each in confidence]]
            for step, start, end, tokens, confidence in found.predictions
        ]
        # The page knows the text of every token that was predicted.
        for _, _, _, predicted, _ in found.predictions:
            texts.join(predicted)
        computed = [[step, sorted({each for each in positions if each >= 0})] for step, positions in found.computed]
        rows.append({"final": found.final_in, "predictions": predictions, "computed": computed})
    passes = output.forward_passes
    data = {"rows": rows, "texts": texts.known, "passes": passes}
    head, middle, foot = Path(__file__).with_name("report.html").read_text(encoding="utf-8").split("<!-- here -->")
    slider = f'<input id="step" type="range" min="0" max="{steps}" value="{steps}" aria-label="step">'
    body = f'<p class="slider">{slider} <output id="now"></output></p>{_passes(passes)}{"".join(sections)}'
    return head + body + middle + json.dumps(data, separators=(",", ":")).translate(_IN_SCRIPT) + foot


def _section(output: Any, history: History, row: int, tokens: list[int], found: RowHistory, texts: Texts) -> str:
    start, steps = history.prompt_length, max(len(history.steps) - 1, 1)
    blocks, spans = {first for _, first, *_ in found.predictions}, []
    for position, (token, step, confidence) in enumerate(
        zip(tokens[start:], found.final_in, found.confidence, strict=False)
    ):
        title = f"position {position}, final in step {step + 1}"
        title += "" if confidence is None else f", confidence {confidence:.3f}"
        begins = " start" if position in blocks else ""
        style = f"--t:{step / steps:.3f}"
        spans.append(f'<span class="token{begins}" style="{style}" title="{title}">{escape(texts(token))}</span>')
    counts = found.computations_behind()
    for position, count in enumerate(counts, start=len(found.final_in)):
        title = f"position {position}, behind the end, computed in {count} passes"
        begins = " start" if position in blocks else ""
        spans.append(f'<span class="behind{begins}" style="--t:{count / max(counts):.3f}" title="{title}">·</span>')
    prompt = escape(texts.join(tokens[history.padding[row] : start]))
    return (
        f'<section><h2>Row {row + 1}</h2><p>{described(output, row, found)}</p><div class="prompt">{prompt}</div>'
        f'<div class="answer">{"".join(spans)}</div></section>'
    )


def _passes(forward_passes: list[tuple[str, int, int, int]]) -> str:
    kinds = passes_by_kind(forward_passes)
    most = max(positions for *_, positions in kinds)
    lines = [
        f"<tr><td>{escape(kind)}</td><td>{width}</td><td>{count}</td><td>{positions}</td>"
        f'<td><div class="bar" style="width:{20 * positions / most:.2f}em"></div></td></tr>'
        for kind, width, count, positions in kinds
    ]
    heads = "".join(f"<th>{name}</th>" for name in ("passes", "width", "count", "positions computed", ""))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
