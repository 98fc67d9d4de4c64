# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Pass policies: one short file per policy."""

from .base import ForwardPass, PassPolicy, Setting, Spans
from .block_causal import BlockCausal
from .drafts import Drafts, as_drafter
from .dual_cache import DualCache
from .full_canvas import FullCanvas
from .neighbour_cache import NeighbourCache
from .prefix_cache import PrefixCache
from .resolve import PASS_POLICIES, resolve_policy
from .sliding_cache import SlidingCache
from .windows import Windows

__all__ = [
    "PASS_POLICIES",
    "BlockCausal",
    "Drafts",
    "DualCache",
    "ForwardPass",
    "FullCanvas",
    "NeighbourCache",
    "PassPolicy",
    "PrefixCache",
    "Setting",
    "SlidingCache",
    "Spans",
    "Windows",
    "as_drafter",
    "resolve_policy",
]
