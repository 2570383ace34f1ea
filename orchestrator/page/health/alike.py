"""All configurations trained exactly alike: the training does not read its parameters."""

from __future__ import annotations

from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from search.history import key_of
from search.task import FULL

LEAST = 3  # configurations
DIGITS = 6  # of a value that hardly comes twice by chance: an accuracy of 0.1 may


def alike(run: Recorded) -> list[Finding]:
    """A finding if all configurations have the same values at the steps that they have in common."""
    trained = {key_of(trial.config): trial for trial in run.history.trials if trial.task == FULL and trial.losses}
    curves = [dict(zip(trial.steps, trial.losses, strict=True)) for trial in trained.values()]
    if len(curves) < LEAST:
        return []
    longest = max(curves, key=len)
    if any(loss != longest.get(step, loss) for curve in curves for step, loss in curve.items()):
        return []
    if len(set(longest.values())) == 1 and len(f"{next(iter(longest.values())):g}") < DIGITS:
        return []
    return [
        Finding(
            "alike",
            "All configurations trained exactly alike: the training does not read its parameters.",
            f"{len(curves)} configurations have the same values at every step, to the last digit.",
            "A script gets them as flags, from parameters(), or in wandb.config; look at the first line of a trial's log.",
            "serious",
        )
    ]
