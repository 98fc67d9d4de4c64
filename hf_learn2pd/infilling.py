# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Infilling: masks that stand inside of prompts, and the blocks that cover them."""

from typing import Any, Self

import torch
from torch import nn

from .checks import check_integer

__all__ = ["MaskedSpans", "infill_inputs"]


def infill_inputs(
    tokenizer: Any, prefix: str, suffix: str, length: int, mask_token_id: int | None = None
) -> dict[str, torch.Tensor]:
    """
    Makes the inputs of `generate(**inputs, infill=True)` for a text whose middle is missing.

    Prefix and suffix are tokenized for themselves, between the special tokens that the tokenizer puts around a text.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The model's tokenizer.
        prefix, suffix (`str`): The text before and behind the gap; one of them may be empty.
        length (`int`): Tokens of the gap.
        mask_token_id (`int`, *optional*): Id of the mask token. Defaults to the tokenizer's.

    Returns:
        `dict[str, torch.Tensor]`: `input_ids` and `attention_mask`, each of shape `(1, prompt_length)`.

    Raises:
        ValueError: If there is no text, no gap or no mask token.
    """
    mask = tokenizer.mask_token_id if mask_token_id is None else mask_token_id
    check_integer("length", length, 1)
    if mask is None:
        raise ValueError("`mask_token_id` must be given for a tokenizer without a mask token (got None)")
    before, behind = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prefix, suffix))
    if not before and not behind:
        raise ValueError("`prefix` or `suffix` must hold a token (got none)")
    whole, bare = tokenizer(prefix if before else suffix)["input_ids"], before or behind
    first = next(place for place in range(len(whole)) if whole[place : place + len(bare)] == bare)
    ids = [*whole[:first], *before, *[mask] * length, *behind, *whole[first + len(bare) :]]
    input_ids = torch.tensor([ids])
    return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}


class MaskedSpans:
    r"""
    Where prompts are masked. A block begins at the first mask behind the block before and has `block_length` positions,
    given tokens among them; in a prompt it ends with that, and behind it blocks follow each other.

    What is denoised is all that is masked, as in https://huggingface.co/papers/2502.09992.

    Args:
        masked (`torch.BoolTensor` of shape `(batch_size, columns)`): The masks of the whole canvas.
        prompt_length (`int`): Columns of the prompts.
        block_length (`int`): Positions of a block.
    """

    def __init__(self, masked: torch.Tensor, prompt_length: int, block_length: int):
        self.prompt_length = prompt_length
        self.block_length = block_length
        columns = masked.shape[1]
        place = torch.arange(columns, device=masked.device).where(masked, columns)
        # By row of the batch and column: the first mask from there on, the end of the canvas where there is none, and
        # how many there are to the left.
        self.following = nn.functional.pad(place.flip(-1).cummin(dim=-1).values.flip(-1), (0, 1), value=columns)
        self.before = nn.functional.pad(masked.cumsum(dim=-1), (1, 0))

    @classmethod
    def of(
        cls,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        max_new_tokens: int,
        block_length: int,
        mask_token_id: int,
        model: Any,
    ) -> Self:
        """
        Finds the masks of prompts.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, prompt_length)`): The prompts.
            attention_mask (`torch.Tensor` of the same shape, *optional*): 0 at left padding, which may be anything.
            max_new_tokens (`int`): Positions of the answer region, which may be 0.
            block_length (`int`): Positions of a block.
            mask_token_id (`int`): Id of the mask token.
            model ([`DiffusionGenerationMixin`]): The model.

        Raises:
            ValueError: If a row has nothing to denoise, or a mask that the model does not predict.
        """
        masked = input_ids == mask_token_id
        first = torch.zeros_like(input_ids[:, :1])
        if attention_mask is not None:
            masked = masked & attention_mask.bool()
            first = (attention_mask == 0).sum(dim=-1, keepdim=True)
        nothing = (~masked.any(dim=-1)).nonzero().flatten().tolist()
        if nothing and not max_new_tokens:
            raise ValueError(
                f"`input_ids` must hold the mask token {mask_token_id} in every row with `infill` and no "
                f"`max_new_tokens` (got none in row {nothing[0]})"
            )
        unseen = masked.gather(1, first).flatten().nonzero().flatten().tolist()
        if unseen and model.logits_shift:
            raise ValueError(
                f"`input_ids` must not begin with the mask token {mask_token_id} for a model that predicts a token at "
                f"the one before (got row {unseen[0]})"
            )
        masked = nn.functional.pad(masked, (0, max_new_tokens), value=True)
        return cls(masked, input_ids.shape[1], block_length)

    def lengths(self, start: torch.Tensor) -> torch.Tensor:
        """Positions of the blocks that begin in the columns `start`, `torch.LongTensor` of any shape."""
        left = torch.where(start < self.prompt_length, self.prompt_length - start, self.block_length)
        return left.clamp(max=self.block_length)

    def share(
        self, rows: torch.Tensor, start: torch.Tensor, end: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Counts the masks of rows of the batch left of the columns `start` and `end`, and all; each `(rows,)`."""
        return self.before[rows, start], self.before[rows, end], self.before[rows, -1]

    def count(self, rows: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows,)`: masks that rows of the batch hold from the columns `start` on."""
        return self.before[rows, -1] - self.before[rows, start]
