# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Strategies of users, which may return anything and write anywhere."""

from dataclasses import dataclass

import pytest
import torch
from conftest import ScriptedModel

from hf_learn2pd import UnmaskingStrategy


class Bounded(ScriptedModel):
    """Fails instead of going on for ever."""

    def forward(self, *args, **kwargs):
        assert len(self.canvases) < 20, "the loop does not end"
        return super().forward(*args, **kwargs)


SCRIPT = [5, 6, 7, 8], [0.9, 0.8, 0.7, 0.6]


@dataclass(frozen=True)
class Returns(UnmaskingStrategy):
    value: object

    def __call__(self, prediction):
        return self.value


@dataclass(frozen=True)
class Writes(UnmaskingStrategy):
    """Chooses nothing, and spoils what it is shown."""

    def __call__(self, prediction):
        prediction.masked.zero_()
        prediction.tokens.fill_(3)
        prediction.confidence.zero_()
        prediction.rows.zero_()
        return prediction.masked


@dataclass(frozen=True)
class WritesEarly(UnmaskingStrategy):
    def rescore(self, logits, memory, masked):
        masked.zero_()
        return logits, memory

    def __call__(self, prediction):
        return prediction.masked


@pytest.mark.parametrize("end_of_text", ["accepted", "cut", "predicted"])
def test_a_strategy_that_writes_into_its_prediction_changes_nothing(end_of_text):
    model = Bounded(*SCRIPT)
    output = model.run([[1], [2]], decoding=Writes(), end_of_text=end_of_text)
    assert output.sequences.tolist() == [[1, 5, 6, 7, 8], [2, 5, 6, 7, 8]]
    assert output.unmasking_steps.tolist() == [[0, 1, 2, 3]] * 2


def test_a_drafter_that_writes_into_its_prediction_changes_nothing():
    output = Bounded(*SCRIPT).run(decoding=Writes(), verify=True)
    assert output.sequences.tolist() == [[1, 2, 5, 6, 7, 8]]


def test_a_strategy_that_writes_while_it_rescores_changes_nothing():
    output = Bounded(*SCRIPT).run(decoding=WritesEarly())
    assert output.sequences.tolist() == [[1, 2, 5, 6, 7, 8]] and output.nfe.tolist() == [1]


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize(
    ("value", "got"),
    [
        (None, "NoneType"),
        (True, "bool"),
        (torch.ones(4, dtype=torch.bool), r"torch.bool of shape \(4,\)"),
        (torch.ones(1, 1, dtype=torch.bool), r"torch.bool of shape \(1, 1\)"),
        (torch.ones(1, 4), r"torch.float32 of shape \(1, 4\)"),
    ],
)
def test_a_choice_of_another_kind_or_shape_is_refused(value, got, verify):
    message = rf"`decoding` must return a bool tensor of shape \(1, 4\) \(got {got}\)"
    with pytest.raises(ValueError, match=message):
        Bounded(*SCRIPT).run(decoding=Returns(value), verify=verify)
