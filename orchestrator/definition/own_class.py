"""Checks of a searcher and a scheduler before the start: their class, and what its methods answer without any result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.definition import signatures
from orchestrator.definition.bad_input import place_of
from orchestrator.errors import BadInput
from orchestrator.failures import said
from search.contract import Around, Scheduler, Searcher
from search.history import History
from search.space import Space
from search.wording import shown

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

FLAG: tuple[Callable[[Any], bool], str] = (lambda value: isinstance(value, bool), "True or False")
ATTRIBUTES: dict[str, tuple[Callable[[Any], bool], str]] = {  # what each must be
    "finalists": (lambda value: type(value) is int and value >= 0, "a whole number, 0 or more"),
    "continues": FLAG,
    "schedules": FLAG,
    "resumes": FLAG,
    "why_full": (
        lambda value: value is None or isinstance(value, str),
        'text, or None; "" if it learns from trials that are stopped early, too',
    ),
}


def check(name: str, part: Searcher | Scheduler) -> None:
    """Raise BadInput if the class breaks its contract: its methods, its attributes, a state that it can keep.

    `name`: "searcher" or "scheduler". It also checks the searcher inside a searcher. A class can keep no state if it is a
    frozen dataclass, or if its objects have no attributes.
    """
    if isinstance(part, Around):
        check(name, part.inner)
    kind, contract = type(part), Searcher if isinstance(part, Searcher) else Scheduler
    place = f"Sweep({name}={kind.__name__})"
    signatures.check(place, part, contract)
    for attribute, (is_sound, wanted) in ATTRIBUTES.items():
        if hasattr(contract, attribute) and not is_sound(value := getattr(part, attribute)):
            raise BadInput(f"{place}: {attribute} = {value!r}: must be {wanted}.")
    _check_state(place, part)
    if isinstance(part, Scheduler) and type(part).promote is not Scheduler.promote and not part.resumes:
        raise BadInput(
            f"{place}: it has a promote() and does not set `resumes`, so no checkpoint would be kept "
            f"for it, and what it resumes would train again from the start. Add `resumes = True` to the class {kind.__name__}."
        )


def _check_state(place: str, part: Searcher | Scheduler) -> None:
    """A sweep that continues begins with new objects, so what has changed in them would be lost."""
    kind = type(part)
    names = list(getattr(part, "__dict__", ()))
    if not names or (is_dataclass(kind) and kind.__dataclass_params__.frozen):
        return
    kept = " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
    as_fields = "" if is_dataclass(kind) else f", and {kept} as {'a field' if len(names) == 1 else 'fields'}"
    raise BadInput(
        f"{place}: its objects keep {kept}, which may change between two starts of a sweep; make it a frozen dataclass: "
        f"@dataclass(frozen=True) above the class{as_fields}."
    )


def check_space(searcher: Searcher, space: Space) -> None:
    """Raise BadInput if the searcher refuses the space, or its `check` fails."""
    try:
        searcher.check(space)
    except ValueError as error:
        raise BadInput(f"Sweep(searcher={shown(searcher)}): {error}") from error
    except Exception as error:
        raise _failed("searcher", searcher, "check", error) from error


def ask(sweep: Sweep) -> None:
    """Raise BadInput if `remaining` or `cuts` fails, or returns what it must not."""
    history = History(
        sweep.space, horizon=sweep.workload.horizon, seed=sweep.seed, tasks=sweep.tasks, limit=sweep.limit
    )
    remaining = _answer("searcher", sweep.searcher, "remaining", history)
    if remaining is not None and (isinstance(remaining, str) or not isinstance(remaining, Iterable)):
        raise _wrong("searcher", sweep.searcher, "remaining", remaining, "a list of configurations, or None")
    cuts = _answer("scheduler", sweep.scheduler, "cuts", sweep.workload.horizon)
    if not isinstance(cuts, str):
        raise _wrong("scheduler", sweep.scheduler, "cuts", cuts, 'text for people, such as "at step 3", or ""')


def _answer(name: str, part: Searcher | Scheduler, method: str, argument: object) -> Any:
    try:
        return getattr(part, method)(argument)
    except Exception as error:
        raise _failed(name, part, method, error) from error


def _failed(name: str, part: Searcher | Scheduler, method: str, error: Exception) -> BadInput:
    where = place_of(error)
    return BadInput(
        f"Sweep({name}): {type(part).__name__}.{method}() failed: {said(error)}{f' ({where})' if where else ''}"
    )


def _wrong(name: str, part: Searcher | Scheduler, method: str, answer: object, wanted: str) -> BadInput:
    return BadInput(f"Sweep({name}): {type(part).__name__}.{method}() returned {answer!r}; return {wanted}.")
