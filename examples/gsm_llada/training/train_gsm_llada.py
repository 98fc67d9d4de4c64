# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Trains the GSM-Symbolic checkpoint from scratch, on a CPU or a GPU.

The run has no set length: learning rates fall with the root of the tokens seen, and an average of the weights is kept,
which `--export` writes at any time. A killed run that is started again goes on from its last saved state, and ends
exactly as if it had never stopped; SIGTERM lets it save first. `--finish N` starts from the saved state as well, lets
the learning rates fall to zero over N tokens and exports the result; the saved state itself stays as it is.
"""

import argparse
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from gsm_trainer import Position, Trainer
from safetensors import SafetensorError

__all__ = ["Trainer", "parse_options", "train"]


def log_line(position: Position, sums: dict[str, float], rate: float, seconds: float, tokens: int) -> str:
    """Writes what the last steps were like: losses on text, and how many tokens of results or of lists are right."""
    parts = [
        f"{datetime.now(UTC):%H:%M:%S} step {position.step} tokens {position.tokens / 1e6:.2f}M pool {position.pool}",
        f"rate {rate:.3f} speed {tokens / seconds:.0f}/s loss {sums['loss'] / sums['steps']:.4f}",
    ]
    for name in ("problems", "calculations", "results", "repeats"):
        if sums[f"{name}_tokens"]:
            loss = sums[f"{name}_loss"] / sums[f"{name}_tokens"]
            right = sums[f"{name}_right"] / max(1.0, sums[f"{name}_counted"])
            parts.append(f"{name} {loss:.4f} right {right:.3f}")
    return " ".join(parts)


def train(options: argparse.Namespace) -> None:
    """
    Runs or resumes a training run, until it is killed or as long as the options say.

    Args:
        options (`argparse.Namespace`): The script's options.

    Raises:
        ValueError: If the state is damaged, or of a run with other sizes.
    """
    # Sharp attention leaves denormal numbers, which slow a CPU down to half.
    torch.set_flush_denormal(True)
    if options.threads:
        torch.set_num_threads(options.threads)
    trainer = Trainer(options)
    path = state = Path(options.state)
    if options.finish:
        path = state.with_name(f"{state.name}.finish")
    begin = path if path.exists() else state
    if begin.exists():
        try:
            trainer.restore(begin)
        except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"`--state` must be whole and of this run (got {error!r} in {begin})") from error
    if options.finish and trainer.finish_from is None:
        trainer.finish_from = trainer.position.tokens
    if options.export:
        trainer.export()
        return
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    before = signal.signal(signal.SIGTERM, stop)
    trainer.model.train()
    position = trainer.position
    sums: dict[str, torch.Tensor] = {}
    clock = saved = logged = time.monotonic()
    logged_tokens = position.tokens
    # A run may have been killed behind its last step, when all that was left was to export.
    for batch in () if trainer.is_done() else trainer.batches():
        for name, value in trainer.step(batch).items():
            sums[name] = sums[name] + value if name in sums else value
        now = time.monotonic()
        position.seconds += now - clock
        clock = now
        if position.step % options.log_every == 0:
            numbers = {name: float(value) for name, value in sums.items()}
            print(
                log_line(position, numbers, trainer.rate(), now - logged, position.tokens - logged_tokens), flush=True
            )
            sums, logged, logged_tokens = {}, now, position.tokens
        if now - saved > 60 * options.save_minutes:
            trainer.save(path)
            saved = now
        if stopped or trainer.is_done():
            break
    signal.signal(signal.SIGTERM, before)
    if options.finish and trainer.rate() == 0:
        trainer.export()
        path.unlink(missing_ok=True)
    else:
        trainer.save(path)


PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "toy": {
        "pool_size": 64,
        "batch_tokens": 1024,
        "d_model": 32,
        "n_layers": 2,
        "n_heads": 2,
        "mlp_hidden_size": 64,
        "warmup_steps": 5,
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
    parser.add_argument("--preset", choices=PRESETS, default="small", help="toy: a few seconds, for tests")
    parser.add_argument("--output", default="gsm_llada", help="directory of the exported checkpoint")
    parser.add_argument("--state", default="gsm_llada.state.safetensors", help="file to resume from")
    parser.add_argument("--steps", type=int, default=0, help="step to stop at; 0: run until killed")
    parser.add_argument("--finish", type=int, default=0, help="tokens over which to let the rates fall to zero")
    parser.add_argument("--export", action="store_true", help="only write the checkpoint of the saved state")
    parser.add_argument("--save-minutes", type=float, default=10.0, help="time between two saved states")
    parser.add_argument("--log-every", type=int, default=100, help="steps between two lines of the log")
    parser.add_argument("--pool-size", type=int, default=2048, help="samples sorted by length together")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--n-layers", type=int, default=6)
    parser.add_argument("--n-heads", type=int, default=4)
    parser.add_argument("--mlp-hidden-size", type=int, default=384)
    parser.add_argument("--muon-learning-rate", type=float, default=0.02)
    parser.add_argument("--adamw-learning-rate", type=float, default=0.002)
    parser.add_argument("--warmup-steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of a CPU; 0: all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="compile each block: starts later, runs faster")
    preset = parser.parse_known_args(arguments)[0].preset
    parser.set_defaults(**PRESETS[preset])
    return parser.parse_args(arguments)


if __name__ == "__main__":
    train(parse_options())
