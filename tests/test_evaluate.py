# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The script that compares decoders."""

import json
import sys
from pathlib import Path

import pytest
import torch

from hf_learn2pd import UnmaskingFilter

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

import evaluate  # noqa: E402
from tasks import task_sample  # noqa: E402

SETTINGS = ["--max-new-tokens", "96", "--thresholds", "0.9", "--factors", "1.0"]


def test_everything_is_measured_on_the_same_questions_and_kept(tmp_path, capsys, monkeypatch):
    filter = UnmaskingFilter(architecture="transformer", threshold=1.0)
    filter.save_pretrained(tmp_path / "never")
    arguments = [*SETTINGS, "--num-prompts", "3", "--filters", f"never={tmp_path / 'never'}"]
    arguments += ["--filter-thresholds", "0.0", "--output", str(tmp_path / "out")]
    results = evaluate.main(arguments)
    names = ["stock", "threshold 0.9", "factor 1", "never 1.0000 (own)", "never 0.0000", "oracle"]
    assert list(results) == names and all(len(one["texts"]) == 3 for one in results.values())
    stock, never, always, oracle = (results[name] for name in ("stock", names[3], names[4], "oracle"))
    # A filter that accepts nothing is the stock loop, one that accepts everything takes a pass per block.
    assert never["texts"] == stock["texts"] == oracle["texts"] and never["nfe"] == stock["nfe"]
    assert always["nfe"] <= 3 and oracle["nfe"] < stock["nfe"]
    assert never["agreement"] == oracle["agreement"] == 100
    table = (tmp_path / "out" / "evaluation.md").read_text()
    assert table.strip() in capsys.readouterr().out and "| oracle |" in table
    stored = json.loads((tmp_path / "out" / "evaluation.json").read_text())["results"]

    # A second run repeats nothing, unless something else is asked.
    monkeypatch.setattr(evaluate, "measure", None)
    assert evaluate.main(arguments) == {name: stored[name] for name in names}
    with pytest.raises(ValueError, match="`--output` must be empty or of the same questions"):
        evaluate.main([*arguments, "--num-prompts", "2"])


def test_own_questions_and_their_answers(tmp_path):
    pytest.importorskip("matplotlib")
    samples = [task_sample(5, index, "test", family="total") for index in range(2)]
    answers = [sample.answer.split()[-1].rstrip(".") for sample in samples]
    lines = [
        json.dumps({"prompt": sample.prompt, "answer": text}) for sample, text in zip(samples, answers, strict=True)
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    arguments = ["--data", str(tmp_path / "data.jsonl"), "--filters", "--thresholds", "0.9", "--factors"]
    results = evaluate.main([*arguments, "--output", str(tmp_path / "out")])
    assert list(results) == ["stock", "threshold 0.9", "oracle"] and results["stock"]["accuracy"] == 100
    assert (tmp_path / "out" / "evaluation.png").stat().st_size > 5000


def test_answers_are_compared_by_their_last_number_or_word():
    assert evaluate.ends_with("so 1,200", "first 3, then #### 1200.")
    assert evaluate.ends_with("4", "4.0") and not evaluate.ends_with("4", "it is 4 or 5")
    assert evaluate.ends_with("north", "he faces North.".lower()) and not evaluate.ends_with("north", "north or south")


def test_area_by_hand():
    # One token per pass at 100 %, 3 at 98 %, and 6 at 90 %, which is too far below.
    assert evaluate.area_under_curve([(1.0, 100.0), (3.0, 98.0), (6.0, 90.0)], best=100.0) == 100 + 2 * 98
    # Who is better at more tokens per pass is as good at fewer.
    assert evaluate.area_under_curve([(1.0, 97.0), (2.0, 99.0)], best=100.0) == 2 * 99
    assert torch.isfinite(torch.tensor(evaluate.area_under_curve([(1.0, 0.0)], best=100.0)))
