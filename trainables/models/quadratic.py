"""A point, and its squared distance from samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Point(nn.Module):
    """Returns ½ Σⱼ λⱼ (wⱼ − xⱼ)² for each row x of its input."""

    curvature: Tensor

    def __init__(self, curvature: Tensor, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("curvature", curvature)
        self.point = nn.Parameter(start.clone())

    def forward(self, samples: Tensor) -> Tensor:
        return 0.5 * torch.mv((self.point - samples).square(), self.curvature)
