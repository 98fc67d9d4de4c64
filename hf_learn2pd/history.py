# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What happened in a call of `generate`, step by step, for reports."""

from dataclasses import dataclass

import torch

from .canvas import Canvas
from .passes import ForwardPass
from .unmasking import BlockPrediction

__all__ = ["History", "RecordedStep", "RowHistory"]


@dataclass(frozen=True)
class RecordedStep:
    """
    What a denoising step computed and predicted, on the host.

    Args:
        forwarded (`torch.LongTensor` of shape `(forwarded,)`): Rows of the batch that went through the model.
        columns (`torch.LongTensor` of shape `(forwarded, width)`): Columns of the canvas that it computed of each.
        rows (`torch.LongTensor` of shape `(predicted,)`): Rows of the batch that were predicted.
        starts, ends (`torch.LongTensor` of shape `(predicted,)`): First column of each block, and behind its last.
        tokens (`torch.LongTensor` of shape `(predicted, block_length)`): Predicted ids.
        confidence (`torch.FloatTensor` of shape `(predicted, block_length)`): Probability of each.
    """

    forwarded: torch.Tensor
    columns: torch.Tensor
    rows: torch.Tensor
    starts: torch.Tensor
    ends: torch.Tensor
    tokens: torch.Tensor
    confidence: torch.Tensor


@dataclass(frozen=True)
class RowHistory:
    """
    A row of the batch, with positions that count from the start of its answer.

    Args:
        final_in (`list[int]`): For each token of the answer, the step in which it became final; steps count calls of
            the model, from 0.
        confidence (`list[float | None]`): Probability of each in that step; None where it was not in the block.
        predictions (`list[tuple[int, int, int, list[int], list[float]]]`):
            Of each step that predicted the row: the step, where its block began and ended, tokens and probabilities.
        computed (`list[tuple[int, list[int]]]`): Of each step that computed some of the row: the step, and positions,
            which are negative in the prompt.
        inside, behind (`int`): How many positions were computed up to the end of the text, and behind it.
    """

    final_in: list[int]
    confidence: list[float | None]
    predictions: list[tuple[int, int, int, list[int], list[float]]]
    computed: list[tuple[int, list[int]]]
    inside: int
    behind: int

    def computations_behind(self) -> list[int]:
        """How often each position behind the end of the text was computed, up to the last one that was."""
        end, counts = len(self.final_in), dict[int, int]()
        for _, positions in self.computed:
            for position in positions:
                if position >= end:
                    counts[position] = counts.get(position, 0) + 1
        return [counts.get(position, 0) for position in range(end, max(counts, default=end - 1) + 1)]


class History:
    """
    Records a call of `generate`, for [`DiffusionGenerationOutput.report`]. It is a watcher of the denoising loop.

    Args:
        canvas ([`Canvas`]): The whole batch.
    """

    def __init__(self, canvas: Canvas):
        self.prompt_length = canvas.prompt_length
        padding = canvas.rows.padding
        self.padding = [0] * len(canvas) if padding is None else padding.tolist()
        self.steps: list[RecordedStep] = []
        self.unmasking_steps: list[list[int]] = []
        self.computed: tuple[torch.Tensor, torch.Tensor]

    def passes(self, canvas: Canvas, step: ForwardPass) -> None:
        """Takes note of what the model is about to compute."""
        self.computed = canvas.rows.batch[step.forwarded].cpu(), step.columns.cpu()

    def __call__(
        self, canvas: Canvas, prediction: BlockPrediction, finished: torch.Tensor, text_end: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes note of what was predicted; ends no row."""
        rows = prediction.of_canvas
        blocks = canvas.rows.block_start[rows], canvas.rows.block_end[rows]
        found = (prediction.rows, *blocks, prediction.tokens, prediction.confidence)
        self.steps.append(RecordedStep(*self.computed, *(each.cpu() for each in found)))
        return finished, text_end

    def finish(self, canvas: Canvas) -> None:
        """Takes note of which texts there are, after all rows have left."""
        lengths = (canvas.ends - self.prompt_length).tolist()
        steps = canvas.unmasking_steps.tolist()
        self.unmasking_steps = [row[:length] for row, length in zip(steps, lengths, strict=True)]

    def row(self, row: int) -> RowHistory:
        """Gathers what was recorded of a row of the batch."""
        start, end = self.prompt_length, len(self.unmasking_steps[row])
        predictions: list[tuple[int, int, int, list[int], list[float]]] = []
        computed: list[tuple[int, list[int]]] = []
        for number, step in enumerate(self.steps):
            for place in (step.rows == row).nonzero().flatten().tolist():
                first, last = int(step.starts[place]) - start, int(step.ends[place]) - start
                tokens, confidence = (each[place, : last - first].tolist() for each in (step.tokens, step.confidence))
                predictions.append((number, first, last, tokens, confidence))
            positions = (step.columns[step.forwarded == row] - start).flatten().tolist()
            if positions:
                computed.append((number, positions))
        # A row counts its own passes: those that predict it.
        final = [predictions[step] for step in self.unmasking_steps[row]]
        chosen = [
            probabilities[position - first] if first <= position < last else None
            for position, (_, first, last, _, probabilities) in enumerate(final)
        ]
        everything = [position for _, positions in computed for position in positions]
        behind = sum(position >= end for position in everything)
        return RowHistory([step for step, *_ in final], chosen, predictions, computed, len(everything) - behind, behind)
