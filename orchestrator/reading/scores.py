"""The score of a trial's configuration, the same for all who read a record, and the trainings it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from orchestrator.console.plurals import plural
from search.history import History, Trial
from search.records import BASELINE, Goal, Status
from search.rules.baseline import baseline_trial
from search.rules.finalists import independent, score


def scores(history: History, trial: Trial, goal: Goal) -> dict[str, Any]:
    """`value` stands for the configuration: the mean of its fresh seeds where there is one, else the first score.

    All have the metric's own sign; None stands for a loss that is not finite. `confirmed`: one value for each fresh seed;
    empty if the repetitions are copies. Needs all reports of configurations that were trained again.
    """
    fresh = next((each.losses for each in independent(history) if each.trial is trial), ())
    return {
        "value": _value(score(history, trial), goal),
        "first": _value(trial.loss, goal),
        "confirmed": [_value(loss, goal) for loss in fresh],
    }


def fresh_runs(history: History, trial: Trial, goal: Goal) -> list[tuple[Trial, float | None]]:
    """The repetitions of the trial's configuration on fresh seeds that have ended, the best first, each with its value."""
    found = next((each for each in independent(history) if each.trial is trial), None)
    ended = zip(found.ended, found.losses, strict=True) if found is not None else ()
    return [(run, _value(loss, goal)) for run, loss in sorted(ended, key=lambda pair: (pair[1], pair[0].number))]


def present_baseline(about: Mapping[str, Any], history: History) -> Trial | None:
    """The trial of the baseline that the description `about` names; None if it names none, or if that is not trained yet.

    Older releases did not name it in the description; then it is the trial that was started as one.
    """
    if "baseline" not in about:
        return next((trial for trial in history if trial.first_origin == BASELINE), None)
    return None if about["baseline"] is None else baseline_trial(history, about["baseline"])


def untrained(about: Mapping[str, Any], baseline: Trial | None) -> str:
    """In one clause, that the baseline which the sweep names now is not trained yet; empty if it is, or there is none."""
    return "the baseline that the sweep names is not trained yet" if baseline is None and about.get("baseline") else ""


def unfair(best: Trial | None, baseline: Trial | None, horizon: int) -> str:
    """Why no gain of the best over the baseline can be told, in one clause; empty if it can, or if one of them is missing.

    Two trainings to their ends can be compared, and two trials at the same step; a baseline that failed cannot.
    """
    if best is None or baseline is None or best is baseline:
        return ""
    if baseline.status.is_failure:
        return f"the baseline {baseline.status.value} at step {baseline.step} of {horizon}"
    if not baseline.steps:
        return "the baseline has not reported yet"
    if best.status is baseline.status is Status.COMPLETED or best.step == baseline.step:
        return ""
    if baseline.status is not Status.COMPLETED:
        return f"the baseline is at step {baseline.step} of {horizon}, the best at step {best.step}"
    return f"the best is at step {best.step} of {horizon}, the baseline at step {baseline.step}"


def first_score(loss: float, goal: Goal) -> dict[str, Any]:
    """`scores` of a trial that has not been trained again."""
    return {"value": _value(loss, goal), "first": _value(loss, goal), "confirmed": []}


def rests_on(about: Mapping[str, Any]) -> str:
    """What the value of `scores` is, in words; empty if it is the first score.

    >>> rests_on({"value": 0.5, "first": 0.3, "confirmed": [0.4, 0.6]})
    'mean of 2 fresh seeds'
    """
    fresh = about["confirmed"]
    if not fresh or None in fresh:
        return ""
    return f"{'mean of' if len(fresh) > 1 else 'on'} {plural(len(fresh), 'fresh seed')}"


def which(about: Mapping[str, Any]) -> str:
    """The trial of `scores`, and what its value is.

    >>> which({"trial": 7, "confirmed": [0.4]})
    'trial 7, on 1 fresh seed'
    """
    return ", ".join(filter(None, (f"trial {about['trial']}", rests_on(about))))


def _value(loss: float, goal: Goal) -> float | None:
    return goal.value(loss) if isfinite(loss) else None


def outside(about: Mapping[str, Any], best: Trial | None) -> str:
    """That the best trial is outside of the space that `about` describes, with its settings there; empty if it is not.

    A space that was narrowed keeps its older results. The baseline may be anywhere, so nothing is said of it.
    """
    if best is None or best.first_origin == BASELINE:
        return ""
    parameters = about["space"]["parameters"]
    told = [_beyond(name, value, parameters[name]) for name, value in best.config.items() if name in parameters]
    settings = ", ".join(text for text in told if text)
    return f"trial {best.number} is outside of the present space: {settings}" if settings else ""


def _beyond(name: str, value: Any, parameter: Mapping[str, Any]) -> str:
    """The setting and the range or the options that do not hold it; empty if they do."""
    if "low" in parameter:
        low, high = parameter["low"], parameter["high"]
        return "" if low <= value <= high else f"{name} {value:.4g} (now {low:g} to {high:g})"
    options = parameter.get("options", [value])
    return "" if value in options else f"{name} {value} (now {', '.join(map(str, options))})"
