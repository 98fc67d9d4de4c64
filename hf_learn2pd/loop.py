# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The denoising loop."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from .blocks import FixedBlocks
from .canvas import Canvas
from .choice import choose
from .edits import Edits
from .passes import PassPolicy
from .reader import Reader
from .stopping import Stop
from .unmasking import BlockPrediction, UnmaskingStrategy

__all__ = ["Watcher", "denoise", "shorten"]

Watcher = Callable[[Canvas, BlockPrediction, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def denoise(
    canvas: Canvas,
    policy: PassPolicy,
    reader: Reader,
    strategy: UnmaskingStrategy,
    schedule: FixedBlocks,
    stop: Stop,
    watchers: Sequence[Watcher] = (),
    edits: Edits | None = None,
) -> None:
    r"""
    Denoises a canvas until every row has left it. While a row is unfinished:

    1. Plan a forward pass: which columns of which rows are computed.
    2. Read what it predicts of each row's block; of drafts, the last state that is verified.
    3. Let the schedule shorten blocks that have just begun.
    4. Choose which predictions become final, at least one in every row, and which replace what is unmasked, if the
       model edits; write them; cut behind the end of the text.
    5. Stop: find the rows whose text is complete, and those that a watcher ends.
    6. Move on: rows whose block is done enter their next one; rows that have finished leave the batch.

    Args:
        canvas ([`Canvas`]): Holds the result at the end.
        policy ([`PassPolicy`]): Plans passes, and has begun.
        reader ([`Reader`]): Calls the model.
        strategy ([`UnmaskingStrategy`]): Chooses.
        schedule ([`FixedBlocks`]): Says where blocks end.
        stop ([`Stop`]): Says where the text ends.
        watchers (`Sequence[Callable]`, *optional*):
            Each sees the canvas, the prediction, which rows have finished and where their texts end, and may end rows.
        edits ([`Edits`], *optional*): Replaces tokens that are unmasked; none if None.
    """
    while len(canvas):
        # 1. Plan
        step = policy.plan(canvas)
        # 2. Read
        prediction = policy.settle(canvas, step, reader(canvas, step))
        # 3. Shorten
        prediction = shorten(canvas, schedule, prediction)
        # 4. Choose
        chosen = reader.permit(canvas, prediction, choose(strategy, prediction))
        if edits is not None:
            chosen = chosen | edits(canvas, prediction)
        canvas.unmask(prediction.of_canvas, prediction.tokens, chosen)
        stop.cut(canvas, prediction, chosen)
        # 5. Stop
        finished, text_end = stop(canvas)
        for watcher in watchers:
            finished, text_end = watcher(canvas, prediction, finished, text_end)
        # 6. Move on
        canvas.advance()
        # The only copy from the device to the host in a denoising step.
        leaving, *numbers = torch.cat((finished.sum(dim=0, keepdim=True), policy.measure(canvas, finished))).tolist()
        kept = canvas.leave(finished, text_end, leaving)
        policy.update(numbers, kept)
        reader.memory.select(kept)


def shorten(canvas: Canvas, schedule: FixedBlocks, prediction: BlockPrediction) -> BlockPrediction:
    """Lets the schedule end blocks that have just begun where the prediction suggests."""
    rows = prediction.of_canvas
    length = schedule.adapt(prediction.tokens, prediction.confidence, canvas.max_new_tokens)
    if length is None:
        return prediction
    begins = torch.zeros_like(canvas.block_done).index_copy(0, rows, canvas.rows.step_in_block[rows] == 0)
    canvas.end_blocks(torch.zeros_like(canvas.rows.end).index_copy(0, rows, length), begins)
    in_block = canvas.in_block[rows]
    return replace(
        prediction,
        confidence=prediction.confidence.masked_fill(~in_block, 0.0),
        masked=prediction.masked & in_block,
        in_block=in_block,
        scheduled=canvas.scheduled()[rows, 0],
    )
