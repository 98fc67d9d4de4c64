# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""lm-eval's own command, which has no other way to learn of the model class `learn2pd` than an import."""

from lm_eval.__main__ import cli_evaluate

from . import lm_eval

__all__ = ["cli_evaluate", "lm_eval"]

if __name__ == "__main__":
    cli_evaluate()
