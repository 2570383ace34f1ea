"""Explain an error that Python raised in a policy: name the class, the method and what to write."""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from typing import Any

from trainables.contract import NO_KNOB, Policy
from trainables.estimates.noise_scale import Gradient
from trainables.values import Knobs, Signals

EXPLAINED = (TypeError, AttributeError, NameError, LookupError, ArithmeticError, ValueError)  # mistakes in the code
_NAMED = re.compile(r"\w+\.(start|act)\b")  # the error of an inner policy, which is explained already
_UNKNOWN_KNOB = re.compile(r"Knobs\.__init__\(\) got an unexpected keyword argument")
_NONE = {"loss": "when `metrics` are given", "gradient": "when `metrics` are given", "train_loss": "except at an epoch's end"}  # fmt: skip


def explained(policy: Policy[Any], method: str, signals: Signals, error: Exception) -> Exception:
    """The error with the policy's class, its method and the remedy, if one is known; one that says its class as it is.

    A policy may call another one, so the class is that of the innermost policy in the traceback.
    """
    name, lines = f"{type(policy).__name__}.{method}", ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        if isinstance(owner := frame.f_locals.get("self"), Policy):
            policy, name = owner, f"{type(owner).__name__}.{frame.f_code.co_name}"
        lines += linecache.getline(frame.f_code.co_filename, number)
    if str(error).startswith(type(policy).__name__) or _NAMED.match(str(error)):
        return error
    kind = next(each for each in EXPLAINED if isinstance(error, each))
    said = str(error) if type(error) is kind else f"{type(error).__name__}: {error}"
    told = kind("; ".join((f"{name}: {said}", *_remedies(policy, signals, error, lines))))
    return told.with_traceback(error.__traceback__)


def _remedies(policy: Policy[Any], signals: Signals, error: Exception, lines: str) -> Iterator[str]:
    """`lines`: those at which the traceback stands."""
    if isinstance(error, FrozenInstanceError):
        yield "keep what changes in the state that `start` and `act` return; new knobs are replace(signals.knobs, …)"
    elif isinstance(error, AttributeError) and isinstance(error.obj, (Signals, Knobs, Gradient)):
        yield f"it has {', '.join(each for each in dir(error.obj) if not each.startswith('_'))}"
    elif "NoneType" in str(error):
        for each in (each for each in _NONE if getattr(signals, each) is None and re.search(rf"\b{each}\b", lines)):
            needs = ", ".join(map(repr, sorted({*policy.needs, each})))
            is_asked = each == "train_loss" or each in policy.needs
            yield f"signals.{each} is None {_NONE[each] if is_asked else f'without needs = frozenset({{{needs}}}) in the class'}"
    elif isinstance(error, KeyError) and "metrics" in lines:
        names = ", ".join(map(repr, sorted(signals.metrics)))
        when = "empty except at an epoch's end and after Action(measure=True)"
        yield f"signals.metrics {f'has {names}' if names else f'is {when}'}"
    elif _UNKNOWN_KNOB.search(str(error)):
        yield f"the knobs are {', '.join(vars(signals.knobs))}; {NO_KNOB}"
