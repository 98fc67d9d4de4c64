# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""What type checkers know of `generate`: its arguments, and what it returns with which of them."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, overload

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from .blocks import FixedBlocks
from .filter import UnmaskingFilter
from .outputs import DiffusionGenerationOutput
from .passes import PassPolicy
from .unmasking import UnmaskingStrategy

__all__ = ["Generate", "typed"]


class Generate(Protocol):
    """
    [`DiffusionGenerationMixin.generate`] of a model.

    A third form for any bool would fit `True` as well, and `generate(**inputs, return_dict_in_generate=True)`, where
    nothing is known of `inputs`, would then be of no type.
    """

    @overload
    def __call__(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsProcessorList | None = None,
        stopping_criteria: StoppingCriteriaList | None = None,
        *,
        decoding: str | dict[str, Any] | UnmaskingStrategy | None = None,
        unmasking_filter: str | os.PathLike[str] | UnmaskingFilter | None = None,
        reference_ids: torch.Tensor | None = None,
        block_schedule: str | dict[str, Any] | FixedBlocks | None = None,
        block_cache: str | PassPolicy | None = None,
        generator: torch.Generator | None = None,
        streamer: BaseStreamer | Sequence[BaseStreamer] | None = None,
        return_dict_in_generate: Literal[True],
        **kwargs: Any,
    ) -> DiffusionGenerationOutput: ...

    @overload
    def __call__(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsProcessorList | None = None,
        stopping_criteria: StoppingCriteriaList | None = None,
        *,
        decoding: str | dict[str, Any] | UnmaskingStrategy | None = None,
        unmasking_filter: str | os.PathLike[str] | UnmaskingFilter | None = None,
        reference_ids: torch.Tensor | None = None,
        block_schedule: str | dict[str, Any] | FixedBlocks | None = None,
        block_cache: str | PassPolicy | None = None,
        generator: torch.Generator | None = None,
        streamer: BaseStreamer | Sequence[BaseStreamer] | None = None,
        return_dict_in_generate: Literal[False] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor: ...


def typed(generate: Callable[..., DiffusionGenerationOutput | torch.Tensor]) -> Generate:
    """
    Gives a method the types of [`Generate`]; it stays as it is.

    Args:
        generate (`Callable`): A `generate` of a model.

    Returns:
        [`Generate`]: The same.
    """
    return generate  # type: ignore[return-value]  # Which of the two types it returns is said by its arguments.
