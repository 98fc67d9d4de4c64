# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Show versions, model families, decoding methods, pass policies and devices."""

import argparse
import platform
from typing import Any

import torch
import transformers

import hf_learn2pd

from ..passes.resolve import PASS_POLICIES
from ..unmasking import UNMASKING_STRATEGIES
from .models import FAMILIES

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: there is nothing to choose."""


def run(options: argparse.Namespace) -> None:
    """Prints what is installed and what can be asked for."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    versions |= {"transformers": transformers.__version__, "hf_learn2pd": hf_learn2pd.__version__}
    _print("versions", versions)
    _print("model families", {name: family.__name__ for name, family in FAMILIES.items()})
    _print("decoding methods, --decoding", {name: _summary(method) for name, method in UNMASKING_STRATEGIES.items()})
    _print("pass policies, --block-cache", {name: _summary(policy) for name, policy in PASS_POLICIES.items()})
    _print("devices", _devices())


def _summary(documented: Any) -> str:
    """The first sentence of a docstring."""
    paragraph = " ".join(documented.__doc__.strip().split("\n\n")[0].split())
    return str(paragraph.split(". ")[0].rstrip("."))


def _devices() -> dict[str, str]:
    devices = {"cpu": f"{torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{found.name}, {found.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        devices["mps"] = platform.processor()
    return devices


def _print(title: str, rows: dict[str, str]) -> None:
    print(f"{title}:")
    width = max(map(len, rows))
    for name, meaning in rows.items():
        print(f"  {name:<{width}}  {meaning}")
