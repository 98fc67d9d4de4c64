# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Checks of single values, one wording for all options: "`name` must be ... (got ...)"."""

import math
from typing import Any

__all__ = [
    "LARGEST_SEED",
    "check_bool",
    "check_fraction",
    "check_integer",
    "check_number",
    "is_fraction",
    "is_integer",
    "is_number",
    "is_token_id",
]


# Counts are added to and multiplied with each other in 64 bits.
LARGEST = 2**31 - 1
# Of torch's generators.
LARGEST_SEED = 2**64 - 1


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number that a float can hold; a bool is none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_fraction(value: Any) -> bool:
    """Whether `value` is a number from 0 to 1."""
    return is_number(value) and 0 <= value <= 1


def is_integer(value: Any, least: int, most: int = LARGEST) -> bool:
    """Whether `value` is an integer from `least` to `most`; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_token_id(value: Any) -> bool:
    """Whether `value` can be a token id."""
    return is_integer(value, 0)


def check_bool(name: str, value: Any) -> None:
    """Raises a `ValueError` that names `name` unless `value` is a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be a bool (got {value!r})")


def check_fraction(name: str, value: Any) -> None:
    """Raises a `ValueError` that names `name` unless `value` is a number from 0 to 1."""
    if not is_fraction(value):
        raise ValueError(f"`{name}` must be between 0 and 1 (got {value!r})")


def check_number(
    name: str, value: Any, *, least: float | None = None, above: float | None = None, most: float | None = None
) -> None:
    """Raises a `ValueError` that names `name` unless `value` is a number of at least `least`, or above `above`."""
    low = is_number(value) and (least is None or value >= least) and (above is None or value > above)
    if not low or (most is not None and value > most):
        expected = f"at least {least}" if above is None else f"above {above}"
        expected += "" if most is None else f" and at most {most}"
        raise ValueError(f"`{name}` must be {expected} (got {value!r})")


def check_integer(name: str, value: Any, least: int, most: int = LARGEST) -> None:
    """Raises a `ValueError` that names `name` unless `value` is an integer from `least` to `most`."""
    if not is_integer(value, least, most):
        expected = "above 0" if least == 1 else f"of at least {least}"
        if isinstance(value, int) and value > most:
            expected = f"of at most {most}"
        raise ValueError(f"`{name}` must be an integer {expected} (got {value!r})")
