# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What `generate` returns."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from transformers.utils.generic import ModelOutput

from .canvas import Canvas
from .history import History
from .report import html_page
from .special_tokens import SpecialTokens
from .terminal import print_report

__all__ = ["DiffusionGenerationOutput"]


@dataclass
class DiffusionGenerationOutput(ModelOutput):
    """
    What `generate(return_dict_in_generate=True)` returns.

    Args:
        sequences (`torch.LongTensor` of shape `(batch_size, sequence_length)`):
            Prompts and answers, padded behind the end of each row.
        nfe (`torch.LongTensor` of shape `(batch_size,)`):
            Number of forward passes of each row; a row that has finished stops counting.
        tokens_per_forward (`torch.FloatTensor` of shape `(batch_size,)`):
            Answer tokens, up to and including the first end-of-text, and those filled in, divided by `nfe`.
        forward_passes (`list[tuple[str, int, int, int]]`):
            For each call of the model: kind, rows, query length, cached length.
        unmasking_steps (`torch.LongTensor` of shape `(batch_size, answer_length)`, *optional*):
            The forward pass of its row, from 0, in which each token was unmasked, or with `edit_threshold` replaced
            for the last time; -1 behind the end of a row. With `infill` of the whole sequences, -1 where they were
            given. Returned with `output_unmasking_steps=True`.
        history ([`History`], *optional*):
            What every denoising step computed and predicted. Returned with `output_history=True`.
        acceptance_length (`torch.FloatTensor` of shape `(batch_size,)`, *optional*):
            Mean number of steps of the stock loop that a forward pass has verified; with `verify=True`.
        logits, scores, hidden_states (`None`):
            Never set. Code that reads them of what other models' `generate` returns finds them here as well.
    """

    sequences: torch.Tensor
    nfe: torch.Tensor | None = None
    tokens_per_forward: torch.Tensor | None = None
    forward_passes: list[tuple[str, int, int, int]] | None = None
    unmasking_steps: torch.Tensor | None = None
    acceptance_length: torch.Tensor | None = None
    history: History | None = None
    logits: None = None
    scores: None = None
    hidden_states: None = None

    @classmethod
    def of(
        cls,
        canvas: Canvas,
        special_tokens: SpecialTokens,
        forward_passes: list[tuple[str, int, int, int]],
        unmasking_steps: bool,
        verified: torch.Tensor | None,
        history: History | None,
    ) -> Self:
        """
        Gathers what a loop has left.

        Args:
            canvas ([`Canvas`]): All its rows have left.
            special_tokens ([`SpecialTokens`]): Which ids end a text.
            forward_passes (`list[tuple[str, int, int, int]]`): As they are returned.
            unmasking_steps (`bool`): Whether they are asked for.
            verified (`torch.LongTensor` of shape `(batch_size,)`, *optional*): Steps of each row that took no pass.
            history ([`History`], *optional*): What was recorded.

        Returns:
            [`DiffusionGenerationOutput`]
        """
        length = int(canvas.ends.max())
        sequences = canvas.sequences[:, :length]
        answer = sequences[:, canvas.prompt_length :]
        is_end = torch.isin(answer, special_tokens.eos).long()
        behind = is_end.cumsum(dim=-1) > is_end
        position = torch.arange(answer.shape[1], device=answer.device)
        in_text = position < (canvas.ends - canvas.prompt_length)[:, None]
        steps = canvas.unmasking_steps[:, : length - canvas.origin]
        filled = (steps[:, : canvas.prompt_length - canvas.origin] >= 0).sum(dim=-1)
        return cls(
            sequences=sequences,
            nfe=canvas.nfe,
            tokens_per_forward=((in_text & ~behind).sum(dim=-1) + filled) / canvas.nfe,
            forward_passes=forward_passes,
            unmasking_steps=steps if unmasking_steps else None,
            acceptance_length=None if verified is None else 1 + verified / canvas.nfe,
            history=history,
        )

    def report(self, tokenizer: Any = None) -> str:
        """
        Shows how the texts were written, as one HTML page that needs nothing else.

        Every token is shaded by the step in which it became final, a slider goes through the steps, and the tokens that
        were computed behind the end of a text are counted. Needs `output_history=True`.

        Args:
            tokenizer (`PreTrainedTokenizerBase`, *optional*): The model's tokenizer; ids are shown without it.

        Returns:
            `str`: The page.

        Raises:
            ValueError: If nothing was recorded.
        """
        return html_page(self, self._recorded(), tokenizer)

    def print_report(self, tokenizer: Any = None, console: Any = None) -> None:
        """
        Prints to a terminal what `report` shows after the last step.

        Args:
            tokenizer (`PreTrainedTokenizerBase`, *optional*): The model's tokenizer; ids are shown without it.
            console (`rich.console.Console`, *optional*): Where to print, standard output if None.

        Raises:
            ValueError: If nothing was recorded.
            ImportError: If `rich` is not installed.
        """
        print_report(self, self._recorded(), tokenizer, console)

    def _recorded(self) -> History:
        if self.history is None:
            raise ValueError("`output_history` must be True in the call of `generate` for a report (got False)")
        return self.history
