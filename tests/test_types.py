# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What type checkers and `help` tell of `generate`."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hf_learn2pd import (
    DiffusionGenerationConfig,
    DiffusionGenerationMixin,
    LladaForMaskedDiffusion,
    generation,
    signature,
)
from hf_learn2pd.options import OPTIONS

ROOT = Path(__file__).parents[1]
PARAMETERS = inspect.signature(DiffusionGenerationMixin.generate).parameters


def parameters_of(file: str, name: str) -> list[list[tuple[str, ...]]]:
    """Names, types and defaults of the parameters of every function of a name in a file."""
    found = []
    for node in ast.walk(ast.parse(Path(file).read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            each = node.args
            defaults = [None] * (len(each.args) - len(each.defaults)) + each.defaults + each.kw_defaults + [None]
            every = [*each.args, *each.kwonlyargs, each.kwarg]
            pairs = zip(every, defaults, strict=True)
            found.append([(one.arg, unparsed(one.annotation), unparsed(value)) for one, value in pairs])
    return found


def unparsed(node: ast.AST | None) -> str:
    return "" if node is None else ast.unparse(node)


def section(text: str, begin: str, end: str) -> str:
    return text[text.index(begin) + len(begin) : text.index(end)]


# It also runs whenever mypy does, since mypy's configuration names the file; without a cache that takes a minute.
@pytest.mark.slow
def test_a_type_checker_finds_what_generate_returns():
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "tests/typed_calls.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_type_checkers_are_told_the_arguments_of_generate():
    (real,) = parameters_of(generation.__file__, "generate")
    overloads = parameters_of(signature.__file__, "__call__")
    assert len(overloads) == 2
    for overload in overloads:
        assert [each for each in overload if each[0] != "return_dict_in_generate"] == real
        assert len(overload) == len(real) + 1


def test_help_of_generate_names_every_argument_and_option():
    text = inspect.getdoc(LladaForMaskedDiffusion.generate)
    arguments = section(text, "Args:", "Returns:")
    explained = re.findall(r"^    (\w+)(?: \(|:)", arguments, re.MULTILINE)
    assert explained == [name for name in PARAMETERS if name != "self"]
    named = re.findall(r"`(\w+)`", arguments[arguments.index("    kwargs:") :])
    assert [name for name in named if name in OPTIONS] == [name for name in OPTIONS if name not in PARAMETERS]
    assert set(named) - set(OPTIONS) <= {
        "attention_mask",
        "tokenizer",
        "stop_strings",
        "GenerationConfig",
        "DiffusionGenerationConfig",
    }


def test_help_of_the_config_explains_every_option_of_the_table():
    arguments = section(DiffusionGenerationConfig.__doc__, "Args:", "Raises:")
    assert re.findall(r"^    (\w+) \(", arguments, re.MULTILINE) == list(OPTIONS)
