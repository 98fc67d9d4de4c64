# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Evaluation: log-likelihoods of answers, and the model class of lm-eval (`pip install hf_learn2pd[eval]`)."""

from .likelihood import Likelihood

__all__ = ["Likelihood"]
