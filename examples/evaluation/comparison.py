# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Decoders side by side: their answers, and a table of what they need."""

from collections.abc import Sequence

from measuring import Measurement
from tasks import Sample, is_correct

__all__ = ["answers", "table"]


def answers(prompts: Sequence[str], measured: dict[str, Measurement], samples: Sequence[Sample] | None) -> str:
    """
    Writes down what was answered, equal texts of several decoders once.

    Args:
        prompts (`Sequence[str]`): The questions to show, the first ones of those that were asked.
        measured (`dict[str, Measurement]`): By name of the decoder.
        samples (`Sequence[Sample]`, *optional*): The questions, if their answers are known.

    Returns:
        `str`
    """
    lines = []
    for index, prompt in enumerate(prompts):
        lines.append(f"\n> {prompt}")
        names: dict[str, list[str]] = {}
        for name, one in measured.items():
            names.setdefault(one.texts[index], []).append(name)
        for text, decoders in names.items():
            right = "" if samples is None else (" (right)" if is_correct(samples[index], text) else " (wrong)")
            lines.append(f"{text}\n    -- {'; '.join(decoders)}{right}")
    return "\n".join(lines)


def table(measured: dict[str, Measurement], samples: Sequence[Sample] | None) -> str:
    """
    Formats measurements as a Markdown table.

    Args:
        measured (`dict[str, Measurement]`): By name; the first is what the others are compared with.
        samples (`Sequence[Sample]`, *optional*): The questions, if their answers are known.

    Returns:
        `str`
    """
    first = next(iter(measured.values()))
    lines = [
        "| decoder | exact match | NFE | TPF | tokens/s | fewer passes | faster |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in measured.items():
        score = "-"
        if samples is not None:
            right = sum(is_correct(sample, text) for sample, text in zip(samples, one.texts, strict=True))
            score = f"{100 * right / len(samples):.1f}"
        lines.append(
            f"| {name} | {score} | {one.nfe:.1f} | {one.tokens_per_forward:.2f} | {one.tokens_per_second:.0f} "
            f"| {first.nfe / one.nfe:.1f}x | {one.tokens_per_second / first.tokens_per_second:.1f}x |"
        )
    return "\n".join(lines)
