"""The baseline of a sweep: a value of the right kind for each active parameter; the values may lie outside of the space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.errors import BadInput, did_you_mean
from search.domain.conditions import is_active
from search.domain.scalars import is_number, is_whole, plain_option
from search.records import Config
from search.space import Choice, Fixed, Float, Parameter, Space

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def checked(baseline: Mapping[str, Any], space: Space) -> Config:
    """The baseline with plain values, and with those of fixed parameters that it leaves out; raises BadInput for an unknown
    parameter, a missing value of an active one, and a value of a kind it never has."""
    given = {name: plain_option(value) for name, value in baseline.items()}
    if (reason := _unknown(given, space)) is not None:
        raise BadInput(f"Sweep(baseline={dict(baseline)!r}): {reason}")
    active: dict[str, Any] = {}
    for name in space.order:
        parameter = space.parameters[name]
        if not is_active(space.conditions[name], active):
            continue
        if isinstance(parameter, Fixed):
            given.setdefault(name, parameter.value)
        if (reason := _unfit(name, parameter, given)) is not None:
            raise BadInput(f"Sweep(baseline={dict(baseline)!r}): {reason}")
        active[name] = given[name]
    return given


def warning(sweep: Sweep) -> str:
    """What to know before the start of a baseline outside of the space: it is trained, but no trial comes near it."""
    baseline = sweep.baseline_config
    why = None if baseline is None else sweep.space.why_not(baseline)
    return f"the baseline is outside of the space, where no trial will come near it: {why.rstrip('.')}" if why else ""


def _unknown(baseline: Config, space: Space) -> str | None:
    unknown = next((name for name in baseline if name not in space.parameters), None)
    if unknown is None:
        return None
    free = [name for name in space.names if name not in baseline]
    remedy = did_you_mean(str(unknown), free) if free else " Leave it out."
    return f"the space has no {unknown!r}.{remedy}"


def _unfit(name: str, parameter: Parameter, baseline: Config) -> str | None:
    if name not in baseline:
        return f"{name!r} of the space is missing; give it a value ({parameter.allowed()})."
    kind = _never(parameter, baseline[name])
    return None if kind is None else f"{name!r} = {baseline[name]!r} must be {kind}."


def _never(parameter: Parameter, value: object) -> str | None:
    """The kind of value that the parameter has, in words, if `value` is of another; None in the options allows all."""
    if isinstance(parameter, Float):
        return None if is_number(value) else "a number"
    if not isinstance(parameter, (Choice, Fixed)):
        return None if is_whole(value) else "a whole number"
    options = parameter.options if isinstance(parameter, Choice) else (parameter.value,)
    kinds = {_kind(option): None for option in options}
    return None if None in options or _kind(value) in kinds else " or ".join(kinds)


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "True or False"
    return "a number" if is_number(value) else "text" if isinstance(value, str) else type(value).__name__
