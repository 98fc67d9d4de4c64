# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Strategies and filters inside of serving engines, one file for each engine."""

__all__: list[str] = []
