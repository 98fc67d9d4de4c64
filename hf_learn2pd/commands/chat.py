# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Chat with a model in the terminal, and watch its answers being denoised."""

import argparse
import contextlib
from typing import Any

import torch

from ..configuration import DiffusionGenerationConfig
from ..special_tokens import SpecialTokens
from ..unmasking import UNMASKING_STRATEGIES
from .answer import add_generation_arguments, generation_options, read_value, write_answer
from .drafts import DraftStreamer
from .models import add_model_arguments, load

__all__ = ["Conversation", "add_arguments", "run"]

HELP = """/decoding NAME  how tokens are unmasked from now on; without a name, what there is
/clear          forget the conversation
/help           show this
/exit           end, as Ctrl-D does; Ctrl-C ends an answer, twice at the prompt the chat"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model and the options of `generate`."""
    add_model_arguments(parser)
    add_generation_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """
    Chats until the user leaves.

    The chat of transformers is a client of its server, whose stream holds no drafts; this one calls the model.

    Args:
        options (`argparse.Namespace`): What [`add_arguments`] has asked for.

    Raises:
        ImportError: If `rich` is not installed.
        ValueError: If the model is of no family of this package, or an option out of range.
    """
    try:
        from rich.console import Console
    except ImportError as error:
        raise ImportError('rich must be installed: pip install "hf_learn2pd[serve]"') from error
    with contextlib.suppress(ImportError):
        # Lines can then be edited and called back.
        import readline  # noqa: F401
    generation = generation_options(options)
    model, tokenizer = load(options.model, options.device, options.dtype)
    conversation = Conversation(model, tokenizer, generation, Console(highlight=False))
    conversation.command("/help")
    interrupted = False
    while True:
        try:
            line = input("\n> ").strip()
        except KeyboardInterrupt:
            if interrupted:
                return
            interrupted = True
            print("\nCtrl-C again, or /exit, ends the chat")
            continue
        except EOFError:
            return
        interrupted = False
        if line == "/exit":
            return
        if line.startswith("/"):
            conversation.command(line)
        elif line:
            conversation.ask(line)


class Conversation:
    """
    A conversation with a model.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer.
        options (`dict[str, Any]`): Options of `generate`.
        console (`rich.console.Console`): Where answers are shown.

    Raises:
        ValueError: If an option is unknown, out of range, or at odds with another.
    """

    def __init__(self, model: Any, tokenizer: Any, options: dict[str, Any], console: Any):
        self.model, self.tokenizer, self.console = model, tokenizer, console
        self.messages: list[dict[str, str]] = []
        self.options = options
        self.config = self._merged(options)

    def command(self, line: str) -> None:
        """
        Does what a line that begins with a slash asks for.

        Args:
            line (`str`): The command, with what belongs to it behind a space.
        """
        name, _, value = line.partition(" ")
        if name == "/clear":
            self.messages = []
            self.console.clear()
        elif name == "/decoding":
            self._decode_by(value.strip())
        else:
            self._say(HELP)

    def ask(self, question: str) -> None:
        """
        Answers a question, and remembers both; an interrupted answer as far as it was written.

        Args:
            question (`str`): What the user says.
        """
        messages = [*self.messages, {"role": "user", "content": question}]
        special_tokens = SpecialTokens.of(self.config, self.model.config, torch.device("cpu"), len(self.tokenizer))
        ends, room = set(special_tokens.eos.tolist()), self.config.max_new_tokens
        streamer = DraftStreamer(self.tokenizer, special_tokens.mask, ends, room, self.console)
        try:
            answer = write_answer(self.model, self.tokenizer, messages, streamer, **self.options)
            text, summary = answer.text, answer.summary()
        except KeyboardInterrupt:
            text, summary = streamer.text, "interrupted"
        except (OSError, ValueError) as error:
            # Such as a conversation that has become too long, or a method that wants a filter.
            self._say(str(error), "red")
            return
        finally:
            streamer.end()
        self.messages = [*messages, {"role": "assistant", "content": text}]
        self._say(text, "default")
        self._say(summary)

    def _decode_by(self, value: str) -> None:
        if value:
            options = self.options | {"decoding": read_value(value)}
            try:
                self.config = self._merged(options)
            except ValueError as error:
                self._say(str(error), "red")
                return
            self.options = options
        self._say(f"{self.config.decoding}, of {', '.join(UNMASKING_STRATEGIES)}")

    def _merged(self, options: dict[str, Any]) -> DiffusionGenerationConfig:
        own, trained = self.model.generation_config, self.model.trained_options()
        return DiffusionGenerationConfig.merged(own, None, options, trained)

    def _say(self, text: str, style: str = "dim") -> None:
        self.console.print(text, style=style, markup=False, soft_wrap=True)
