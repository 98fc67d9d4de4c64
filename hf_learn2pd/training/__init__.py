# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What fine-tuning a masked diffusion model needs beside `transformers.Trainer`."""

from .collator import DataCollatorForMaskedDiffusion

__all__ = ["DataCollatorForMaskedDiffusion"]
