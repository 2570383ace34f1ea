"""A parameter's definition as a script has it."""

from __future__ import annotations

from search.domain.parameters import Choice, Fixed, Float, Int, Parameter, Pow2


def written(parameter: Parameter) -> str:
    """The call that makes it, with its prior; the value of a fixed one.

    >>> written(Float(1e-4, 1.0, log=True))
    'loguniform(0.0001, 1)'
    """
    return f"{_call(parameter)}{parameter.known_prior or ''}"


def _call(parameter: Parameter) -> str:
    if isinstance(parameter, Pow2):
        return f"pow2({parameter.low}, {parameter.high})"
    if isinstance(parameter, Float):
        return f"{'log' * parameter.log}uniform({parameter.low:g}, {parameter.high:g})"
    if isinstance(parameter, Int):
        return f"{'lograndint' if parameter.log else 'randint'}({parameter.low}, {parameter.high})"
    if isinstance(parameter, Choice):
        return f"choice({list(parameter.options)})"
    return repr(parameter.value) if isinstance(parameter, Fixed) else repr(parameter)
