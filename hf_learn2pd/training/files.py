# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Files that are whole or not there, whoever is killed and however many processes write the same one."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .fingerprint import fingerprint_tensors

__all__ = ["make_directory", "read_tensors", "write_tensors", "write_whole"]


def make_directory(name: str, directory: Path) -> None:
    """Makes a directory if there is none; raises a `ValueError` that names `name` if there can be none."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"`{name}` must be a directory, or a place for one (got {error})") from error


def write_whole(file: Path, write: Callable[[Path], Any]) -> None:
    """
    Writes a file under another name and moves it into place.

    Several processes may write the same file at once: what one of them has written stays. What killed ones have left is
    removed.

    Args:
        file (`Path`): The file; one that is there is replaced.
        write (`Callable[[Path], Any]`): Writes to the path that it is given.

    Raises:
        OSError: If the file cannot be written, for example on a full disk; nothing is left behind then.
    """
    temporary = file.with_name(f"{file.name}.{secrets.token_hex(6)}.tmp")
    try:
        write(temporary)
        os.replace(temporary, file)
    except FileNotFoundError:
        # Another process was faster, and took this one's file for one that a killed process had left.
        if not file.exists():
            raise
    except (OSError, SafetensorError) as error:
        raise OSError(f"{file} could not be written ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    for name in os.listdir(file.parent):
        if name.startswith(f"{file.name}.") and name.endswith(".tmp"):
            (file.parent / name).unlink(missing_ok=True)


def write_tensors(file: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """
    Writes safetensors that [`read_tensors`] can tell from damaged ones.

    Args:
        file (`Path`): The file; one that is there is replaced.
        tensors (`dict[str, torch.Tensor]`): On the CPU.
        metadata (`dict[str, str]`, *optional*): What else the file says of itself.

    Raises:
        OSError: If the file cannot be written.
    """
    told = (metadata or {}) | {"content": fingerprint_tensors(tensors)}
    write_whole(file, lambda temporary: save_file(tensors, temporary, metadata=told))


def read_tensors(file: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """
    Reads safetensors and compares them with what their metadata says, if it says anything.

    Args:
        file (`Path`): The file.

    Returns:
        `tuple[dict[str, str], dict[str, torch.Tensor]]`: Metadata, and tensors by name.

    Raises:
        ValueError: If the file is not whole or cannot be read.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(str(error)) from error
    if "content" in metadata and metadata["content"] != fingerprint_tensors(tensors):
        raise ValueError("other bytes than were written")
    return metadata, tensors
