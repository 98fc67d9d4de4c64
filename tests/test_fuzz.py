# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The first cases of the fuzzer, and that it notices what is wrong."""

import logging
import warnings

import fuzz
import pytest

from hf_learn2pd import EndOfTextCriteria, Threshold
from hf_learn2pd.canvas import Canvas


@pytest.fixture(autouse=True)
def silent():
    with warnings.catch_warnings():
        fuzz.silent()
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_every_case_is_refused_for_a_documented_reason_or_right(first):
    outcomes, defects = fuzz.run(0, range(first, first + 50))
    assert defects == []
    # Most calls are to decode.
    assert outcomes["valid"] > 25 and outcomes.total() == 50


def test_a_case_is_the_same_whenever_it_is_drawn():
    assert repr(fuzz.case_of(3, 7)) == repr(fuzz.case_of(3, 7)) != repr(fuzz.case_of(3, 8))


def _shifted(self, prediction):
    return prediction.masked & (prediction.confidence >= self.threshold / 2)


def _counting_twice(self, rows, tokens, chosen):
    self.write(rows, tokens, chosen)
    self.rows.passes[rows] += 2
    self.rows.step_in_block[rows] += 1


def _late(self, input_ids):
    return _TEXT_END(self, input_ids) + 1


_TEXT_END = EndOfTextCriteria.text_end


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [(Threshold, "__call__", _shifted), (Canvas, "unmask", _counting_twice), (EndOfTextCriteria, "text_end", _late)],
)
def test_the_fuzzer_notices_another_rule_another_count_and_another_end(owner, name, broken, monkeypatch):
    monkeypatch.setattr(owner, name, broken)
    defects = []
    for number in range(4000 if owner is Threshold else 400):
        if owner is not Threshold or isinstance(fuzz.case_of(1, number).options.get("decoding"), Threshold):
            defects += fuzz.run(1, range(number, number + 1))[1]
        if defects:
            break
    assert defects
