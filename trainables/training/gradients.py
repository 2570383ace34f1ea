"""Gradients of the parts of a batch: measure each alone, then add them up in the order of the plain loop.

`trainables.estimates.noise_scale` uses the norms; only a policy that needs the gradient pays for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.estimates.noise_scale import Gradient

Parts = Sequence[tuple["float | Tensor", float]]
"""For each part: |its share of the gradient|^2, and its share of the samples."""


def square(parameters: Sequence[Tensor]) -> float | Tensor:
    """|gradient|^2 over all parameters; on a GPU a tensor, so that the CPU waits once per update."""
    norms = torch._foreach_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    norm = torch.linalg.vector_norm(torch.stack(norms))
    return norm.double().square() if norm.is_cuda else float(norm) ** 2


def set_aside(parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Take the accumulated gradients off the parameters, so that the next part's can be measured alone."""
    before = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return before


def put_back(parameters: Sequence[Tensor], before: Sequence[Tensor | None]) -> None:
    """Add the gradients that were set aside to the last part's."""
    sums, added = [], []
    for parameter, gradient in zip(parameters, before, strict=True):
        if gradient is not None:
            if parameter.grad is not None:
                sums.append(gradient)
                added.append(parameter.grad)
            parameter.grad = gradient
    if sums:
        torch._foreach_add_(sums, added)


def norms(batch_size: int, whole: float | Tensor, parts: Parts, scale: float) -> Gradient:
    """The norms that a policy sees. `whole`: |gradient|^2; `scale`: the squared loss scale, contained in all norms."""
    known = [(float(part) / scale, share) for part, share in parts if share > 0]
    return Gradient(
        batch_size=batch_size,
        part_size=batch_size / len(known),
        square=float(whole) / scale,
        part_square=sum(part / share for part, share in known),
        part_norms=tuple(math.sqrt(part) / share for part, share in known),
    )
