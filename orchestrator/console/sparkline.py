"""A series of numbers as one line of small bars."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """At most `width` bars from the lowest to the highest value; of a longer series, evenly spaced members and the last.

    Empty if the finite values do not differ: a flat line would show nothing.

    >>> sparkline([1.0, 0.5, 0.25, 0.0], width=8)
    '█▅▃▁'
    """
    finite = [value for value in values if isfinite(value)]
    if width < 2 or len(set(finite)) < 2:
        return ""
    count = min(width, len(finite))
    shown = [finite[round(i * (len(finite) - 1) / (count - 1))] for i in range(count)]
    low, high = min(shown), max(shown)
    if low == high:
        return ""
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1))] for value in shown)
