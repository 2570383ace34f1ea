"""Checks of settings: searchers and schedulers refuse a wrong one in the same words. `title` is their name."""

from __future__ import annotations


def refuse_below(title: str, name: str, value: object, least: int) -> None:
    """Raise ValueError unless `value` is a whole number, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{title}({name}={value!r}): must be a whole number, {least} or more.")


def refuse_outside(title: str, name: str, value: object, low: float, high: float) -> None:
    """Raise ValueError unless `value` is a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{title}({name}={value!r}): must be a number from {low:g} to {high:g}.")
