# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Fast parallel decoding of diffusion LLMs for transformers; importing registers its models with the Auto classes."""

from .blocks import AdaBlock, FixedBlocks
from .cache import BlockCache
from .configuration import DiffusionGenerationConfig
from .enabling import disable_decoding, enable_decoding
from .filter import UnmaskingFilter
from .generation import DiffusionGenerationMixin, DiffusionGenerationOutput
from .models import (
    DreamConfig,
    DreamForMaskedDiffusion,
    DreamModel,
    Llada2MoeConfig,
    Llada2MoeForMaskedDiffusion,
    Llada2MoeModel,
    LladaConfig,
    LladaForMaskedDiffusion,
    LladaModel,
    LladaMoeConfig,
    LladaMoeForMaskedDiffusion,
    LladaMoeModel,
    SdarConfig,
    SdarForMaskedDiffusion,
    SdarModel,
)
from .passes import BlockCausal, DualCache, FullCanvas, NeighbourCache, PassPolicy, PrefixCache, Spans
from .stopping import EndOfTextCriteria
from .training import DataCollatorForMaskedDiffusion
from .unmasking import (
    UNMASKING_STRATEGIES,
    BlockPrediction,
    Checkerboard,
    Credit,
    Dilated,
    EntropyBound,
    EntropyOrder,
    Factor,
    Frechet,
    Klass,
    Learn2PD,
    LocalLeap,
    LowConfidence,
    MarginOrder,
    Oracle,
    RandomOrder,
    Stable,
    Threshold,
    UnmaskingStrategy,
)

__version__ = "0.1.0"

__all__ = [
    "AdaBlock",
    "BlockCache",
    "BlockCausal",
    "BlockPrediction",
    "Checkerboard",
    "Credit",
    "DataCollatorForMaskedDiffusion",
    "DiffusionGenerationConfig",
    "DiffusionGenerationMixin",
    "DiffusionGenerationOutput",
    "Dilated",
    "DreamConfig",
    "DreamForMaskedDiffusion",
    "DreamModel",
    "DualCache",
    "EndOfTextCriteria",
    "EntropyBound",
    "EntropyOrder",
    "Factor",
    "FixedBlocks",
    "Frechet",
    "FullCanvas",
    "Klass",
    "Learn2PD",
    "Llada2MoeConfig",
    "Llada2MoeForMaskedDiffusion",
    "Llada2MoeModel",
    "LladaConfig",
    "LladaForMaskedDiffusion",
    "LladaModel",
    "LladaMoeConfig",
    "LladaMoeForMaskedDiffusion",
    "LladaMoeModel",
    "LocalLeap",
    "LowConfidence",
    "MarginOrder",
    "NeighbourCache",
    "Oracle",
    "PassPolicy",
    "PrefixCache",
    "RandomOrder",
    "SdarConfig",
    "SdarForMaskedDiffusion",
    "SdarModel",
    "Spans",
    "Stable",
    "Threshold",
    "UNMASKING_STRATEGIES",
    "UnmaskingFilter",
    "UnmaskingStrategy",
    "__version__",
    "disable_decoding",
    "enable_decoding",
]
