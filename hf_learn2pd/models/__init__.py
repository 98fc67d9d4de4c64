# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Model families; importing this package registers them with the Auto classes of transformers.

`AutoModel` gives a model without its LM head, so `AutoModelForCausalLM` is the one to generate with.
"""

from .dream import DreamConfig, DreamForMaskedDiffusion, DreamModel
from .fast_dllm import FastDllmConfig, FastDllmForMaskedDiffusion, FastDllmModel
from .llada import LladaConfig, LladaForMaskedDiffusion, LladaModel
from .llada2_moe import Llada2MoeConfig, Llada2MoeForMaskedDiffusion, Llada2MoeModel
from .llada_moe import LladaMoeConfig, LladaMoeForMaskedDiffusion, LladaMoeModel
from .sdar import SdarConfig, SdarForMaskedDiffusion, SdarModel
from .sdar_moe import SdarMoeConfig, SdarMoeForMaskedDiffusion, SdarMoeModel

__all__ = [
    "DreamConfig",
    "DreamForMaskedDiffusion",
    "DreamModel",
    "FastDllmConfig",
    "FastDllmForMaskedDiffusion",
    "FastDllmModel",
    "Llada2MoeConfig",
    "Llada2MoeForMaskedDiffusion",
    "Llada2MoeModel",
    "LladaConfig",
    "LladaForMaskedDiffusion",
    "LladaModel",
    "LladaMoeConfig",
    "LladaMoeForMaskedDiffusion",
    "LladaMoeModel",
    "SdarConfig",
    "SdarForMaskedDiffusion",
    "SdarModel",
    "SdarMoeConfig",
    "SdarMoeForMaskedDiffusion",
    "SdarMoeModel",
]
