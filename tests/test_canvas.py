# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import torch

from hf_learn2pd.canvas import Canvas
from hf_learn2pd.special_tokens import SpecialTokens

PAD = 0
NONE = torch.empty(0, dtype=torch.long)
SPECIAL = SpecialTokens(mask=11, pad=PAD, eos=NONE, never_predicted=NONE, never_confident=NONE)


def make(prompts=((1, 2), (3, 4)), mask=None, length=5, block=2, steps=None):
    mask = None if mask is None else torch.tensor(mask)
    return Canvas(torch.tensor(prompts), mask, length, block, steps, SPECIAL)


def unmask_all(canvas, rows, token=5):
    canvas.unmask(torch.tensor(rows), torch.full_like(canvas.columns[rows], token), canvas.masked[rows])


def leave(canvas, finished, text_end):
    return canvas.leave(torch.tensor(finished), torch.as_tensor(text_end), sum(finished))


def test_windows_of_rows_move_on_their_own():
    canvas = make()
    assert canvas.columns.tolist() == [[2, 3], [2, 3]]
    unmask_all(canvas, [1])
    canvas.advance()
    assert canvas.columns.tolist() == [[2, 3], [4, 5]]
    assert canvas.rows.tokens[:, :7].tolist() == [[1, 2, 11, 11, 11, 11, 11], [3, 4, 5, 5, 11, 11, 11]]


def test_the_last_block_is_as_short_as_what_remains():
    canvas = make([[1]], length=5, block=3)
    unmask_all(canvas, [0])
    canvas.advance()
    assert canvas.in_block.tolist() == [[True, True, False]]
    unmask_all(canvas, [0])
    assert canvas.block_done.tolist() == [True] and torch.equal(canvas.rows.block_end, canvas.rows.end)
    # What lies behind the canvas was never written.
    assert canvas.rows.tokens[0].tolist() == [1, 5, 5, 5, 5, 5, 11, 11, 11]


def test_schedule_spreads_the_remainder_over_the_first_steps():
    canvas = make([[1]], length=8, block=4, steps=6)
    # Three steps for four tokens in each block: 2, 1, 1.
    counts = []
    for _ in range(3):
        counts.append(canvas.scheduled().item())
        canvas.unmask(torch.arange(1), canvas.columns, canvas.masked & (canvas.masked.cumsum(dim=-1) == 1))
    assert counts == [2, 1, 1]


def test_every_block_gets_a_step_however_few_there_are():
    canvas = make([[1]], length=8, block=4, steps=1)
    assert canvas.scheduled().item() == 4
    unmask_all(canvas, [0])
    canvas.advance()
    assert canvas.scheduled().item() == 4


def test_a_cut_row_ends_there_and_never_grows_again():
    canvas = make(length=6, block=4)
    canvas.cut(torch.tensor([0]), torch.tensor([5]))
    assert canvas.in_block.tolist() == [[True, True, True, False], [True] * 4]
    canvas.cut(torch.tensor([0, 1]), torch.tensor([99, 5]))
    assert canvas.rows.end.tolist() == [5, 5]


def test_of_the_suffix_as_much_is_in_sight_as_is_asked_for():
    canvas = make(length=6, block=2)
    assert canvas.reach.tolist() == [8, 8]
    canvas.suffix_length = 1
    canvas.changed("reach")
    assert canvas.reach.tolist() == [5, 5]
    unmask_all(canvas, [1])
    canvas.advance()
    assert canvas.reach.tolist() == [5, 7]


def test_rows_that_leave_are_recorded_where_they_came_from():
    canvas = make(length=4)
    unmask_all(canvas, [1], token=7)
    leave(canvas, [False, True], [6, 4])
    assert canvas.rows.batch.tolist() == [0]
    assert canvas.sequences.tolist() == [[PAD] * 6, [3, 4, 7, 7, PAD, PAD]]
    assert canvas.unmasking_steps.tolist() == [[-1] * 4, [0, 0, -1, -1]]
    assert canvas.nfe.tolist() == [0, 1] and canvas.ends.tolist() == [6, 4]
    canvas.advance()
    unmask_all(canvas, [0], token=8)
    leave(canvas, [True], [4])
    assert canvas.sequences.tolist() == [[1, 2, 8, 8, PAD, PAD], [3, 4, 7, 7, PAD, PAD]]
    # Row 0 waited in the first step: nothing was unmasked in it.
    assert canvas.nfe.tolist() == [1, 1] and len(canvas) == 0
