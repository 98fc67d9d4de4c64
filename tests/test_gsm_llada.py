# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The GSM-Symbolic checkpoint: tokenizer, splits, scores, and a training run that resumes exactly."""

import json
import random
from pathlib import Path

import curriculum
import gsm_samples
import pytest
import score_run
import torch
import train_gsm_llada
from calculations import find_calculations
from drills import CALCULATION_DRILL, REPEAT_DRILL, RESULT_DRILL, calculation_drill, repeat_drill, result_drill
from gsm_batches import Kind, make_batches, mask_batch
from gsm_samples import Sample, held_out_samples, split_of, train_samples
from gsm_tokenizer import build_tokenizer
from safetensors.torch import load_file
from scores import final_number, is_correct, right_calculations, score_texts
from transformers import AutoModelForCausalLM, AutoTokenizer

PROBLEM = Sample(
    99,
    "Mia has 3 boxes of pencils for $2.50 each. How much is that?",
    "She paid 3 * $2.5 = $7.5.\n\nSo it is:\n   • 7.5 + 0.5=8\n   - 10÷4 = 2.5\n#### 7.5",
)


@pytest.fixture
def tokenizer():
    return build_tokenizer()


@pytest.fixture
def toy_options(tmp_path, monkeypatch):
    """Options of a run that knows one word problem, so that the generator is not needed."""
    monkeypatch.setattr(curriculum, "train_samples", lambda chunk: [PROBLEM] * 8)

    def options(name, *extra):
        paths = ["--output", str(tmp_path / name), "--state", str(tmp_path / f"{name}.state"), "--device", "cpu"]
        return train_gsm_llada.parse_options(["--preset", "toy", "--pool-size", "48", *paths, *extra])

    return options


def test_text_comes_back_as_it_was(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in (
        PROBLEM.prompt,
        PROBLEM.answer,
        "Tom's share: 2(21)=42.0 minutes, 1/4 of it. Each 45-minute show (with 2x=64) costs £0.25/ball!",
        "There are 5 boxes, 6 bags; 4= 4 or 80%-5% = 75%?\n#### -5",
    ):
        ids = loaded.encode(text, add_special_tokens=False)
        assert loaded.unk_token_id not in ids
        assert loaded.decode(ids) == text


def test_words_and_digits_are_one_token_each(tokenizer):
    words = tokenizer.tokenize("She has 120 pencils.\n#### 15")
    assert words == ["She", "has", "1", "2", "0", "pencils", ".", "⏎", "####", "1", "5"]
    assert tokenizer.tokenize("3 * 4 = 12") == ["3", "▁*▁", "4", "▁=▁", "1", "2"]
    assert tokenizer.tokenize("3*4=12") == ["3", "*", "4", "=", "1", "2"]
    assert tokenizer.encode("zyzzyva", add_special_tokens=False) == [tokenizer.unk_token_id]


def test_generated_texts_are_lossless_and_their_splits_disjoint(tokenizer):
    pytest.importorskip("reasoning_gym")
    training, held_out = train_samples(0), held_out_samples(200)
    assert training == train_samples(0)
    assert held_out[50:] == held_out_samples(150, skip=50)
    assert len({sample.prompt for sample in held_out}) == 200
    assert {sample.prompt for sample in training}.isdisjoint(sample.prompt for sample in held_out)
    for sample in training[:100] + held_out:
        assert final_number(sample.answer) is not None
        for text in (sample.prompt, sample.answer):
            assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_one_question_never_changes_its_split(monkeypatch):
    repeated = [Sample(0, f"question {number}", "#### 1") for number in range(64)]
    monkeypatch.setattr(
        gsm_samples, "_generate", lambda seed, split: (entry for entry in repeated if split_of(entry.prompt) == split)
    )
    training = {sample.prompt for sample in train_samples(0) + train_samples(7)}
    held_out = {sample.prompt for sample in held_out_samples(64 - len(training))}
    assert training | held_out == {sample.prompt for sample in repeated}
    assert not training & held_out


def test_training_cannot_reach_held_out_seeds():
    with pytest.raises(ValueError, match="chunk"):
        train_samples(gsm_samples.HELD_OUT_SEED // gsm_samples.CHUNK)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("4 boxes * $3 = $12 today", True),
        ("so 160-48=112 emails", True),
        ("2 + 3 * 4 = 14", True),
        ("$25 * 20% = $5", True),
        ("9 / 10 = 90.0%", True),
        ("122 spools / 200 spools * 100% = 61%", True),
        ("1,200 ÷ 5 = 240", True),
        ("7 x 8 = 54", False),
        ("5 / 0 = 0", False),
    ],
)
def test_a_calculation_is_found_and_checked(text, right):
    (calculation,) = find_calculations(text)
    assert calculation.is_right is right


@pytest.mark.parametrize("text", ["T = 5", "2x+140=204", "48=48", "3 boxes and 4 bags"])
def test_what_is_no_calculation_is_left_alone(text):
    assert find_calculations(text) == []


def test_scores_count_the_final_number_apart_from_the_calculations():
    assert final_number("1 + 1 = 2\n#### 1,234.50") == 1234.5
    assert final_number("no end") is None
    assert is_correct(PROBLEM, "#### 7.50")
    assert not is_correct(PROBLEM, "#### 7")
    assert right_calculations("1 + 1 = 2, then 2 + 2 = 5") == (1, 2)
    scores = score_texts([PROBLEM, PROBLEM], ["1 + 1 = 3\n#### 7.5", "1 + 1 = 2\n#### 8"])
    assert (scores.exact_match, scores.calculations, scores.by_template) == (0.5, 0.5, {99: (1, 2)})


@pytest.mark.parametrize("digits", [1, 2, 3, 4, 6])
def test_drills_are_right_and_need_no_unknown_word(tokenizer, digits):
    rng = random.Random(digits)
    calculations = find_calculations(PROBLEM.answer)
    for _ in range(50):
        asked = calculation_drill(rng, calculations, digits)
        unasked = result_drill(rng, calculations, digits)
        for drill in (asked, unasked):
            lines = drill.answer.split("\n")
            assert right_calculations(drill.answer) == (len(lines), len(lines))
        terms = asked.prompt.split("\n")[1:]
        assert all(line.startswith(term) for line, term in zip(asked.answer.split("\n"), terms, strict=True))
        repeat = repeat_drill(rng, ["kiwi", "boxes"], 0.5)
        assert repeat.prompt == f"Repeat {repeat.answer}"
        for text in (asked.prompt, asked.answer, unasked.answer, repeat.answer):
            assert tokenizer.unk_token_id not in tokenizer.encode(text, add_special_tokens=False)


def test_only_masked_answer_tokens_are_learned(tokenizer):
    rng = random.Random(0)
    samples = [PROBLEM] * 40 + [make(rng, [], 2) for make in (calculation_drill, result_drill) for _ in range(20)]
    generator = torch.Generator().manual_seed(0)
    for batch in make_batches(samples, tokenizer, 1024, rng):
        masked, learned = mask_batch(batch, generator)
        assert not (learned & ~masked).any()
        assert learned.any(1).all()
        assert not masked[torch.arange(batch.tokens.shape[1]) < batch.prompt_lengths].any()
        assert batch.tokens.numel() <= 1024 or len(batch.tokens) == 1


def test_each_kind_of_mask_hides_what_it_says(tokenizer):
    rng = random.Random(0)
    samples = [PROBLEM] * 60 + [result_drill(rng, [], 2) for _ in range(10)]
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for batch in make_batches(samples, tokenizer, 1024, rng):
        for row, (masked, learned) in enumerate(zip(*mask_batch(batch, generator), strict=True)):
            kind, start = Kind(batch.kinds[row].item()), int(batch.prompt_lengths[row] + batch.starts[row])
            seen.add(kind)
            # Nothing before the start is hidden.
            assert not masked[:start].any()
            if kind is Kind.UNIFORM:
                assert torch.equal(learned, masked)
            elif kind is Kind.BLOCK:
                assert torch.equal(learned[: start + 32], masked[: start + 32])
                assert masked[start + 32 :].all()
                assert not learned[start + 32 :].any()
            elif kind is Kind.CUT:
                assert masked[start:].all()
                assert learned[start : start + 8].all()
                assert not learned[start + 8 :].any()
            else:
                assert batch.templates[row] == RESULT_DRILL
                assert torch.equal(learned, masked)
                assert not (masked & ~batch.results[row]).any()
    assert seen == set(Kind)


def test_results_are_what_follows_an_equals_sign(tokenizer):
    (batch,) = make_batches(
        [Sample(RESULT_DRILL, "Calculate", "1 + 11 = $12.5\n2*3=6")], tokenizer, 64, random.Random(0)
    )
    assert tokenizer.convert_ids_to_tokens(batch.tokens[batch.results]) == ["$", "1", "2", ".", "5", "⏎", "6"]


def test_stages_widen_from_results_to_everything():
    stages = [curriculum.stage_at(million * 1_000_000) for million in range(60)]
    assert (stages[0].repeats, stages[0].calculations, stages[0].problems) == (0.0, 0.0, 0.0)
    assert stages[3].repeats > 0.5 and stages[3].problems == 0.0
    assert [stage.problems for stage in stages] == sorted(stage.problems for stage in stages)
    assert all(stage.repeats + stage.calculations + stage.problems < 1 for stage in stages)
    assert stages[-1].problems == curriculum.stage_at(10**12).problems > 0.5
    assert [stage.digits for stage in stages] == sorted(stage.digits for stage in stages)
    assert [stage.length for stage in stages] == sorted(stage.length for stage in stages)


def test_a_pool_holds_what_its_stage_says():
    pytest.importorskip("reasoning_gym")
    names = {
        templates: [sample.template for sample in curriculum.draw_pool(0, 3, 400, million * 1_000_000)]
        for templates, million in (("first", 0), ("lists", 3), ("all", 40))
    }
    assert set(names["first"]) == {RESULT_DRILL}
    assert set(names["lists"]) == {RESULT_DRILL, REPEAT_DRILL}
    assert {RESULT_DRILL, REPEAT_DRILL, CALCULATION_DRILL} < set(names["all"])
    assert 180 < sum(template >= 0 for template in names["all"]) < 300


def test_a_killed_run_ends_as_an_uninterrupted_one(toy_options, monkeypatch):
    # 12 steps cross the border between two pools.
    uninterrupted = toy_options("uninterrupted", "--steps", "12")
    train_gsm_llada.train(uninterrupted)

    killed = toy_options("killed", "--steps", "12", "--save-minutes", "0")
    step = train_gsm_llada.Trainer.step

    def step_until_killed(trainer, batch):
        if trainer.position.step == 5:
            raise KeyboardInterrupt
        return step(trainer, batch)

    with monkeypatch.context() as patched:
        patched.setattr(train_gsm_llada.Trainer, "step", step_until_killed)
        with pytest.raises(KeyboardInterrupt):
            train_gsm_llada.train(killed)
    train_gsm_llada.train(killed)

    expected, found = (load_file(options.state) for options in (uninterrupted, killed))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_run_that_was_killed_behind_its_last_step_takes_no_other(toy_options, monkeypatch):
    options = toy_options("toy", "--steps", "2")
    train_gsm_llada.train(options)
    before = load_file(options.state)
    monkeypatch.setattr(train_gsm_llada.Trainer, "step", lambda *_: pytest.fail("a third step"))
    train_gsm_llada.train(options)
    assert all(torch.equal(values, before[name]) for name, values in load_file(options.state).items())


def test_a_finished_run_leaves_its_state_and_its_export_loads(toy_options):
    options = toy_options("toy", "--steps", "4", "--log-every", "2")
    train_gsm_llada.train(options)
    before = Path(options.state).read_bytes()
    options.steps, options.finish = 0, 3000
    train_gsm_llada.train(options)
    assert Path(options.state).read_bytes() == before
    assert not Path(f"{options.state}.finish").exists()
    model = AutoModelForCausalLM.from_pretrained(options.output)
    tokenizer = AutoTokenizer.from_pretrained(options.output)
    assert type(model).__name__ == "LladaForMaskedDiffusion"
    assert model.config.mask_token_id == tokenizer.mask_token_id
    assert model.config.eos_token_id == tokenizer.eos_token_id
    ids = tokenizer.apply_chat_template([{"role": "user", "content": PROBLEM.prompt}], add_generation_prompt=True)
    assert tokenizer.unk_token_id not in ids["input_ids"]


def test_the_average_of_the_weights_is_exported_at_any_time(toy_options):
    options = toy_options("toy", "--steps", "3")
    train_gsm_llada.train(options)
    options.export = True
    train_gsm_llada.train(options)
    state = load_file(options.state)
    exported = AutoModelForCausalLM.from_pretrained(options.output)
    name = "model.embed_tokens.weight"
    assert torch.equal(exported.state_dict()[name], state[f"average.{name}"])
    assert not torch.equal(state[f"model.{name}"], state[f"average.{name}"])


def test_a_run_is_scored_by_template(tmp_path, capsys):
    pytest.importorskip("reasoning_gym")
    samples = held_out_samples(4)
    texts = [sample.answer for sample in samples[:3]] + ["#### -1"]
    (tmp_path / "run.json").write_text(json.dumps({"records": [{"text": text} for text in texts]}))
    score_run.main([str(tmp_path / "run.json")])
    printed = capsys.readouterr().out
    assert "75.0 % of 4 final numbers and " in printed
    counts = [line.split(" | ")[1:] for line in printed.splitlines() if line.startswith("| ") and "right" not in line]
    assert sum(int(right) for right, _ in counts) == 3 and sum(int(of.rstrip(" |")) for _, of in counts) == 4
