"""Checks of settings: a whole number, a number within an interval, a share.

Each raises ValueError with the place, the name, the value and what it must be:

    >>> whole("Asha", 1, grace_period=0)
    Traceback (most recent call last):
        ...
    ValueError: Asha(grace_period=0): must be a whole number, 1 or more.
    >>> share("Task", "(0, 1]", cost=2)
    Traceback (most recent call last):
        ...
    ValueError: Task(cost=2): must be a share, more than 0 and at most 1.

Intervals use mathematical notation: "[0, 1)" contains 0 but not 1, "(0, inf)" every finite number above 0. A bool is
not a number. NumPy's integers are refused, because the record would show another text for the same setting.
"""

from __future__ import annotations

import math


def whole(title: str, least: int, /, **values: object) -> None:
    """Each of `values` must be an int of at least `least`."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{_place(title, name, value)}: must be a whole number, {least} or more.")


def number(title: str, interval: str, /, **values: object) -> None:
    """Each of `values` must be a float or an int in `interval`."""
    _within(title, "a number", interval, values)


def share(title: str, interval: str, /, **values: object) -> None:
    """Each of `values` must be a float or an int in `interval`, a part of [0, 1]."""
    _within(title, "a share", interval, values)


def rising_shares(title: str, /, **values: tuple[float, ...]) -> None:
    """Each of `values` must hold rising shares between 0 and 1."""
    for name, value in values.items():
        if list(value) != sorted(set(value)) or not all(0 < each < 1 for each in value):
            raise ValueError(f"{_place(title, name, value)}: must be rising shares of the training, between 0 and 1.")


def one_of(title: str, known: tuple[str, ...], /, **values: object) -> None:
    """Each of `values` must be one of the `known` words."""
    for name, value in values.items():
        if value not in known:
            raise ValueError(f"{_place(title, name, value)}: must be one of {', '.join(map(repr, known))}.")


def flag(title: str, /, **values: object) -> None:
    """Each of `values` must be True or False."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{_place(title, name, value)}: must be True or False.")


def is_number(value: object) -> bool:
    """Whether it is a float or an int, but no bool; NaN and the infinities count as numbers here."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _place(title: str, name: str, value: object) -> str:
    """`title` is a class, or an unfinished call of it: "Task('small'"."""
    return f"{title}{', ' if '(' in title else '('}{name}={value!r})"


def _within(title: str, what: str, interval: str, values: dict[str, object]) -> None:
    low, high = (float(end) for end in interval[1:-1].split(","))
    for name, value in values.items():
        if not (isinstance(value, (int, float)) and is_number(value) and _holds(interval, low, high, value)):
            kind = "a finite number" if interval == "(-inf, inf)" else what
            raise ValueError(f"{_place(title, name, value)}: must be {kind}{_in_words(interval, low, high)}.")


def _holds(interval: str, low: float, high: float, value: float) -> bool:
    above = value >= low if interval[0] == "[" else value > low
    return above and (value <= high if interval[-1] == "]" else value < high)


def _in_words(interval: str, low: float, high: float) -> str:
    bounds = []
    if math.isfinite(low):
        bounds.append(f"{low:g} or more" if interval[0] == "[" else f"more than {low:g}")
    if math.isfinite(high):
        bounds.append(f"at most {high:g}" if interval[-1] == "]" else f"less than {high:g}")
    return f", {' and '.join(bounds)}" if bounds else ""
