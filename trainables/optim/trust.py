"""The common part of LARS and LAMB: which tensors get their own trust ratio, and the norms of tensors.

Norms stay on the device as tensors, so nothing here waits for a GPU.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...] | list[Tensor]


class Part(NamedTuple):
    """Tensors of a parameter group that have a gradient and are treated alike."""

    weights: list[Tensor]
    gradients: list[Tensor]
    weight_decay: float
    adapts: bool  # whether each gets a trust ratio


class ByParts(torch.optim.Optimizer):
    """Updates the parts of each parameter group, one after the other."""

    @abstractmethod
    def move(self, part: Part, group: dict[str, Any]) -> None: ...

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for part in parts(group):
                self.move(part, group)
        return loss


def parts(group: dict[str, Any]) -> Iterator[Part]:
    """The group's matrices (tensors of two dimensions or more), and its vectors.

    `adapt` False: no trust ratio for any of them. `exclude_vectors`: neither trust ratio nor weight decay for biases
    and gains of normalisations, where noise would dominate at a rate that suits the large matrices.
    """
    trained = [weight for weight in group["params"] if weight.grad is not None]
    for are_vectors in (False, True):
        weights = [weight for weight in trained if (weight.ndim <= 1) == are_vectors]
        if weights:
            excluded = are_vectors and group["exclude_vectors"]
            yield Part(
                weights,
                [weight.grad for weight in weights],
                weight_decay=0.0 if excluded else group["weight_decay"],
                adapts=group["adapt"] and not excluded,
            )


def norms(tensors: Tensors) -> Tensor:
    """The norm of each tensor: (tensors,)."""
    return torch.stack(torch._foreach_norm(tensors))


def scaled_by(tensors: Tensors, ratios: Tensor | None, factor: float) -> Tensors:
    """New tensors: each one times its ratio (None: 1) and the factor."""
    if ratios is None:
        return torch._foreach_mul(tensors, factor)
    return torch._foreach_mul(tensors, (ratios * factor).unbind())


def move(weights: Tensors, steps: Tensors, ratios: Tensor | None, rate: float) -> None:
    """Move the weights against the steps, each times its ratio (None: 1) and the learning rate."""
    if ratios is None:
        torch._foreach_add_(weights, steps, alpha=-rate)
    else:
        torch._foreach_addcmul_(weights, steps, ratios.unbind(), value=-rate)


def check(**settings: float) -> None:
    """Raise ValueError for a setting that is negative or NaN."""
    for name, value in settings.items():
        if not value >= 0:
            raise ValueError(f"{name}={value!r}: must be 0 or more.")
