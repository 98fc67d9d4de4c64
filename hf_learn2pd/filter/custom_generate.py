# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Decodes with this repository's filter: `generate(custom_generate="user/filter", trust_remote_code=True)`."""

from typing import Any

__all__ = ["generate"]


def generate(model: Any, *args: Any, **kwargs: Any) -> Any:
    """
    Runs Learn2PD with the filter of this repository.

    Args:
        model ([`DiffusionGenerationMixin`]): A masked diffusion model of hf_learn2pd.
        args, kwargs: As of its `generate`.

    Returns:
        What its `generate` returns.

    Raises:
        ImportError: If hf_learn2pd is not installed.
        ValueError: If the model is none of its models.
    """
    try:
        from hf_learn2pd import DiffusionGenerationMixin
    except ImportError as error:
        raise ImportError("This filter needs hf_learn2pd: pip install hf_learn2pd") from error
    if not isinstance(model, DiffusionGenerationMixin):
        raise ValueError(
            f"`model` must be loaded after `import hf_learn2pd`, without trust_remote_code (got {type(model).__name__})"
        )
    return model.generate(*args, **({"unmasking_filter": "user/filter"} | kwargs | {"decoding": "learn2pd"}))
