# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The floors of the house: imports point down only."""

import ast
from pathlib import Path

import hf_learn2pd

PACKAGE = Path(hf_learn2pd.__file__).parent
FLOORS = [
    ["checks", "specs", "compatibility", "filter.features", "filter.networks", "filter.hub", "inherited"],
    ["filter.model"],
    ["unmasking", "blocks"],
    ["options"],
    ["configuration"],
    ["special_tokens", "inputs"],
    ["rows", "cache", "prediction", "choice", "forbidden", "processors"],
    ["infilling"],
    ["facts", "step_schedule"],
    ["canvas"],
    ["passes", "stopping", "edits", "watchers", "streaming", "history"],
    ["report"],
    ["terminal"],
    ["outputs"],
    ["fields"],
    ["compiling"],
    ["reader"],
    ["loop", "expanding"],
    ["denoising"],
    ["signature"],
    ["generation"],
    ["filter", "models", "enabling", "training", "serving"],
    ["commands"],
    ["__main__"],
    ["datasets", "evaluation"],
]


def floor_of(module: str) -> int:
    for floor, names in enumerate(FLOORS):
        if any(module == name or module.startswith(name + ".") for name in names):
            return floor
    raise AssertionError(f"{module} stands on no floor")


def imports_of(file: Path) -> set[str]:
    package = file.relative_to(PACKAGE).parent.parts
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            found.add(".".join([*base, *(node.module or "").split(".")]).strip("."))
    return found


def test_imports_point_down_only():
    files = [file for file in PACKAGE.rglob("*.py") if file.name != "__init__.py"]
    assert len(files) > 12
    for file in files:
        module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        for imported in imports_of(file):
            # The package "filter" shows its model to the floors above; its training code stands higher.
            imported = "filter.model" if imported == "filter" else imported
            assert floor_of(imported) <= floor_of(module), f"{module} imports {imported}"


def test_every_module_says_what_is_public():
    for file in PACKAGE.rglob("*.py"):
        assert "__all__" in file.read_text(), file


def test_files_stay_short():
    lengths = sorted(len(file.read_text().splitlines()) for file in PACKAGE.rglob("*.py"))
    assert lengths[-1] <= 400 and lengths[len(lengths) // 2] < 150
