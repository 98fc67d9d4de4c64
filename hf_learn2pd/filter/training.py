# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Training a filter on oracle trajectories: a minute on a CPU."""

import copy

import torch
from torch import nn
from tqdm.auto import tqdm

from .model import UnmaskingFilter
from .trajectories import Trajectories

__all__ = ["choose_threshold", "train_filter"]


def train_filter(
    trajectories: Trajectories,
    hidden_size: int = 32,
    learning_rate: float = 1e-2,
    batch_size: int = 512,
    epochs: int = 1200,
    false_accept_weight: float = 10.0,
    precision: float = 0.99,
    seed: int = 0,
    base_model: str | None = None,
    progress: bool = True,
) -> UnmaskingFilter:
    """
    Trains the published two-layer filter and picks its threshold.

    Weighted binary cross-entropy over the positions that are still masked, AdamW with a cosine schedule, one sample in
    ten held out; the weights with the lowest held-out loss are kept. It takes long training to tell apart the last
    wrong predictions in a thousand, which decide how low a threshold may be.
    Source: https://huggingface.co/papers/2509.25188.

    Args:
        trajectories ([`Trajectories`]): What [`collect_trajectories`] returns.
        hidden_size (`int`, *optional*, defaults to 32): Width of the filter's hidden layer.
        learning_rate (`float`, *optional*, defaults to 1e-2): Of AdamW, at the start; falls to zero.
        batch_size (`int`, *optional*, defaults to 512): Samples per update.
        epochs (`int`, *optional*, defaults to 1200): Passes over the data.
        false_accept_weight (`float`, *optional*, defaults to 10.0):
            Weight in the loss of predictions that are wrong: accepting one of them changes everything behind it, while
            missing a right one costs a forward pass at most.
        precision (`float`, *optional*, defaults to 0.99): See [`choose_threshold`].
        seed (`int`, *optional*, defaults to 0): Of the split, the initial weights and the order of samples.
        base_model (`str`, *optional*): Name of the model, for the card.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

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
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)

    def loss_of(index: torch.Tensor) -> torch.Tensor:
        masked = trajectories.masked[index]
        logits, correct = model(trajectories.confidence[index])[masked], trajectories.correct[index][masked].float()
        weight = 1 + (false_accept_weight - 1) * (1 - correct)
        return nn.functional.binary_cross_entropy_with_logits(logits, correct, weight=weight)

    best_loss, best_state = float("inf"), model.state_dict()
    for _ in tqdm(range(epochs), desc="filter", unit="epoch", disable=not progress):
        for batch in training[torch.randperm(len(training), generator=generator)].split(batch_size):
            optimizer.zero_grad()
            loss_of(batch).backward()
            optimizer.step()
        schedule.step()
        with torch.no_grad():
            loss = loss_of(held_out).item()
        if loss < best_loss:
            best_loss, best_state = loss, copy.deepcopy(model.state_dict())
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
