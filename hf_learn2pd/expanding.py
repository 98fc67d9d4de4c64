# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""An answer region as long as the model needs, found before it is denoised."""

import torch

from .canvas import Canvas
from .passes import ForwardPass
from .reader import Reader

__all__ = ["expand"]

# DAEDAL's constants: positions at the beginning and by which it grows, how many are looked at, how sure these must be.
_FIRST, _GROWTH, _LOOKED_AT, _SURE = 64, 8, 32, 0.5


def expand(canvas: Canvas, reader: Reader, end_of_text_ids: torch.Tensor, logits_shift: int) -> None:
    r"""
    Cuts the canvas of each row to the length that its answer needs: DAEDAL's initial length adjustment.

    An answer of 64 masks grows by 8 while the mean probability of end-of-text at its last 32 is below 0.5, up to the
    whole answer region. Each look is a forward pass over all of the row, and counts as one.
    Source: https://huggingface.co/papers/2508.00819.

    Args:
        canvas ([`Canvas`]): Nothing of its answers is unmasked yet.
        reader ([`Reader`]): Calls the model.
        end_of_text_ids (`torch.LongTensor` of shape `(num_eos,)`): Ids that end a text.
        logits_shift (`int`): Columns to the left at which a token is predicted.
    """
    state, limit = canvas.rows, canvas.limit
    rows, ends = torch.arange(len(canvas), device=state.end.device), state.end.clone()
    end = canvas.prompt_length + _FIRST
    # Rows that are not sure have all grown equally often, so that one number says how long they are.
    while len(rows) and end < limit:
        columns = torch.arange(end, device=rows.device).expand(len(rows), -1)
        at = columns[:, -_LOOKED_AT:] - logits_shift
        step = ForwardPass(
            kind="full",
            ids=state.tokens[rows, :end],
            columns=columns,
            forwarded=rows,
            rows=rows,
            places=torch.arange(len(rows), device=rows.device),
            at=at,
            visible=None if state.padding is None else columns >= state.padding[rows, None],
        )
        probabilities = reader.logits(reader.run(canvas, step), step.places, at).softmax(dim=-1)
        sure = probabilities[..., end_of_text_ids].sum(dim=-1).mean(dim=-1) >= _SURE
        state.passes[rows] += 1
        ends[rows[sure]] = end
        rows, end = rows[~sure], end + _GROWTH
    canvas.cut(torch.arange(len(canvas), device=ends.device), ends)
    canvas.see(state.end)
