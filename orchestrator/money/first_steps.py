"""First steps that took longer than later ones: their worker still imported, compiled or read the data.

Only a trial's later steps tell how long a step of its configuration takes. A trial with first steps alone is compared
with its task: if it is about as slow as the first steps of others, all but a usual step is its start. If it is much
slower, its own steps may take long, and no more than the others' usual excess counts as its start.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from search.history import Trial

SLOW = 3.0  # times a later step: less is noise
ALIKE = 1.5  # times the others' usual excess: starts of one sweep differ by so much


def excess_of_first_steps(
    reports: Iterable[tuple[int, int, float]], begins: Iterable[tuple[int, int | None]], trials: Sequence[Trial]
) -> dict[int, float]:
    """Number of a report → the seconds by which this first step exceeds a later one; only where it is slow.

    `reports`: number of the record, trial, seconds. `begins`: number of the record and the trial that gets a new worker
    there; None: all trials do.
    """
    first: list[tuple[int, int, float]] = []
    later: dict[int, list[float]] = {}  # trial → seconds of its later steps
    by_task: dict[str, list[float]] = {}
    warm: set[int] = set()  # trials whose worker has made a step
    ahead = sorted(begins, key=lambda each: each[0])[::-1]
    for seq, trial, seconds in sorted(reports):
        while ahead and ahead[-1][0] < seq:
            _, begun = ahead.pop()
            if begun is None:
                warm.clear()
            else:
                warm.discard(begun)
        if trial in warm:
            later.setdefault(trial, []).append(seconds)
            by_task.setdefault(trials[trial].task, []).append(seconds)
        else:
            first.append((seq, trial, seconds))
            warm.add(trial)
    own = {trial: statistics.median(each) for trial, each in later.items()}
    found = {seq: took - own[trial] for seq, trial, took in first if trial in own and took > SLOW * own[trial] > 0}
    known = [max(0.0, took - own[trial]) for _, trial, took in first if trial in own]
    most = statistics.median(known) if known else 0.0
    usual = {task: statistics.median(each) for task, each in by_task.items()}
    for seq, trial, took in first:
        step = usual.get(trials[trial].task, 0.0)
        if trial not in own and most and took > SLOW * step > 0:
            found[seq] = took - step if took - step <= ALIKE * most else most
    return found
