# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
import torch

from hf_learn2pd import FixedBlocks
from hf_learn2pd.canvas import Canvas
from hf_learn2pd.special_tokens import SpecialTokens

PAD = 0
NONE = torch.empty(0, dtype=torch.long)
SPECIAL = SpecialTokens(mask=11, pad=PAD, eos=NONE, never_predicted=NONE, never_confident=NONE)


def make(prompts=((1, 2), (3, 4)), mask=None, length=5, block=2, steps=None):
    mask = None if mask is None else torch.tensor(mask)
    return Canvas(torch.tensor(prompts), mask, length, FixedBlocks(block), steps, SPECIAL)


def unmask_all(canvas, rows, token=5):
    chosen = torch.zeros_like(canvas.masked)
    chosen[rows] = True
    canvas.unmask(torch.full_like(canvas.columns, token), chosen & canvas.masked)


def test_windows_of_rows_move_on_their_own():
    canvas = make()
    assert canvas.columns.tolist() == [[2, 3], [2, 3]]
    unmask_all(canvas, [1])
    canvas.next_blocks()
    assert canvas.columns.tolist() == [[2, 3], [4, 5]]
    assert canvas.input_ids.tolist() == [[1, 2, 11, 11, 11, 11, 11], [3, 4, 5, 5, 11, 11, 11]]


def test_the_last_block_is_as_short_as_what_remains():
    canvas = make([[1]], length=5, block=3)
    unmask_all(canvas, [0])
    canvas.next_blocks()
    assert canvas.in_block.tolist() == [[True, True, False]]
    unmask_all(canvas, [0])
    assert canvas.exhausted.tolist() == [True]
    # What lies behind the canvas was never written.
    assert canvas.tokens[0].tolist() == [1, 5, 5, 5, 5, 5, 11, 11, 11]


def test_schedule_spreads_the_remainder_over_the_first_steps():
    canvas = make([[1]], length=8, block=4, steps=6)
    # Three steps for four tokens in each block: 2, 1, 1.
    counts = []
    for _ in range(3):
        counts.append(canvas.scheduled.item())
        canvas.unmask(canvas.columns, canvas.masked & (canvas.masked.cumsum(dim=-1) == 1))
    assert counts == [2, 1, 1]


def test_every_block_gets_a_step_however_few_there_are():
    canvas = make([[1]], length=8, block=4, steps=1)
    assert canvas.scheduled.item() == 4
    unmask_all(canvas, [0])
    canvas.next_blocks()
    assert canvas.scheduled.item() == 4


def test_padding_is_neither_attended_nor_counted_in_positions():
    canvas = make([[9, 1], [3, 4]], mask=[[0, 1], [1, 1]], length=2)
    assert canvas.attention_mask.tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]]
    assert canvas.position_ids.tolist() == [[0, 0, 1, 2], [0, 1, 2, 3]]
    assert make().attention_mask is None and make().position_ids is None


def test_a_cut_row_is_not_attended_behind_its_end_and_the_canvas_shrinks_when_all_are_cut():
    canvas = make(length=6, block=4)
    canvas.cut(torch.tensor([5, 99]))
    canvas.leave(torch.tensor([False, False]), canvas.end)
    assert canvas.length == 8
    assert canvas.attention_mask.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0], [1] * 8]
    assert canvas.in_block.tolist() == [[True, True, True, False], [True] * 4]
    canvas.cut(torch.tensor([99, 5]))
    canvas.leave(torch.tensor([False, False]), canvas.end)
    assert canvas.length == 5 and canvas.attention_mask is None


def test_rows_that_leave_are_recorded_where_they_came_from():
    canvas = make(length=4)
    unmask_all(canvas, [1], token=7)
    canvas.leave(torch.tensor([False, True]), torch.tensor([6, 4]))
    assert canvas.rows.tolist() == [0]
    assert canvas.sequences.tolist() == [[PAD] * 6, [3, 4, 7, 7, PAD, PAD]]
    assert canvas.unmasking_steps.tolist() == [[-1] * 4, [0, 0, -1, -1]]
    assert canvas.nfe.tolist() == [0, 1] and canvas.ends.tolist() == [6, 4]
    canvas.next_blocks()
    unmask_all(canvas, [0], token=8)
    canvas.leave(torch.tensor([True]), torch.tensor([4]))
    assert canvas.sequences.tolist() == [[1, 2, 8, 8, PAD, PAD], [3, 4, 7, 7, PAD, PAD]]
    # Row 0 waited in the first step: nothing was unmasked in it.
    assert canvas.nfe.tolist() == [1, 1] and len(canvas.rows) == 0
