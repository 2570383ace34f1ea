"""What a hyper-parameter may be: a float, an integer, a power of two, a choice, or one fixed value.

Each kind knows its values, their place on the unit interval, and what is wrong with its definition.
Names belong to the `Space`, which puts them in front of every sentence made here. Nothing is refused in this
file: a definition is judged (`problem`) when the `Space` that names it is built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

LARGEST_INTEGER = 10**12  # up to here a log scale in double precision still tells neighbours apart


BELIEF_WIDTH = 0.1  # of the range: an expert's "about there"

Self = TypeVar("Self", bound="Parameter")


@dataclass(frozen=True)
class Belief:
    """Where somebody expects the best value: near `centre`, with this probability; otherwise it may be anywhere."""

    centre: Any
    confidence: float = 0.5

    def __str__(self) -> str:
        return f".believed({self.centre!r}, confidence={self.confidence!r})"


class Parameter(ABC):
    """The values that one hyper-parameter may take."""

    belief: Belief | None = None

    def believed(self: Self, centre: Any, *, confidence: float = 0.5) -> Self:
        """The same values, with a guess where the best one is; the search leans on it at first, and never only on it.

        `confidence`, between 0 and 1: how probable it is that the best value lies about there, within a tenth of
        the range on its scale (a choice: is that option).
        """
        if isinstance(self, Fixed):
            raise ValueError(f"{self!r}.believed({centre!r}): one value needs no belief; leave it out.")
        return replace(self, belief=Belief(plain_scalar(centre), plain_scalar(confidence)))  # type: ignore[type-var]

    def belief_problem(self) -> str | None:
        """What is wrong with the belief and what to write instead, or None."""
        if self.belief is None:
            return None
        centre, confidence = self.belief.centre, self.belief.confidence
        if not is_number(confidence) or not 0 < confidence < 1:
            return f"confidence must be more than 0 and less than 1, not {confidence!r}; try confidence=0.5"
        if not self.accepts(centre):
            return f"the centre of a belief must be {self.allowed()}, not {centre!r}; move it, or widen the range"
        return None

    def believed_density(self, units: Any) -> Any:
        """Prior density at places in [0, 1], 1 on average and nowhere 0; without a belief 1 everywhere."""
        if self.belief is None:
            return np.ones_like(units)
        near = self._near_centre(np.asarray(units, dtype=np.float64), self.to_unit(self.belief.centre))
        return (1 - self.belief.confidence) + self.belief.confidence * near

    def sample_believed(self, rng: np.random.Generator) -> float:
        """A place in [0, 1] drawn from `believed_density`."""
        if self.belief is None or rng.random() >= self.belief.confidence:
            return float(rng.random())
        return self._draw_near(self.to_unit(self.belief.centre), rng)

    def _near_centre(self, units: Any, centre: float) -> Any:
        """A normal density around the centre, cut off at the ends of the range."""
        mass = sum(math.erf(side / BELIEF_WIDTH / math.sqrt(2)) / 2 for side in (centre, 1 - centre))
        return np.exp(-0.5 * ((units - centre) / BELIEF_WIDTH) ** 2) / (BELIEF_WIDTH * math.sqrt(2 * math.pi) * mass)

    def _draw_near(self, centre: float, rng: np.random.Generator) -> float:
        while not 0 <= (unit := rng.normal(centre, BELIEF_WIDTH)) <= 1:
            pass
        return float(unit)

    @abstractmethod
    def arguments(self) -> str:
        """The definition as it is written between the brackets of its constructor."""

    @abstractmethod
    def problem(self) -> str | None:
        """What is wrong with this definition and what to write instead, or None."""

    @abstractmethod
    def allowed(self) -> str:
        """The allowed values in words: "a number from 0.0 to 1.0"."""

    @abstractmethod
    def accepts(self, value: object) -> bool:
        """Is `value` one of the allowed values? NumPy scalars and 64.0 for 64 are."""

    @abstractmethod
    def plain(self, value: Any) -> Any:
        """An accepted value as a plain Python value."""

    @abstractmethod
    def to_unit(self, value: Any) -> float:
        """The place of an accepted value in [0, 1]; a discrete value lies in the middle of its bin."""

    @abstractmethod
    def from_unit(self, unit: float) -> Any:
        """The value at a place in [0, 1]; uniform places give uniform values (on the parameter's scale)."""

    @abstractmethod
    def values(self, resolution: int) -> list[Any]:
        """At most `resolution` evenly spread values; a choice always gives all of its options."""

    @property
    @abstractmethod
    def size(self) -> float:
        """How many values there are; infinite for a float."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The definition as JSON."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.arguments()}){self.belief or ''}"


@dataclass(frozen=True, repr=False)
class Float(Parameter):
    """A real number from `low` to `high`, uniform on a linear or on a log scale."""

    low: float
    high: float
    log: bool = False
    belief: Belief | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for end in ("low", "high"):
            value = getattr(self, end)
            object.__setattr__(self, end, float(value) if is_number(value) else value)

    def arguments(self) -> str:
        return f"low={self.low!r}, high={self.high!r}" + (", log=True" if self.log else "")

    def problem(self) -> str | None:
        problem = _end_problem("low", self.low) or _end_problem("high", self.high)
        problem = problem or _order_problem(self.low, self.high)
        if problem is None and not math.isfinite(self.high - self.low):
            return "the range is too wide for a float; use a log scale or other units"
        if problem is None and self.log and self.low <= 0:
            start = "1e-5" if self.high > 1e-5 else repr(self.high / 1000 if self.high > 0 else 1e-5)
            return f"low must be > 0 on a log scale; try low={start}"
        return problem

    def allowed(self) -> str:
        return f"a number from {self.low!r} to {self.high!r}"

    def accepts(self, value: object) -> bool:
        return is_number(value) and self.low <= float(value) <= self.high  # type: ignore[arg-type]

    def plain(self, value: Any) -> float:
        return float(value)

    def to_unit(self, value: Any) -> float:
        low, high = self._scaled(self.low), self._scaled(self.high)
        return _clip((self._scaled(float(value)) - low) / (high - low), 0.0, 1.0)

    def from_unit(self, unit: float) -> float:
        low, high = self._scaled(self.low), self._scaled(self.high)
        scaled = low + _clip(float(unit), 0.0, 1.0) * (high - low)
        return _clip(math.exp(scaled) if self.log else scaled, self.low, self.high)

    def values(self, resolution: int) -> list[Any]:
        return [self.from_unit(unit) for unit in _spread(resolution)]

    @property
    def size(self) -> float:
        return math.inf

    def describe(self) -> dict[str, Any]:
        return {"kind": "float", "low": self.low, "high": self.high, "log": self.log}

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value


@dataclass(frozen=True, repr=False)
class Int(Parameter):
    """A whole number from `low` to `high`, both included, uniform on a linear or on a log scale."""

    low: int
    high: int
    log: bool = False
    belief: Belief | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _make_ends_plain(self)

    def arguments(self) -> str:
        return f"low={self.low!r}, high={self.high!r} included" + (", log=True" if self.log else "")

    def problem(self) -> str | None:
        problem = _whole_end_problem("low", self.low) or _whole_end_problem("high", self.high)
        problem = problem or _order_problem(self.low, self.high)
        if problem is None and self.log and self.low < 1:
            return "low must be >= 1 on a log scale; try low=1"
        return problem

    def allowed(self) -> str:
        return f"a whole number from {self.low} to {self.high}, both included"

    def accepts(self, value: object) -> bool:
        return is_whole(value) and self.low <= int(value) <= self.high  # type: ignore[call-overload]

    def plain(self, value: Any) -> int:
        return int(value)

    def to_unit(self, value: Any) -> float:
        if not self.log:
            return _to_bin(int(value) - self.low, int(self.size))
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return (math.log(int(value)) - low) / (high - low)

    def from_unit(self, unit: float) -> int:
        if not self.log:
            return self.low + _from_bin(unit, int(self.size))
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        value = round(math.exp(low + _clip(float(unit), 0.0, 1.0) * (high - low)))
        return min(max(value, self.low), self.high)

    def values(self, resolution: int) -> list[Any]:
        if self.size <= resolution:
            return list(range(self.low, self.high + 1))
        if self.log:
            inner = Float(self.low, self.high, log=True).values(resolution)
        else:
            inner = [self.low + unit * (self.high - self.low) for unit in _spread(resolution)]
        return sorted({round(value) for value in inner})

    @property
    def size(self) -> float:
        return self.high - self.low + 1

    def describe(self) -> dict[str, Any]:
        return {"kind": "int", "low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True, repr=False)
class Pow2(Parameter):
    """A power of two from `low` to `high`, both included; every power is equally likely."""

    low: int
    high: int
    belief: Belief | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _make_ends_plain(self)

    def arguments(self) -> str:
        return f"low={self.low!r}, high={self.high!r} included"

    def problem(self) -> str | None:
        for end, value in (("low", self.low), ("high", self.high)):
            problem = _whole_end_problem(end, value)
            if problem is None and value < 1:
                problem = f"{end} must be a power of two, 1 or more; try {end}=1"
            if problem is None and value & (value - 1):
                below = 1 << (value.bit_length() - 1)
                problem = f"{end}={value} is not a power of two; try {end}={below} or {end}={2 * below}"
            if problem is not None:
                return problem
        return _order_problem(self.low, self.high)

    def allowed(self) -> str:
        return f"a power of two from {self.low} to {self.high}, both included"

    def accepts(self, value: object) -> bool:
        if not is_whole(value):
            return False
        whole = int(value)  # type: ignore[call-overload]
        return self.low <= whole <= self.high and not whole & (whole - 1)

    def plain(self, value: Any) -> int:
        return int(value)

    @property
    def exponents(self) -> tuple[int, int]:
        """Of the lowest and of the highest value."""
        return self.low.bit_length() - 1, self.high.bit_length() - 1

    def to_unit(self, value: Any) -> float:
        return _to_bin(int(value).bit_length() - 1 - self.exponents[0], int(self.size))

    def from_unit(self, unit: float) -> int:
        return self.low << _from_bin(unit, int(self.size))

    def values(self, resolution: int) -> list[Any]:
        return [2**exponent for exponent in Int(*self.exponents).values(resolution)]

    @property
    def size(self) -> float:
        low, high = self.exponents
        return high - low + 1

    def describe(self) -> dict[str, Any]:
        return {"kind": "pow2", "low": self.low, "high": self.high}


@dataclass(frozen=True, repr=False)
class Choice(Parameter):
    """One of a few plain values without an order."""

    options: tuple[Any, ...]
    belief: Belief | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.options, (list, tuple, range, np.ndarray)):
            object.__setattr__(self, "options", tuple(plain_scalar(option) for option in self.options))

    def arguments(self) -> str:
        return f"options={list(self.options) if isinstance(self.options, tuple) else self.options!r}"

    def problem(self) -> str | None:
        if not isinstance(self.options, tuple):
            return "the options must be a list, in an order that stays; try choice(['a', 'b'])"
        if not self.options:
            return "there is no option to choose; give at least one"
        for index, option in enumerate(self.options):
            if (problem := scalar_problem(option)) is not None:
                return f"option {index}: {problem}"
            if option in self.options[:index]:
                twin = self.options[self.options.index(option)]
                return f"{option!r} is listed twice (as {twin!r}); list it once"
        return None

    def allowed(self) -> str:
        return "one of " + ", ".join(repr(option) for option in self.options)

    def accepts(self, value: object) -> bool:
        return self._index(value) is not None

    def plain(self, value: Any) -> Any:
        index = self._index(value)
        assert index is not None
        return self.options[index]

    def to_unit(self, value: Any) -> float:
        index = self._index(value)
        assert index is not None
        return _to_bin(index, len(self.options))

    def from_unit(self, unit: float) -> Any:
        return self.options[_from_bin(unit, len(self.options))]

    def values(self, resolution: int) -> list[Any]:
        return list(self.options)

    @property
    def size(self) -> float:
        return len(self.options)

    def describe(self) -> dict[str, Any]:
        return {"kind": "choice", "options": list(self.options)}

    def _near_centre(self, units: Any, centre: float) -> Any:
        """All in the option's own bin: its neighbours mean nothing."""
        bins = np.minimum((units * len(self.options)).astype(int), len(self.options) - 1)
        return np.where(bins == _from_bin(centre, len(self.options)), float(len(self.options)), 0.0)

    def _draw_near(self, centre: float, rng: np.random.Generator) -> float:
        return float((_from_bin(centre, len(self.options)) + rng.random()) / len(self.options))

    def _index(self, value: object) -> int | None:
        value = plain_scalar(value)
        for index, option in enumerate(self.options):  # True is no 1 here, and 1 no True
            if isinstance(value, bool) == isinstance(option, bool) and bool(value == option):
                return index
        return None


@dataclass(frozen=True, repr=False)
class Fixed(Parameter):
    """One value that is not searched."""

    value: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", plain_scalar(self.value))

    def arguments(self) -> str:
        return repr(self.value)

    def problem(self) -> str | None:
        return scalar_problem(self.value)

    def allowed(self) -> str:
        return f"always {self.value!r}"

    def accepts(self, value: object) -> bool:
        return Choice((self.value,)).accepts(value)

    def plain(self, value: Any) -> Any:
        return self.value

    def to_unit(self, value: Any) -> float:
        return 0.5

    def from_unit(self, unit: float) -> Any:
        return self.value

    def values(self, resolution: int) -> list[Any]:
        return [self.value]

    @property
    def size(self) -> float:
        return 1

    def describe(self) -> dict[str, Any]:
        return {"kind": "fixed", "value": self.value}


def is_number(value: object) -> bool:
    """A finite number of Python or NumPy; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_whole(value: object) -> bool:
    """A number without a fraction: 64, 64.0, np.int64(64)."""
    return is_number(value) and float(value).is_integer()  # type: ignore[arg-type]


def plain_scalar(value: Any) -> Any:
    """A NumPy scalar as the Python value it stands for; all else as it is."""
    return value.item() if isinstance(value, np.generic) else value


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
        f"{value!r} is a {type(value).__name__}, no parameter and no plain value (number, text, bool, None); "
        "use uniform, loguniform, randint, lograndint, pow2 or choice, or a name that the workload looks up"
    )


def _make_ends_plain(parameter: Int | Pow2) -> None:
    object.__setattr__(parameter, "low", plain_scalar(parameter.low))
    object.__setattr__(parameter, "high", plain_scalar(parameter.high))


def _end_problem(end: str, value: object) -> str | None:
    if is_number(value):
        return None
    if isinstance(value, str):
        hint = "write it without quotes (in YAML 1.0e-3, not 1e-3)"
        return f"{end} must be a number, not the text {value!r}; {hint}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{end} must be finite, not {value!r}; give the largest value that makes sense"
    return f"{end} must be a number, not {value!r}"


def _whole_end_problem(end: str, value: object) -> str | None:
    if (problem := _end_problem(end, value)) is not None:
        return problem
    if not isinstance(value, int):
        return f"{end} must be a whole number, not {value!r}; try {end}={round(value)} or uniform(...)"  # type: ignore[call-overload]
    if abs(value) > LARGEST_INTEGER:
        return f"{end} must lie within ±{LARGEST_INTEGER}; use larger units"
    return None


def _order_problem(low: float, high: float) -> str | None:
    if low > high:
        return f"low must be < high; try low={high!r}, high={low!r}"
    return f"low must be < high; for one value write just {low!r}" if low == high else None


def _spread(count: int) -> Sequence[float]:
    return [0.5] if count == 1 else [index / (count - 1) for index in range(count)]


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _to_bin(index: int, bins: int) -> float:
    return (index + 0.5) / bins


def _from_bin(unit: float, bins: int) -> int:
    return min(max(int(float(unit) * bins), 0), bins - 1)
