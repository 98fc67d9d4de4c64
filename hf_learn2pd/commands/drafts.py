# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""A streamer that shows an answer in a terminal while it is being denoised."""

from typing import Any

import torch
from transformers.generation.streamers import BaseStreamer

__all__ = ["DraftStreamer"]

MASK = "░"


class DraftStreamer(BaseStreamer):
    """
    Shows the whole answer in place: what is written, a draft of what comes next, and a light block for each mask.

    It takes what `TextDiffusionStreamer` of transformers takes. That one goes back to where a draft began on the
    screen, which is another line once the screen has scrolled; here `rich` counts the lines. Of what is longer than the
    screen, the end is shown. Nothing is shown where the output is no terminal.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Turns tokens into text.
        mask_token_id (`int`): Id of the mask token.
        eos_token_ids (`set[int]`): Ids that end a text; nothing behind one is shown.
        max_new_tokens (`int`): Tokens that the answer has room for.
        console (`rich.console.Console`): Where to show it.
    """

    def __init__(self, tokenizer: Any, mask_token_id: int, eos_token_ids: set[int], max_new_tokens: int, console: Any):
        from rich.live import Live

        self.tokenizer = tokenizer
        self.mask, self.ends = mask_token_id, eos_token_ids
        self.max_new_tokens = max_new_tokens
        self.console = console
        self.ids: list[int] = []
        self.prompt_is_next = True
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def put_draft(self, value: torch.Tensor, **kwargs: Any) -> None:
        """
        Shows a draft of what follows the tokens that were put.

        Args:
            value (`torch.LongTensor` of shape `(length,)` or `(1, length)`): Tokens, masks among them.
            kwargs: Not used.
        """
        self._show(value.flatten().tolist())

    def put(self, value: torch.Tensor) -> None:
        """
        Shows tokens that are final.

        Args:
            value (`torch.LongTensor` of shape `(length,)` or `(1, length)`): The prompt in the first call, which is
                not shown, then what follows what was put before.
        """
        if self.prompt_is_next:
            self.prompt_is_next = False
        else:
            self.ids += value.flatten().tolist()
        self._show([])

    def end(self) -> None:
        """Takes what is shown off the screen; to be called after an interruption too."""
        if self.live is not None:
            self.live.stop()

    @property
    def text(self) -> str:
        """What is written so far."""
        return str(self.tokenizer.decode(self.ids, skip_special_tokens=True))

    def _show(self, draft: list[int]) -> None:
        if self.live is None:
            return
        from rich.text import Text

        written, shown = self.text, self._decode(self.ids + draft)
        # The text of a draft that begins within a character may change that of the tokens before.
        settled = len(written) if shown.startswith(written) else 0
        text = Text(shown)
        text.stylize("yellow", settled)
        width, height = self.console.width, self.console.height - 1
        lines = len(text.wrap(self.console, width))
        # Masks fill no more than what the text leaves of the screen.
        masks = 0 if self.ends & {*self.ids, *draft} else self.max_new_tokens - len(self.ids) - len(draft)
        text.append(MASK * min(masks, max(0, (height - lines) * width)), "dim")
        self.live.start()
        self.live.update(Text("\n").join(text.wrap(self.console, width)[-height:]), refresh=True)

    def _decode(self, ids: list[int]) -> str:
        """The text of tokens up to an end of text, with a light block for each mask."""
        end = next((place for place, token in enumerate(ids) if token in self.ends), len(ids))
        parts: list[list[int]] = [[]]
        for token in ids[:end]:
            if token == self.mask:
                parts.append([])
            else:
                parts[-1].append(token)
        return MASK.join(str(self.tokenizer.decode(part, skip_special_tokens=True)) for part in parts)
