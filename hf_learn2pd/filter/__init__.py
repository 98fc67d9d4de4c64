# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The learned unmasking filter; its training lives in `training.trajectories` and `training.training`."""

from .model import UnmaskingFilter

__all__ = ["UnmaskingFilter"]
