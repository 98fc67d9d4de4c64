# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Options of `generate` on a command line, and one answer with the work that it took."""

import argparse
import ast
import time
from dataclasses import dataclass
from typing import Any

import torch
from transformers.generation.streamers import BaseStreamer

from ..inherited import INHERITED
from ..options import OPTIONS

__all__ = ["Answer", "add_generation_arguments", "generation_options", "read_value", "write_answer"]

# What a command line cannot write, and what concerns the caller of `generate` only.
_LEFT_OUT = {
    "compile_config",
    "max_length",
    "num_return_sequences",
    "output_history",
    "output_unmasking_steps",
    "return_dict_in_generate",
    "transformers_version",
    "use_cache",
    "watermarking_config",
}
_NAMES = [*OPTIONS, *sorted(INHERITED - OPTIONS.keys())]


@dataclass(frozen=True)
class Answer:
    """
    An answer and the work that it took.

    Args:
        text (`str`): Without special tokens.
        output ([`DiffusionGenerationOutput`]): What `generate` has returned, for a batch of one.
        seconds (`float`): Wall-clock time of the call.
    """

    text: str
    output: Any
    seconds: float

    def summary(self) -> str:
        """Says in one line how many forward passes and how much time the answer took."""
        nfe, rate = int(self.output.nfe[0]), float(self.output.tokens_per_forward[0])
        tokens = round(nfe * rate)
        return (
            f"NFE {nfe}, {rate:.2f} tokens a pass, {tokens / self.seconds:.1f} tokens/s "
            f"({tokens} tokens in {self.seconds:.2f} s)"
        )


def read_value(text: str) -> Any:
    """
    Reads the value of an option.

    Args:
        text (`str`): A literal of Python, such as `0.9`, `None` or `{"name": "threshold", "threshold": 0.8}`; all else
            is taken as a string.

    Returns:
        `Any`
    """
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def add_generation_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds every option of `generate` that a command line can write."""
    group = parser.add_argument_group("options of generate", "where none is given, the model's own are taken")
    for name in _NAMES:
        if name not in _LEFT_OUT:
            meaning = OPTIONS[name].meaning.replace("%", "%%") if name in OPTIONS else "As in transformers."
            flag = "--" + name.replace("_", "-")
            group.add_argument(flag, type=read_value, metavar="VALUE", default=argparse.SUPPRESS, help=meaning)


def generation_options(options: argparse.Namespace) -> dict[str, Any]:
    """
    Takes the options of `generate` from a command line.

    Args:
        options (`argparse.Namespace`): What was parsed.

    Returns:
        `dict[str, Any]`: Those that were given.

    Raises:
        ValueError: If one has a value that no model takes, so that none is loaded for it.
    """
    given = {name: value for name, value in vars(options).items() if name in _NAMES}
    for name, value in given.items():
        if name in OPTIONS and value is not None:
            OPTIONS[name].check(name, value)
    return given


def write_answer(
    model: Any, tokenizer: Any, chat: list[dict[str, str]], streamer: BaseStreamer | None = None, **options: Any
) -> Answer:
    """
    Answers the last message of a conversation.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer; without a chat template, the last message is the prompt.
        chat (`list[dict[str, str]]`): Messages, each with `"role"` and `"content"`.
        streamer (`BaseStreamer`, *optional*): Gets the answer while it is written.
        options: Options of `generate`.

    Returns:
        [`Answer`]

    Raises:
        ValueError: If an option is unknown or out of range, or the conversation too long for the model.
    """
    if tokenizer.chat_template is None:
        inputs = tokenizer(chat[-1]["content"], return_tensors="pt")
    else:
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    inputs = inputs.to(model.device)
    began = time.perf_counter()
    output = model.generate(**inputs, **options, tokenizer=tokenizer, streamer=streamer, return_dict_in_generate=True)
    # The copy waits for the device.
    ids: torch.Tensor = output.sequences[0, inputs["input_ids"].shape[1] :].cpu()
    seconds = time.perf_counter() - began
    return Answer(tokenizer.decode(ids, skip_special_tokens=True), output, seconds)
