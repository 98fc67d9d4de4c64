# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The script that compares all methods, and the README's table that it makes."""

import json
import sys
from pathlib import Path

import pytest

import hf_learn2pd

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

import compare  # noqa: E402

README = (EXAMPLES.parent / "README.md").read_text()


def test_every_method_is_measured(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    arguments = ["--num-prompts", "2", "--max-new-tokens", "64", "--output", str(tmp_path)]
    results = compare.main(arguments)
    assert set(hf_learn2pd.UNMASKING_STRATEGIES) - {"low_confidence"} <= set(results)
    # The verified texts are those of the stock loop, with and without a cache; the oracle's too.
    stock, cached = results["stock"], results["stock_dual"]
    assert results["pearl"]["ids"] == stock["ids"] == results["oracle"]["ids"]
    assert results["pearl_dual"]["ids"] == cached["ids"]
    assert results["pearl"]["nfe"] < stock["nfe"] and results["pearl"]["row_passes"] > stock["row_passes"]
    text = (tmp_path / "comparison.md").read_text()
    assert "`pearl`: 2 of 2 texts equal those of stock, " in text and "stock, cache: dual" in text
    assert json.loads((tmp_path / "comparison.json").read_text())["results"] == results
    assert (tmp_path / "comparison.png").stat().st_size > 10_000


def test_some_methods_are_measured_without_the_others(tmp_path):
    arguments = ["--num-prompts", "1", "--max-new-tokens", "32", "--methods", "klass", "--output", str(tmp_path)]
    assert set(compare.main(arguments)) == {"stock", "klass", "klass 0", "klass 1"}
    rows = (tmp_path / "comparison.md").read_text().splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows if row.startswith("|")] == ['| `"low_confidence"`', '| `"klass"`']


def test_the_readme_has_the_table():
    for name, method in compare.METHODS.items():
        assert f'| `"{name}"` | `{method.call}` | {method.rule} | [{method.paper}]' in README
    assert set(compare.METHODS) == set(hf_learn2pd.UNMASKING_STRATEGIES)
    for call, rule, _ in compare.OTHERS.values():
        assert f"| {call} | {rule} |" in README


def test_instances_have_the_defaults_that_the_table_states():
    for name, method in compare.METHODS.items():
        strategy = hf_learn2pd.UNMASKING_STRATEGIES[name]
        assert method.call.startswith(f"{strategy.__name__}(")
        if name not in ("learn2pd", "oracle"):
            assert eval(method.call, vars(hf_learn2pd)) == strategy()
