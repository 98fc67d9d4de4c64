# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import functools
import os
from pathlib import Path
from typing import Any

import torch

from ..checks import check_fraction
from ..filter import UnmaskingFilter
from ..specs import describe, parse
from .base import UnmaskingStrategy
from .checkerboard import Checkerboard
from .credit import Credit
from .dilated import Dilated
from .entropy_bound import EntropyBound
from .entropy_order import EntropyOrder
from .factor import Factor
from .frechet import Frechet
from .klass import Klass
from .learn2pd import Learn2PD
from .local_leap import LocalLeap
from .low_confidence import LowConfidence
from .margin_order import MarginOrder
from .oracle import Oracle
from .random_order import RandomOrder
from .stable import Stable
from .threshold import Threshold

__all__ = [
    "UNMASKING_STRATEGIES",
    "check_decoding",
    "check_states",
    "describe_strategy",
    "resolve_strategy",
    "strategy_name",
]

UNMASKING_STRATEGIES: dict[str, type[UnmaskingStrategy]] = {
    "low_confidence": LowConfidence,
    "random": RandomOrder,
    "threshold": Threshold,
    "factor": Factor,
    "local_leap": LocalLeap,
    "frechet": Frechet,
    "entropy_bound": EntropyBound,
    "klass": Klass,
    "credit": Credit,
    "margin": MarginOrder,
    "entropy": EntropyOrder,
    "dilated": Dilated,
    "checkerboard": Checkerboard,
    "stable": Stable,
    "learn2pd": Learn2PD,
    "oracle": Oracle,
}


def resolve_strategy(
    decoding: str | dict[str, Any] | UnmaskingStrategy,
    unmasking_filter: str | os.PathLike[str] | UnmaskingFilter | None = None,
    filter_threshold: float | None = None,
    reference_ids: torch.Tensor | None = None,
) -> UnmaskingStrategy:
    """
    Makes a strategy of what `generate` was given.

    Args:
        decoding (`str`, `dict[str, Any]` or [`UnmaskingStrategy`]):
            A key of `UNMASKING_STRATEGIES`, a dict of it as `"name"` and options, or an instance, which is returned.
        unmasking_filter (`str`, `os.PathLike` or [`UnmaskingFilter`], *optional*):
            For `"learn2pd"`: a filter, or where [`UnmaskingFilter.load`] finds one.
        filter_threshold (`float`, *optional*): For `"learn2pd"`: its threshold instead of the filter's own.
        reference_ids (`torch.LongTensor` of shape `(batch_size, answer_length)`, *optional*): For `"oracle"`.

    Returns:
        [`UnmaskingStrategy`]

    Raises:
        ValueError: If `decoding` is none of these, or what it needs is missing.
    """
    if isinstance(decoding, UnmaskingStrategy):
        return decoding
    strategy, options = _parse("decoding", decoding)
    if strategy is Oracle:
        if reference_ids is None:
            raise ValueError("`reference_ids` must be given with `decoding='oracle'` (got None)")
        return Oracle(reference_ids)
    if strategy is Learn2PD:
        if isinstance(unmasking_filter, str | os.PathLike):
            unmasking_filter = _load(str(unmasking_filter), _stamp(unmasking_filter))
        threshold = options.get("threshold") if filter_threshold is None else filter_threshold
        return Learn2PD(unmasking_filter, threshold)  # type: ignore[arg-type]
    return strategy(**options)


def check_decoding(name: str, decoding: Any) -> None:
    """Raises a `ValueError` that names `name` unless [`resolve_strategy`] can make a strategy of `decoding`."""
    if isinstance(decoding, UnmaskingStrategy):
        return
    strategy, options = _parse(name, decoding)
    if strategy is Learn2PD:
        if options.get("threshold") is not None:
            check_fraction("threshold", options["threshold"])
    elif strategy is not Oracle:
        strategy(**options)


def strategy_name(decoding: str | dict[str, Any] | UnmaskingStrategy) -> str | None:
    """The key of `UNMASKING_STRATEGIES` that `decoding` names; None for an instance."""
    if isinstance(decoding, UnmaskingStrategy):
        return None
    return decoding["name"] if isinstance(decoding, dict) else decoding


def describe_strategy(strategy: UnmaskingStrategy) -> dict[str, Any] | None:
    """
    Turns a strategy into the dict that [`resolve_strategy`] takes.

    Returns:
        `dict[str, Any]`, *optional*: None if it is none of `UNMASKING_STRATEGIES`, or holds what JSON cannot.
    """
    spec = None if isinstance(strategy, Oracle) else describe(strategy, UNMASKING_STRATEGIES)
    base = getattr(strategy, "base", None)
    # A nested filter would have no place to be named at.
    if isinstance(base, Learn2PD) or (isinstance(base, UnmaskingStrategy) and describe_strategy(base) is None):
        return None
    return spec


def _parse(name: str, decoding: Any) -> tuple[type[UnmaskingStrategy], dict[str, Any]]:
    expected = f"one of {', '.join(UNMASKING_STRATEGIES)}, or an UnmaskingStrategy"
    strategy, options = parse(name, decoding, UNMASKING_STRATEGIES, expected)
    if "base" in options and not isinstance(options["base"], UnmaskingStrategy):
        base, own = _parse("base", options["base"])
        if base in (Learn2PD, Oracle):
            raise ValueError(f"`base` must be an instance if it holds more than options (got {options['base']!r})")
        options["base"] = base(**own)
    return strategy, options


@functools.lru_cache(maxsize=4)
def _load(source: str, stamp: tuple[tuple[str, int, int], ...]) -> UnmaskingFilter:
    # Building it takes longer than a forward pass of a small model, and the Hub would be asked for news in every call.
    return UnmaskingFilter.load(source)


def _stamp(source: str | os.PathLike[str]) -> tuple[tuple[str, int, int], ...]:
    """Changes with the files of a filter in a directory; empty for one on the Hub."""
    folder = Path(str(source).replace(":", os.sep, 1))
    if not folder.is_dir():
        folder = Path(source)
    files = sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def check_states(state_size: int | None, model: Any) -> None:
    """
    Checks that a filter can read the model's hidden states.

    Args:
        state_size (`int`, *optional*): Width of those it was trained on; None if it reads none.
        model ([`DiffusionGenerationMixin`]): The model.

    Raises:
        ValueError: If they are of another width, or the model gives none.
    """
    if state_size is not None and not model.gives_hidden_states:
        raise ValueError(
            "`unmasking_filter` must not look at hidden states with a model of `enable_decoding`, of which logits are "
            f"known only (got {state_size} of them)"
        )
    width = getattr(model.config, "hidden_size", state_size)
    if state_size not in (None, width):
        raise ValueError(
            f"`unmasking_filter` must be trained on hidden states of width {width}, the model's (got {state_size})"
        )
