# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""How many tokens a schedule of steps unmasks in each."""

from typing import Any

import torch

from .rows import Rows

__all__ = ["StepSchedule", "dream_schedule"]


def dream_schedule(tokens: int, steps: int, eps: float) -> torch.Tensor:
    """
    Counts the tokens that Dream unmasks in each step: the share of the masked ones by which its time falls.

    Source: https://huggingface.co/papers/2508.15487.

    Args:
        tokens (`int`): Masked tokens at the beginning.
        steps (`int`): Denoising steps.
        eps (`float`): The time of the last step, above 0 and below 1.

    Returns:
        `torch.LongTensor` of shape `(kept,)`: Without the steps that unmask nothing, whose passes change nothing.
    """
    times, counts = torch.linspace(1, eps, steps + 1), []
    for step in range(steps):
        share = 1 - times[step + 1] / times[step]
        counts.append(tokens if step == steps - 1 else int(tokens * share))
        tokens -= counts[-1]
    return torch.tensor([count for count in counts if count > 0])


class StepSchedule:
    """
    Spreads denoising steps over an answer: evenly, as LLaDA's stock loop does, or as Dream does.

    Args:
        max_new_tokens (`int`): Positions of the answer region.
        steps (`int`, *optional*): Denoising steps over the whole answer; one per token if None.
        eps (`float`, *optional*):
            Smallest time of Dream's schedule, for a block as long as the answer; LLaDA's schedule if None.
        device (`torch.device`): Of the rows.
    """

    def __init__(self, max_new_tokens: int, steps: int | None, eps: float | None, device: torch.device):
        self.max_new_tokens = max_new_tokens
        self.steps = steps
        self.moves = None if eps is None else dream_schedule(max_new_tokens, steps or max_new_tokens, eps).to(device)

    def steps_between(self, start: torch.Tensor, end: torch.Tensor, total: Any = None) -> torch.Tensor:
        """
        Counts the steps, at least 1, of a block.

        Args:
            start, end (`torch.LongTensor` of shape `(rows,)`): How many tokens are unmasked before it, and with it.
            total (`torch.LongTensor` of shape `(rows,)`, *optional*): Of how many; those of the answer region if None.

        Returns:
            `torch.LongTensor` of shape `(rows,)`.
        """
        tokens = self.max_new_tokens if total is None else total
        steps = tokens if self.steps is None else self.steps
        before, after = (position * steps // tokens for position in (start, end))
        return (after - before).clamp(min=1)

    def tokens(self, rows: Rows, steps: int) -> torch.Tensor:
        """`torch.LongTensor` of shape `(rows, steps)`: tokens that are unmasked in the next steps of each row."""
        step = rows.step_in_block[:, None] + torch.arange(steps, device=rows.step_in_block.device)
        if self.moves is not None:
            return self.moves[step.clamp(max=len(self.moves) - 1)]
        more = step < (rows.tokens_of_block % rows.steps_of_block)[:, None]
        return (rows.tokens_of_block // rows.steps_of_block)[:, None] + more
