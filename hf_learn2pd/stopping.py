# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""End-of-Text Prediction (EoTP): when a row is complete, and where its canvas may be cut."""

from typing import Any

import torch
from transformers import StoppingCriteria

from .canvas import Canvas
from .choice import ask
from .special_tokens import SpecialTokens
from .unmasking import BlockPrediction, UnmaskingStrategy

__all__ = ["EndOfTextCriteria", "Stop"]


class EndOfTextCriteria(StoppingCriteria):
    r"""
    Stops rows at the end-of-text token (EoT) and cuts what lies behind it.

    - `"accepted"`: a row is complete when an EoT has been unmasked and everything before it too. Lossless.
    - `"cut"`: also, as soon as an EoT is unmasked, the positions behind it leave the canvas.
    - `"predicted"`: as in the Learn2PD release, the canvas is cut behind the first accepted EoT of the block, otherwise
      behind the most confident EoT predicted at any masked position; a row is complete at the end of its canvas.

    Source: https://huggingface.co/papers/2509.25188.

    Args:
        end_of_text (`str`, *optional*): One of the modes above, or None to stop nowhere.
        special_tokens ([`SpecialTokens`]): The mask token and the tokens that end a text.
        prompt_length (`int`, *optional*, defaults to 0): Columns of a prompt that stands before the answer.
    """

    def __init__(self, end_of_text: str | None, special_tokens: SpecialTokens, prompt_length: int = 0):
        self.end_of_text = end_of_text
        self.special_tokens = special_tokens
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        """
        Tells which rows are complete.

        Args:
            input_ids (`torch.LongTensor` of shape `(rows, length)`): The canvas.
            scores (`torch.Tensor`, *optional*): Not used.

        Returns:
            `torch.BoolTensor` of shape `(rows,)`.
        """
        return self.text_end(input_ids) <= input_ids.shape[1]

    def text_end(self, input_ids: torch.Tensor) -> torch.Tensor:
        """
        Finds the column behind the first EoT that has nothing masked before it.

        Args:
            input_ids (`torch.LongTensor` of shape `(rows, length)`): The canvas.

        Returns:
            `torch.LongTensor` of shape `(rows,)`: Larger than `length` where there is none, or where the mode does not
            end rows at an EoT.
        """
        column = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)
        answer = column > self.prompt_length
        never = input_ids.shape[1] + 1
        if self.end_of_text not in ("accepted", "cut"):
            return torch.full_like(input_ids[:, 0], never)
        first_end = torch.where(answer & torch.isin(input_ids, self.special_tokens.eos), column, never).amin(dim=-1)
        first_mask = torch.where(answer & (input_ids == self.special_tokens.mask), column, never).amin(dim=-1)
        return torch.where(first_end < first_mask, first_end, never)

    def cut_at(self, prediction: BlockPrediction, columns: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """
        Finds where rows may be cut after a denoising step.

        Args:
            prediction ([`BlockPrediction`]): The step's prediction.
            columns (`torch.LongTensor` of shape `(rows, block_length)`): Canvas column of each of its positions.
            chosen (`torch.BoolTensor` of shape `(rows, block_length)`):
                The positions that the mode trusts: those unmasked in `"cut"`, those accepted in `"predicted"`.

        Returns:
            `torch.LongTensor` of shape `(rows,)`: The column behind the last one to keep; large where nothing is cut.
        """
        never = torch.iinfo(torch.long).max
        ends = chosen & torch.isin(prediction.tokens, self.special_tokens.eos)
        cut = torch.where(ends, columns + 1, never).amin(dim=-1)
        if self.end_of_text == "predicted" and prediction.end_of_text is not None:
            confidence, column = prediction.end_of_text.max(dim=-1)
            cut = torch.where((cut == never) & (confidence >= 0), column + 1, cut)
        return cut


class Stop:
    """
    Says where the text of each row ends.

    Args:
        end_of_text ([`EndOfTextCriteria`]): The rule.
        strategy ([`UnmaskingStrategy`]): Vouches for the tokens that `"predicted"` cuts at.
        keeps_suffix (`bool`): Whether keys and values of what a prediction cuts off stay in sight.
    """

    def __init__(self, end_of_text: EndOfTextCriteria, strategy: UnmaskingStrategy, keeps_suffix: bool):
        self.end_of_text = end_of_text
        self.strategy = strategy
        self.keeps_suffix = keeps_suffix

    def cut(self, canvas: Canvas, prediction: BlockPrediction, chosen: torch.Tensor) -> None:
        """
        Cuts rows behind the end of their text, if the rule says so.

        Args:
            canvas ([`Canvas`]): Is shortened.
            prediction ([`BlockPrediction`]): The step's prediction.
            chosen (`torch.BoolTensor` of shape `(predicted, block_length)`): What has been unmasked.
        """
        mode = self.end_of_text.end_of_text
        if mode not in ("cut", "predicted"):
            return
        trusted = chosen if mode == "cut" else ask(self.strategy.accept, prediction)
        columns = canvas.columns[prediction.of_canvas]
        canvas.cut(prediction.of_canvas, self.end_of_text.cut_at(prediction, columns, trusted))
        if mode == "cut" or not self.keeps_suffix:
            canvas.see(canvas.rows.end)

    def __call__(self, canvas: Canvas) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Finds the rows whose text is complete.

        Returns:
            `tuple[torch.BoolTensor, torch.LongTensor]`, each of shape `(rows,)`: Whether it is, and the column behind
            the last one of the text, which is the end of the canvas where none was found.
        """
        rows = canvas.rows
        # What stands before the block is complete and holds no end-of-text, so the block alone is searched.
        text_end = self.end_of_text.text_end(canvas.block)
        # Inside of a prompt it is a token like others, which what is given comes after.
        ended = (text_end <= canvas.block_length) & (rows.block_start >= canvas.prompt_length)
        if canvas.post_steps is not None:
            # Until then the end of the text may be replaced.
            ended &= canvas.block_done
        finished = ended | (canvas.block_done & (canvas.following >= rows.end))
        return finished, torch.where(ended, rows.block_start + text_end, rows.end)
