# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Muon: momentum whose update is orthogonalised, for the matrices inside the blocks of a small transformer."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch

__all__ = ["Muon"]


def _orthogonalise(matrices: torch.Tensor, steps: int) -> torch.Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrices; shape (count, rows, columns)."""
    turned = matrices.shape[-2] > matrices.shape[-1]
    result: torch.Tensor = matrices.mT if turned else matrices
    result = result / (result.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = result @ result.mT
        result = 3.4445 * result + (-4.7750 * gram + 2.0315 * gram @ gram) @ result
    return result.mT if turned else result


class Muon(torch.optim.Optimizer):
    r"""
    Momentum with orthogonalised updates.

    Based on Muon (Keller Jordan et al., 2024, https://kellerjordan.github.io/posts/muon). Matrices of one shape are
    orthogonalised together, and in float32: on a CPU the many small products cost more than their precision.

    Args:
        parameters (`Iterable[torch.nn.Parameter]`): Matrices, each of shape (rows, columns).
        lr (`float`, defaults to 0.015): Learning rate, the spectral norm of a square matrix' update.
        momentum (`float`, defaults to 0.95): Decay of the (Nesterov) momentum.
        weight_decay (`float`, defaults to 0.1): Decoupled, per unit of learning rate. Without it the matrices grow
            until blocks drown the embeddings and attention saturates.
        iterations (`int`, defaults to 5): Newton-Schulz steps.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: float = 0.015,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        iterations: int = 5,
    ):
        super().__init__(
            parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "iterations": iterations}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Updates all matrices once from their gradients."""
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for parameter in group["params"]:
                by_shape[parameter.shape].append(parameter)
            for (rows, columns), parameters in by_shape.items():
                updates = []
                for parameter in parameters:
                    state = self.state[parameter]
                    if not state:
                        state["momentum"] = torch.zeros_like(parameter)
                    state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                    updates.append(parameter.grad.lerp(state["momentum"], group["momentum"]))
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                directions = _orthogonalise(torch.stack(updates), group["iterations"])
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, list(directions.unbind()), alpha=-scale)
