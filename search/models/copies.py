"""Copies: configurations that train the same, step by step, as another one.

Rounding in the user's code, a parameter without effect, or a table of recorded trainings makes them. A copy teaches a
search nothing. So it is not trained further, it does not count as proof that the model forecasts well, and new
configurations keep a distance at which copies are rare. Where there are none, which is the usual case, nothing changes.

A metric with few values, such as an accuracy on a small set, ties by chance. So ties count only where random
configurations rarely tie.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from search.history import Trial
from search.models.fidelities import Configuration
from search.origins import COVERING

RARE = 0.75  # share of distinct first results among the random configurations, from which on a tie makes a copy
ASSUMED = 2  # configurations near others that were no copies, before any is seen: one copy alone tells of no distance
LATEST = 500  # configurations whose distances are measured, the latest: their number squared is computed


def twins_of(known: Sequence[Configuration]) -> dict[int, int]:
    """Index of a copy → index of the configuration that it copies: the one of them that has trained longest."""
    return {copy: longest for longest, *copies in _alike(known) for copy in copies}


def distance_of_copies(known: Sequence[Configuration]) -> float:
    """The distance that new configurations keep, as a share of each parameter's range; 0 if there are no copies.

    `known`: in order of their starts. It is the greatest distance from an earlier configuration within which at least half
    were copies, `ASSUMED` others included.
    """
    copies = {number for group in _alike(known) for number in group if number != min(group)}
    if not copies:
        return 0.0
    skipped = max(0, len(known) - LATEST)
    units = np.array([each.unit for each in known[skipped:]])
    found = []
    for number in range(1, len(units)):
        if known[skipped + number].reached >= 0:
            nearest = float(np.abs(units[:number] - units[number]).max(axis=1).min())
            found.append((nearest, skipped + number in copies))
    within, limit = 0, 0.0
    for seen, (distance, is_copy) in enumerate(sorted(found), 1):
        within += is_copy
        if is_copy and within >= (seen + ASSUMED) / 2:
            limit = distance
    return limit


def _alike(known: Sequence[Configuration]) -> list[list[int]]:
    """Groups of two or more configurations with the same results; in each the one that has trained longest comes first."""
    tied: dict[float, list[int]] = defaultdict(list)
    for number, configuration in enumerate(known):
        if not configuration.broken and (trial := _training(configuration)) is not None:
            tied[trial.losses[0]].append(number)
    if len(tied) == sum(map(len, tied.values())) or not _ties_are_rare(known):
        return []
    found = []
    for numbers in tied.values():
        groups: list[list[int]] = []
        for number in sorted(numbers, key=lambda number: (-known[number].step, number)):
            group = next((group for group in groups if _same(known[group[0]], known[number])), None)
            if group is None:
                groups.append([number])
            else:
                group.append(number)
        found += [group for group in groups if len(group) > 1]
    return found


def _training(configuration: Configuration) -> Trial | None:
    return next((trial for trial in configuration.trials if trial.losses), None)


def _ties_are_rare(known: Sequence[Configuration]) -> bool:
    firsts = [
        trial.losses[0]
        for each in known
        if each.trials[0].first_origin in COVERING and not each.broken and (trial := _training(each)) is not None
    ]
    return len(set(firsts)) >= RARE * len(firsts)


def _same(one: Configuration, other: Configuration) -> bool:
    """Whether both trainings have the same results at the steps that both have reported."""
    first, second = _training(one), _training(other)
    if first is None or second is None or first.task != second.task:
        return False
    known = dict(zip(first.steps, first.losses, strict=True))
    return all(known.get(step, loss) == loss for step, loss in zip(second.steps, second.losses, strict=True))
