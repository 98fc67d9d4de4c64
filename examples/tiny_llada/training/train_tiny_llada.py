# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Trains the small LLaDA checkpoint from scratch on generated worked-step tasks, on a CPU or a GPU.

Two CPU cores need about 80 minutes (`--compile --minutes 80`). A killed run that is started again
with the same arguments goes on from its last saved state, and ends exactly as if it had never stopped.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from muon import Muon
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tiny_batches import LONGEST_CANVAS, Batch, make_batches, mask_batch
from tiny_tokenizer import build_tokenizer
from torch.nn import functional
from tqdm import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_learn2pd import LladaConfig, LladaForMaskedDiffusion

__all__ = ["Position", "Trainer", "build_model", "parse_options", "train"]

# From this part of the run on, this part of the learning rates is used (and falls to zero over the last 70 %).
FINE_FROM, FINE_RATE = 0.1, 0.35

END_WEIGHT = 0.25  # The text would otherwise drown in its padding.


@dataclass
class Position:
    """
    Where a run stands; everything random is a function of it and of the seed.

    Args:
        step (`int`): Optimiser steps done.
        pool (`int`): Pool of samples in use.
        batch (`int`): Batches of this pool already used.
        pool_progress (`float`): Progress of the run, 0 to 1, when this pool began; decides its difficulty.
        seconds (`float`): Training time so far.
        tokens (`int`): Canvas tokens seen so far.
    """

    step: int = 0
    pool: int = 0
    batch: int = 0
    pool_progress: float = 0.0
    seconds: float = 0.0
    tokens: int = 0


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
        self.position = Position(pool_progress=options.begin_at)
        self.device = torch.device(options.device)
        self.tokenizer = build_tokenizer()
        self.model = build_model(options, self.tokenizer)
        self.model.to(self.device)  # type: ignore[arg-type]
        matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            (matrices if parameter.ndim == 2 and "layers." in name else others).append(parameter)
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=options.muon_learning_rate),
            torch.optim.AdamW(others, lr=options.adamw_learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        if options.compile:
            for layer in self.model.model.layers:
                layer.compile(dynamic=True)

    @property
    def progress(self) -> float:
        """Part of the run that is done, 0 to 1: of its training time where that is limited, of its steps otherwise."""
        if self.options.minutes:
            done = self.position.seconds / (60 * self.options.minutes)
        else:
            done = self.position.step / self.options.steps
        return float(min(1.0, self.options.begin_at + (1 - self.options.begin_at) * done))

    def load_weights(self, directory: str) -> None:
        """Takes over the weights of a checkpoint of the same sizes; embeddings go by word, new words stay random."""
        vocabulary = AutoTokenizer.from_pretrained(directory).get_vocab()
        weights = LladaForMaskedDiffusion.from_pretrained(directory).state_dict()
        for name, parameter in self.model.named_parameters():
            if name == "model.embed_tokens.weight":
                for word, number in self.tokenizer.get_vocab().items():
                    if word in vocabulary:
                        parameter.data[number] = weights[name][vocabulary[word]]
            else:
                parameter.data.copy_(weights[name])

    def save(self) -> None:
        """Writes the state under a temporary name first: a run killed while saving keeps its previous state."""
        tensors: dict[str, torch.Tensor] = {f"model.{name}": value for name, value in self.model.named_parameters()}
        for number, optimizer in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{number}.{index}.{name}": tensor for name, tensor in state.items()}
        path = Path(self.options.state)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        save_file(tensors, temporary, metadata={"position": json.dumps(asdict(self.position))})
        os.replace(temporary, path)

    def restore(self) -> None:
        """Reads the state that `save` wrote."""
        with safe_open(self.options.state, framework="pt", device=str(self.device)) as file:
            self.position = Position(**json.loads(file.metadata()["position"]))
            states: list[dict[int, dict[str, torch.Tensor]]] = [{} for _ in self.optimizers]
            parameters = dict(self.model.named_parameters())
            for key in file.keys():  # noqa: SIM118 (not a dictionary)
                kind, rest = key.split(".", 1)
                if kind == "model":
                    parameters[rest].data.copy_(file.get_tensor(key))
                else:
                    number, index, name = rest.split(".")
                    states[int(number)].setdefault(int(index), {})[name] = file.get_tensor(key)
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    def batches(self) -> Iterator[Batch]:
        """Yields batches from the current position on, until the run is complete."""
        while self.progress < 1:
            batches = make_batches(self.options, self.tokenizer, self.position.pool, self.position.pool_progress)
            for batch in batches[self.position.batch :]:
                if self.progress >= 1:
                    return
                self.position.batch += 1
                yield batch
            self.position.pool += 1
            self.position.batch = 0
            self.position.pool_progress = self.progress

    def step(self, batch: Batch) -> torch.Tensor:
        """Takes one optimiser step and returns the loss, a detached scalar."""
        progress = self.progress
        warm = min(1.0, (self.position.step + 1) / self.options.warmup_steps)
        # What copies one word may be learned roughly; the steps of many families at once need smaller moves.
        decay = 1.0 if progress < FINE_FROM else FINE_RATE * min(1.0, (1 - progress) / 0.7)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * warm * decay

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
        return loss.detach()

    def export(self) -> None:
        """Writes model and tokenizer in the official LLaDA layout."""
        # transformers' pipeline would sample.
        self.model.generation_config.do_sample = False
        self.model.save_pretrained(self.options.output)
        self.tokenizer.save_pretrained(self.options.output)


def train(options: argparse.Namespace) -> float:
    """
    Runs or resumes a training run to its end and exports the model.

    Args:
        options (`argparse.Namespace`): The script's options.

    Returns:
        `float`: Mean loss over about the last twenty steps.

    Raises:
        ValueError: If the state is damaged, or of a run with other sizes.
    """
    # Sharp attention leaves denormal numbers, which slow a CPU down to half; threads started from here on inherit this.
    torch.set_flush_denormal(True)
    trainer = Trainer(options)
    if Path(options.state).exists():
        try:
            trainer.restore()
        except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"`--state` must be whole and of this run (got {error!r} in {options.state})") from error
    elif options.weights:
        trainer.load_weights(options.weights)
    trainer.model.train()
    average = None
    bar = tqdm(total=100.0, initial=round(100 * trainer.progress, 2), unit="%", disable=options.quiet)
    clock = time.monotonic()
    for batch in trainer.batches():
        loss = trainer.step(batch)
        average = loss if average is None else average.lerp(loss, 0.05)
        now = time.monotonic()
        trainer.position.seconds += now - clock
        clock = now
        if trainer.position.step % 20 == 0:
            bar.update(round(100 * trainer.progress, 2) - bar.n)
            bar.set_postfix(step=trainer.position.step, tokens=trainer.position.tokens, loss=f"{average.item():.4f}")
        if trainer.position.step % options.save_every == 0:
            trainer.save()
    bar.close()
    trainer.save()
    trainer.export()
    return float("nan") if average is None else average.item()


PRESETS = {
    "tiny": {},
    "toy": {
        "steps": 300,
        "samples": 4,
        "pool_size": 64,
        "batch_tokens": 1024,
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 4,
        "mlp_hidden_size": 128,
        "warmup_steps": 5,
        "muon_learning_rate": 0.06,
        "adamw_learning_rate": 0.02,
    },
}


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """
    Reads the command line.

    Args:
        arguments (`list[str]`, *optional*): Words of the command line; those of the process when not given.

    Returns:
        `argparse.Namespace`: The script's options.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="tiny", help="toy: overfits a few samples in seconds")
    parser.add_argument("--output", default="tiny_llada", help="directory of the exported checkpoint")
    parser.add_argument("--state", default="tiny_llada.state.safetensors", help="file to resume from")
    parser.add_argument("--steps", type=int, default=16000, help="length of the run")
    parser.add_argument("--minutes", type=float, default=0.0, help="length of the run in time; 0: `--steps` counts")
    parser.add_argument("--weights", help="checkpoint directory to start from instead of random weights")
    parser.add_argument("--begin-at", type=float, default=0.0, help="part of curriculum and schedule to skip, 0 to 1")
    parser.add_argument("--save-every", type=int, default=500, help="steps between two saved states")
    parser.add_argument("--samples", type=int, default=0, help="repeat this many samples; 0: never repeat")
    parser.add_argument("--pool-size", type=int, default=2048, help="samples sorted by length together")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--n-layers", type=int, default=6)
    parser.add_argument("--n-heads", type=int, default=4)
    parser.add_argument("--mlp-hidden-size", type=int, default=384)
    parser.add_argument("--muon-learning-rate", type=float, default=0.015)
    parser.add_argument("--adamw-learning-rate", type=float, default=0.002)
    parser.add_argument("--warmup-steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="compile each block: starts later, runs faster")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    preset = parser.parse_known_args(arguments)[0].preset
    parser.set_defaults(**PRESETS[preset])
    return parser.parse_args(arguments)


if __name__ == "__main__":
    train(parse_options())
