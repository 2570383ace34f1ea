"""Check that the methods of a class take the arguments that its contract gives them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def objection(place: str, part: object, contract: type) -> str:
    """Which public method of `contract` cannot be called on `part` as the contract calls it, with the remedy; "": none.

    Arguments may have other names. `place` begins the message: "Sweep(scheduler=Median)".
    """
    for name, wanted in inspect.getmembers(contract, inspect.isfunction):
        arguments = list(inspect.signature(wanted).parameters)[1:]  # without self
        if not name.startswith("_") and not _takes(getattr(part, name), arguments):
            return (
                f"{place}: {type(part).__name__}.{name} must be a method with the arguments of the contract; "
                f"write def {name}{_plain(wanted)}."
            )
    return ""


def _takes(method: Any, arguments: list[str]) -> bool:
    if not callable(method):
        return False
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a method without self, or a builtin, which tells no signature
        return not inspect.ismethod(method)
    return True


def _plain(function: Callable[..., Any]) -> str:
    """The signature without types: "(self, trial, history)"."""
    found = inspect.signature(function)
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in found.parameters.values()]
    return str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
