# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The README's code runs, on the small checkpoint where it names LLaDA-8B."""

import re
from pathlib import Path

from conftest import golden_filter

import hf_learn2pd

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_code_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 6
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hf_learn2pd.UnmaskingFilter, "from_original", lambda path: golden_filter())
    scope: dict[str, object] = {}
    for block in blocks:
        block = block.replace("GSAI-ML/LLaDA-8B-Instruct", str(ROOT / "examples" / "tiny_llada"))
        block = block.replace("bfloat16", "float32").replace('"cuda"', '"cpu"')
        exec(block, scope)
    assert scope["output"].shape[0] == 2
    assert "tensor" in capsys.readouterr().out
    assert (tmp_path / "answers.jsonl").read_text().count("\n") == 1 and "<section>" in str(scope["page"])
    assert (tmp_path / "my_filter" / "model.safetensors").exists()


def test_every_strategy_is_in_the_methods_table():
    for name, strategy in hf_learn2pd.UNMASKING_STRATEGIES.items():
        assert f'| `"{name}"` | `{strategy.__name__}(' in README


def test_a_newcomer_reads_it_in_one_go():
    assert len(README.splitlines()) <= 180


def test_the_two_commands_are_there():
    assert "pip install -e . && python examples/quickstart.py" in README
    assert 'pip install -e ".[test]" && pytest' in README
