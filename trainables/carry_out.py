"""Carry out an assignment: train a workload in this process or on several workers, with checkpoints, pauses and forks.

This module sits above the training loop and the worker processes, so the contracts do not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from search.work import Assignment, Run, Trainable
from trainables.contract import Policy, Workload
from trainables.values import Predictions

if TYPE_CHECKING:
    from trainables.training.loop import Training


def carry_out(
    workload: Workload | Trainable,
    policy: Policy[Any] | None,
    assignment: Assignment,
    should_pause: Callable[[], bool] | None = None,
) -> Run:
    """Train as `assignment` says (policy None: the knobs stay fixed). Iterate to train::

        run = carry_out(workload, policy, assignment, should_pause)
        for progress in run:
            if progress is None:
                continue  # one more update: a chance to do other things
            if progress.kind == "report" and record(progress) is STOP:
                record(run.save())  # a "checkpoint"; never writes the same one twice
                break

    Yields a report before it writes the checkpoint of its step: record each report before you ask for the next item,
    and no checkpoint is ever ahead of the record. Steps up to `assignment.recorded` may be reported again, with the
    same metrics. The iteration ends at `until`, after "paused", or with a report of a metric that is not finite. You
    may stop iterating after any item.

    If the workload has a method `run`, it trains in its own way: this function calls that method.
    """
    if (own := getattr(workload, "run", None)) is not None:
        return cast("Run", own(policy, assignment, should_pause))
    assert isinstance(workload, Workload)
    if assignment.workers > 1:
        from trainables.parallel.team import ParallelRun

        return ParallelRun(workload, policy, assignment, should_pause)
    from trainables.execution import run  # load torch only where a training runs
    from trainables.training.loop import Training

    def begin() -> Training:
        return Training(
            workload, policy, assignment.config, seed=assignment.seed, until=assignment.until, prepared=assignment.prepared
        )  # fmt: skip

    return run.Run(begin, assignment, should_pause)


def has_test(workload: Workload | Trainable) -> bool:
    """Whether its checkpoints can be measured on data that no decision used."""
    return isinstance(workload, Workload) or hasattr(workload, "test")


def measured_on_test(workload: Workload | Trainable, assignment: Assignment) -> Mapping[str, float]:
    """Metrics on "test" of the newest checkpoint at a step <= `assignment.recorded`."""
    if (own := getattr(workload, "test", None)) is not None:
        return cast("Mapping[str, float]", own(assignment))
    from trainables.execution import run

    assert isinstance(workload, Workload)
    return run.test(workload, assignment)


def predictions_on_test(workload: Workload | Trainable, assignment: Assignment) -> Predictions | None:
    """That checkpoint's answers to each example of "test"; None if the workload does not give them."""
    if not isinstance(workload, Workload) or hasattr(workload, "run"):
        return None
    from trainables.execution import run

    return run.predictions(workload, assignment)
