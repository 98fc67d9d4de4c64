# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Which models the commands take, and loading one with its tokenizer."""

import argparse
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import hf_learn2pd

__all__ = ["FAMILIES", "add_model_arguments", "family_of", "load"]

FAMILIES: dict[str, Any] = {
    getattr(hf_learn2pd.models, name).config_class.model_type: getattr(hf_learn2pd.models, name)
    for name in hf_learn2pd.models.__all__
    if name.endswith("ForMaskedDiffusion")
}


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that [`load`] takes."""
    parser.add_argument("model", metavar="MODEL", help="Hub id or directory of a diffusion LLM")
    parser.add_argument("--device", default="auto", help="where it runs: auto, cpu, cuda:0, ... (default: auto)")
    parser.add_argument("--dtype", default="auto", help="of its weights: auto, bfloat16, ... (default: auto)")


def family_of(model: str) -> tuple[Any, Any]:
    """
    Finds the family of a model, without its weights.

    Args:
        model (`str`): Hub id or directory.

    Returns:
        `tuple[PreTrainedConfig, type[DiffusionGenerationMixin]]`: The model's config and its class.

    Raises:
        ValueError: If it is of no family of this package.
    """
    config = AutoConfig.from_pretrained(model)
    if config.model_type not in FAMILIES:
        raise ValueError(f"`model` must be of a family among {', '.join(FAMILIES)} (got {config.model_type})")
    return config, FAMILIES[config.model_type]


def load(model: str, device: str, dtype: str) -> tuple[Any, Any]:
    """
    Loads a model and its tokenizer.

    Args:
        model (`str`): Hub id or directory.
        device (`str`): A device, or `"auto"`.
        dtype (`str`): A dtype of torch, or `"auto"` for that of the weights.

    Returns:
        `tuple[DiffusionGenerationMixin, PreTrainedTokenizerBase]`

    Raises:
        ValueError: If it is of no family of this package.
    """
    family_of(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    return AutoModelForCausalLM.from_pretrained(model, device_map=device, dtype=dtype).eval(), tokenizer
