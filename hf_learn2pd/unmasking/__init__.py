# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Unmasking strategies: one short file per method."""

from .base import BlockPrediction, UnmaskingStrategy, most_confident
from .factor import Factor
from .learn2pd import Learn2PD
from .low_confidence import LowConfidence
from .oracle import Oracle
from .random_order import RandomOrder
from .resolve import UNMASKING_STRATEGIES, resolve_strategy
from .threshold import Threshold

__all__ = [
    "UNMASKING_STRATEGIES",
    "BlockPrediction",
    "Factor",
    "Learn2PD",
    "LowConfidence",
    "Oracle",
    "RandomOrder",
    "Threshold",
    "UnmaskingStrategy",
    "most_confident",
    "resolve_strategy",
]
