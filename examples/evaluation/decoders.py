# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The decoders that are evaluated: for each method its range of settings, the default first."""

from typing import Any

from measuring import read_passes

from hf_learn2pd import (
    AdaBlock,
    Checkerboard,
    Credit,
    Dilated,
    EntropyBound,
    EntropyOrder,
    Factor,
    Frechet,
    Klass,
    LocalLeap,
    LowConfidence,
    MarginOrder,
    RandomOrder,
    Stable,
    Threshold,
    UnmaskingFilter,
)

__all__ = ["CURVES", "LEARNED", "WAYS", "filter_curve", "schedule_curve"]

# What a pass computes: keys and values that are kept, and how many masked columns are in sight.
WAYS = {name: read_passes(name) for name in ("none", "dual", "local", "none+64", "local+64")}
LEARNED = "learn2pd"

LEVELS = (0.9, 0.6, 0.7, 0.8, 0.85, 0.95, 0.98, 0.99, 0.995)
CURVES: dict[str, dict[str, dict[str, Any]]] = {
    "stock": {"": {"decoding": LowConfidence()}},
    "threshold": {f"{level:g}": {"decoding": Threshold(level)} for level in LEVELS},
    "factor": {f"{factor:g}": {"decoding": Factor(factor)} for factor in (1.0, 0.5, 0.25, 0.12, 0.06)},
    "local_leap": {
        f"{level:g}/{relaxed:g}": {"decoding": LocalLeap(level, relaxed)}
        for level, relaxed in ((0.9, 0.75), (0.8, 0.6), (0.95, 0.9), (0.98, 0.95), (0.99, 0.98))
    },
    "frechet": {f"{bound:g}": {"decoding": Frechet(bound)} for bound in (0.25, 0.5, 0.75, 0.9, 0.97)},
    "entropy_bound": {f"{gamma:g}": {"decoding": EntropyBound(gamma)} for gamma in (0.1, 0.5, 0.3, 0.03, 0.01)},
    "klass": {f"{level:g}": {"decoding": Klass(level)} for level in (0.6, 0.8, 0.9, 0.95, 0.98)},
    "credit": {f"{level:g}": {"decoding": Credit(level)} for level in (0.9, 0.8, 0.95, 0.98, 0.995)},
    "stable": {f"{level:g}": {"decoding": Stable(threshold=level)} for level in (0.97, 0.8, 0.9, 0.99)},
    "dilated": {"": {"decoding": Dilated()}},
    "checkerboard": {"": {"decoding": Checkerboard()}},
    "random": {"": {"decoding": RandomOrder()}},
    "margin": {"": {"decoding": MarginOrder()}},
    "entropy": {"": {"decoding": EntropyOrder()}},
    "pearl": {"": {"decoding": "pearl"}},
    "oracle": {"": {"decoding": "oracle"}},
}


def filter_curve(filter: UnmaskingFilter, thresholds: list[float]) -> dict[str, dict[str, Any]]:
    """
    Lists the settings of a filter.

    Args:
        filter ([`UnmaskingFilter`]): The filter; its calibrated threshold is the default.
        thresholds (`list[float]`): Other thresholds.

    Returns:
        `dict[str, dict[str, Any]]`: Options of `generate` by setting.
    """
    levels = dict.fromkeys((filter.threshold, *thresholds))
    options = {"decoding": LEARNED, "unmasking_filter": filter}
    return {f"{level:.4g}": options | {"filter_threshold": level} for level in levels}


def schedule_curve(schedule: AdaBlock) -> dict[str, dict[str, Any]]:
    """
    Lists the settings of a threshold in blocks that end at delimiters.

    Args:
        schedule ([`AdaBlock`]): The schedule with a model's delimiters.

    Returns:
        `dict[str, dict[str, Any]]`: Options of `generate` by setting.
    """
    return {setting: options | {"block_schedule": schedule} for setting, options in CURVES["threshold"].items()}
