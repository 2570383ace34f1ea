"""The repetitions of finalists are copies of earlier runs: they cost a training each and confirm nothing.

A run that differs from such copies from the step after its resume on tells that the training does not restore its state.
"""

from __future__ import annotations

from orchestrator.console.plurals import plural
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from orchestrator.reading.restarts import restarts, resumed_after
from orchestrator.reading.spending import USE_THE_SEED
from search.history import Trial
from search.rules.finalists import confirmed

SAVE = (
    "Save all of the training's state in the checkpoint: random numbers, the optimizer, the order of the data; "
    "`orchestrator replay` compares a training with its record."
)


def copies(run: Recorded) -> list[Finding]:
    """A finding if the fresh runs of all finalists have exactly the values of an earlier run."""
    if run.accounts["depends_on_seed"] is not False:
        return []
    again = [finalist for finalist in confirmed(run.history) if finalist.losses]
    odd = [found for finalist in again if (found := finalist.odd) is not None]
    told, resumed = [], False
    for trial, step in odd:
        after = _resumed_after(run, trial, step)
        resumed |= after is not None
        told.append(
            f" Trial {trial.number} is no copy of the other trainings of its configuration: it differs from step {step} on"
            + (f", after its resume at step {after}: the training does not restore all of its state." if after else ".")
        )
    return [
        Finding(
            "copies",
            "The repetitions are copies: the result does not depend on the seed.",
            f"{plural(sum(len(each.losses) for each in again), 'repetition')} of {plural(len(again), 'configuration')} had the "
            f"values of another run at every step, to the last digit{', except where said here' if odd else ''}.{''.join(told)}",
            f"{USE_THE_SEED}{f' {SAVE}' if resumed else ''}",
            "serious",
        )
    ]


def _resumed_after(run: Recorded, trial: Trial, step: int) -> int | None:
    """The step at which the trial was resumed, if it was right before this step."""
    suggestions, lost, events, reports = (
        [row for row in run.rows[table] if row["trial"] == trial.number]
        for table in ("suggestion", "lost", "event", "report")
    )
    found = resumed_after(step, reports, restarts(suggestions, lost, events=events))
    return found[0] if found is not None and found[1] == step else None
