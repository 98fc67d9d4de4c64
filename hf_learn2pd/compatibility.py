# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What differs between the supported versions of transformers, asked of the installed one."""

import inspect
from typing import Any

__all__ = ["cache_argument"]


def cache_argument(forward: Any) -> str | None:
    """
    Finds the name under which a model takes a cache: `cache` from transformers 5.24 on, `past_key_values` before.

    Args:
        forward (`Callable`): A `forward` method, bound or not.

    Returns:
        `str`, *optional*: The name; None if the model takes no cache.
    """
    parameters = inspect.signature(forward).parameters
    return next((name for name in ("cache", "past_key_values") if name in parameters), None)
