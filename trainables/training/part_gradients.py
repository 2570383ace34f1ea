"""The gradient of each backward pass alone, measured on its way into `parameter.grad`.

A hook on each parameter takes the norm of what one pass adds, before PyTorch accumulates it and before DDP averages it
over the ranks. It copies nothing and does not change the sum in `parameter.grad`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor


class PartGradients:
    """Watches the trainable ones of `parameters`."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._norms: dict[int, Tensor] = {}
        self._passes_overlap = False
        for index, parameter in enumerate(parameters):
            if parameter.requires_grad:
                parameter.register_hook(functools.partial(self._see, index))  # type: ignore[no-untyped-call]

    def _see(self, index: int, gradient: Tensor) -> None:
        self._passes_overlap |= index in self._norms
        self._norms[index] = torch.linalg.vector_norm(gradient.detach())

    def square(self) -> float | Tensor:
        """|gradient|^2 of the backward pass since the last call; on a GPU a tensor.

        Raises ValueError if there was no pass, or more than one.
        """
        norms, overlap = [self._norms[index] for index in sorted(self._norms)], self._passes_overlap
        self._norms, self._passes_overlap = {}, False
        if overlap or not norms:
            found = "two or more" if overlap else "no"
            raise ValueError(
                f"control.part(): {found} backward passes since the last call; call it after each of them."
            )
        norm = torch.linalg.vector_norm(torch.stack(norms))
        return norm.double().square() if norm.is_cuda else float(norm) ** 2
