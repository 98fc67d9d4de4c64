# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Calls of `generate` and the types that a user's type checker has to find; only checked, never run."""

from typing import Any, assert_type

import torch
from transformers import BatchEncoding, GenerationConfig

from hf_learn2pd import DiffusionGenerationMixin, DiffusionGenerationOutput, LladaForMaskedDiffusion, Threshold

__all__ = ["check_calls"]


class _Changed(LladaForMaskedDiffusion):
    """A model with a `generate` of its own."""

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        return super().generate(*args, **kwargs)


def check_calls(
    llada: LladaForMaskedDiffusion, other: DiffusionGenerationMixin, prompt: torch.Tensor, inputs: BatchEncoding
) -> None:
    """Holds if mypy finds nothing, with `warn_unused_ignores`, which wants every ignored error to be one."""
    assert_type(llada.generate(prompt), torch.Tensor)
    assert_type(other.generate(prompt, GenerationConfig(), max_new_tokens=8), torch.Tensor)
    assert_type(llada.generate(prompt, return_dict_in_generate=False), torch.Tensor)
    output = llada.generate(prompt, decoding=Threshold(0.9), max_new_tokens=8, return_dict_in_generate=True)
    assert_type(output, DiffusionGenerationOutput)
    assert_type(output.nfe, torch.Tensor | None)
    assert_type(other.generate(**inputs, decoding="threshold", return_dict_in_generate=True), DiffusionGenerationOutput)

    llada.generate(prompt, decoding=3)  # type: ignore[call-overload]
    llada.generate(prompt).keys()  # type: ignore[attr-defined]
