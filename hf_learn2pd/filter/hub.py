# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What a filter's repository on the Hub holds beside its weights, and how the weights are found again."""

import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined, unused-ignore]
from safetensors import SafetensorError
from safetensors.torch import load_file

__all__ = ["CARD", "check_repo_id", "find_filter", "read_config", "read_weights", "write_custom_generate"]

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
        ValueError: If there is no such subfolder, or it lies outside of the repository.
    """
    repository, _, subfolder = str(source).partition(":")
    if os.path.isdir(source) or ":" not in str(source):
        return str(source)
    # Backslashes and drive letters count on Windows only, but no repository needs them.
    parts = re.split(r"[\\/]", subfolder)
    if not repository or not parts[0] or ".." in parts or ":" in subfolder:
        raise ValueError(f"`unmasking_filter` must be `repository:folder`, the folder inside of it (got {source})")
    if not os.path.isdir(repository):
        repository = snapshot_download(repository, allow_patterns=f"{subfolder}/*")
    if not os.path.isdir(os.path.join(repository, subfolder)):
        raise ValueError(f"`unmasking_filter` must hold the folder {subfolder!r} (got {source})")
    return os.path.join(repository, subfolder)


def check_repo_id(repo_id: str) -> str:
    """
    Lets a Hub id through, as huggingface_hub defines it.

    Args:
        repo_id (`str`): Such as `"user/filter"`.

    Returns:
        `str`: The same.

    Raises:
        ValueError: If it is none.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"`repo_id` must be a Hub id such as 'user/filter' (got {repo_id!r})") from error
    return repo_id


def read_config(model_id: str, **hub: Any) -> dict[str, Any]:
    """
    Reads `config.json`.

    Args:
        model_id (`str`): A directory or a Hub id.
        hub: `revision`, `token` and other options of [`~huggingface_hub.hf_hub_download`].

    Returns:
        `dict[str, Any]`: Empty if there is no such file.

    Raises:
        ValueError: If it is no JSON object.
    """
    file = _find(model_id, CONFIG_NAME, hub)
    if file is None:
        return {}
    try:
        with open(file, encoding="utf-8") as text:
            config = json.load(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`unmasking_filter` must hold JSON in {CONFIG_NAME} (got {error} in {file})") from error
    if not isinstance(config, dict):
        raise ValueError(f"`unmasking_filter` must hold a JSON object in {CONFIG_NAME} (got {config!r:.200} in {file})")
    return config


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
    file = _find(model_id, SAFETENSORS_SINGLE_FILE, hub)
    if file is None:
        raise ValueError(f"`unmasking_filter` must hold {SAFETENSORS_SINGLE_FILE} (got none in {model_id})")
    try:
        return load_file(file, device=map_location)
    except SafetensorError as error:
        raise ValueError(f"`unmasking_filter` must hold whole safetensors (got {error} in {file})") from error


def _find(model_id: str, name: str, hub: dict[str, Any]) -> str | None:
    if os.path.isdir(model_id):
        file = os.path.join(model_id, name)
        return file if os.path.isfile(file) else None
    try:
        return str(hf_hub_download(model_id, name, **hub))
    except LocalEntryNotFoundError:
        # Not in the cache, and the Hub cannot be asked: that says nothing about the repository.
        raise
    except EntryNotFoundError:
        return None


def write_custom_generate(directory: Path, repo_id: str) -> None:
    """
    Writes `custom_generate/generate.py`, with which `generate(custom_generate=repo_id)` finds the filter.

    Args:
        directory (`Path`): Where the repository's files are.
        repo_id (`str`): Its Hub id.

    Raises:
        ValueError: If `repo_id` is none.
    """
    name = repr(check_repo_id(repo_id))
    code = resources.files(__package__).joinpath("custom_generate.py").read_text(encoding="utf-8")
    (directory / "custom_generate").mkdir(exist_ok=True)
    (directory / "custom_generate" / "generate.py").write_text(code.replace('"user/filter"', name), encoding="utf-8")
