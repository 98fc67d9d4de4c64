# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Changes one thing in the code that decodes, and looks whether a test notices.

pip install coverage
python tests/mutation.py --sample 150 --seed 0                 # goes on where it has stopped
python tests/mutation.py --sample 50 --only stopping.py --log more.jsonl

First the tests are run once, to know which of them reach which line. For each mutant only these are run, the fastest
first, up to the first that fails. A mutant is a child of one process that has imported everything but this package: the
child imports the package with the changed file, so that nothing of another mutant is left. Survivors are printed with
what was changed.
"""

import argparse
import ast
import difflib
import importlib
import importlib.util
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

__all__ = ["Mutant", "main", "mutants_of"]

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hf_learn2pd"
MUTATED = [
    "unmasking/*.py",
    "passes/*.py",
    *(f"{name}.py" for name in ("reader", "canvas", "loop", "cache", "stopping")),
]
MUTATED += ["blocks.py"]
# The tests of these modules; others would find little more and take minutes.
TESTS = ["unmasking", "methods", "blocks", "canvas", "cache", "choice", "stopping", "suffix", "edits"]
# Seconds of tests that a mutant has to outlive at most, and of computing after which it is said to run without end.
WORTH, ENDLESS = 15.0, 90

FLIPPED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
SWAPPED: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
RENAMED = {"min": "max", "max": "min", "amin": "amax", "amax": "amin", "any": "all", "all": "any"}
RENAMED |= {"minimum": "maximum", "maximum": "minimum", "argmax": "argmin", "argmin": "argmax"}


@dataclass(frozen=True)
class Mutant:
    """
    One change of one file.

    Args:
        file (`str`): Below the package.
        line (`int`): Where the change begins, from 1.
        kind (`str`): What was changed.
        start (`int`): First byte that is replaced.
        end (`int`): Byte behind the last one.
        text (`str`): What stands there instead.
    """

    file: str
    line: int
    kind: str
    start: int
    end: int
    text: str

    @property
    def name(self) -> str:
        """Tells it apart from all others of the same source."""
        return f"{self.file}:{self.line}:{self.start}:{self.end}:{self.text}"

    def source(self) -> bytes:
        """The whole file with the change."""
        whole = (PACKAGE / self.file).read_bytes()
        return whole[: self.start] + self.text.encode() + whole[self.end :]

    def diff(self) -> str:
        """The changed lines."""
        before, after = ((PACKAGE / self.file).read_bytes(), self.source())
        lines = difflib.unified_diff(*(each.decode().splitlines() for each in (before, after)), n=0, lineterm="")
        return "\n".join([*lines][3:])


def changes_of(node: ast.AST) -> Iterator[tuple[str, ast.AST, str]]:
    """Yields what a node may be changed to: kind, the part that is replaced, and the new text."""

    def text(changed: ast.expr) -> str:
        return f"({ast.unparse(changed)})"

    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in FLIPPED:
            yield "comparison", node, text(ast.Compare(left, [FLIPPED[type(operator)]()], [right]))
        case ast.BoolOp(op=operator, values=values):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield "and or", node, text(ast.BoolOp(other, values))
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
            yield "negation", node, text(operand)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in SWAPPED:
            yield "operator", node, text(ast.BinOp(left, SWAPPED[type(operator)](), right))
        case ast.Constant(value=bool(value)):
            yield "boolean", node, str(not value)
        case ast.Constant(value=int(value)):
            yield "number", node, str(value + 1)
            if value:
                yield "number", node, str(value - 1)
        case ast.Call(func=ast.Name(id=name) as function) if name in RENAMED:
            yield "function", function, RENAMED[name]
        case ast.Call(func=ast.Attribute(value=value, attr=name) as function) if name in RENAMED:
            yield "function", function, f"{ast.unparse(value)}.{RENAMED[name]}"
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Assign(targets=[ast.Attribute()]):
            yield "statement", node, "pass"
        case ast.If(test=test):
            yield "condition", test, "True"
            yield "condition", test, "False"


def mutants_of(file: str) -> list[Mutant]:
    """Lists every mutant of a file; type annotations, messages, decorators and `__all__` are left as they are."""
    source = (PACKAGE / file).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return
        for kind, part, text in changes_of(node):
            place: Any = part
            start = starts[place.lineno - 1] + place.col_offset
            end = starts[place.end_lineno - 1] + place.end_col_offset
            found.append(Mutant(file, place.lineno, kind, start, end, text))
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params") or isinstance(node, ast.Raise):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child)

    visit(ast.parse(source))
    return found


def make_map(path: Path) -> dict[str, Any]:
    """Runs the tests once; writes and returns which reach which line, and the seconds each has taken."""
    import coverage
    import pytest

    files = [str(ROOT / "tests" / f"test_{name}.py") for name in TESTS]
    measured = coverage.Coverage(data_file=None, include=[f"{PACKAGE}/*"], config_file=False)
    seconds: dict[str, float] = defaultdict(float)

    class Contexts:
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(self, item: Any) -> Any:
            name = item.nodeid.partition("[")[0]
            measured.switch_context(name)
            began = time.process_time()
            result = yield
            seconds[name] += time.process_time() - began
            measured.switch_context("")
            return result

    measured.start()
    failed = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--rootdir", str(ROOT), *files], plugins=[Contexts()])
    measured.stop()
    if failed:
        raise RuntimeError("the tests must pass before anything is changed")
    data = measured.get_data()
    lines = {
        str(Path(file).relative_to(PACKAGE)): {
            line: sorted(filter(None, names)) for line, names in data.contexts_by_lineno(file).items()
        }
        for file in data.measured_files()
    }
    path.write_text(json.dumps({"lines": lines, "seconds": seconds}))
    return json.loads(path.read_text())


def tests_for(mutant: Mutant, known: dict[str, Any]) -> list[str]:
    """Chooses tests, the fastest first: those of the line or, where it runs on import, those of the file."""
    lines = known["lines"].get(mutant.file, {})
    names = set(lines.get(str(mutant.line), [])) or {name for tests in lines.values() for name in tests}
    chosen, left = [], WORTH
    for name in sorted(names, key=known["seconds"].__getitem__):
        left -= known["seconds"][name]
        if chosen and left < 0:
            break
        chosen.append(name)
    return chosen


class MutantLoader(SourceFileLoader):
    """Loads a changed file in place of the one on disk."""

    def __init__(self, name: str, path: str, source: bytes):
        super().__init__(name, path)
        self.changed = source

    def get_code(self, fullname: str) -> Any:
        return compile(self.changed, self.path, "exec")


class MutantFinder:
    """Finds the changed file for its module."""

    def __init__(self, mutant: Mutant):
        parts = ["hf_learn2pd", *Path(mutant.file).with_suffix("").parts]
        self.module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self.mutant = mutant

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.module:
            return None
        file = str(PACKAGE / self.mutant.file)
        loader = MutantLoader(name, file, self.mutant.source())
        return importlib.util.spec_from_file_location(name, file, loader=loader)


def survives(mutant: Mutant, tests: list[str]) -> bool:
    """Runs tests on a mutant in a child."""
    import pytest

    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (ENDLESS, ENDLESS))
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            sys.meta_path.insert(0, MutantFinder(mutant))
            names = [str(ROOT / name) for name in tests]
            status = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--rootdir", str(ROOT), *names])
        finally:
            os._exit(int(status))
    _, status = os.waitpid(child, 0)
    return status == 0


def preload() -> None:
    """Imports what the package imports, but not the package."""
    code = "import sys, hf_learn2pd.models, conftest; print(*sorted(sys.modules))"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path}
    )
    for name in done.stdout.split():
        if name.split(".")[0] in (
            "torch",
            "transformers",
            "accelerate",
            "safetensors",
            "huggingface_hub",
            "tokenizers",
        ):
            try:
                importlib.import_module(name)
            except ImportError:
                continue
    importlib.import_module("torch").set_num_threads(1)


def main(arguments: list[str] | None = None) -> None:
    """Tries a sample of the mutants that have not been tried yet, and prints those that survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=150, help="how many mutants (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: %(default)s)")
    parser.add_argument("--only", nargs="+", help="files below hf_learn2pd (default: all that decode)")
    parser.add_argument("--log", type=Path, default=Path("mutants.jsonl"), help="what was tried (default: %(default)s)")
    parser.add_argument("--map", type=Path, default=Path("mutants.map.json"), help="tests by line; made if missing")
    options = parser.parse_args(arguments)
    files = sorted({str(file.relative_to(PACKAGE)) for pattern in MUTATED for file in PACKAGE.glob(pattern)})
    everything = [mutant for file in options.only or files for mutant in mutants_of(file)]
    sample = random.Random(options.seed).sample(everything, min(options.sample, len(everything)))
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    preload()
    if not options.map.exists() and os.fork() == 0:
        # In a child, so that this process has not imported the package.
        make_map(options.map)
        os._exit(0)
    if not options.map.exists():
        os.wait()
    known = json.loads(options.map.read_text())
    lines = options.log.read_text().splitlines() if options.log.exists() else []
    tried = {line["name"]: line for line in map(json.loads, lines)}
    for number, mutant in enumerate(sample, 1):
        if mutant.name not in tried:
            tests = tests_for(mutant, known)
            line = {"name": mutant.name, "tests": len(tests), "survived": survives(mutant, tests) if tests else True}
            tried[mutant.name] = line
            with options.log.open("a") as log:
                log.write(json.dumps(line) + "\n")
        if tried[mutant.name]["survived"]:
            told = f"{mutant.kind}, {tried[mutant.name]['tests']} tests"
            print(f"{number}: hf_learn2pd/{mutant.file}:{mutant.line} ({told})\n{mutant.diff()}\n", flush=True)
    survived = sum(tried[mutant.name]["survived"] for mutant in sample)
    killed = len(sample) - survived
    print(f"{killed} of {len(sample)} killed, {survived} survived: {100 * killed / len(sample):.1f} %")


if __name__ == "__main__":
    main()
