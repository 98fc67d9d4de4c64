# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The measuring scripts: what they count is right, and what they print is complete."""

import json
import sys

import benchmark
import measuring
import profile_loop
import pytest
import side_by_side
import torch
from conftest import CHECKPOINT, golden_model
from naive_loop import naive_generate
from profile_loop import forward_share
from tasks import task_sample
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_learn2pd import Threshold


def test_the_naive_loop_writes_what_the_stock_loop_writes():
    model, prompt = golden_model("tiny_llada"), torch.tensor([[7, 8, 9]])
    stock = model.generate(prompt, decoding="low_confidence", max_new_tokens=48, block_length=16, end_of_text=None)
    assert torch.equal(naive_generate(model, prompt, 48, 16), stock)


def test_work_is_counted_per_row_and_against_lockstep():
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    samples = [task_sample(11, index, "test") for index in range(4)]
    prompts = [sample.prompt for sample in samples]
    options = {"decoding": Threshold(0.9), "max_new_tokens": 160, "block_length": 32}
    together = measuring.measure(model, tokenizer, prompts, 4, repeats=2, **options)
    alone = [measuring.measure(model, tokenizer, [prompt], 1, **options) for prompt in prompts]
    assert together.texts == [one.texts[0] for one in alone]
    assert together.nfe == sum(one.nfe for one in alone) / 4
    assert together.tokens == pytest.approx(sum(one.tokens for one in alone) / 4)
    assert len(together.seconds) == 2 and together.tokens_per_second > 0
    # Alone there is nobody to wait for. Without a cache no row ever waits.
    assert all(one.row_passes == one.lockstep_row_passes == one.nfe for one in alone)
    assert together.row_passes == sum(one.nfe for one in alone) < together.lockstep_row_passes


def test_benchmark_writes_table_numbers_and_plot(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    arguments = ["--num-prompts", "3", "--stock-prompts", "1", "--lengths", "64", "--batch-sizes", "3"]
    arguments += ["--repeats", "1", "--output", str(tmp_path)]
    results = benchmark.main(arguments)
    stored = json.loads((tmp_path / "benchmark.json").read_text())
    assert stored["results"] == results and "--lengths 64" in stored["command"]
    assert (tmp_path / "benchmark.png").stat().st_size > 10_000
    text = (tmp_path / "benchmark.md").read_text()
    assert text.strip() in capsys.readouterr().out
    cells = {(one["decoder"], one["cache"]) for one in results}
    assert cells == {("naive loop", "none"), (benchmark.STOCK, "none"), (benchmark.STOPPED, "none")} | {
        (name, cache) for name in ("threshold 0.9", "learn2pd") for cache in ("none", "dual")
    }
    rows = [line for line in text.splitlines() if line.startswith("| 64 |")]
    assert len(rows) == len(results)
    # Every decoder is as fast as itself.
    threshold = [row.split(" | ") for row in rows if "threshold 0.9" in row]
    assert [row[10] for row in threshold] == ["1.00x", "1.00x"]


def test_own_prompts_have_no_score(tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("reverse the list cat, dog.\n\nreverse the list owl, pig.\n")
    arguments = ["--prompts", str(tmp_path / "prompts.txt"), "--stock-prompts", "1", "--lengths", "32"]
    arguments += ["--batch-sizes", "2", "--caches", "dual", "--repeats", "1", "--output", str(tmp_path)]
    results = benchmark.main(arguments)
    assert [len(one["texts"]) for one in results if one["decoder"] == "learn2pd"] == [2]
    assert all(one.get("exact_match") is None for one in results)


def test_the_time_inside_of_the_model_is_a_part_of_the_whole():
    prompt = torch.tensor([[1, 2, 3]])
    share, milliseconds, passes = forward_share(
        golden_model("tiny_llada"), {"input_ids": prompt}, max_new_tokens=16, decoding=Threshold(0.9)
    )
    assert 0.1 < share < 1 and milliseconds > 0 and 1 <= passes <= 16


def test_a_word_of_the_command_line_says_what_passes_compute():
    assert measuring.read_passes("none") == {"block_cache": None, "suffix_length": None}
    assert measuring.read_passes("none+8") == {"block_cache": None, "suffix_length": 8}
    assert measuring.read_passes("local+64") == {"block_cache": "local", "suffix_length": 64}
    for wrong in ("locale", "local+", "local+x", "local+-1", ""):
        with pytest.raises(ValueError, match="`passes` must be one of none, "):
            measuring.read_passes(wrong)


def test_compiled_passes_are_measured_beside_the_bare_decoder(monkeypatch, capsys):
    sizes = {"d_model": 32, "n_layers": 1, "n_heads": 4, "mlp_hidden_size": 64, "vocab_size": 64}
    monkeypatch.setitem(profile_loop.SHAPES, "tiny", sizes)
    benchmark.main(["--shape", "tiny", "--compile", "eager", "--bandwidth", "1e6"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    assert [row[0] for row in rows] == ["decoder", "not compiled", "compiled"]
    assert all(float(cell) > 0 for row in rows[1:] for cell in row[1:])
    # Four projections, three of the MLP, three norms and the head; of the embedding a pass reads some rows only.
    size = 4 * (4 * 32 * 32 + 3 * 32 * 64 + 3 * 32 + 32 * 64)
    assert f"{1e3 * size / 1e6:.2f} ms at 1e+06 bytes per second" in "\n".join(lines)
    with pytest.raises(SystemExit):
        benchmark.main(["--compile"])


RELEASE = """
import torch
import hf_learn2pd
from transformers import AutoModelForCausalLM as LLaDAModelLM

@torch.no_grad()
def generate(model, prompt, steps, gen_length, block_length, mask_id, threshold):
    assert 126081 == model.config.eos_token_id and threshold == 0.9
    options = {"max_new_tokens": gen_length, "block_length": block_length, "end_of_text": None}
    return model.generate(prompt, decoding=hf_learn2pd.Threshold(threshold), **options), 1

def generate_with_prefix_cache(*args, **kwargs):
    ids, passes = generate(*args, **kwargs)
    return ids - 1, passes

generate_with_dual_cache = generate_with_prefix_cache
"""


def test_side_by_side_compares_with_code_in_the_layout_of_the_release(tmp_path, capsys):
    (tmp_path / "generate.py").write_text(RELEASE)
    arguments = ["--fast-dllm", str(tmp_path), "--python", sys.executable, "--num-prompts", "2"]
    side_by_side.main([*arguments, "--lengths", "32"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| fast_dllm")]
    # Every row is printed when it is measured, and in the table at the end.
    cells = [(row[1], row[3], row[4], row[5]) for row in rows[-24:]]
    named = ("stop: none", "stop: accepted", "fastest", "fastest, own filter")
    ours = [(name, size) for name in named for size in ("1", "16")]
    assert [cell[:3] for cell in cells[:8]] == [("generate", *one) for one in ours]
    assert {cell[3] for cell in cells[:4]} == {"2 of 2"}
    assert cells[8:] == [
        (function, *one, "0 of 2")
        for function in ("generate_with_prefix_cache", "generate_with_dual_cache")
        for one in ours
    ]
    assert all(row[6].count(".") == 2 for row in rows)
    with pytest.raises(SystemExit):
        side_by_side.main(["--python", sys.executable])
