# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Training: a collator for `transformers.Trainer`, and the data, training and calibration of filters."""

from .collator import DataCollatorForMaskedDiffusion

__all__ = ["DataCollatorForMaskedDiffusion"]
