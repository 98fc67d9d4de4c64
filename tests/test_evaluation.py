# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The evaluation of decoders: its questions, runs, statistics, tables, and the README's table of methods."""

import json
import math
import random

import pytest
import report
import run
from bootstrap import paired_difference
from conftest import EXAMPLES
from decoders import CURVES
from methods import METHODS, OTHERS
from questions import ends_with, load_questions
from records import Record, Run, read_runs, write_run
from selection import area_under_curve, best_settings, ratios, score
from tables import make_tables
from tasks import task_sample

import hf_learn2pd

PAGES = README, RESULTS = [
    path.read_text() for path in (EXAMPLES.parent / "README.md", EXAMPLES / "evaluation" / "RESULTS.md")
]
LENGTHS = ["--num-prompts", "2", "--max-new-tokens", "32"]


def make_run(method, setting, right, nfe, way="none", kind=None, tokens=12, text="a"):
    """A run on as many prompts as `right` has."""
    asked = {"data": "made", "num_prompts": len(right), "max_new_tokens": 8, "block_length": 8, "batch_size": 1}
    records = [Record(each, text, nfe, tokens) for each in right]
    return Run(asked, way, method, setting, kind or method, "", True, True, "python", "CPU", 2.0, nfe, records)


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text(
        "Text.\n<!-- table: tasks best -->\nfigures before\n<!-- end -->\n<!-- table: other -->\nkept\n<!-- end -->\n"
    )
    return path


def test_runs_are_kept_not_repeated_and_reported(tmp_path, document, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    hf_learn2pd.UnmaskingFilter(architecture="transformer", threshold=1.0).save_pretrained(tmp_path / "never")
    arguments = [*LENGTHS, "--ways", "none", "dual", "--methods", "checkerboard", "pearl", "oracle", "never"]
    arguments += ["--filters", f"never={tmp_path / 'never'}", "--filter-thresholds", "0"]
    arguments += ["--output", str(tmp_path / "out")]
    folder = run.main(arguments)
    runs = {(each.way, f"{each.method} {each.setting}".strip()): each for each in read_runs(folder)}
    assert len(runs) == 12
    for way in ("none", "dual"):
        stock, never, always, oracle, pearl = (
            runs[way, name] for name in ("stock", "never 1", "never 0", "oracle", "pearl")
        )
        # A filter that accepts nothing is the stock loop, one that accepts everything takes a pass per block.
        assert never.agreement(stock) == oracle.agreement(stock) == pearl.agreement(stock) == 100
        assert never.nfe == stock.nfe and always.nfe <= 2 and oracle.nfe < stock.nfe and pearl.nfe < stock.nfe
        assert pearl.row_passes > stock.row_passes and never.default and not always.default
    assert [len(ids) for ids in runs["none", "stock"].ids] == [each.tokens for each in runs["none", "stock"].records]

    # A second run repeats nothing, unless a file is gone.
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.json")}
    (folder / "none" / "oracle.json").unlink()
    run.main(arguments)
    assert {path for path, time in times.items() if path.stat().st_mtime_ns != time} == {
        folder / "none" / "oracle.json"
    }

    tables = report.main([str(folder), "--results", str(document), "--speeds"])
    assert set(tables) == {"tasks best", "tasks none", "tasks dual"}
    text = document.read_text()
    assert tables["tasks best"] in text and "figures before" not in text and "kept" in text
    assert "| none | oracle | - |" in text and "| dual | oracle | - |" in text and "torch " in text
    shown = (folder / "report.md").read_text()
    assert shown in capsys.readouterr().out and "2 of 2 texts equal those of stock" in shown
    rows = [line.split(" | ")[0] for line in shown.splitlines() if line.startswith('| `"')]
    kinds = ["low_confidence", "checkerboard", "learn2pd", "oracle", "pearl", "pearl"]
    assert rows == [f'| `"{name}"`' for name in kinds]
    for way in ("none", "dual"):
        for axis in ("tpf", "speed"):
            assert f"(plots/tasks_{way}_{axis}.png)" in tables[f"tasks {way}"]
            assert (tmp_path / "plots" / f"tasks_{way}_{axis}.png").stat().st_size > 5000


def test_a_folder_of_other_questions_or_decoders_is_refused(tmp_path):
    arguments = [*LENGTHS, "--ways", "none", "--methods", "stock", "--output", str(tmp_path / "out")]
    folder = run.main(arguments)
    with pytest.raises(ValueError, match="`--output` must be empty or of"):
        run.main([*arguments, "--num-prompts", "1"])
    path = folder / "none" / "stock.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder": "another"}))
    with pytest.raises(ValueError, match=r"`--output` must hold stock .* \(got another\)"):
        run.main(arguments)
    with pytest.raises(ValueError, match="`--methods` must be among"):
        run.main([*arguments, "--methods", "thresold"])
    with pytest.raises(ValueError, match="`folders` must hold runs"):
        read_runs(tmp_path / "nothing")


def test_own_questions_and_their_answers(tmp_path):
    samples = [task_sample(5, index, "test", family="total") for index in range(2)]
    answers = [sample.answer.split()[-1].rstrip(".") for sample in samples]
    lines = [
        json.dumps({"prompt": sample.prompt, "answer": text}) for sample, text in zip(samples, answers, strict=True)
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines))
    prompts, checks = load_questions(str(path), 2)
    assert prompts == [sample.prompt for sample in samples]
    assert all(check(sample.answer) for check, sample in zip(checks, samples, strict=True))
    lengths = ["--num-prompts", "2", "--max-new-tokens", "128", "--ways", "none", "--methods", "stock"]
    folder = run.main(["--data", str(path), *lengths, "--output", str(tmp_path / "out")])
    (stock,) = read_runs(folder)
    assert stock.asked["data"] == "data" and stock.accuracy == 100
    assert stock.right == [check(each.text) for check, each in zip(checks, stock.records, strict=True)]
    assert not checks[0]("none") and not checks[0](answers[0] + "1")
    with pytest.raises(ValueError, match="`--num-prompts` must be at most"):
        load_questions(str(path), 3)
    with pytest.raises(ValueError, match="`--data` must be"):
        load_questions(str(tmp_path / "missing.jsonl"), 1)


def test_word_problems_are_scored_by_their_number():
    pytest.importorskip("reasoning_gym")
    from gsm_samples import held_out_samples

    samples = held_out_samples(3)
    prompts, checks = load_questions("gsm", 3)
    assert prompts == [sample.prompt for sample in samples]
    assert all(check(sample.answer) for check, sample in zip(checks, samples, strict=True))
    assert not any(check("#### 123456.5") for check in checks)


def test_answers_are_compared_by_their_last_number_or_word():
    assert ends_with("so 1,200", "first 3, then #### 1200.")
    assert ends_with("4", "4.0") and not ends_with("4", "it is 4 or 5")
    assert ends_with("north", "he faces north.") and not ends_with("north", "north or south")


def test_bootstrap_by_hand():
    # Of two prompts one is lost: a resample loses 0, 1 or 2 of them with chances 1/4, 1/2, 1/4.
    difference = paired_difference([True, False], [True, True])
    assert (difference.mean, difference.low, difference.high) == (-50, -100, 0)
    # Where both decoders are always alike there is nothing to resample.
    same = paired_difference([True, False], [True, False])
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    assert paired_difference([True, True], [False, False]).low == 100
    with pytest.raises(ValueError, match="`right` must have as many prompts as `stock`"):
        paired_difference([True], [])


def test_bootstrap_is_near_its_normal_approximation():
    draw = random.Random(0)
    stock = [draw.random() < 0.7 for _ in range(2000)]
    right = [each if draw.random() < 0.8 else not each for each in stock]
    difference = paired_difference(right, stock)
    each = [100 * (one - other) for one, other in zip(right, stock, strict=True)]
    mean = sum(each) / 2000
    error = math.sqrt(sum((one - mean) ** 2 for one in each) / 2000 / 2000)
    assert difference.mean == pytest.approx(mean)
    assert difference.low == pytest.approx(mean - 1.96 * error, abs=0.1)
    assert difference.high == pytest.approx(mean + 1.96 * error, abs=0.1)


def test_best_setting_is_the_fastest_that_surely_loses_little():
    def lost(number):
        return [False] * number + [True] * (1000 - number)

    runs = [
        make_run("stock", "", lost(0), 12),
        make_run("threshold", "0.9", lost(1), 4),
        # Its loss is 0.3 points, but may be more than 0.5.
        make_run("threshold", "0.8", lost(3), 3),
        make_run("threshold", "0.99", lost(0), 6),
        make_run("factor", "1", lost(80), 2),
        make_run("filter", "0.5", lost(0), 2, kind="learn2pd"),
        make_run("oracle", "", lost(0), 1),
    ]
    scored = score(runs)
    assert scored[2].difference.mean == pytest.approx(-0.3) and scored[2].difference.low < -0.5
    best = best_settings(scored)
    assert list(best) == ["oracle", "filter", "threshold", "stock", "factor"]
    assert best["threshold"].run.setting == "0.9" and best["factor"] is None
    # 6 tokens per pass beside 3 of the best rule and 12 of the oracle.
    assert ratios(best)["filter"] == (2.0, 0.5) and "factor" not in ratios(best)
    table = make_tables(runs, speeds=False)["made best"]
    assert "| none | filter | 0.5 | 100.0 | +0.0 (+0.0 to +0.0) | 100.0 | 2.0 | 6.00 | 2.00x | 0.50x |" in table
    assert "| none | factor | none | - |" in table and "tokens/s" not in table
    with pytest.raises(ValueError, match="`runs` must hold stock"):
        score(runs[1:])


def test_where_stock_was_not_run_without_a_cache_that_with_the_same_passes_is_compared_with():
    half, most = [True, True, False, False], [True, True, True, False]
    cached = [make_run("stock", "", most, 4, way="local"), make_run("factor", "1", half, 2, way="local")]
    assert [one.difference.mean for one in score(cached)] == [0, -25]
    assert "with the same passes: without a cache it was not run." in make_tables(cached, speeds=False)["made local"]
    exact = [make_run("stock", "", half, 4), *cached]
    assert [one.difference.mean for one in score(exact)] == [0, 25, 0]
    assert "with the same passes" not in make_tables(exact, speeds=False)["made local"]
    with pytest.raises(ValueError, match=r"`runs` must hold stock at the way 'none' or 'dual' \(got \['local'\]\)"):
        score([*cached, make_run("factor", "1", half, 2, way="dual")])


def test_a_run_comes_back_as_it_was(tmp_path):
    one = make_run("local_leap", "0.9/0.75", [True, False], 4)
    write_run(tmp_path, one)
    assert read_runs(tmp_path) == [one] and [path.name for path in tmp_path.rglob("*.*")] == [
        "local_leap_0.9-0.75.json"
    ]
    assert (one.accuracy, one.nfe, one.tokens_per_forward, one.tokens_per_second) == (50, 4, 3, 12)
    assert one.agreement(make_run("stock", "", [True, True], 4, text="b")) == 0


def test_area_by_hand():
    # One token per pass at 100 %, 3 at 98 %, and 6 at 90 %, which is too far below.
    assert area_under_curve([(1.0, 100.0), (3.0, 98.0), (6.0, 90.0)], best=100.0) == 100 + 2 * 98
    # Who is better at more tokens per pass is as good at fewer.
    assert area_under_curve([(1.0, 97.0), (2.0, 99.0)], best=100.0) == 2 * 99
    assert math.isfinite(area_under_curve([(1.0, 0.0)], best=100.0))


def test_tables_are_replaced_between_their_markers():
    text = "a\n<!-- table: x -->\nold\n<!-- end -->\nb\n<!-- table: y -->\n<!-- end -->\n"
    filled = report.fill(text, {"x": "new", "z": "unused"})
    assert filled == "a\n<!-- table: x -->\nnew\n<!-- end -->\nb\n<!-- table: y -->\n<!-- end -->\n"
    assert report.fill(filled, {"x": "new"}) == filled


@pytest.mark.parametrize("page", [README, RESULTS], ids=["README", "RESULTS"])
def test_the_readme_and_the_results_have_the_table(page):
    for name, method in METHODS.items():
        assert f'| `"{name}"` | `{method.call}` | {method.rule} | [{method.paper}]' in page
    assert set(METHODS) == set(hf_learn2pd.UNMASKING_STRATEGIES)
    for call, rule, _ in OTHERS.values():
        assert f"| {call} | {rule} |" in page


def test_the_readme_takes_its_figures_from_the_results():
    short, long = (
        [row.strip("| ").split(" | ") for row in page.splitlines() if row.startswith('| `"')] for page in PAGES
    )
    assert len(short) == len(METHODS) + len(OTHERS)
    assert [row[:4] + row[4].split(" at ") for row in short] == [[*row[:4], row[5], row[4]] for row in long]


def test_the_first_setting_is_the_default_that_the_table_states():
    for name, method in METHODS.items():
        strategy = hf_learn2pd.UNMASKING_STRATEGIES[name]
        assert method.call.startswith(f"{strategy.__name__}(")
        if name not in ("learn2pd", "oracle"):
            first = next(iter(CURVES["stock" if name == "low_confidence" else name].values()))
            assert eval(method.call, vars(hf_learn2pd)) == strategy() == first["decoding"]
