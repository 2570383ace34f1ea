"""A wider range for a parameter whose best value lies at an end."""

from __future__ import annotations

import math

from orchestrator.page.health.ranges import Numeric
from search.space import Float, Int, Pow2

NEARLY_ONE = 0.9  # a linear range from 0 or more that ends between this and 1 is taken for a share


def wider(parameter: Numeric, *, up: bool) -> Numeric | None:
    """The range with one end moved outwards: by a third of its length on a log scale, by half of it on a linear one.

    None where the end looks like a natural bound: 0 on a linear scale, a count of 1, a share of 1.
    """
    if isinstance(parameter, Pow2):
        return _wider_powers(parameter, up=up)
    end = _moved(parameter.low, parameter.high, up=up, log=parameter.log)
    if isinstance(parameter, Int):
        return _wider_whole(parameter, round(end), up=up)
    low, high = parameter.low, parameter.high
    if low < 0 or parameter.log:
        return Float(low, end, parameter.log) if up else Float(end, high, parameter.log)
    if not up:
        return None if low == 0 else Float(max(0.0, end), high)
    if NEARLY_ONE <= high <= 1:
        return None if high == 1 else Float(low, 1 - _rounded((1 - high) / 10))
    return Float(low, min(end, 1.0) if high < 1 else end)


def is_share(parameter: Numeric) -> bool:
    """Whether it looks like a share, which cannot exceed 1."""
    return isinstance(parameter, Float) and not parameter.log and parameter.low >= 0 and parameter.high <= 1


def _wider_powers(parameter: Pow2, *, up: bool) -> Pow2 | None:
    more = max(1, round((parameter.size - 1) / 3))
    if up:
        return Pow2(parameter.low, parameter.high << more)
    return None if parameter.low == 1 else Pow2(max(1, parameter.low >> more), parameter.high)


def _wider_whole(parameter: Int, end: int, *, up: bool) -> Int | None:
    low, high = parameter.low, parameter.high
    if up:
        return Int(low, max(end, high + 1), parameter.log)
    if low in (0, 1):
        return None
    return Int(max(min(end, low - 1), 1 if low > 0 else end), high, parameter.log)


def _moved(low: float, high: float, *, up: bool, log: bool) -> float:
    if log:
        factor = (high / low) ** (1 / 3)
        return _rounded(high * factor if up else low / factor)
    return _rounded(high + (high - low) / 2 if up else low - (high - low) / 2)


def _rounded(value: float) -> float:
    """To one digit, or two if the first is 1."""
    if value == 0:
        return 0.0
    digits = 1 if f"{abs(value):e}"[0] == "1" else 0
    return round(value, digits - math.floor(math.log10(abs(value))))
