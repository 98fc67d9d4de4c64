# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Prompts from wherever a user has them, one batch of token ids at a time."""

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

__all__ = ["read_prompts", "tokenize_prompts"]

Chat = list[dict[str, str]]


def read_prompts(source: str | os.PathLike[str] | Iterable[Any], field: str | None = None) -> Iterator[Chat]:
    """
    Reads prompts one after the other.

    Args:
        source (`str`, `os.PathLike` or `Iterable`):
            A JSONL file, or an iterable such as a list or a `datasets.Dataset`. Its items are strings, chats (lists of
            messages with `role` and `content`), or dictionaries that hold either.
        field (`str`, *optional*):
            Where a dictionary holds it. Defaults to the first there is of `messages`, `prompt`, `question` and `text`.

    Yields:
        `list[dict[str, str]]`: A chat; a string becomes the only message of a user.

    Raises:
        ValueError: If an item is none of these.
    """
    items: Any = source
    if isinstance(source, str | os.PathLike):
        if not os.path.isfile(source):
            raise ValueError(f"`prompts` must be a JSONL file or an iterable (got {str(source)!r}, which is no file)")
        items = _lines(Path(source))
    if not isinstance(items, Iterable):
        raise ValueError(f"`prompts` must be a JSONL file or an iterable (got {items!r})")
    for item in items:
        content = item
        if isinstance(item, dict):
            names = ("messages", "prompt", "question", "text") if field is None else (field,)
            content = next((item[name] for name in names if name in item), None)
        if isinstance(content, str):
            yield [{"role": "user", "content": content}]
        elif isinstance(content, list) and content and all(isinstance(message, dict) for message in content):
            yield content
        else:
            wanted = "a string, a chat" if field is None else f"a dictionary with {field!r}, a string, a chat"
            raise ValueError(f"`prompts` must hold {wanted} or a dictionary with one of them (got {item!r:.200})")


def _lines(file: Path) -> Iterator[Any]:
    # As bytes: a file that ends amid a character is named as well, and only line feeds end a line.
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(
                        f"`prompts` must be JSON in every line (got {error} in {file}:{number})"
                    ) from error


def tokenize_prompts(
    model: Any, tokenizer: Any | None, chats: Iterable[Chat], batch_size: int
) -> Iterator[dict[str, Any]]:
    """
    Renders chats with the chat template, in left-padded batches on the model's device.

    Args:
        model (`PreTrainedModel`): The model.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): Its tokenizer; loaded from the model's repository if None.
        chats (`Iterable[list[dict[str, str]]]`): What [`read_prompts`] yields.
        batch_size (`int`): Prompts per batch.

    Yields:
        `dict[str, torch.Tensor]`: `input_ids` and `attention_mask`, each of shape `(rows, prompt_length)`.
    """
    template: Any = tokenizer or AutoTokenizer.from_pretrained(model.name_or_path)
    chats = iter(chats)
    while batch := list(islice(chats, batch_size)):
        yield template.apply_chat_template(
            batch,
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
            tokenizer_kwargs={"padding_side": "left"},
        ).to(model.device)
