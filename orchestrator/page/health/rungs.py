"""The first rung stops trials too early: the rank there says nothing about the end."""

from __future__ import annotations

import math
from collections import Counter

from orchestrator.page.health.finding import Finding
from orchestrator.page.health.prediction import Prediction, prediction
from orchestrator.page.recorded import Recorded
from orchestrator.reading.untried import later_rung
from search.records import FINALIST, Status
from search.task import FULL

LEAST = 10  # trials that were stopped
STOPPED = 3  # trials that were stopped at the same step make it a rung
AT_ONCE = 100  # a step in the first 1/100 of a training
USEFUL = 0.6  # a correlation with the end from which a rung is worth having


def rungs(run: Recorded) -> list[Finding]:
    """A finding if the loss at the first rung does not predict the loss at the end. Sweeps with tasks have no rungs."""
    steps = first_rungs(run)
    if not steps or run.history.tasks:
        return []
    found = predicts_the_end(run, steps)
    stopped = sum(_is_whole(trial.task, trial.began) and trial.status is Status.STOPPED for trial in run.history)
    if found is None or found.ended < LEAST:
        return _untold(run, steps[0])
    if stopped < LEAST or not found.is_worthless:
        return []
    later = next(
        (
            (step, then)
            for index, step in enumerate(steps[1:], start=1)
            if (then := predicts_the_end(run, steps[index:])) is not None and then.correlation >= USEFUL
        ),
        None,
    )
    how = f" to {later[0]}, where the correlation is {later[1].correlation:.2f}" if later else f" above {steps[0]}"
    return [
        Finding(
            "rungs",
            f"The first rung, step {steps[0]}, stops trials too early: the ranking there says little about the ranking at the end.",
            f"Its rank correlation with the end is {found}, over {found.ended} trials trained to the end, corrected for "
            f"the {stopped} that were stopped.",
            f"Raise the first rung (grace_period){how}.",
            "serious",
            f"step {steps[0]}",
        )
    ]


def _untold(run: Recorded, step: int) -> list[Finding]:
    """A finding if most trials end within the first 1 % of the training, and too few are trained on to judge that."""
    own = [trial for trial in run.history if _is_whole(trial.task, trial.began) and trial.first_origin != FINALIST]
    cut = sum(trial.status is Status.STOPPED and trial.step * AT_ONCE <= run.history.horizon for trial in own)
    remedy = later_rung(run.about, run.history.horizon, step)
    if cut < LEAST or 2 * cut < len(own) or not remedy:
        return []
    return [
        Finding(
            "rungs",
            f"The first rung is very early, step {step} of {run.history.horizon}, and may stop good trials.",
            f"{cut} of {len(own)} trials were stopped within the first 1 %, and {len(run.full)} trained to the end: too few to "
            "tell how well the ranking there predicts the end.",
            remedy,
            "advice",
            f"step {step}",
        )
    ]


def first_rungs(run: Recorded) -> list[int]:
    """The steps at which trials were stopped, several at each."""
    ends = Counter(
        row["step"] for row in run.rows["ending"] if row["status"] == Status.STOPPED.value and row["step"] > 0
    )
    return sorted(step for step, times in ends.items() if times >= STOPPED and step < run.history.horizon)


def predicts_the_end(run: Recorded, steps: list[int]) -> Prediction | None:
    """From the first of these steps, through the others, to the horizon."""
    whole = {trial.number for trial in run.history if _is_whole(trial.task, trial.began)}
    stages = [
        {number: loss for number, loss in run.history.reached(step).items() if number in whole and math.isfinite(loss)}
        for step in steps
    ]
    ends = {trial.number: trial.loss for trial in run.full if trial.number in whole and math.isfinite(trial.loss)}
    return prediction([*stages, ends]) if stages and stages[0] else None


def _is_whole(task: str, began: int) -> bool:
    return task == FULL and not began
