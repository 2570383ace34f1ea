"""Plain values: recognise numbers and values that can be recorded, and explain errors in ranges and options."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

LARGEST_INTEGER = 10**12  # up to here a log scale in double precision still separates neighbours


def is_number(value: object) -> bool:
    """Whether `value` is a finite number of Python or NumPy; a bool is not."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_whole(value: object) -> bool:
    """Whether `value` is a number without a fraction: 64, 64.0, np.int64(64)."""
    return is_number(value) and float(value).is_integer()  # type: ignore[arg-type]


def plain_scalar(value: Any) -> Any:
    """A scalar of NumPy, PyTorch or JAX, or an array without dimensions, as a Python value; everything else unchanged."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def plain_option(value: Any) -> Any:
    """The same of an option, which may be a list of such: a tuple becomes one, as JSON has no other."""
    return [plain_option(each) for each in value] if isinstance(value, (list, tuple)) else plain_scalar(value)


def scalar_problem(value: object) -> str | None:
    """Why `value` cannot be recorded as one plain value, with a remedy, or None."""
    if value is None or isinstance(value, (bool, int, str)):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value!r} cannot be recorded; use a finite number or None"
    if isinstance(value, dict):
        return f"{value!r} is a nested space; write flat names such as 'model.width'"
    if isinstance(value, (list, tuple, set, range, np.ndarray)):
        return f"{value!r} is not one plain value; try choice([...]) or a name for it, such as 'small'"
    return (
        f"{value!r} is a {type(value).__name__}, no plain value (number, text, bool, None); "
        "use uniform, loguniform, randint, lograndint, pow2 or choice, or a name that the workload looks up"
    )


def end_problem(end: str, value: object) -> str | None:
    """What is wrong with `value` as the end of a range of real numbers, or None."""
    if is_number(value):
        return None
    if isinstance(value, str):
        hint = "write it without quotes (in YAML 1.0e-3, not 1e-3)"
        return f"{end} must be a number, not the text {value!r}; {hint}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{end} must be finite, not {value!r}; give the largest value that makes sense"
    return f"{end} must be a number, not {value!r}"


def whole_end_problem(end: str, value: object) -> str | None:
    """What is wrong with `value` as the end of a range of whole numbers, or None."""
    if (problem := end_problem(end, value)) is not None:
        return problem
    if not isinstance(value, int):
        return f"{end} must be a whole number, not {value!r}; try {end}={round(value)} or uniform(...)"  # type: ignore[call-overload]
    if abs(value) > LARGEST_INTEGER:
        return f"{end} must lie within ±{LARGEST_INTEGER}; use larger units"
    return None


def power_end_problem(end: str, value: Any) -> str | None:
    """What is wrong with `value` as the end of a range of powers of two, or None."""
    problem = whole_end_problem(end, value)
    if problem is None and value < 1:
        return f"{end} must be a power of two, 1 or more; try {end}=1"
    if problem is None and value & (value - 1):
        below = 1 << (value.bit_length() - 1)
        return f"{end}={value} is not a power of two; try {end}={below} or {end}={2 * below}"
    return problem


def options_problem(options: object) -> str | None:
    """What is wrong with the options of a choice, or None."""
    if not isinstance(options, tuple):
        return "the options must be a list, in an order that stays; try choice(['a', 'b'])"
    if not options:
        return "there is no option to choose; give at least one"
    for index, option in enumerate(options):
        if (problem := option_problem(option)) is not None:
            return f"option {index}: {problem}"
        if option in options[:index]:
            twin = options[options.index(option)]
            return f"{option!r} is listed twice (as {twin!r}); list it once"
    return None


def option_problem(option: object) -> str | None:
    """Why `option`, a plain value or a list of such, cannot be recorded, with a remedy, or None."""
    if isinstance(option, list):
        return next((f"in {option!r}: {wrong}" for each in option if (wrong := option_problem(each)) is not None), None)
    if isinstance(option, dict):
        return (
            f"{option!r} is a dict; write a choice of names, such as choice(['small', 'large']), and look them up in the "
            "training"
        )
    return scalar_problem(option)


def order_problem(low: float, high: float) -> str | None:
    """What is wrong with the two ends of a range together, or None."""
    if low > high:
        return f"low must be < high; try low={high!r}, high={low!r}"
    return f"low must be < high; for one value write just {low!r}" if low == high else None
