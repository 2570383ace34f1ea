"""--dry-run asks a searcher twice for each decision, so that its mistakes are told before the start."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from orchestrator.definition.bad_input import place_of
from orchestrator.driver import Driver
from orchestrator.errors import BadInput
from search.rules.conduct import Instead, Move, next_move

if TYPE_CHECKING:
    from search.contract import Searcher


def fresh_copy(searcher: Searcher) -> Searcher:
    """A copy that has not been asked yet; the searcher itself if it cannot be copied."""
    try:
        return copy.deepcopy(searcher)
    except Exception:
        return searcher


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


def _shown(move: Move) -> str:
    config = getattr(move, "config", None)
    return repr(move) if config is None else str(dict(config))
