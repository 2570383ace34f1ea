"""Checks of a searcher and a scheduler before the start: what their methods answer without any result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.definition.bad_input import place_of
from orchestrator.errors import BadInput
from orchestrator.failures import said
from search.contract import Scheduler, Searcher
from search.history import History
from search.space import Space
from search.wording import shown

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


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
