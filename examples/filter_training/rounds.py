# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Rounds of trajectories and training: each further one follows the filter that the one before has trained."""

import argparse
from itertools import product
from pathlib import Path
from typing import Any

from hf_learn2pd import Learn2PD, UnmaskingFilter
from hf_learn2pd.filter.features import HIDDEN_STATE
from hf_learn2pd.training.training import train_filter
from hf_learn2pd.training.trajectories import Trajectories, collect_trajectories

__all__ = ["held_out_last", "train_in_rounds"]


def held_out_last(parts: list[Trajectories]) -> Trajectories:
    """Joins parts over the same prompts: the last tenth of each, which training holds out, comes behind the others."""
    heads = [part.map(lambda values: values[: len(values) * 9 // 10]) for part in parts]
    tails = [part.map(lambda values: values[len(values) * 9 // 10 :]) for part in parts]
    return Trajectories.cat(heads + tails)


def train_in_rounds(
    model: Any,
    tokenizer: Any,
    prompts: list[Any],
    lengths: list[int],
    ways: dict[str, dict[str, Any]],
    options: argparse.Namespace,
) -> tuple[UnmaskingFilter, Trajectories]:
    """
    Collects and trains, as often as the options say; what was collected before is read.

    Args:
        model ([`DiffusionGenerationMixin`]): The model.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer.
        prompts (`list[Any]`): Chats to learn from.
        lengths (`list[int]`): Block lengths.
        ways (`dict[str, dict[str, Any]]`): Options of `generate` that say what passes compute, by name.
        options (`argparse.Namespace`): The script's options.

    Returns:
        `tuple[UnmaskingFilter, Trajectories]`: The last filter, and all that it has learned from; the last tenth was
        held out.
    """
    folder, parts = Path(options.trajectories), []
    policy: Learn2PD | None = None
    for number in range(1, options.rounds + 1):
        for length, (name, passes) in product(lengths, ways.items()):
            parts.append(
                collect_trajectories(
                    model,
                    prompts,
                    folder / f"round_{number}_blocks_{length}_{name}",
                    tokenizer,
                    max_new_tokens=options.max_new_tokens,
                    block_length=length,
                    batch_size=options.batch_size,
                    policy=policy,
                    texts=folder / "texts",
                    hidden_states=HIDDEN_STATE in options.recipe["features"],
                    **passes,
                )
            )
        trajectories = held_out_last(parts)
        base_model = options.base_model or Path(options.model).name
        filter = train_filter(trajectories, options.architecture, base_model=base_model, **options.recipe)
        policy = Learn2PD(filter)
    return filter, trajectories
