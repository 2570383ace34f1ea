"""Amounts of time and memory, as numbers or as people write them: "90m", "4GiB"."""

from __future__ import annotations

import re

from orchestrator.errors import BadInput
from search.settings import is_number

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)\s*")
BYTES = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def seconds(value: float | str, name: str) -> float:
    """A duration in seconds: a number, or a text such as '90s', '15m', '6h', '2d', '3m30s'."""
    if isinstance(value, (int, float)) and is_number(value):
        return float(value)
    parts, text = _PART.findall(str(value)), str(value).strip()
    units = [unit for _, unit in parts]
    falling = [unit for unit in reversed(SECONDS) if unit in units]
    if not parts or _PART.sub("", text) or (len(parts) > 1 and units != falling):
        raise BadInput(f"{name}={value!r}: write seconds, or a number with a unit: '90s', '15m', '6h', '2d', '3m30s'.")
    return sum(float(number) * SECONDS[unit or "s"] for number, unit in parts)


def time_option(seconds: float) -> str:
    """A duration as one writes it for an option, in the largest unit that gives a whole number.

    >>> time_option(300.0), time_option(90.0), time_option(0.5), time_option(0.0)
    ('5m', '90s', '0.5s', '0s')
    """
    units = reversed(SECONDS.items()) if seconds else ()
    size, unit = next(((size, unit) for unit, size in units if seconds % size == 0), (1.0, "s"))
    return f"{seconds / size:.12g}{unit}"


def number_of_bytes(value: object) -> int:
    """An amount of memory in bytes: a whole number, or a text such as '512MiB', '4GiB'."""
    if isinstance(value, int) and is_number(value) and value > 0:
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?b)\s*", str(value).lower())
    if not match:
        raise BadInput(f"resources memory={value!r}: write bytes, or a number with a unit: '512MiB', '4GiB'.")
    return int(float(match[1]) * BYTES[match[2]])
