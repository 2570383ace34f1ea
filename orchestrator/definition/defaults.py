"""The default searcher and scheduler of a sweep, with the reasons: `docs/choose.md` as code.

The searcher also determines the default scheduler. To train every trial to its end, write `scheduler=RunToEnd()`.
"""

from __future__ import annotations

from search.contract import Scheduler, Searcher
from search.schedulers.asha import Asha
from search.schedulers.hyperband import Hyperband
from search.schedulers.run_to_end import RunToEnd
from search.searchers.bohb import BohbSearch
from search.searchers.multitask import MultitaskSearch
from search.searchers.random import Random


def searcher(tasks: bool) -> tuple[Searcher, str]:
    """The default searcher of a sweep with or without cheaper tasks, and why."""
    if tasks:
        return MultitaskSearch(), "it learns about the full training from the cheaper tasks"
    return (
        Random(bracketed=True),
        "a first look at the space; with Asha() no other searcher was reliably ahead of it",
    )


def scheduler(chosen: Searcher, horizon: int, *, policy_resumes: bool) -> tuple[Scheduler, str]:
    """The scheduler that suits the searcher and the training, and why."""
    title = type(chosen).__name__
    if chosen.schedules:
        why = f"{title} itself decides how long each trial trains"
        if not policy_resumes:
            why += "; the policy's schedule depends on the training's length, so its early steps may mislead the search"
        return RunToEnd(), why
    if isinstance(chosen, BohbSearch):
        return Hyperband(), "with Hyperband, BohbSearch is BOHB"
    if chosen.why_full:
        return RunToEnd(), chosen.why_full
    if horizon == 1:
        return RunToEnd(), "a training of one step cannot be stopped early"
    if not policy_resumes:
        return RunToEnd(), "the policy's schedule depends on the training's length, so an early step misleads"
    if chosen.why_full is None:
        return RunToEnd(), f"it is not known whether {title} can learn from trials that are stopped early"
    return Asha(), "it stops trials that are not among the best; scheduler=RunToEnd() trains every trial to its end"
