# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Training a filter on oracle trajectories: seconds on a CPU."""

import copy

import torch
from torch import nn

from .model import UnmaskingFilter
from .trajectories import Trajectories

__all__ = ["choose_threshold", "train_filter"]


def train_filter(
    trajectories: Trajectories,
    hidden_size: int = 32,
    learning_rate: float = 3e-3,
    batch_size: int = 1024,
    max_epochs: int = 500,
    patience: int = 25,
    precision: float = 0.99,
    seed: int = 0,
    base_model: str | None = None,
) -> UnmaskingFilter:
    """
    Trains the published two-layer filter and picks its threshold.

    Binary cross-entropy over the positions that are still masked, AdamW, one sample in ten held out; training stops
    when the held-out loss has not improved for a while, and the best weights are kept.
    Source: https://huggingface.co/papers/2509.25188.

    Args:
        trajectories ([`Trajectories`]): What [`collect_trajectories`] returns.
        hidden_size (`int`, *optional*, defaults to 32): Width of the filter's hidden layer.
        learning_rate (`float`, *optional*, defaults to 3e-3): Of AdamW, as published.
        batch_size (`int`, *optional*, defaults to 1024): Samples per update.
        max_epochs (`int`, *optional*, defaults to 500): Passes over the data at most.
        patience (`int`, *optional*, defaults to 25): Epochs without improvement before training stops.
        precision (`float`, *optional*, defaults to 0.99): See [`choose_threshold`].
        seed (`int`, *optional*, defaults to 0): Of the split, the initial weights and the order of samples.
        base_model (`str`, *optional*): Name of the model, for the card.

    Returns:
        [`UnmaskingFilter`]: On the CPU, with its threshold set.

    Raises:
        ValueError: If there are fewer than ten samples.
    """
    samples, block_length = trajectories.confidence.shape
    if samples < 10:
        raise ValueError(f"`trajectories` must hold at least 10 samples (got {samples})")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(samples, generator=generator)
    held_out, training = order[: samples // 10], order[samples // 10 :]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = UnmaskingFilter(block_length, hidden_size, base_model=base_model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)

    def loss_of(index: torch.Tensor) -> torch.Tensor:
        masked = trajectories.masked[index]
        logits = model(trajectories.confidence[index])[masked]
        return nn.functional.binary_cross_entropy_with_logits(logits, trajectories.correct[index][masked].float())

    best_loss, best_state, waited = float("inf"), model.state_dict(), 0
    for _ in range(max_epochs):
        for batch in training[torch.randperm(len(training), generator=generator)].split(batch_size):
            optimizer.zero_grad()
            loss_of(batch).backward()
            optimizer.step()
        with torch.no_grad():
            loss = loss_of(held_out).item()
        if loss < best_loss:
            best_loss, best_state, waited = loss, copy.deepcopy(model.state_dict()), 0
        waited += 1
        if waited > patience:
            break
    model.load_state_dict(best_state)
    selected = Trajectories(*(getattr(trajectories, name)[held_out] for name in ("confidence", "masked", "correct")))
    model.threshold = choose_threshold(model, selected, precision)
    return model.eval()


@torch.no_grad()
def choose_threshold(model: UnmaskingFilter, trajectories: Trajectories, precision: float = 0.99) -> float:
    """
    Finds the lowest threshold above which a given share of the accepted predictions is right.

    Args:
        model ([`UnmaskingFilter`]): The filter.
        trajectories ([`Trajectories`]): Samples it was not trained on.
        precision (`float`, *optional*, defaults to 0.99): Share of accepted predictions that equal the final output.

    Returns:
        `float`: The threshold; 1.0, which accepts nothing, if none is precise enough.
    """
    probability = model(trajectories.confidence).sigmoid()[trajectories.masked]
    correct = trajectories.correct[trajectories.masked]
    ranked, order = probability.sort(descending=True)
    right = correct[order].double().cumsum(dim=0) / torch.arange(1, len(order) + 1)
    enough = (right >= precision).nonzero()
    # Acceptance is strict, so the threshold is the next lower probability.
    position = int(enough.max()) + 1 if len(enough) else 0
    if position == 0:
        return 1.0
    return float(ranked[position]) if position < len(ranked) else 0.0
