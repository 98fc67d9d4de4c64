# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Runs on disk, one JSON file each: a decoder with a setting, at a way of passes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measuring import write_file

__all__ = ["Record", "Run", "check_folder", "read_runs", "run_path", "write_run"]


@dataclass(frozen=True)
class Record:
    """
    One prompt's answer.

    Args:
        right (`bool`): Whether it is right.
        text (`str`): The answer.
        nfe (`int`): Number of forward passes.
        tokens (`int`): Tokens up to and including end-of-text.
    """

    right: bool
    text: str
    nfe: int
    tokens: int


@dataclass(frozen=True)
class Run:
    """
    One decoder on all prompts.

    Args:
        asked (`dict[str, Any]`): Questions, model and lengths; the same for every run of a folder.
        way (`str`): What a pass computes, a key of `WAYS`.
        method (`str`): Name of the decoder's curve.
        setting (`str`): Its setting; empty where the method has none.
        kind (`str`): Name of the strategy; `"learn2pd"` for every filter.
        decoder (`str`): All options of the decoder, with a digest of a filter's weights.
        default (`bool`): Whether the setting is the method's default.
        first_filter (`bool`): Whether the method is the first of the filters that were given.
        command (`str`): What is typed to get it, but for the ways and methods.
        environment (`str`): Hardware and versions.
        seconds (`float`): Wall-clock seconds of all prompts.
        row_passes (`int`): Rows times forward passes, of all prompts.
        records (`list[Record]`): One for each prompt.
        ids (`list[list[int]]`, *optional*): Tokens of the answers, kept of the stock loop for the oracle.
    """

    asked: dict[str, Any]
    way: str
    method: str
    setting: str
    kind: str
    decoder: str
    default: bool
    first_filter: bool
    command: str
    environment: str
    seconds: float
    row_passes: int
    records: list[Record]
    ids: list[list[int]] | None = None

    @property
    def right(self) -> list[bool]:
        """Which prompts are right."""
        return [record.right for record in self.records]

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * sum(self.right) / len(self.records)

    @property
    def nfe(self) -> float:
        """Mean over prompts."""
        return sum(record.nfe for record in self.records) / len(self.records)

    @property
    def tokens_per_forward(self) -> float:
        """Mean over prompts."""
        return sum(record.tokens / record.nfe for record in self.records) / len(self.records)

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all answers by the seconds of all prompts."""
        return sum(record.tokens for record in self.records) / self.seconds

    def agreement(self, other: "Run") -> float:
        """Percent of the prompts whose text another run has as well."""
        pairs: Sequence[tuple[Record, Record]] = list(zip(self.records, other.records, strict=True))
        return 100 * sum(one.text == two.text for one, two in pairs) / len(pairs)


def run_path(folder: Path, way: str, method: str, setting: str) -> Path:
    """Names a run's file."""
    name = f"{method} {setting}".strip().replace(" ", "_").replace("/", "-")
    return folder / way / f"{name}.json"


def write_run(folder: Path, run: Run) -> None:
    """Writes a run under another name and moves it into place."""
    path = run_path(folder, run.way, run.method, run.setting)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(asdict(run)))


def read_run(path: Path) -> Run:
    """
    Reads one run.

    Args:
        path (`Path`): Its file.

    Returns:
        [`Run`]

    Raises:
        ValueError: If it is not whole.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Run(**stored | {"records": [Record(**record) for record in stored["records"]]})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"`{path}` must be a run as it was written; without the file it is made again (got {error!r})"
        ) from error


def read_runs(folder: Path) -> list[Run]:
    """
    Reads all runs of a folder.

    Args:
        folder (`Path`): The folder.

    Returns:
        `list[Run]`

    Raises:
        ValueError: If there is none, or one is not whole.
    """
    paths = sorted(folder.glob("*/*.json"))
    if not paths:
        raise ValueError(f"`folders` must hold runs (got {str(folder)!r}, which has none)")
    return [read_run(path) for path in paths]


def check_folder(folder: Path, asked: dict[str, Any]) -> None:
    """
    Refuses a folder of other questions.

    Args:
        folder (`Path`): The folder, which need not exist.
        asked (`dict[str, Any]`): Questions, model and lengths.

    Raises:
        ValueError: If a run in it was asked something else, or is not whole.
    """
    for path in folder.glob("*/*.json"):
        found = read_run(path).asked
        if found != asked:
            raise ValueError(f"`--output` must be empty or of {asked} (got a folder of {found})")
