"""Steps that were trained again after a resume gave other values: the training does not go on where it was."""

from __future__ import annotations

from orchestrator.console.plurals import plural
from orchestrator.page.health.edited import edited
from orchestrator.page.health.finding import Finding
from orchestrator.page.health.noise import lead
from orchestrator.page.health.shared import shared
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import number
from orchestrator.reading.trained_again import trained_again


def resumed(run: Recorded) -> list[Finding]:
    """A finding if a repeated step differs from its record; none if another finding explains it: the training was edited,
    or its trials share checkpoints."""
    found = [(row["trial"], *told) for row in run.rows["event"] if (told := trained_again(row["text"])) is not None]
    if not found or edited(run) or shared(run):
        return []
    trials = {trial for trial, *_ in found}
    trial, step, kept, again = max(found, key=lambda each: abs(each[3] - each[2]))
    largest, ahead = abs(again - kept), lead(run)
    beside = "" if ahead is None else f"; the winner leads the next configuration by {number(ahead)}"
    paused = {row["trial"] for row in run.rows["suggestion"] if row["kind"] == "resume"}
    search = (
        f" The search paused and resumed {plural(len(paused), 'trial')}, and compares their results with those of trials that "
        "were trained in one go."
        if paused
        else ""
    )
    return [
        Finding(
            "resumed",
            f"Resumed trainings do not continue exactly: {plural(len(trials), 'trial')} gave other values for steps that were "
            "trained again.",
            f"Trial {trial} differed by at least {number(largest)} {run.metric} (step {step}: {kept:.6g} on record, {again:.6g} "
            f"when trained again){beside}.{search}",
            "Save in the checkpoint everything that the training needs to continue: the state of random numbers and of the "
            "optimizer, the order of the data; `orchestrator replay` compares a training with its record."
            + (
                " A training that cannot save it needs a search that resumes no trials, such as Random with Asha."
                if paused
                else ""
            ),
            "serious" if ahead is None or largest >= ahead else "advice",
        )
    ]
