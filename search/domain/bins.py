"""Places on the unit interval, and the equal bins that stand for discrete values."""

from __future__ import annotations

from collections.abc import Sequence


def spread(count: int) -> Sequence[float]:
    """`count` evenly spaced places from 0 to 1; a single one lies in the middle."""
    return [0.5] if count == 1 else [index / (count - 1) for index in range(count)]


def clip(value: float, low: float, high: float) -> float:
    """The value in [low, high] that is nearest to `value`."""
    return min(max(value, low), high)


def to_bin(index: int, bins: int) -> float:
    """The middle of a bin."""
    return (index + 0.5) / bins


def from_bin(unit: float, bins: int) -> int:
    """The bin that contains a place."""
    return min(max(int(float(unit) * bins), 0), bins - 1)
