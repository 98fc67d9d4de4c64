# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What a filter's repository on the Hub holds beside its weights, and how the weights are found again."""

import os
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import load_file

__all__ = ["CARD", "find_filter", "read_weights", "write_custom_generate"]

# In a checkout the template lies beside the package, in a wheel inside it.
CARD = next(
    path
    for path in (Path(__file__).parents[1] / "model_card.md", Path(__file__).parents[2] / "model_card.md")
    if path.exists()
).read_text(encoding="utf-8")


def find_filter(source: str | os.PathLike[str]) -> str:
    """
    Resolves what `generate(unmasking_filter=...)` may be.

    Args:
        source (`str` or `os.PathLike`): A Hub id or a directory, either with `:subfolder` behind it.

    Returns:
        `str`: A directory or a Hub id.

    Raises:
        ValueError: If there is no such subfolder.
    """
    repository, _, subfolder = str(source).partition(":")
    if os.path.isdir(source) or not subfolder:
        return str(source)
    if not os.path.isdir(repository):
        repository = snapshot_download(repository, allow_patterns=f"{subfolder}/*")
    if not os.path.isdir(os.path.join(repository, subfolder)):
        raise ValueError(f"`unmasking_filter` must hold the folder {subfolder!r} (got {source})")
    return os.path.join(repository, subfolder)


def read_weights(model_id: str, map_location: str, **hub: Any) -> dict[str, torch.Tensor]:
    """
    Reads safetensors, and nothing else.

    Args:
        model_id (`str`): A directory or a Hub id.
        map_location (`str`): Device of the tensors.
        hub: `revision`, `token` and other options of [`~huggingface_hub.hf_hub_download`].

    Returns:
        `dict[str, torch.Tensor]`

    Raises:
        ValueError: If there is no `model.safetensors`.
    """
    if os.path.isdir(model_id):
        file = os.path.join(model_id, SAFETENSORS_SINGLE_FILE)
    else:
        try:
            file = hf_hub_download(model_id, SAFETENSORS_SINGLE_FILE, **hub)
        except LocalEntryNotFoundError:
            # Not in the cache, and the Hub cannot be asked: that says nothing about the repository.
            raise
        except EntryNotFoundError:
            file = ""
    if not os.path.isfile(file):
        raise ValueError(f"`unmasking_filter` must hold {SAFETENSORS_SINGLE_FILE} (got none in {model_id})")
    return load_file(file, device=map_location)


def write_custom_generate(directory: Path, repo_id: str) -> None:
    """
    Writes `custom_generate/generate.py`, with which `generate(custom_generate=repo_id)` finds the filter.

    Args:
        directory (`Path`): Where the repository's files are.
        repo_id (`str`): Its Hub id.
    """
    code = resources.files(__package__).joinpath("custom_generate.py").read_text(encoding="utf-8")
    (directory / "custom_generate").mkdir(exist_ok=True)
    (directory / "custom_generate" / "generate.py").write_text(code.replace("user/filter", repo_id), encoding="utf-8")
