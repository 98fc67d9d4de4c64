# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import functools
import os

import torch

from ..filter import UnmaskingFilter
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

__all__ = ["UNMASKING_STRATEGIES", "resolve_strategy"]

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
    decoding: str | UnmaskingStrategy,
    unmasking_filter: str | os.PathLike[str] | UnmaskingFilter | None = None,
    filter_threshold: float | None = None,
    reference_ids: torch.Tensor | None = None,
) -> UnmaskingStrategy:
    """
    Makes a strategy of what `generate` was given.

    Args:
        decoding (`str` or [`UnmaskingStrategy`]): A key of `UNMASKING_STRATEGIES`, or an instance, which is returned.
        unmasking_filter (`str`, `os.PathLike` or [`UnmaskingFilter`], *optional*):
            For `"learn2pd"`: a filter, or where [`UnmaskingFilter.load`] finds one.
        filter_threshold (`float`, *optional*): For `"learn2pd"`: its threshold instead of the filter's own.
        reference_ids (`torch.LongTensor` of shape `(batch_size, answer_length)`, *optional*): For `"oracle"`.

    Returns:
        [`UnmaskingStrategy`]

    Raises:
        ValueError: If `decoding` is neither, or what it needs is missing.
    """
    if isinstance(decoding, UnmaskingStrategy):
        return decoding
    if not isinstance(decoding, str) or decoding not in UNMASKING_STRATEGIES:
        names = ", ".join(UNMASKING_STRATEGIES)
        raise ValueError(f"`decoding` must be one of {names}, or an UnmaskingStrategy (got {decoding!r})")
    strategy = UNMASKING_STRATEGIES[decoding]
    if strategy is Oracle:
        if reference_ids is None:
            raise ValueError("`reference_ids` must be given with `decoding='oracle'` (got None)")
        return Oracle(reference_ids)
    if strategy is Learn2PD:
        if isinstance(unmasking_filter, str | os.PathLike):
            load = UnmaskingFilter.load if os.path.exists(str(unmasking_filter).partition(":")[0]) else _load_from_hub
            unmasking_filter = load(str(unmasking_filter))
        return Learn2PD(unmasking_filter, filter_threshold)  # type: ignore[arg-type]
    return strategy()


@functools.lru_cache(maxsize=4)
def _load_from_hub(source: str) -> UnmaskingFilter:
    # The Hub would otherwise be asked for news in every call.
    return UnmaskingFilter.load(source)
