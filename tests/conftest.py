# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Models and cases that many tests share: a scripted model, golden and shipped checkpoints, the list of strategies."""

import functools
import json
import sys
from logging import getLogger
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from hf_learn2pd import (
    Checkerboard,
    Credit,
    DiffusionGenerationMixin,
    Dilated,
    EntropyBound,
    EntropyOrder,
    Factor,
    Frechet,
    Klass,
    Learn2PD,
    LocalLeap,
    LowConfidence,
    MarginOrder,
    RandomOrder,
    Stable,
    Threshold,
    UnmaskingFilter,
    UnmaskingStrategy,
)

GOLDENS = Path(__file__).parent / "goldens"
EXAMPLES = Path(__file__).parents[1] / "examples"
CHECKPOINT = EXAMPLES / "tiny_llada"
# Scripts are imported by their names, as they import each other.
for folder in ("", "benchmarks", "evaluation", "filter_training", "gsm_llada/training", "tiny_llada/training"):
    sys.path.insert(0, str(EXAMPLES / folder))
VOCAB, MASK, EOT = 12, 11, 10

# One thread: forwards of tiny models are faster without waiting for a second one.
torch.set_num_threads(1)
logging.disable_progress_bar()
# pytest listens to loggers that hand on nothing, and torch writes its trace of a compilation once somebody listens.
getLogger("torch.__trace").propagate = True


class ScriptedConfig(PreTrainedConfig):
    model_type = "scripted"
    vocab_size: int = VOCAB
    mask_token_id: int | None = MASK
    eos_token_id: int | None = EOT
    pad_token_id: int | None = EOT


class ScriptedModel(DiffusionGenerationMixin, PreTrainedModel):
    """
    A model whose predictions are given: tokens[i] with probability confidence[i] at answer position i.

    With raise_by, every token already unmasked in the canvas adds that much to the confidence of the others.
    """

    config_class = ScriptedConfig

    def __init__(self, tokens: list[int], confidence: list[float], raise_by: float = 0.0, **config: Any):
        super().__init__(ScriptedConfig(**config))
        self.tokens = torch.tensor(tokens)
        self.confidence = torch.tensor(confidence, dtype=torch.float64)
        self.raise_by = raise_by
        self.device_holder = nn.Parameter(torch.zeros(1))
        self.canvases: list[list[list[int]]] = []

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, use_cache=None):
        self.canvases.append(input_ids.tolist())
        length = len(self.tokens)
        logits = torch.zeros(*input_ids.shape, VOCAB)
        for row, ids in enumerate(input_ids):
            answer = min(length, len(ids))
            unmasked = int((ids[-length:] != MASK).sum())
            top = (self.confidence + self.raise_by * unmasked).clamp(max=0.9999)[:answer]
            # The other ids but the mask share what is left.
            gap = (top / ((1 - top) / (VOCAB - 2))).log().float()
            start = self.prompt_length
            width = min(len(ids) - start, answer)
            logits[row, range(start, start + width), self.tokens[:width]] = gap[:width]
        return SimpleNamespace(last_hidden_state=logits)

    def get_decoder(self):
        return self

    def get_output_embeddings(self):
        return nn.Identity()

    def run(self, prompt: list[list[int]] | None = None, **options: Any):
        prompt_ids = torch.tensor(prompt or [[1, 2]])
        self.prompt_length = prompt_ids.shape[1]
        self.canvases.clear()
        options = {"max_new_tokens": len(self.tokens), "attention_mask": torch.ones_like(prompt_ids)} | options
        return self.generate(prompt_ids, return_dict_in_generate=True, output_unmasking_steps=True, **options)


@functools.cache
def golden_model(name: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(GOLDENS / name)


@functools.cache
def golden_filter() -> UnmaskingFilter:
    state = load_file(GOLDENS / "tiny_filter.safetensors")
    filter = UnmaskingFilter()
    filter.load_state_dict(state)
    return filter.eval()


def golden_cases(file: str) -> Any:
    return json.loads((GOLDENS / f"{file}.json").read_text())["cases"]


@pytest.fixture
def tiny_llada() -> Any:
    return golden_model("tiny_llada")


@pytest.fixture(scope="module")
def model() -> Any:
    """The shipped checkpoint."""
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(CHECKPOINT)


def inputs_of(tokenizer: Any, prompts: list[str]) -> Any:
    """Chats of one question each, padded on the left."""
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    return tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )


# Every strategy that needs no known output, in an easy and in a demanding configuration.
STRATEGIES: list[UnmaskingStrategy] = [
    LowConfidence(),
    RandomOrder(),
    Threshold(0.3),
    Threshold(0.9),
    Factor(3.0),
    Factor(0.5),
    Learn2PD(golden_filter(), threshold=0.5),
    Learn2PD(golden_filter(), threshold=0.96),
    LocalLeap(0.5, 0.3),
    Frechet(0.1),
    EntropyBound(2.0),
    Klass(0.2, 0.5),
    Credit(0.5),
    MarginOrder(),
    EntropyOrder(),
    Dilated(),
    Checkerboard(),
    Stable(Threshold(0.6), 0.3),
]
