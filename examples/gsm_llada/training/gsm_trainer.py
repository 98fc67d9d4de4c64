# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""One run of training: the model, its optimisers and its place, the optimiser step, and the state on disk."""

import argparse
import json
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from curriculum import draw_pool
from drills import CALCULATION_DRILL, REPEAT_DRILL, RESULT_DRILL
from gsm_batches import LONGEST_CANVAS, Batch, make_batches, mask_batch
from gsm_tokenizer import build_tokenizer
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from hf_learn2pd import LladaConfig, LladaForMaskedDiffusion

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tiny_llada" / "training"))

from muon import Muon

__all__ = ["Position", "Trainer", "build_model"]

END_WEIGHT = 0.25  # The text would otherwise drown in its padding.
# Learning rates are halved when three times as many tokens have been seen. What copies a word may be learned roughly,
# what comes later may not: with four times as many, the averaged weights were much better than the weights themselves.
SETTLED_TOKENS = 2_000_000
AVERAGE_DECAY = 0.998


@dataclass
class Position:
    """
    Where a run stands; everything random is a function of it and of the seed.

    Args:
        step (`int`): Optimiser steps done.
        tokens (`int`): Canvas tokens seen so far.
        pool (`int`): Pool of samples in use.
        batch (`int`): Batches of this pool already used.
        pool_tokens (`int`): Canvas tokens seen when this pool began; decides its difficulty.
        seconds (`float`): Training time so far.
    """

    step: int = 0
    tokens: int = 0
    pool: int = 0
    batch: int = 0
    pool_tokens: int = 0
    seconds: float = 0.0


def build_model(options: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> LladaForMaskedDiffusion:
    """
    Builds a randomly initialised model.

    Args:
        options (`argparse.Namespace`): The script's options: seed and sizes.
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]): Gives vocabulary and special tokens.

    Returns:
        [`LladaForMaskedDiffusion`]: The model, in float32.
    """
    torch.manual_seed(options.seed)
    official_fields: dict[str, Any] = {
        "d_model": options.d_model,
        "n_layers": options.n_layers,
        "n_heads": options.n_heads,
        "n_kv_heads": options.n_heads,
        "mlp_hidden_size": options.mlp_hidden_size,
        "max_sequence_length": LONGEST_CANVAS,
        "vocab_size": len(tokenizer),
        "embedding_size": len(tokenizer),
        "weight_tying": True,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "init_std": 0.05,
        "mask_token_id": tokenizer.mask_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = LladaForMaskedDiffusion(LladaConfig(**official_fields))
    # A token's own embedding must stay visible beside what the blocks add to it, or copying forms late: large
    # embeddings, blocks that start as the identity, and a small final norm because the embedding is the head as well.
    torch.nn.init.normal_(model.model.embed_tokens.weight)
    # The mask token's own is in every place that is predicted, and the answer everywhere before anything is learned.
    model.model.embed_tokens.weight.data[tokenizer.mask_token_id] *= 0.1
    torch.nn.init.constant_(model.model.norm.weight, 0.1)
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return model


class Trainer:
    """
    Model, optimisers and position of one run.

    Args:
        options (`argparse.Namespace`): The script's options.
    """

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.position = Position()
        self.finish_from: int | None = None
        self.device = torch.device(options.device)
        self.tokenizer = build_tokenizer()
        self.model = build_model(options, self.tokenizer)
        self.model.to(self.device)  # type: ignore[arg-type]
        self.parameters = dict(self.model.named_parameters())
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        for name, parameter in self.parameters.items():
            (matrices if parameter.ndim == 2 and "layers." in name else others).append(parameter)
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=options.muon_learning_rate),
            torch.optim.AdamW(others, lr=options.adamw_learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        if options.compile:
            for layer in self.model.model.layers:
                layer.compile(dynamic=True)

    def save(self, path: Path) -> None:
        """Writes the state under a temporary name first: a run killed while saving keeps its previous state."""
        tensors: dict[str, torch.Tensor] = {f"model.{name}": value for name, value in self.parameters.items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for number, optimizer in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{number}.{index}.{name}": tensor for name, tensor in state.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        places = {"position": json.dumps(asdict(self.position)), "finish_from": json.dumps(self.finish_from)}
        save_file(tensors, temporary, metadata=places)
        os.replace(temporary, path)

    def restore(self, path: Path) -> None:
        """Reads the state that `save` wrote."""
        with safe_open(path, framework="pt", device=str(self.device)) as file:
            self.position = Position(**json.loads(file.metadata()["position"]))
            self.finish_from = json.loads(file.metadata()["finish_from"])
            states: list[dict[int, dict[str, torch.Tensor]]] = [{} for _ in self.optimizers]
            for key in file.keys():  # noqa: SIM118 (not a dictionary)
                kind, rest = key.split(".", 1)
                if kind == "model":
                    self.parameters[rest].data.copy_(file.get_tensor(key))
                elif kind == "average":
                    self.average[rest].copy_(file.get_tensor(key))
                else:
                    number, index, name = rest.split(".")
                    states[int(number)].setdefault(int(index), {})[name] = file.get_tensor(key)
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    def batches(self) -> Iterator[Batch]:
        """Yields batches from the current position on, without end."""
        while True:
            rng = random.Random(f"{self.options.seed}/batches/{self.position.pool}")
            samples = draw_pool(
                self.options.seed, self.position.pool, self.options.pool_size, self.position.pool_tokens
            )
            batches = make_batches(samples, self.tokenizer, self.options.batch_tokens, rng)
            for batch in batches[self.position.batch :]:
                self.position.batch += 1
                yield batch
            self.position.pool += 1
            self.position.batch = 0
            self.position.pool_tokens = self.position.tokens

    def rate(self) -> float:
        """Part of the largest learning rates that is used now."""
        rate: float = min(1.0, (self.position.step + 1) / self.options.warmup_steps)
        rate *= (1 + self.position.tokens / SETTLED_TOKENS) ** -0.5
        if self.finish_from is not None:
            rate *= max(0.0, 1 - (self.position.tokens - self.finish_from) / self.options.finish)
        return rate

    def is_done(self) -> bool:
        """Whether the last step has been taken: that of `--steps`, or the one with which the rates reach zero."""
        stop_at: int = self.options.steps
        return 0 < stop_at <= self.position.step or (self.finish_from is not None and self.rate() == 0)

    def step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Takes one optimiser step; returns sums for the log: losses, and right results of calculations."""
        rate = self.rate()
        for optimizer, highest in zip(self.optimizers, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = highest * rate

        generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + self.position.step)
        masked, learned = (positions.to(self.device) for positions in mask_batch(batch, generator))
        tokens = batch.tokens.to(self.device)
        canvas = tokens.masked_fill(masked, self.tokenizer.mask_token_id)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            hidden = self.model.model(input_ids=canvas, use_cache=False).last_hidden_state
            # Only what is learned from reaches the vocabulary.
            logits = self.model.lm_head(hidden[learned])
        targets = tokens[learned]
        losses = functional.cross_entropy(logits.float(), targets, reduction="none")
        weights = torch.where(targets == self.tokenizer.eos_token_id, END_WEIGHT, 1.0)
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.position.step += 1
        self.position.tokens += tokens.numel()
        decay = min(AVERAGE_DECAY, self.position.step / (self.position.step + 10))
        torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self.parameters.values()], 1 - decay)

        # End-of-text is easy and there is much of it: it would hide that the text has not been learned.
        text = targets != self.tokenizer.eos_token_id
        templates = batch.templates.to(self.device).expand_as(learned)[learned]
        results = batch.results.to(self.device)[learned] & text
        right = logits.detach().argmax(-1) == targets
        sums = {"loss": loss.detach(), "steps": torch.ones(())}
        for name, rows in (
            ("problems", templates >= 0),
            ("calculations", templates == CALCULATION_DRILL),
            ("results", templates == RESULT_DRILL),
            ("repeats", templates == REPEAT_DRILL),
        ):
            rows = rows & text
            sums |= {f"{name}_loss": losses.detach()[rows].sum(), f"{name}_tokens": rows.sum()}
            # The tokens of results where there are any, all tokens of a list to repeat.
            of_interest = rows if name == "repeats" else rows & results
            sums |= {f"{name}_right": (right & of_interest).sum(), f"{name}_counted": of_interest.sum()}
        return sums

    def export(self) -> None:
        """Writes model (the averaged weights) and tokenizer in the official LLaDA layout."""
        model = build_model(self.options, self.tokenizer)
        for name, parameter in model.named_parameters():
            parameter.data.copy_(self.average[name])
        # transformers' pipeline would sample.
        model.generation_config.do_sample = False
        model.save_pretrained(self.options.output)
        self.tokenizer.save_pretrained(self.options.output)
