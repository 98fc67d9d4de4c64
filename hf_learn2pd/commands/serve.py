# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Serve a model to OpenAI clients, with the server of transformers."""

import argparse
import contextlib
from typing import Any

import transformers
from transformers.utils.import_utils import is_serve_available

from .models import add_model_arguments, family_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model and where to listen."""
    add_model_arguments(parser)
    parser.add_argument("--host", default="localhost", help="address to listen at (default: localhost)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at (default: 8000)")


def run(options: argparse.Namespace) -> None:
    """
    Runs the server of transformers until it is interrupted.

    It answers one request after the other by `model.generate`. A request's `generation_config`, a JSON string, may hold
    every option of [`DiffusionGenerationConfig`]; those it leaves out are the model's. The client of OpenAI sends it as
    `extra_body={"generation_config": '{"decoding": "threshold"}'}`. A request without it gets room for at least
    1,024 new tokens, as the server gives it to all models, unless it says `max_tokens`.

    Args:
        options (`argparse.Namespace`): What [`add_arguments`] has asked for.

    Raises:
        ImportError: If what the server needs is not installed.
        ValueError: If the model is of no family of this package.
    """
    if not is_serve_available():
        raise ImportError('FastAPI, uvicorn and openai must be installed: pip install "hf_learn2pd[serve]"')
    config, family = family_of(options.model)
    # The server looks for the class that a checkpoint names among those of transformers.
    for name in config.architectures or []:
        setattr(transformers, name, family)
    _server_class()(
        force_model=options.model,
        device=options.device,
        dtype=options.dtype,
        host=options.host,
        port=options.port,
        non_blocking=True,
    )


def _server_class() -> Any:
    """The server of transformers, which tells a client what is wrong with its options instead of a status of 500."""
    from fastapi import Request
    from fastapi.responses import JSONResponse
    from transformers.cli.serve import Serve

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": {"message": str(error), "type": "invalid_request_error"}}, status_code=400)

    class Server(Serve):
        """Runs in the caller's thread, where Ctrl-C ends it."""

        # Called when the application is made and before it runs, with `non_blocking=True`.
        def start_server(self) -> None:
            app: Any = self.server.config.app
            app.add_exception_handler(ValueError, refuse)
            # Raised again once all requests are answered.
            with contextlib.suppress(KeyboardInterrupt):
                self.server.run()

    return Server
