# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The script that says what a filter gains by its features and its loss."""

import filter_ablation
import pytest
import torch
from conftest import golden_filter

from hf_learn2pd.training.trajectories import Trajectories


def test_a_threshold_accepts_as_many_wrong_predictions_as_it_may():
    filter, generator = golden_filter(), torch.Generator().manual_seed(0)
    confidence = torch.rand(500, filter.block_length, generator=generator)
    masked, correct = (torch.rand(confidence.shape, generator=generator) < share for share in (0.6, 0.8))
    zeros, everywhere = torch.zeros_like(confidence), torch.ones_like(masked)
    steps = Trajectories(confidence, zeros, zeros, zeros.long(), masked, everywhere, correct)
    threshold, share = filter_ablation.accept_at(filter, steps, wrong=4.0)
    accepted = (filter.score(steps).sigmoid() > threshold) & steps.masked
    assert (accepted & ~steps.correct).sum() == 2
    assert share == pytest.approx(((accepted & steps.correct).sum() / (steps.masked & steps.correct).sum()).item())
    everything, all_of_them = filter_ablation.accept_at(filter, steps, wrong=10_000.0)
    assert (everything, all_of_them) == (0.0, 1.0)


def test_the_ablation_ranks_recipes_and_decodes_with_the_best(tmp_path, capsys, monkeypatch):
    quick = {name: recipe | {"epochs": 2} for name, recipe in filter_ablation.RECIPES.items()}
    monkeypatch.setattr(filter_ablation, "RECIPES", quick)
    arguments = ["--num-prompts", "4", "--held-out-prompts", "2", "--max-new-tokens", "32", "--passes", "local+16"]
    arguments += ["none", "--recipes", "confidence", "published MLP", "--decode", "1", "--batch-size", "2"]
    filter_ablation.main([*arguments, "--trajectories", str(tmp_path)])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows[0][0] == "recipe" and {row[0] for row in rows[1:]} == {"confidence", "published MLP"}
    shares = [float(row[3]) for row in rows[1:]]
    assert shares == sorted(shares, reverse=True)
    assert 1 <= float(rows[1][5]) <= 32 and rows[2][4:] == ["-", "-"]
