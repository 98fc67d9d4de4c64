# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""The stock loop's answers, which filters are trained and calibrated with: decoded once and kept."""

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from hf_learn2pd import __version__

from ..special_tokens import SpecialTokens
from .files import make_directory, read_tensors, write_tensors
from .fingerprint import fingerprint_module, fingerprint_policy

__all__ = ["StockTexts"]


class StockTexts:
    """
    Decodes batches with the stock loop, one token per step, and keeps the texts.

    Each batch becomes a file whose name is a digest of its prompts, the model, the options and the version of this
    package, so that runs with any of these may share a directory. It is written under another name and moved into
    place; a damaged one is made again.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        directory (`str` or `os.PathLike`, *optional*): Where texts are kept; nowhere if None.
        max_new_tokens (`int`): Positions of the answer region.
        block_length (`int`): Positions that are denoised together.
        options: Other options of `generate`, such as `block_cache`: the stock loop makes the same passes. What a cache
            changes is not for a filter to mend, and a text of other passes would say nothing about its threshold.
    """

    def __init__(
        self,
        model: Any,
        directory: str | os.PathLike[str] | None,
        max_new_tokens: int,
        block_length: int,
        **options: Any,
    ):
        self.model = model
        self.directory = None if directory is None else Path(directory)
        self.options = options | {
            "decoding": "low_confidence",
            "max_new_tokens": max_new_tokens,
            "block_length": block_length,
            "end_of_text": "accepted",
            "do_sample": False,
            "steps": None,
            "return_dict_in_generate": True,
        }
        self.ends = SpecialTokens.of(model.generation_config, model.config, torch.device("cpu")).eos
        self.made_with = ""
        if self.directory is not None:
            make_directory("texts", self.directory)
            told = {name: fingerprint_policy(value) for name, value in sorted(self.options.items())}
            self.made_with = json.dumps([__version__, fingerprint_module(model), told])

    def __call__(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """
        Decodes a batch, or finds it decoded.

        Args:
            batch (`dict[str, torch.Tensor]`): What [`tokenize_prompts`] yields.

        Returns:
            `dict[str, torch.Tensor]`: On the CPU, `answers` of shape `(rows, max_new_tokens)`, with end-of-text behind
            the end of each, and `nfe` of shape `(rows,)`, the forward passes they took.
        """
        if self.directory is None:
            return self._decode(batch)
        content = [self.made_with, *(batch[name].tolist() for name in ("input_ids", "attention_mask"))]
        digest = hashlib.blake2b(json.dumps(content).encode(), digest_size=12).hexdigest()
        file = self.directory / f"stock-{digest}.safetensors"
        if file.exists():
            try:
                return self._read(file, len(batch["input_ids"]))
            except ValueError as error:
                warnings.warn(f"{file} is damaged ({error}) and is made again", stacklevel=3)
        texts = self._decode(batch)
        write_tensors(file, texts)
        return texts

    def _read(self, file: Path, rows: int) -> dict[str, torch.Tensor]:
        """Reads one file; raises `ValueError` if it is not whole."""
        _, texts = read_tensors(file)
        shapes = {name: tuple(tensor.shape) for name, tensor in texts.items()}
        if shapes != {"answers": (rows, self.options["max_new_tokens"]), "nfe": (rows,)}:
            raise ValueError(f"other tensors than those of texts, {shapes}")
        return texts

    def _decode(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        output = self.model.generate(**batch, **self.options)
        return {"answers": self.fill(output.sequences[:, batch["input_ids"].shape[1] :]), "nfe": output.nfe.cpu()}

    def fill(self, written: torch.Tensor) -> torch.Tensor:
        """
        Fills answers up, so that texts can be compared whatever their batches were padded to.

        Args:
            written (`torch.LongTensor` of shape `(rows, length)`): Answers that `generate` has returned.

        Returns:
            `torch.LongTensor` of shape `(rows, max_new_tokens)`: On the CPU, with end-of-text behind the end of each.
        """
        answers = torch.full((len(written), self.options["max_new_tokens"]), int(self.ends[0]))
        answers[:, : written.shape[1]] = written.cpu()
        is_end = torch.isin(answers, self.ends).long()
        return answers.masked_fill(is_end.cumsum(dim=-1) > is_end, int(self.ends[0]))
