"""Shapes of a learning rate over a training: plain functions of the finished share, starting at 1.

    constant     1
    cosine       half a cosine, to 0
    linear       to 0 in a straight line
    polynomial   (1 - share) ^ power, to 0
    steps        times `factor` at each of the shares `at`

A staircase is "steps": to halve the rate after each epoch from the 4th of 13 on, use `at=tuple(e / 13 for e in
range(4, 13))` with factor=0.5.
"""

from __future__ import annotations

import math

SHAPES = ("constant", "cosine", "linear", "polynomial", "steps")


def decay(shape: str, share: float, *, power: float = 2.0, factor: float = 0.1, at: tuple[float, ...] = ()) -> float:
    """The factor of the peak rate after `share` (0 to 1) of the training."""
    if shape == "cosine":
        return (1 + math.cos(math.pi * share)) / 2
    if shape in ("linear", "polynomial"):
        return float((1 - share) ** (1.0 if shape == "linear" else power))
    return factor ** passed(at, share) if shape == "steps" else 1.0


def passed(at: tuple[float, ...], share: float) -> int:
    """How many of the milestones `at` have passed."""
    return sum(milestone <= share + 1e-9 for milestone in at)  # 3 / 10 epochs may be a little less than 0.3
