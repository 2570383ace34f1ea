"""Checks of what a training loop of the user's own gives to `AskAndTell`.

Each raises ValueError with the place, the value and the remedy, before anything is recorded.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from search import own_class, settings
from search.contract import Scheduler, Searcher
from search.history import History, lessons
from search.records import Goal
from search.space import Space
from search.wording import instance, one_line

CLASS = "AskAndTell"


def limits(*, limit: Any, budget: Any, target: Any, **whole: Any) -> None:
    """The numbers with which a search is defined; None: no limit."""
    for name, least in {"horizon": 1, "confirmations": 1, "seed": 0, "finalists": 0}.items():
        settings.whole(CLASS, least, **{name: whole[name]})
    if limit is not None:
        settings.whole(CLASS, 1, limit=limit)
    if budget is not None:
        settings.number(CLASS, "(0, inf)", budget=budget)
    if target is not None:
        settings.number(CLASS, "(-inf, inf)", target=target)


def parts(searcher: Any, scheduler: Any) -> None:
    """What decides: each derived from its contract, and as the contract says."""
    instance(CLASS, Searcher, searcher=searcher)
    instance(CLASS, Scheduler, scheduler=scheduler)
    for name, part in (("searcher", searcher), ("scheduler", scheduler)):
        if broken := own_class.objection(CLASS, name, part):
            raise ValueError(broken)


def goal(given: Any) -> None:
    """The metric and its direction."""
    if not isinstance(given, Goal):
        raise ValueError(f'{CLASS}(goal={given!r}): must be a Goal, such as Goal("accuracy", "max") of search.records.')
    settings.one_of("Goal", ("min", "max"), mode=given.mode)


def number(value: Any, what: str) -> float:
    """A number of any library as a plain float."""
    try:
        if isinstance(value, str):
            raise ValueError
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of many numbers
        raise ValueError(f"{CLASS}.tell: {what} is {value!r}; it must be one number.") from None


def seconds(value: Any) -> float:
    """The cost of a step."""
    plain = number(value, "cost_seconds")
    if not 0 <= plain < math.inf:
        raise ValueError(
            f"{CLASS}.tell: cost_seconds is {value!r}; it must be a finite number of seconds, 0 or more; leave it out if it is "
            "not known."
        )
    return plain


def metrics(given: Any, step: int) -> dict[str, float]:
    """The measurements of a step, by name."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ValueError(
            f'{CLASS}.tell: metrics is {given!r}; it must be a dict of names and numbers, as {{"f1": 0.5}}.'
        )
    return {name: number(value, f'the metric "{name}" at step {step}') for name, value in given.items()}


def reason(method: str, given: Any) -> str:
    """Why a trial ended: a text, or the exception that ended it."""
    if isinstance(given, str):
        return given
    if isinstance(given, BaseException):
        message = one_line(str(given).splitlines())
        return f"{type(given).__name__}: {message}" if message else type(given).__name__
    raise ValueError(f"{CLASS}.{method}: the reason is {given!r}; give a text, or the exception.")


def earlier(given: Any, space: Space) -> tuple[History, ...]:
    """The histories of earlier searches; warns of one that teaches nothing in `space`."""
    if isinstance(given, (str, History)) or not isinstance(given, Iterable):
        raise ValueError(f"{CLASS}(earlier={_short(given)}): must be a list of histories, such as [old.history].")
    histories = tuple(given)
    for each in histories:
        if not isinstance(each, History):
            first = "load what `save` returned into an AskAndTell, old, and " if isinstance(each, str) else ""
            raise ValueError(f"{CLASS}(earlier=[{_short(each)}]): must hold histories; {first}write [old.history].")
        _check_names(each.space, space)
        if not lessons(each, space):
            warnings.warn(
                f"{CLASS}(earlier): a history of {len(each.trials)} trials teaches nothing: no full training of it has a result "
                "in the present space.",
                stacklevel=3,
            )
    return histories


def _check_names(old: Space, space: Space) -> None:
    for name in sorted(set(old.names) ^ set(space.names)):
        has, lacks = ("this one", "the earlier one") if name in space.names else ("the earlier one", "this one")
        raise ValueError(
            f"{CLASS}(earlier): {has} has a parameter {name!r}, and {lacks} has none; the parameters must be the same, their "
            "ranges may differ."
        )


def _short(value: object) -> str:
    return textwrap.shorten(repr(value), 60, placeholder="…")
