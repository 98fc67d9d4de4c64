# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Unmasking strategies: one short file per method."""

from .base import BlockPrediction, UnmaskingStrategy, most_confident
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
from .resolve import UNMASKING_STRATEGIES, resolve_strategy
from .stable import Stable
from .threshold import Threshold

__all__ = [
    "UNMASKING_STRATEGIES",
    "BlockPrediction",
    "Checkerboard",
    "Credit",
    "Dilated",
    "EntropyBound",
    "EntropyOrder",
    "Factor",
    "Frechet",
    "Klass",
    "Learn2PD",
    "LocalLeap",
    "LowConfidence",
    "MarginOrder",
    "Oracle",
    "RandomOrder",
    "Stable",
    "Threshold",
    "UnmaskingStrategy",
    "most_confident",
    "resolve_strategy",
]
