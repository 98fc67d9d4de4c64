# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What a filter is trained and calibrated with: a check made before any compute, and the model's own blocks."""

import os
from typing import Any

import torch

from ..checks import check_integer
from ..options import OPTIONS

__all__ = ["check_path", "check_trajectories", "own_block_length"]


def own_block_length(model: Any, block_length: int | None) -> int:
    """
    Settles how long blocks are, as `generate` does.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        block_length (`int`, *optional*): What was asked for.

    Returns:
        `int`: That; else what the model's generation config says, else what it was trained with, else 32.

    Raises:
        ValueError: If `block_length` is not an integer above 0.
    """
    if block_length is None:
        default = model.trained_options().get("block_length", OPTIONS["block_length"].default)
        block_length = getattr(model.generation_config, "block_length", None) or default
    check_integer("block_length", block_length, 1)
    return int(block_length)


def check_path(name: str, path: Any) -> None:
    """Raises a `ValueError` that names `name` unless `path` can be a path."""
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise ValueError(f"`{name}` must be a path (got {path!r})")


def check_trajectories(trajectories: Any, least: int = 1) -> None:
    """
    Looks for data from which nothing, or nonsense, would be learned in silence.

    Args:
        trajectories ([`Trajectories`]): The data.
        least (`int`, *optional*, defaults to 1): Samples that are needed.

    Raises:
        ValueError: If there are fewer samples, shapes or types do not fit, or a number is not finite.
    """
    if not hasattr(trajectories, "tensors"):
        raise ValueError(f"`trajectories` must be Trajectories (got {type(trajectories).__name__})")
    values = trajectories.tensors()
    shape = values["confidence"].shape
    if len(shape) != 2 or shape[0] < least or shape[1] == 0:
        raise ValueError(f"`trajectories` must hold at least {least} samples of a block each (got {tuple(shape)})")
    for name, value in values.items():
        if value.shape[:2] != shape or (value.ndim != 2) != (name == "hidden_states"):
            raise ValueError(f"`trajectories.{name}` must be of shape {tuple(shape)} (got {tuple(value.shape)})")
        if name in ("masked", "in_block", "correct") and value.dtype != torch.bool:
            raise ValueError(f"`trajectories.{name}` must be of type torch.bool (got {value.dtype})")
        if not value.isfinite().all():
            raise ValueError(f"`trajectories.{name}` must be finite (got nan or inf)")
