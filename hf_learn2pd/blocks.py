# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Block schedules: where the block that a row denoises next ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch

from .checks import check_integer, check_number, is_fraction, is_token_id
from .specs import describe, parse
from .unmasking import Checkerboard, Dilated, UnmaskingStrategy

__all__ = [
    "BLOCK_SCHEDULES",
    "AdaBlock",
    "BlockGrid",
    "FixedBlocks",
    "SlidingBlocks",
    "check_schedule",
    "describe_schedule",
    "resolve_schedule",
]

# The newline of LLaDA's tokenizer.
LLADA_NEWLINE = 198


@dataclass(frozen=True)
class FixedBlocks:
    """
    Blocks of one length from left to right, as in LLaDA's semi-autoregressive decoding; the last may be shorter.

    Source: https://huggingface.co/papers/2502.09992.

    Args:
        block_length (`int`, *optional*, defaults to 32): Positions per block.

    Raises:
        ValueError: If `block_length` is not an integer above 0.
    """

    block_length: int = 32

    # Whether blocks begin at the first mask in every step.
    slides: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_integer("block_length", self.block_length, 1)

    def check(self, strategy: UnmaskingStrategy, steps: int | None, verify: bool) -> None:
        """
        Checks the blocks against a `generate` call, before the first forward pass.

        Args:
            strategy ([`UnmaskingStrategy`]): Chooses in them.
            steps (`int`, *optional*): Denoising steps that are spread over the answer.
            verify (`bool`): Whether what the strategy chooses is a draft only.

        Raises:
            ValueError: If blocks of this kind cannot serve the call.
        """
        return None

    def widest(self, max_new_tokens: int) -> int:
        """Positions of the widest block that may come, in an answer region of `max_new_tokens`."""
        return min(self.block_length, max_new_tokens)

    def adapt(self, tokens: torch.Tensor, confidence: torch.Tensor, max_new_tokens: int) -> torch.Tensor | None:
        """
        Decides the length of blocks from what is predicted in their first step.

        Args:
            tokens (`torch.LongTensor` of shape `(rows, widest)`): Predicted ids from the start of each row's block on.
            confidence (`torch.FloatTensor` of shape `(rows, widest)`): Their probabilities, 0 behind the canvas.
            max_new_tokens (`int`): Positions of the answer region.

        Returns:
            `torch.LongTensor` of shape `(rows,)`, *optional*: Positions of each row's block, of which those behind the
            canvas do not count; None for blocks that are as wide as can be.
        """
        return None


@dataclass(frozen=True)
class AdaBlock(FixedBlocks):
    r"""
    AdaBlock-dLLM: a block ends where the model expects a delimiter, so that blocks follow the steps of the text.

    At the start of a block, among the predictions within the next quarter of the answer region that are delimiters,
    the most confident one ends the block if its confidence is at least `threshold`; otherwise the block has the default
    length. Source: https://huggingface.co/papers/2509.26432.

    Args:
        block_length (`int`, *optional*, defaults to 32): Positions of a block without a delimiter.
        threshold (`float`, *optional*, defaults to 0.3):
            Confidence of a delimiter; published are 0.3 for LLaDA and 0.5 for Dream. Above 1 all blocks are fixed.
        delimiter_ids (`Sequence[int]`, *optional*, defaults to `(198,)`): Ids of delimiters, LLaDA's newline.
        window (`float`, *optional*, defaults to 0.25): Part of the answer region that is searched.

    Raises:
        ValueError: If an option is out of range.
    """

    threshold: float = 0.3
    delimiter_ids: Sequence[int] = (LLADA_NEWLINE,)
    window: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("threshold", self.threshold, least=0)
        if not is_fraction(self.window) or self.window == 0:
            raise ValueError(f"`window` must be above 0 and at most 1 (got {self.window!r})")
        ids = self.delimiter_ids
        if (
            not isinstance(ids, Sequence)
            or isinstance(ids, bytes)
            or not ids
            or not all(is_token_id(each) for each in ids)
        ):
            raise ValueError(f"`delimiter_ids` must be token ids (got {ids!r})")
        # A list, as it comes from a file, is the same schedule.
        object.__setattr__(self, "delimiter_ids", tuple(ids))

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, delimiters: Sequence[str] = ("\n",), **options: Any) -> Self:
        """
        Looks up delimiters in a tokenizer.

        Args:
            tokenizer (`PreTrainedTokenizerBase`): The model's tokenizer.
            delimiters (`Sequence[str]`, *optional*, defaults to a newline): Texts that are one token each.
            options: Of [`AdaBlock`].

        Returns:
            [`AdaBlock`]

        Raises:
            ValueError: If a delimiter is not one token.
        """
        ids = []
        for delimiter in delimiters:
            found = tokenizer(delimiter, add_special_tokens=False)["input_ids"]
            if len(found) != 1 or found[0] == tokenizer.unk_token_id:
                raise ValueError(f"`delimiters` must be one known token each (got {delimiter!r}, ids {found})")
            ids += found
        return cls(delimiter_ids=tuple(ids), **options)

    def widest(self, max_new_tokens: int) -> int:
        return min(max(self.block_length, int(self.window * max_new_tokens)), max_new_tokens)

    def adapt(self, tokens: torch.Tensor, confidence: torch.Tensor, max_new_tokens: int) -> torch.Tensor:
        searched = torch.arange(tokens.shape[1], device=tokens.device) < int(self.window * max_new_tokens)
        ids = torch.tensor(self.delimiter_ids, device=tokens.device)
        # Behind the canvas the confidence is 0: nothing is found there.
        ends = torch.isin(tokens, ids) & searched & (confidence > 0)
        best, place = confidence.masked_fill(~ends, -1.0).max(dim=-1)
        return torch.where(best >= self.threshold, place + 1, self.block_length)


@dataclass(frozen=True)
class BlockGrid:
    r"""
    The blocks of a model that is causal from block to block: they count from a row's first token, prompt included.

    What attention sees and what is denoised together may differ: a block of the attention's is denoised in one block or
    in several. Where logits are shifted, its first token is predicted in the one before, which is complete by then, so
    that token is a block of its own.

    Args:
        block_length (`int`): Positions that are denoised together.
        attended (`int`): Positions that see each other, and all before them; a multiple of `block_length`.
        logits_shift (`int`, *optional*, defaults to 0): Columns to the left at which a token is predicted.
    """

    block_length: int
    attended: int
    logits_shift: int = 0

    def length(self, place: torch.Tensor) -> torch.Tensor:
        """Positions from `place` in a row, `torch.LongTensor` of any shape, to the end of the block it begins."""
        length = self.block_length - place % self.block_length
        before = self.logits_shift - place % self.attended
        return torch.where(before > 0, before, length)

    def start(self, place: torch.Tensor) -> torch.Tensor:
        """The first place that is seen together with `place`, `torch.LongTensor` of any shape."""
        return place // self.attended * self.attended


@dataclass(frozen=True)
class SlidingBlocks(FixedBlocks):
    r"""
    DSB: a block that begins at the row's first mask in every step, so that easy tokens need not wait for a hard one.

    A block holds `block_length` masks, or those that are left, in at most `longest` positions. Its strategy has to look
    at one step alone, and at confidences rather than at an order of positions; without a schedule of `steps`, the
    stock rules unmask one token per step. [`SlidingCache`] is the cache made for it.
    Source: https://huggingface.co/papers/2602.05992.

    Args:
        block_length (`int`, *optional*, defaults to 32): Masks in a block.
        longest (`int`, *optional*):
            Positions of a block at most, and as many are read in every step. `block_length` by default, published as
            the constant variant; the greedy variant has no limit, which is any number from `max_new_tokens` on.

    Raises:
        ValueError: If an option is no integer above 0, or `longest` is less than `block_length`.
    """

    longest: int | None = None

    slides = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.longest is not None:
            check_integer("longest", self.longest, self.block_length)

    def check(self, strategy: UnmaskingStrategy, steps: int | None, verify: bool) -> None:
        if steps is not None:
            raise ValueError(f"`steps` must be None with sliding blocks, which have no share in them (got {steps})")
        if verify:
            raise ValueError(f"`verify` must be False with sliding blocks, which move between drafts (got {verify})")
        if strategy.compares or isinstance(strategy, Checkerboard | Dilated):
            raise ValueError(
                "`decoding` must be a strategy that looks at one step, and at no order of positions, with sliding "
                f"blocks (got {type(strategy).__name__})"
            )

    def widest(self, max_new_tokens: int) -> int:
        return min(self.longest or self.block_length, max_new_tokens)


BLOCK_SCHEDULES: dict[str, type[FixedBlocks]] = {"adablock": AdaBlock, "fixed": FixedBlocks, "sliding": SlidingBlocks}


def resolve_schedule(
    block_schedule: str | dict[str, Any] | FixedBlocks | None,
    block_length: int,
    tokenizer: Any,
    vocab_size: int,
    adablock: dict[str, Any] | None = None,
) -> FixedBlocks:
    """
    Makes a schedule of what `generate` was given.

    Args:
        block_schedule (`str`, `dict[str, Any]` or [`FixedBlocks`], *optional*):
            A key of `BLOCK_SCHEDULES`, a dict of it as `"name"` and options, or an instance, which is returned.
        block_length (`int`): Positions of a block where the schedule names none.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): Knows the delimiters where the schedule names none.
        vocab_size (`int`): Number of ids that the model knows.
        adablock (`dict[str, Any]`, *optional*): Options of [`AdaBlock`] that were published for the model's family.

    Returns:
        [`FixedBlocks`]

    Raises:
        ValueError: If `block_schedule` is none of these, or its delimiters are not of this model.
    """
    if isinstance(block_schedule, FixedBlocks):
        return block_schedule
    schedule, options = _parse("block_schedule", "fixed" if block_schedule is None else block_schedule)
    options = {"block_length": block_length} | options
    if issubclass(schedule, AdaBlock) and "delimiter_ids" not in options:
        options = (adablock or {}) | options
        if tokenizer is not None and "delimiter_ids" not in options:
            return schedule.from_tokenizer(tokenizer, **options)
        schedule_ids = options.get("delimiter_ids", schedule.delimiter_ids)
        if max(schedule_ids) >= vocab_size:
            raise ValueError(
                "`block_schedule` must be an AdaBlock with `delimiter_ids` of this model, or come with a `tokenizer` "
                f"(got {block_schedule!r}, whose default {tuple(schedule_ids)} is not below the vocabulary's "
                f"{vocab_size})"
            )
    return schedule(**options)


def check_schedule(name: str, block_schedule: Any) -> None:
    """Raises a `ValueError` that names `name` unless [`resolve_schedule`] can make a schedule of `block_schedule`."""
    if not isinstance(block_schedule, FixedBlocks):
        schedule, options = _parse(name, block_schedule)
        schedule(**options)


def describe_schedule(schedule: FixedBlocks) -> dict[str, Any] | None:
    """Turns a schedule into the dict that [`resolve_schedule`] takes; None if it is none of `BLOCK_SCHEDULES`."""
    return describe(schedule, BLOCK_SCHEDULES)


def _parse(name: str, block_schedule: Any) -> tuple[type[FixedBlocks], dict[str, Any]]:
    return parse(name, block_schedule, BLOCK_SCHEDULES, "adablock, fixed, sliding, a schedule or None")
