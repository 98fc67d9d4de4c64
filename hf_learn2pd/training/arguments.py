# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Checks of what a filter is trained and calibrated with, made before any compute."""

import math
from dataclasses import fields
from numbers import Real
from typing import Any

import torch

__all__ = ["check_integer", "check_number", "check_trajectories"]


def check_integer(name: str, value: Any, least: int = 1) -> None:
    """Raises a `ValueError` that names `name` unless `value` is an integer of at least `least`; a bool is none."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"`{name}` must be an integer of at least {least} (got {value!r})")


def check_number(name: str, value: Any, least: float, most: float = math.inf, open_below: bool = False) -> None:
    """Raises a `ValueError` that names `name` unless `value` is a finite number between `least` and `most`."""
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not least <= value <= most or (open_below and value == least):
        wanted = f"{'above' if open_below else 'at least'} {least}"
        wanted += "" if most == math.inf else f" and at most {most}"
        raise ValueError(f"`{name}` must be a number {wanted} (got {value!r})")


def check_trajectories(trajectories: Any, least: int = 1) -> None:
    """
    Looks for data from which nothing, or nonsense, would be learned in silence.

    Args:
        trajectories ([`Trajectories`]): The data.
        least (`int`, *optional*, defaults to 1): Samples that are needed.

    Raises:
        ValueError: If there are fewer samples, shapes or types do not fit, or a number is not finite.
    """
    values = {field.name: getattr(trajectories, field.name) for field in fields(trajectories)}
    shape = values["confidence"].shape
    if len(shape) != 2 or shape[0] < least or shape[1] == 0:
        raise ValueError(f"`trajectories` must hold at least {least} samples of a block each (got {tuple(shape)})")
    for name, value in values.items():
        if value.shape != shape:
            raise ValueError(f"`trajectories.{name}` must be of shape {tuple(shape)} (got {tuple(value.shape)})")
        if name in ("masked", "in_block", "correct") and value.dtype != torch.bool:
            raise ValueError(f"`trajectories.{name}` must be of type torch.bool (got {value.dtype})")
        if not value.isfinite().all():
            raise ValueError(f"`trajectories.{name}` must be finite (got nan or inf)")
