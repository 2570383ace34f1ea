"""Checks of what a searcher and a scheduler return, before anything is recorded.

A wrong suggestion is an error of the searcher, which a substitute replaces (conduct.py). A wrong verdict or promotion ends
the sweep: nothing can stand for it.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from search.contract import Scheduler, Searcher, Verdict
from search.domain.constraints import ConstraintFailed
from search.history import History, Trial
from search.records import BASELINE, FINALIST, Status, Suggestion

RESERVED = (BASELINE, FINALIST)  # origins of trials that the rules of a sweep start, and count apart
TEXTS = {  # fields of a suggestion that are text, with what to give
    "task": "the name of a task",
    "origin": "a word for who proposed it, such as 'model'",
    "evidence": "text for people, such as f'{value}'",
    "memo": "text, such as json.dumps(…)",
}
WHOLE = {  # fields that are whole numbers, with what to give
    "until": "a whole number of steps, counted from the trial's start; None trains to the end",
    "trial": "the number of a trial",
    "parent": "the number of a trial",
    "parent_step": "the step of a checkpoint of the parent, a whole number",
    "replaces": "the number of a trial",
}
LONGEST = 100  # characters of a value in a message


class WrongAnswer(ValueError):
    """`method` of `author`, a searcher or a scheduler, returned what its contract does not allow."""

    def __init__(self, author: Searcher | Scheduler, method: str, text: str) -> None:
        super().__init__(f"{type(author).__name__}.{method}() {text}")
        self.method = getattr(type(author), method)


def checked_suggestion(answer: object, history: History, searcher: Searcher) -> Suggestion | None:
    """The suggestion with plain values if it can run; None if there is no room. Raises WrongAnswer."""
    ways = "start(config), resume(trial), fork(trial, step, config), Enough(reason) or None"
    suggestion = _sound(answer, history, searcher, "suggest", ways)
    if suggestion.origin in RESERVED:
        raise WrongAnswer(
            searcher, "suggest",
            f"returned origin={suggestion.origin!r}, which is reserved for trials that the sweep itself starts; use another "
            "word, or leave it out",
        )  # fmt: skip
    if suggestion.kind != "start" and not searcher.continues:
        raise WrongAnswer(
            searcher, "suggest",
            f"returned a {suggestion.kind}, but its class does not set `continues = True`, so checkpoints are not kept for "
            "it; add that line to the class",
        )  # fmt: skip
    if not history.allows(suggestion):
        return None
    _check_place(suggestion, history, searcher, "suggest")
    if suggestion.kind == "resume":
        return suggestion
    try:
        return replace(suggestion, config=history.space.check(suggestion.config))
    except ConstraintFailed:
        raise
    except ValueError as error:
        raise WrongAnswer(searcher, "suggest", f"returned {error}") from error


def checked_promotion(answer: object, history: History, scheduler: Scheduler) -> Suggestion | None:
    """The promotion; None if there is none, or if its task is not in the sweep any more. Raises WrongAnswer."""
    if answer is None:
        return None
    suggestion = _sound(answer, history, scheduler, "promote", "resume(trial) of a resting trial, or None")
    if suggestion.kind != "resume":
        raise WrongAnswer(
            scheduler, "promote", f"returned a {suggestion.kind}; return resume(trial) of a resting trial, or None"
        )
    if history.task(suggestion.task) is None:
        return None
    _check_place(suggestion, history, scheduler, "promote")
    return suggestion


def checked_verdict(answer: object, scheduler: Scheduler) -> Verdict:
    """The verdict; raises WrongAnswer for anything else."""
    if isinstance(answer, Verdict):
        return answer
    raise WrongAnswer(scheduler, "judge", f"returned {_shown(answer)}; return Verdict.STOP or Verdict.CONTINUE")


def _sound(answer: object, history: History, author: Searcher | Scheduler, method: str, ways: str) -> Suggestion:
    """The answer as a suggestion whose fields have the right types."""
    if not isinstance(answer, Suggestion):
        raise WrongAnswer(author, method, f"returned {_shown(answer)}; return {ways}")
    if answer.kind not in ("start", "resume", "fork"):
        raise WrongAnswer(author, method, f"returned a suggestion of the kind {answer.kind!r}; return {ways}")
    if not isinstance(answer.config, Mapping):
        raise WrongAnswer(
            author, method, f"returned config={_shown(answer.config)}: must be a dict of the parameters' values"
        )
    for name, what in TEXTS.items():
        value = getattr(answer, name)
        if not isinstance(value, str):
            raise WrongAnswer(author, method, f"returned {name}={_shown(value)}: must be {what}")
    given = {name: getattr(answer, name) for name in WHOLE}
    whole: dict[str, Any] = {
        name: _whole(name, value, author, method) for name, value in given.items() if value is not None
    }
    return replace(answer, **whole)


def _check_place(suggestion: Suggestion, history: History, author: Searcher | Scheduler, method: str) -> None:
    """Raise WrongAnswer if there is no such task, trial or step, or if the trial cannot be resumed."""
    if history.task(suggestion.task) is None:
        raise WrongAnswer(author, method, f"returned task={suggestion.task!r}: the sweep has no task of this name")
    begun = 0
    if suggestion.kind == "resume":
        trial = _trial(suggestion.trial, history, author, method, "resume(trial)")
        if trial.status is not Status.STOPPED:
            raise WrongAnswer(
                author, method,
                f"returned a resume of trial {trial.number}, which is {trial.status.value}; only a resting trial, one of "
                "history.having(Status.STOPPED), can be resumed",
            )  # fmt: skip
        begun = trial.step
    elif suggestion.kind == "fork":
        _trial(suggestion.parent, history, author, method, "fork(trial, step, config)")
        begun = suggestion.parent_step or 0
        if not 0 <= begun < history.steps(suggestion.task):
            raise WrongAnswer(
                author, method,
                f"returned parent_step={begun}: must be a step of the parent before its last, "
                f"{history.steps(suggestion.task)}",
            )  # fmt: skip
    until, whole = suggestion.until, history.steps(suggestion.task)
    if until is not None and not begun < until <= whole:
        raise WrongAnswer(
            author, method,
            f"returned until={until}: must be a whole number of steps, counted from the trial's start, from {begun + 1} to "
            f"{whole}; None trains to the end",
        )  # fmt: skip


def _trial(number: object, history: History, author: Searcher | Scheduler, method: str, way: str) -> Trial:
    if isinstance(number, int) and 0 <= number < len(history.trials):
        return history.trials[number]
    raise WrongAnswer(author, method, f"returned a suggestion for trial {number!r}, which does not exist; use {way}")


def _whole(name: str, value: object, author: Searcher | Scheduler, method: str) -> int:
    """A whole number of any library as a plain int."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise WrongAnswer(author, method, f"returned {name}={_shown(value)}: must be {WHOLE[name]}") from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
