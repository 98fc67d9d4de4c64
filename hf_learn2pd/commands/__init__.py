# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-learn2pd`; importing the package does not import it."""

import argparse
from collections.abc import Sequence

from . import chat, decode, info, serve

__all__ = ["COMMANDS", "main"]

COMMANDS = {"info": info, "decode": decode, "chat": chat, "serve": serve}


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Runs a command.

    Args:
        arguments (`Sequence[str]`, *optional*): The command and its options; those of the command line if None.

    Raises:
        SystemExit: With status 2 if there is no such command or option, with status 1 and the reason if it fails.
    """
    parser = argparse.ArgumentParser(prog="hf-learn2pd", description="Parallel decoding of diffusion LLMs.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        summary = (command.__doc__ or "").splitlines()[0]
        command.add_arguments(commands.add_parser(name, help=summary, description=summary, allow_abbrev=False))
    options = parser.parse_args(arguments)
    try:
        COMMANDS[options.command].run(options)
    except (ImportError, OSError, ValueError) as error:
        parser.exit(1, f"hf-learn2pd {options.command}: {error}\n")
