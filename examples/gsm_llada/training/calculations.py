# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Finds the calculations inside a text, such as "4 boxes * $3 = $12", and tells which are right."""

import re
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Calculation", "find_calculations"]

NUMBER = r"[$£€]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?%?"
UNIT = r"(?:[ /-](?!x\b)[A-Za-z]+){0,6}"
SIGN = r"[-+*/×÷x]"
TERM = rf"{NUMBER}{UNIT}"
CALCULATION = re.compile(rf"(?<![\d.,/A-Za-z])({TERM}(?: ?{SIGN} ?{TERM})+) ?= ?(-?{NUMBER})(?!/?\d|[A-Za-z(])")
FACTOR = re.compile(rf"({NUMBER})|({SIGN})(?= ?[$£€]?\d)")


@dataclass(frozen=True)
class Calculation:
    """
    A calculation as it stands in a text.

    Args:
        text (`str`): All of it.
        terms (`str`): What is to be calculated, with units.
        result (`str`): What the text claims it to be.
        is_right (`bool`): Whether the claim holds.
    """

    text: str
    terms: str
    result: str
    is_right: bool


def _plain(number: str) -> Fraction:
    return Fraction(re.sub("[$£€%,]", "", number))


def _value(number: str) -> Fraction:
    value = _plain(number)
    return value / 100 if number.endswith("%") else value


def _evaluate(terms: str) -> Fraction | None:
    """Products and quotients before sums and differences, each from the left; `None` for a division by zero."""
    total, product, sign, operator = Fraction(0), None, 1, ""
    for number, found in FACTOR.findall(terms):
        if found:
            operator = found
            continue
        value = _value(number)
        if product is None:
            product = value
        elif operator in ("+", "-"):
            total, product, sign = total + sign * product, value, 1 if operator == "+" else -1
        elif operator in ("/", "÷"):
            if value == 0:
                return None
            product /= value
        else:
            product *= value
    return None if product is None else total + sign * product


def find_calculations(text: str) -> list[Calculation]:
    """
    Finds what has the form "a op b = c", with two or more numbers, currencies and units.

    Args:
        text (`str`): Any text.

    Returns:
        `list[Calculation]`: In the order of the text. A result in floating point is right to six digits; a percentage
        may be given as 25% or as 25.
    """
    found = []
    for match in CALCULATION.finditer(text):
        terms, result = match.groups()
        value = _evaluate(terms)
        claims = [_plain(result) * unit for unit in (Fraction(1), Fraction(1, 100))]
        is_right = value is not None and any(abs(value - claim) * 10**6 <= abs(claim) for claim in claims)
        found.append(Calculation(match.group(), terms, result, is_right))
    return found
