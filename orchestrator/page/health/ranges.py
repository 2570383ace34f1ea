"""The searched parameters of a recorded sweep, each with its scale, and their definitions as a script has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from orchestrator.page.recorded import Recorded
from search.domain.written import written
from search.history import Trial
from search.space import Choice, Float, Int, Parameter, Pow2

Numeric: TypeAlias = Float | Int | Pow2


def searched(run: Recorded) -> dict[str, Parameter]:
    """Name → parameter, without the fixed ones."""
    described: Mapping[str, Mapping[str, Any]] = run.about["space"]["parameters"]
    found = {name: _parameter(about) for name, about in described.items()}
    return {name: parameter for name, parameter in found.items() if parameter is not None}


def numeric(run: Recorded) -> dict[str, Numeric]:
    return {name: each for name, each in searched(run).items() if isinstance(each, (Float, Int, Pow2))}


def place(trial: Trial, name: str, parameter: Parameter) -> float | None:
    """The place of a trial's value in [0, 1]; None if the parameter is inactive, or the value is of another space."""
    value = trial.config.get(name)
    return parameter.to_unit(value) if value is not None and parameter.accepts(value) else None


def defined(about: Mapping[str, Any]) -> str:
    """A recorded definition as a script has it, with its condition."""
    parameter = _parameter(about)
    text = repr(about["value"]) if parameter is None else written(parameter)
    if prior := about.get("prior"):
        text += f".prior({prior['centre']!r}, confidence={prior['confidence']:g})"
    conditions = [f"{name} in {values}" for name, values in about.get("when", {}).items()]
    return f"{text} when {' and '.join(conditions)}" if conditions else text


def _parameter(about: Mapping[str, Any]) -> Parameter | None:
    """The parameter of a recorded definition; None for a fixed value."""
    kind = about["kind"]
    if kind == "float":
        return Float(about["low"], about["high"], about["log"])
    if kind == "int":
        return Int(about["low"], about["high"], about["log"])
    if kind == "pow2":
        return Pow2(about["low"], about["high"])
    return Choice(about["options"]) if kind == "choice" else None
