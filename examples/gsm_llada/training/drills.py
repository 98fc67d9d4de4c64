# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Short training samples beside the word problems: calculations as they occur in answers, and lists to repeat."""

import random
import re

from calculations import Calculation
from gsm_samples import Sample

__all__ = [
    "CALCULATION_DRILL",
    "REPEAT_DRILL",
    "RESULT_DRILL",
    "calculation_drill",
    "longest_number",
    "repeat_drill",
    "result_drill",
]

# The template numbers of drills, which no word problem has.
CALCULATION_DRILL, REPEAT_DRILL, RESULT_DRILL = -1, -2, -3

# A line of a drill is cut from a word problem this often, drawn at random otherwise.
CUT_SHARE = 0.45
# Longer numbers are rare in word problems, and round.
LONGEST_DRAWN = 4


def longest_number(text: str) -> int:
    """
    Measures how hard a text is to calculate.

    Args:
        text (`str`): Any text.

    Returns:
        `int`: Digits of the longest run of digits.
    """
    return max((len(run) for run in re.findall(r"\d+", text)), default=0)


def _draw_number(rng: random.Random, digits: int) -> int:
    length = rng.randint(1, digits)
    number = rng.randint(10 ** (length - 1), 10**length - 1)
    return number if length == 1 or rng.random() < 0.85 else round(number, 1 - length)


def _draw_calculation(rng: random.Random, digits: int) -> tuple[str, str]:
    """Draws "a op b" and its result, with operands of at most so many digits."""
    # Products are harder than sums of as many digits: one factor stays short.
    signs = {"+": 6, "-": 5, "*": 6, "/": 4 if digits > 1 else 1}
    sign = rng.choices(list(signs), list(signs.values()))[0]
    if sign in "+-":
        left, right = _draw_number(rng, digits), _draw_number(rng, digits)
        if sign == "-" and left < right:
            left, right = right, left
        terms = [left, right]
        if sign == "+" and rng.random() < 0.15:
            terms.append(_draw_number(rng, digits))
        result = sum(terms) if sign == "+" else left - right
    else:
        short = rng.randint(2, 9) if digits == 1 or rng.random() < 0.6 else rng.randint(2, 10 ** min(2, digits) - 1)
        long = _draw_number(rng, max(1, digits - 1) if rng.random() < 0.7 else digits)
        terms = [short, long] if rng.random() < 0.5 else [long, short]
        result = short * long
        if sign == "/":
            terms, result = [result, terms[0]], terms[1]
    shown = sign if sign != "*" else rng.choice(["*", "*", "x", "×"])
    currency = rng.choice("$£€") if rng.random() < 0.15 else ""
    left_currency = currency if sign in "+-/" else ""
    right_currency = "" if sign == "/" else currency
    texts = [f"{left_currency}{terms[0]}", *[f"{right_currency}{term}" for term in terms[1:]]]
    spaced = shown == "x" or rng.random() < 0.7
    return (f" {shown} " if spaced else shown).join(texts), f"{currency}{result}"


def _draw_lines(rng: random.Random, calculations: list[Calculation], digits: int, wanted: int) -> list[tuple[str, str]]:
    """Draws terms, and terms with their results, a few times."""
    lines: list[tuple[str, str]] = []
    equals = " = " if rng.random() < 0.8 else "="
    while len(lines) < wanted:
        if rng.random() < CUT_SHARE and calculations:
            calculation = rng.choice(calculations)
            if longest_number(calculation.text) <= digits + 1 and len(calculation.text) <= 60:
                lines.append((calculation.terms, calculation.text))
        else:
            terms, result = _draw_calculation(rng, min(digits, LONGEST_DRAWN))
            lines.append((terms, f"{terms}{equals}{result}"))
    return lines


def calculation_drill(rng: random.Random, calculations: list[Calculation], digits: int) -> Sample:
    """
    Writes a handful of calculations that are asked for, so that terms are copied and results are found.

    Args:
        rng (`random.Random`): Source of randomness.
        calculations (`list[Calculation]`): Right calculations from answers of word problems.
        digits (`int`): Most digits of an operand.

    Returns:
        [`Sample`]: The terms as the question; terms and results, a line each, as the answer.
    """
    questions, lines = zip(*_draw_lines(rng, calculations, digits, rng.randint(2, 5)), strict=True)
    return Sample(CALCULATION_DRILL, "\n".join(["Calculate", *questions]), "\n".join(lines))


def result_drill(rng: random.Random, calculations: list[Calculation], digits: int) -> Sample:
    """
    Writes calculations that nobody has asked for: only their results can be learned from, at half the tokens.

    Args:
        rng (`random.Random`): Source of randomness.
        calculations (`list[Calculation]`): Right calculations from answers of word problems.
        digits (`int`): Most digits of an operand.

    Returns:
        [`Sample`]: Terms and results, a line each, as the answer.
    """
    lines = _draw_lines(rng, calculations, digits, rng.randint(5, 12))
    return Sample(RESULT_DRILL, "Calculate", "\n".join(line for _, line in lines))


def repeat_drill(rng: random.Random, words: list[str], numbers: float) -> Sample:
    """
    Writes a list to be repeated word by word, the shortest way to learn how to copy.

    Args:
        rng (`random.Random`): Source of randomness.
        words (`list[str]`): Words to draw from.
        numbers (`float`): Share of the entries that are numbers, of up to three digits.

    Returns:
        [`Sample`]: A list of words and numbers as the question, the same as the answer.
    """
    items = []
    for _ in range(rng.randint(3, 14)):
        items.append(str(_draw_number(rng, 3)) if rng.random() < numbers else rng.choice(words))
    return Sample(REPEAT_DRILL, f"Repeat {' '.join(items)}", " ".join(items))
