"""Failed trials that the user wants to try again, after the cause was mended: each resumes as it was.

Use when   a bug, a lack of memory or a broken machine made trials fail, and not their configuration.
Costs      the training from the last checkpoint of each to its end.
Not for    trials that diverged: their last report is a result.
Differs    of a population, a member whose place another trial has taken is not tried again, nor one that failed before
           its first report: the checkpoint that it was forked from may be gone.
"""

from __future__ import annotations

from search.history import History, Trial
from search.records import FINALIST, Status, Suggestion, resume


def retriable(history: History) -> list[Trial]:
    """The failed trials for which another try may be asked, and has not been yet, in order of their numbers."""
    replaced = {trial.replaces for trial in history if trial.replaces is not None}
    return [
        trial
        for trial in history.having(Status.FAILED)
        if trial.number not in replaced | history.run.to_retry.keys()
        and history.task(trial.task) is not None
        and (trial.steps or trial.parent is None)
    ]


def next_retry(history: History, *, of_finalists: bool = False) -> Suggestion | None:
    """The resumption of the next trial that waits for another try: one of the search, or one of the finalists' runs."""
    for trial in map(history.trials.__getitem__, history.run.to_retry):
        last = trial.suggestion
        if (last.origin == FINALIST) == of_finalists and history.task(trial.task) is not None:
            evidence = f"tried again; it had failed at step {trial.step}: {trial.reason}"
            return resume(trial, until=last.until, origin=last.origin, evidence=evidence)
    return None
