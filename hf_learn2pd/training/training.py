# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Training a filter on oracle trajectories: minutes on a CPU."""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from tqdm.auto import tqdm

from ..checks import LARGEST_SEED, check_bool, check_fraction, check_integer, check_number
from ..filter.features import HIDDEN_STATE, stack_features
from ..filter.model import UnmaskingFilter, check_features
from .arguments import check_trajectories
from .trajectories import Trajectories

__all__ = ["ThresholdScore", "choose_threshold", "plot_scores", "score_thresholds", "train_filter"]

# Of the trajectories, those at the end are held out: one part in this many.
_HELD_OUT = 10


@dataclass(frozen=True)
class ThresholdScore:
    """
    What a threshold does on trajectories.

    Args:
        threshold (`float`): Filter probability above which a prediction is accepted.
        precision (`float`): Share of the accepted predictions that equal the final output: 1 - false accepts.
        recall (`float`): Share of the predictions that equal the final output that are accepted.
        tokens_per_forward (`float`): Accepted predictions per step, at least one in each.
    """

    threshold: float
    precision: float
    recall: float
    tokens_per_forward: float


def train_filter(
    trajectories: Trajectories,
    architecture: str = "mlp",
    features: Sequence[str] = ("confidence",),
    hidden_size: int = 32,
    num_layers: int = 2,
    learning_rate: float = 1e-2,
    batch_size: int = 512,
    epochs: int = 1200,
    patience: int | None = None,
    false_accept_weight: float = 10.0,
    masked_only: bool = True,
    joint: bool = False,
    precision: float = 0.99,
    seed: int = 0,
    base_model: str | None = None,
    progress: bool = True,
) -> UnmaskingFilter:
    """
    Trains a filter and picks a first threshold.

    Weighted binary cross-entropy, AdamW with a cosine schedule; the last tenth of the samples is held out, and the
    weights with the lowest loss on it are kept. It takes long training to tell apart the last wrong predictions in a
    thousand, which decide how low a threshold may be. Under `accelerate launch` the batches are shared out.
    Source: https://huggingface.co/papers/2509.25188.

    Args:
        trajectories ([`Trajectories`]): What [`collect_trajectories`] returns.
        architecture (`str`, *optional*, defaults to `"mlp"`): See [`UnmaskingFilter`], like the next three.
        features (`Sequence[str]`, *optional*, defaults to `("confidence",)`): What the filter looks at.
        hidden_size (`int`, *optional*, defaults to 32): Width of the filter's hidden layers.
        num_layers (`int`, *optional*, defaults to 2): Layers of a transformer.
        learning_rate (`float`, *optional*, defaults to 1e-2): Of AdamW, at the start; falls to zero.
        batch_size (`int`, *optional*, defaults to 512): Samples per update.
        epochs (`int`, *optional*, defaults to 1200): Passes over the data.
        patience (`int`, *optional*): Epochs without a better held-out loss after which training ends; never if None.
        false_accept_weight (`float`, *optional*, defaults to 10.0):
            Weight in the loss of predictions that are wrong: accepting one of them changes everything behind it, while
            missing a right one costs a forward pass at most.
        masked_only (`bool`, *optional*, defaults to `True`):
            Whether only masked positions are learned from; the release takes all.
        joint (`bool`, *optional*, defaults to `False`): See [`UnmaskingFilter`].
        precision (`float`, *optional*, defaults to 0.99): See [`choose_threshold`].
        seed (`int`, *optional*, defaults to 0): Of the initial weights and the order of samples.
        base_model (`str`, *optional*): Name of the model, for the card.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        [`UnmaskingFilter`]: On the CPU, with its threshold set.

    Raises:
        ValueError: If there are fewer than ten samples or a number in them is not finite, nothing in them can be
            learned from, an argument is out of range, or the loss is never a number.
    """
    for name, count in (("batch_size", batch_size), ("epochs", epochs)):
        check_integer(name, count, 1)
    if patience is not None:
        check_integer("patience", patience, 1)
    check_integer("seed", seed, 0, LARGEST_SEED)
    for name, flag in (("masked_only", masked_only), ("progress", progress)):
        check_bool(name, flag)
    check_features(features, architecture)
    check_number("learning_rate", learning_rate, above=0)
    check_number("false_accept_weight", false_accept_weight, above=0)
    check_number("precision", precision, above=0, most=1)
    check_trajectories(trajectories, _HELD_OUT)
    samples, block_length = trajectories.confidence.shape
    hidden_states = trajectories.hidden_states if HIDDEN_STATE in features else None
    if HIDDEN_STATE in features and hidden_states is None:
        raise ValueError("`trajectories` must hold hidden states, see `collect_trajectories` (got none)")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        filter = UnmaskingFilter(
            block_length,
            hidden_size,
            0.5,
            base_model,
            architecture,
            features,
            num_layers=num_layers,
            state_size=None if hidden_states is None else hidden_states.shape[-1],
            joint=joint,
        )
    learned = trajectories.masked if masked_only else trajectories.in_block
    inputs = stack_features(trajectories, filter.features)
    tensors = [inputs, trajectories.masked, trajectories.in_block, learned, trajectories.correct]
    if hidden_states is not None:
        tensors.append(hidden_states)
    cut = samples - samples // _HELD_OUT
    if not learned[:cut].any() or not learned[cut:].any():
        kind = "masked positions" if masked_only else "positions of a block"
        raise ValueError(f"`trajectories` must hold {kind} in both the first nine tenths and the rest (got none)")
    accelerator = Accelerator()
    optimizer: Any = torch.optim.AdamW(filter.parameters(), lr=learning_rate)
    model, optimizer = accelerator.prepare(filter, optimizer)
    generator = torch.Generator().manual_seed(seed)
    training = [tensor[:cut].to(accelerator.device) for tensor in tensors]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer.optimizer, epochs)
    held_out = [tensor[cut:].to(accelerator.device) for tensor in tensors]

    def loss_of(batch: Sequence[torch.Tensor]) -> torch.Tensor:
        inputs, masked, in_block, learned, correct, *hidden_states = batch
        logits, right = model(inputs, masked, in_block, *hidden_states)[learned], correct[learned].float()
        weight = 1 + (false_accept_weight - 1) * (1 - right)
        return nn.functional.binary_cross_entropy_with_logits(logits, right, weight=weight)

    best_loss, best_state, best_epoch = float("inf"), copy.deepcopy(filter.state_dict()), 0
    bar = tqdm(range(epochs), desc="filter", unit="epoch", disable=not progress or not accelerator.is_main_process)
    for epoch in bar:
        model.train()
        for index in torch.randperm(cut, generator=generator).split(batch_size):
            # Every process draws the same order and takes its part of each batch.
            part = index[accelerator.process_index :: accelerator.num_processes].to(accelerator.device)
            optimizer.zero_grad()
            accelerator.backward(loss_of([tensor[part] for tensor in training]))
            optimizer.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            loss = loss_of(held_out).item()
        if loss < best_loss:
            best_loss, best_state, best_epoch = loss, copy.deepcopy(filter.state_dict()), epoch
        if patience is not None and epoch - best_epoch >= patience:
            break
        bar.set_postfix(held_out=f"{loss:.4f}", best=f"{best_loss:.4f}")
    if best_loss == float("inf"):
        # The weights would be those that training began with.
        raise ValueError(f"`learning_rate` must be low enough for a finite loss (got {learning_rate}, loss {loss})")
    filter.load_state_dict(best_state)
    filter.to("cpu").eval()
    filter.threshold = choose_threshold(filter, trajectories.map(lambda values: values[cut:]), precision)
    return filter


@torch.no_grad()
def choose_threshold(filter: UnmaskingFilter, trajectories: Trajectories, precision: float = 0.99) -> float:
    """
    Finds the lowest threshold above which a given share of the accepted predictions is right.

    Args:
        filter ([`UnmaskingFilter`]): The filter.
        trajectories ([`Trajectories`]): Samples it was not trained on.
        precision (`float`, *optional*, defaults to 0.99): Share of accepted predictions that equal the final output.

    Returns:
        `float`: The threshold; 1.0, which accepts nothing, if none is precise enough.

    Raises:
        ValueError: If `precision` is not above 0 and at most 1, or a number in the samples is not finite.
    """
    check_number("precision", precision, above=0, most=1)
    check_trajectories(trajectories)
    level = filter.level(trajectories)[trajectories.masked]
    correct = trajectories.correct[trajectories.masked]
    ranked, order = level.sort(descending=True)
    right = correct[order].double().cumsum(dim=0) / torch.arange(1, len(order) + 1)
    enough = (right >= precision).nonzero()
    # Acceptance is strict, so the threshold is the next lower level.
    position = int(enough.max()) + 1 if len(enough) else 0
    if position == 0:
        return 1.0
    return max(0.0, float(ranked[position])) if position < len(ranked) else 0.0


@torch.no_grad()
def score_thresholds(
    filter: UnmaskingFilter,
    trajectories: Trajectories,
    thresholds: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999),
) -> list[ThresholdScore]:
    """
    Says what thresholds do in the steps of the oracle.

    Args:
        filter ([`UnmaskingFilter`]): The filter.
        trajectories ([`Trajectories`]): Samples it was not trained on.
        thresholds (`Sequence[float]`, *optional*): What to try.

    Returns:
        `list[ThresholdScore]`: One for each. Precision is 1.0 where nothing is accepted.

    Raises:
        ValueError: If a threshold is not between 0 and 1, or a number in the samples is not finite.
    """
    for threshold in thresholds:
        check_fraction("thresholds", threshold)
    check_trajectories(trajectories)
    level = filter.level(trajectories).masked_fill(~trajectories.masked, -1.0)
    right = trajectories.correct & trajectories.masked
    scores = []
    for threshold in thresholds:
        accepted = level > threshold
        both = (accepted & right).sum().item()
        precision = both / accepted.sum().item() if accepted.any() else 1.0
        recall = both / max(1, int(right.sum()))
        per_step = accepted.sum(dim=-1).clamp(min=1).double().mean().item()
        scores.append(ThresholdScore(threshold, precision, recall, per_step))
    return scores


def plot_scores(scores: Sequence[ThresholdScore], path: str | os.PathLike[str]) -> None:
    """
    Draws recall and tokens per forward pass against false accepts; needs matplotlib.

    Args:
        scores (`Sequence[ThresholdScore]`): What [`score_thresholds`] returns.
        path (`str` or `os.PathLike`): Image file to write.
    """
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5))
    mistakes = [100 * (1 - score.precision) for score in scores]
    left.plot(mistakes, [100 * score.recall for score in scores], "o-")
    right.plot(mistakes, [score.tokens_per_forward for score in scores], "o-")
    left.set(ylabel="recall, %")
    right.set(ylabel="accepted predictions per step")
    for panel in (left, right):
        panel.set(xlabel="false accepts, %")
        panel.grid(alpha=0.3)
        for score, mistake in zip(scores, mistakes, strict=True):
            height = 100 * score.recall if panel is left else score.tokens_per_forward
            panel.annotate(f"{score.threshold:g}", (mistake, height), fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
