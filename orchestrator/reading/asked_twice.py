"""--dry-run asks a searcher and a scheduler twice for each decision, so that their mistakes are told before the start."""

from __future__ import annotations

import copy
from typing import TypeVar

from orchestrator.definition.bad_input import place_of
from orchestrator.driver import Driver
from orchestrator.errors import BadInput
from search.contract import Scheduler, Searcher
from search.history import Trial
from search.records import BASELINE, Status
from search.rules.conduct import Instead, Move, next_move

Part = TypeVar("Part", Searcher, Scheduler)


def fresh_copy(part: Part) -> Part:
    """A copy that has not been asked yet; the searcher or scheduler itself if it cannot be copied."""
    try:
        return copy.deepcopy(part)
    except Exception:
        return part


def ask_twice(driver: Driver, fresh: Searcher) -> None:
    """Raise BadInput if the searcher fails now, or answers otherwise than `fresh`, a copy from before it was first asked.

    A sweep that continues asks a new searcher: one that keeps a state, or draws from a generator of its own, would repeat
    or skip configurations.
    """
    if driver.stop_reason or driver.waiting:
        return
    searcher, name = driver.sweep.searcher, type(driver.sweep.searcher).__name__
    moves: list[Move] = [
        next_move(driver.history, each, driver.sweep.scheduler, driver.rules) for each in (searcher, fresh_copy(fresh))
    ]
    for move in moves:
        if isinstance(move, Instead):
            where = place_of(move.error)
            raise BadInput(f"Sweep(searcher): {move.why}{f' ({where})' if where else ''}") from move.error
    if moves[0] != moves[1]:
        raise BadInput(
            f"Sweep(searcher): {name}.suggest() is not a function of the history: asked twice with the same history, it "
            f"answered {_shown(moves[0])}, and {_shown(moves[1])}. Read all that it needs from the history, keep nothing between "
            "two calls, and take randomness from generator(history) of search.contract."
        )


def judge_twice(driver: Driver, trial: Trial, fresh: Scheduler) -> None:
    """Raise BadInput if the scheduler, asked again, answers otherwise than `fresh`, a copy from before it was first asked.

    `trial` has just reported. What ends it beside the scheduler's verdict needs no second one.
    """
    scheduler, history = driver.sweep.scheduler, driver.history
    name = type(scheduler).__name__
    answers: dict[str, tuple[object, object]] = {}
    if trial.first_origin != BASELINE and (trial.status is Status.RUNNING or trial.reason.startswith(f"{name} at ")):
        answers["judge"] = scheduler.judge(trial, history), fresh_copy(fresh).judge(trial, history)
    answers["promote"] = scheduler.promote(history), fresh_copy(fresh).promote(history)
    for method, (one, other) in answers.items():
        if one != other:
            raise BadInput(
                f"Sweep(scheduler): {name}.{method}() is not a function of the history: asked twice with the same history, it "
                f"answered {one}, and {other}. Read all that it needs from the history, and keep nothing between two calls."
            )


def _shown(move: Move) -> str:
    config = getattr(move, "config", None)
    return repr(move) if config is None else str(dict(config))
