# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Token editing: which tokens of a block are replaced although they are unmasked, and when that comes to rest."""

from dataclasses import dataclass
from typing import Any, Self

import torch

from .canvas import Canvas
from .unmasking import BlockPrediction

__all__ = ["Edits"]


@dataclass(frozen=True)
class Edits:
    r"""
    LLaDA2.1's editing of tokens: another token replaces an unmasked one of the block if it is predicted confidently.

    Tokens are replaced in every pass in which others are unmasked. A block that holds no mask any more gets further
    passes until one replaces nothing, or there have been as many as its row has left. Prompts are never edited.
    Source: https://huggingface.co/papers/2602.08676.

    Args:
        threshold (`float`): Confidence above which a token replaces another.
    """

    threshold: float

    @classmethod
    def of(cls, config: Any, model: Any) -> Self | None:
        """
        Makes of the options what edits.

        Args:
            config ([`DiffusionGenerationConfig`]): The options.
            model ([`DiffusionGenerationMixin`]): The model.

        Returns:
            [`Edits`], *optional*: None if tokens that are unmasked stay as they are.

        Raises:
            ValueError: If the model was not trained to edit.
        """
        if config.edit_threshold is None:
            return None
        if not model.trained_to_edit:
            raise ValueError(
                f"`edit_threshold` must be None for a model that was not trained to edit, {type(model).__name__} "
                f"(got {config.edit_threshold})"
            )
        return cls(config.edit_threshold)

    def __call__(self, canvas: Canvas, prediction: BlockPrediction) -> torch.Tensor:
        """
        Chooses the tokens to replace, and counts the pass if nothing was masked in it.

        Args:
            canvas ([`Canvas`]): As the pass has read it.
            prediction ([`BlockPrediction`]): The pass' prediction.

        Returns:
            `torch.BoolTensor` of shape `(predicted, block_length)`: True where the predicted token replaces another.
        """
        rows = prediction.of_canvas
        # What lies behind the block has confidence 0.
        edited = ~prediction.masked & (prediction.confidence > self.threshold)
        edited &= prediction.tokens != canvas.block[rows]
        left = canvas.rows.post_steps[rows]
        spent = torch.where(edited.any(dim=-1), left - 1, 0)
        canvas.spare(rows, torch.where(prediction.masked.any(dim=-1), left, spent))
        return edited
