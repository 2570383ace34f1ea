"""The kinds of hyper-parameter: a float, an integer, a power of two, a choice, or one fixed value.

Each kind knows its values, their places on the unit interval, and what is wrong with its definition. Names belong to
the `Space`, which puts them in front of every sentence made here, and checks a definition (`problem`). Only `prior` raises.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from search.domain.bins import clip, from_bin, spread, to_bin
from search.domain.foreign_parameters import explained
from search.domain.prior import Prior, bin_density, bin_draw, mixed, normal_density, normal_draw
from search.domain.scalars import (
    end_problem,
    is_number,
    is_whole,
    options_problem,
    order_problem,
    plain_option,
    plain_scalar,
    power_end_problem,
    scalar_problem,
    whole_end_problem,
)

Self = TypeVar("Self", bound="Parameter")


class Parameter(ABC):
    """The values that one hyper-parameter may take."""

    known_prior: Prior | None = None

    @explained
    def prior(self: Self, centre: Any, *, confidence: float = 0.5) -> Self:
        """The same values with a prior: where you expect the best one. The search prefers that region at first.

        `confidence`, between 0 and 1: the probability that the best value lies near `centre`, within a tenth of the
        range on its scale (for a choice: that it is that option).
        """
        if isinstance(self, Fixed):
            raise ValueError(f"{self!r}.prior({centre!r}): one value needs no prior; leave it out.")
        return replace(self, known_prior=Prior(plain_option(centre), plain_scalar(confidence)))  # type: ignore[type-var]

    def prior_problem(self) -> str | None:
        """What is wrong with the prior and how to correct it, or None."""
        if self.known_prior is None:
            return None
        centre, confidence = self.known_prior.centre, self.known_prior.confidence
        if not is_number(confidence) or not 0 < confidence < 1:
            return f"confidence must be more than 0 and less than 1, not {confidence!r}; try confidence=0.5"
        if not self.accepts(centre):
            return f"the centre of a prior must be {self.allowed()}, not {centre!r}; move it, or widen the range"
        return None

    def prior_density(self, units: Any) -> Any:
        """Prior density at places in [0, 1]: its mean is 1, and it is 0 nowhere. Without a prior 1 everywhere."""
        if self.known_prior is None:
            return np.ones_like(units)
        near = self._near_centre(np.asarray(units, dtype=np.float64), self.to_unit(self.known_prior.centre))
        return mixed(near, self.known_prior.confidence)

    def sample_prior(self, rng: np.random.Generator) -> float:
        """A place in [0, 1] drawn from `prior_density`."""
        if self.known_prior is None or rng.random() >= self.known_prior.confidence:
            return float(rng.random())
        return self._draw_near(self.to_unit(self.known_prior.centre), rng)

    def _near_centre(self, units: Any, centre: float) -> Any:
        return normal_density(units, centre)

    def _draw_near(self, centre: float, rng: np.random.Generator) -> float:
        return normal_draw(centre, rng)

    @abstractmethod
    def arguments(self) -> str:
        """The definition as written between the brackets of its constructor."""

    @abstractmethod
    def problem(self) -> str | None:
        """What is wrong with this definition and how to correct it, or None."""

    @abstractmethod
    def allowed(self) -> str:
        """The allowed values in words: "a number from 0.0 to 1.0"."""

    @abstractmethod
    def accepts(self, value: object) -> bool:
        """Whether `value` is one of the allowed values; NumPy scalars, and 64.0 for 64, are fine."""

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
        """At most `resolution` evenly spaced values; a choice always returns all of its options."""

    @property
    @abstractmethod
    def size(self) -> float:
        """The number of values; infinite for a float."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The definition as JSON."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.arguments()}){self.known_prior or ''}"


@dataclass(frozen=True, repr=False)
class Float(Parameter):
    """A real number from `low` to `high`, uniform on a linear or on a log scale."""

    low: float
    high: float
    log: bool = False
    known_prior: Prior | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for end in ("low", "high"):
            value = getattr(self, end)
            object.__setattr__(self, end, float(value) if is_number(value) else value)

    def arguments(self) -> str:
        return f"low={self.low!r}, high={self.high!r}" + (", log=True" if self.log else "")

    def problem(self) -> str | None:
        problem = end_problem("low", self.low) or end_problem("high", self.high)
        problem = problem or order_problem(self.low, self.high)
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
        return clip((self._scaled(float(value)) - low) / (high - low), 0.0, 1.0)

    def from_unit(self, unit: float) -> float:
        if unit <= 0.0 or unit >= 1.0:  # the bound itself: exp(log(0.5)) is another number
            return self.high if unit >= 1.0 else self.low
        low, high = self._scaled(self.low), self._scaled(self.high)
        scaled = low + clip(float(unit), 0.0, 1.0) * (high - low)
        return clip(math.exp(scaled) if self.log else scaled, self.low, self.high)

    def values(self, resolution: int) -> list[Any]:
        return [self.from_unit(unit) for unit in spread(resolution)]

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
    known_prior: Prior | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _make_ends_plain(self)

    def arguments(self) -> str:
        return f"low={self.low!r}, high={self.high!r} included" + (", log=True" if self.log else "")

    def problem(self) -> str | None:
        problem = whole_end_problem("low", self.low) or whole_end_problem("high", self.high)
        problem = problem or order_problem(self.low, self.high)
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
            return to_bin(int(value) - self.low, int(self.size))
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return (math.log(int(value)) - low) / (high - low)

    def from_unit(self, unit: float) -> int:
        if not self.log:
            return self.low + from_bin(unit, int(self.size))
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        value = round(math.exp(low + clip(float(unit), 0.0, 1.0) * (high - low)))
        return min(max(value, self.low), self.high)

    def values(self, resolution: int) -> list[Any]:
        if self.size <= resolution:
            return list(range(self.low, self.high + 1))
        return sorted({round(value) for value in Float(self.low, self.high, self.log).values(resolution)})

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
    known_prior: Prior | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _make_ends_plain(self)

    def arguments(self) -> str:
        return f"low={self.low!r}, high={self.high!r} included"

    def problem(self) -> str | None:
        problem = power_end_problem("low", self.low) or power_end_problem("high", self.high)
        return problem or order_problem(self.low, self.high)

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
        """The exponents of the lowest and the highest value."""
        return self.low.bit_length() - 1, self.high.bit_length() - 1

    def to_unit(self, value: Any) -> float:
        return to_bin(int(value).bit_length() - 1 - self.exponents[0], int(self.size))

    def from_unit(self, unit: float) -> int:
        return self.low << from_bin(unit, int(self.size))

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
    """One of a few plain values, or lists of such, without an order."""

    options: tuple[Any, ...]
    known_prior: Prior | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.options, (list, tuple, range, np.ndarray)):
            object.__setattr__(self, "options", tuple(map(plain_option, self.options)))

    def arguments(self) -> str:
        return f"options={list(self.options) if isinstance(self.options, tuple) else self.options!r}"

    def problem(self) -> str | None:
        return options_problem(self.options)

    def allowed(self) -> str:
        return "one of " + ", ".join(repr(option) for option in self.options)

    def accepts(self, value: object) -> bool:
        return self._index(value) is not None

    def plain(self, value: Any) -> Any:
        index = self._index(value)
        assert index is not None
        return plain_option(self.options[index])

    def to_unit(self, value: Any) -> float:
        index = self._index(value)
        assert index is not None
        return to_bin(index, len(self.options))

    def from_unit(self, unit: float) -> Any:
        return plain_option(self.options[from_bin(unit, len(self.options))])  # of a list a copy

    def values(self, resolution: int) -> list[Any]:
        return plain_option(self.options)  # type: ignore[no-any-return]

    @property
    def size(self) -> float:
        return len(self.options)

    def describe(self) -> dict[str, Any]:
        return {"kind": "choice", "options": list(self.options)}

    def _near_centre(self, units: Any, centre: float) -> Any:
        return bin_density(units, from_bin(centre, len(self.options)), len(self.options))

    def _draw_near(self, centre: float, rng: np.random.Generator) -> float:
        return bin_draw(from_bin(centre, len(self.options)), len(self.options), rng)

    def _index(self, value: object) -> int | None:
        value = plain_option(value)
        for index, option in enumerate(self.options):  # True and 1 are different options
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


def _make_ends_plain(parameter: Int | Pow2) -> None:
    object.__setattr__(parameter, "low", plain_scalar(parameter.low))
    object.__setattr__(parameter, "high", plain_scalar(parameter.high))
