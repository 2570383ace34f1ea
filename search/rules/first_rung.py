"""The first rung of a multi-fidelity search: the earliest step whose order tells something about the order later on.

Among all configurations nearly any early step ranks well, because most of them are bad from the start. What counts is the
order among the better half, which is what a search goes on with. On some curves it is there after one step, on others
(warm-up, networks that learn nothing at first) it takes a tenth of the training. So it is measured on this sweep.

Source     the idea of learning from rank agreement where to start: Li et al., Hyper-Tune, VLDB 2022; Bohdal et al.,
           PASHA, ICLR 2023.
Differs    compares pairs of trials at the last rung that both have reached, and expects `EXPECTED` while there are few.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import combinations

from search.history import History, Trial
from search.models.fidelities import Configuration, Fidelity
from search.task import FULL

EXPECTED, UNKNOWN = 0.4, 4.0  # the agreement before any result, and the trials that it weighs as much as
LEAST = 0.15  # agreement: a rung with less is skipped
FURTHER = 3  # a trial tells about a rung once it has trained this many times as long
MOST = 30  # trials compared at a rung, the best
LATEST = 1 / 3  # of the horizon: no later step is the first rung


def first_rung(history: History, known: Sequence[Configuration], fidelities: Sequence[Fidelity]) -> int:
    """The index of the first of `fidelities`, rungs of the full training, whose order agrees with later ones."""
    trials = [each.full for each in known if each.full is not None and not each.broken]
    rungs = [each.steps for each in fidelities if each.task == FULL]
    last = 0
    for index, rung in enumerate(fidelities):
        if rung.task != FULL or rung.steps > max(1.0, LATEST * history.horizon):
            break
        last = index
        if agreement(history, trials, rung.steps, rungs) >= LEAST:
            break
    return last


def agreement(history: History, trials: Sequence[Trial], step: int, rungs: Sequence[int]) -> float:
    """Kendall's τ, −1 to 1, of the order at `step` with the later one, among the better half; near `EXPECTED` for few.

    `rungs`: increasing steps; the later order is that at the last of them that both trials of a pair have reached.
    """
    reached = history.reached(step)
    ranked = sorted((t for t in trials if t.number in reached), key=lambda trial: (reached[trial.number], trial.number))
    goal = min(FURTHER * step, history.horizon)
    further = [trial for trial in ranked[: (len(ranked) + 1) // 2] if trial.reach >= goal > step][:MOST]
    balance = pairs = 0
    for better, worse in combinations(further, 2):
        if reached[better.number] == reached[worse.number]:
            continue
        later = history.reached(rungs[bisect_right(rungs, min(better.reach, worse.reach)) - 1])
        difference = later[worse.number] - later[better.number]
        balance += (difference > 0) - (difference < 0)
        pairs += 1
    found = balance / pairs if pairs else 0.0
    weight = len(further) if pairs else 0
    return (found * weight + EXPECTED * UNKNOWN) / (weight + UNKNOWN)
