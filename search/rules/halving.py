"""Successive halving of the random configurations of a multi-fidelity search: insurance against a misled model.

It has no model that could be wrong: at each fidelity the best third of them continues. The model learns from their
results, too. `search.rules.turns` says how many turns it gets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from search.history import History
from search.models.fidelities import Configuration, Fidelity
from search.origins import COVERING

ETA = 3  # one in this many continues, to this many times the cost


def halved(
    history: History,
    known: Sequence[Configuration],
    resting: Sequence[Configuration],
    fidelities: Sequence[Fidelity],
    first: int = 0,
) -> tuple[Configuration, Fidelity] | None:
    """The next promotion by halving among the random ones of `known`: configuration and fidelity; or None."""
    random = [each for each in known if each.trials[0].first_origin in COVERING]
    may_go_on = {id(each) for each in resting}
    rungs = _rungs(fidelities, first)
    for rung, goal in reversed(list(pairwise(rungs))):
        task, seen = fidelities[rung].task, history.reached(fidelities[rung].steps)
        losses = {
            index: min(
                (seen.get(t.number, math.inf) for t in each.trials if t.task == task and not t.broke), default=math.inf
            )
            for index, each in enumerate(random)
            if each.reached >= rung
        }
        places = len(losses) // ETA
        for index in sorted(losses, key=lambda index: (losses[index], index))[:places]:
            best = random[index]
            if id(best) in may_go_on and best.reached < goal:
                return best, fidelities[goal]
    return None


def _rungs(fidelities: Sequence[Fidelity], first: int) -> list[int]:
    """The fidelity `first`, then each that costs `ETA` times as much as the one before, and the last."""
    rungs = [first]
    for number, fidelity in enumerate(fidelities):
        if fidelity.cost >= ETA * fidelities[rungs[-1]].cost:
            rungs.append(number)
    return rungs if rungs[-1] == len(fidelities) - 1 else [*rungs, len(fidelities) - 1]
