# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Fast parallel decoding of diffusion LLMs for transformers; importing registers LLaDA with the Auto classes."""

from .blocks import FixedBlocks
from .cache import BlockCache
from .configuration import DiffusionGenerationConfig
from .filter import UnmaskingFilter
from .generation import DiffusionGenerationMixin, DiffusionGenerationOutput
from .models import LladaConfig, LladaForMaskedDiffusion
from .stopping import EndOfTextCriteria
from .unmasking import (
    UNMASKING_STRATEGIES,
    BlockPrediction,
    Factor,
    Learn2PD,
    LowConfidence,
    Oracle,
    RandomOrder,
    Threshold,
    UnmaskingStrategy,
)

__version__ = "0.1.0"

__all__ = [
    "UNMASKING_STRATEGIES",
    "BlockCache",
    "BlockPrediction",
    "DiffusionGenerationConfig",
    "DiffusionGenerationMixin",
    "DiffusionGenerationOutput",
    "EndOfTextCriteria",
    "Factor",
    "FixedBlocks",
    "Learn2PD",
    "LladaConfig",
    "LladaForMaskedDiffusion",
    "LowConfidence",
    "Oracle",
    "RandomOrder",
    "Threshold",
    "UnmaskingFilter",
    "UnmaskingStrategy",
    "__version__",
]
