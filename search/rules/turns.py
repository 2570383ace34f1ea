"""Who gets the next turn of a multi-fidelity search: the model, successive halving, or a training due to the horizon.

The model's share of the turns follows its skill, measured on this sweep: how well its forecasts of configurations rank
them, each forecast made without the configuration's own results (see `search.models.fits`). Halving of random
configurations has no model that could be wrong and gets the other turns. Each keeps at least `FLOOR`, so a model that is
wrong costs little and one that becomes right is noticed. A share of all cost goes to full trainings, whoever chose them.
"""

from __future__ import annotations

from search.history import History, Trial
from search.records import Status
from search.task import FULL

FLOOR = 0.1  # of the turns: the least that the model and halving get
NO_SKILL, FULL_SKILL = 0.1, 0.5  # rank correlations at which the model gets its least and its most


def model_share(skill: float) -> float:
    """The model's share of the turns; `skill`: rank correlation of its forecasts with the results, 0 to 1."""
    return FLOOR + (1 - 2 * FLOOR) * min(max((skill - NO_SKILL) / (FULL_SKILL - NO_SKILL), 0.0), 1.0)


def is_full(history: History, trial: Trial) -> bool:
    """Whether it is a full training that has reached the horizon, or is on its way to it."""
    reach = history.goal(trial) if trial.status is Status.RUNNING else trial.reach
    return trial.task == FULL and reach >= history.horizon


def full_share(history: History) -> float:
    """The share of the cost of all trainings that full ones had; 1 before the first step.

    Cost is measured in seconds, or in steps if no time is recorded. Running trainings count until they come to rest.
    """
    length = len(history)
    timed = history.costs.seconds_of_full(length)
    total = full = 0.0
    for trial in history.trials:
        start = max(trial.step, trial.began)
        usual = history.costs.rate(trial.task, length) * (timed or 1.0)  # cost of a step
        cost = trial.cost_seconds if timed else usual * (start - trial.began)
        if trial.status is Status.RUNNING:
            rate = cost / (start - trial.began) if cost else usual
            cost += rate * (history.goal(trial) - start)
        total += cost
        if is_full(history, trial):
            full += cost
    return full / total if total else 1.0
