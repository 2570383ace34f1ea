"""Carry out an assignment: train a workload in this process or on several workers, with checkpoints, pauses and forks.

This module sits above the training loop and the worker processes, so the contracts do not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.records import Config
from search.work import Assignment, Progress
from trainables.contract import OwnTraining, Policy, Trainable, Workload
from trainables.estimates.noise_scale import Gradient
from trainables.values import Action, Predictions, Signals

if TYPE_CHECKING:
    from trainables.training.loop import Training

ANY_SAMPLES = 1000  # in an epoch, for questions before the data are read


def carry_out(
    workload: Trainable,
    policy: Policy[Any] | None,
    assignment: Assignment,
    should_pause: Callable[[], bool] | None = None,
) -> Iterator[Progress | None]:
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

    The result is a `search.work.Run`, which can be saved and closed, unless an `OwnTraining` returns a mere iterator.
    """
    if isinstance(workload, OwnTraining):
        return workload.run(policy, assignment, should_pause)
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


def has_test(workload: Trainable) -> bool:
    """Whether its checkpoints can be measured on data that no decision used."""
    return not isinstance(workload, OwnTraining) or type(workload).test is not OwnTraining.test


def warning_at_start(workload: Workload, policy: Policy[Any] | None, config: Config, samples: int) -> str:
    """What the policy warns of before the first update of a training with so many samples in an epoch; "": nothing.

    >>> from trainables import MlpDigits, RateRace
    >>> config = {"learning_rate": 0.1, "batch_size": 100, "momentum": 0.9}
    >>> warning_at_start(MlpDigits(horizon=10), RateRace(), config, samples=1000)[:24]
    'RateRace holds no race, '
    """
    if policy is None:
        return ""
    from trainables.answers import asked
    from trainables.bare_errors import EXPLAINED

    signals = Signals(0, samples, 0, workload.horizon, workload.knobs(config), tuned=workload.metric)
    try:
        _, action = asked(policy, "start", signals)
    except EXPLAINED as error:  # with which the training will fail
        return str(error)
    return action.why if action.warns else ""


def refused_at_start(workload: Workload, policy: Policy[Any] | None, config: Config) -> str:
    """Why a training of this configuration with the policy is impossible; "": it is possible, or only the training shows.

    Asks the policy for its first two answers, and looks at the optimizer, unless it takes the workload's own model to make it.
    """
    if policy is None:
        return ""
    if wrong := _wrong_answers(
        policy, Signals(0, ANY_SAMPLES, 0, workload.horizon, workload.knobs(config), tuned=workload.metric)
    ):
        return wrong
    if "momentum" not in policy.needs:
        return ""
    import torch

    from trainables.training.needs import refuse_without_momentum

    try:
        optimizer = workload.optimizer(torch.nn.Linear(1, 1), config)
    except Exception:  # it asks for parts of its own model; the first trial says whether all is well
        return ""
    try:
        refuse_without_momentum(policy, optimizer)
    except ValueError as error:
        return str(error)
    return ""


def _wrong_answers(policy: Policy[Any], signals: Signals) -> str:
    """What is wrong with the policy's answers at the start and after the first update, whatever the number of samples."""
    from trainables.answers import asked, refuse_changed

    settings = repr(policy)
    try:
        state, action = asked(policy, "start", signals)
        if not _is_plain(state):
            from trainables.training.codec import refuse_unsavable

            refuse_unsavable(policy, "start", state)
        asked(policy, "act", _updated(policy, signals, action), deepcopy(state))
        refuse_changed(policy, settings)
    except (TypeError, AttributeError, NameError, LookupError) as error:
        return str(error)
    except Exception:  # it may be right about so many samples; the first trial says whether all is well
        return ""
    return ""


def _updated(policy: Policy[Any], signals: Signals, action: Action) -> Signals:
    """The signals after a first update with any loss and gradient; `signals`, `action`: those of the start."""
    knobs = action.knobs or signals.knobs
    size = min(knobs.batch_size, signals.samples_per_epoch)
    gradient = Gradient(size, size / 2, square=1.0, part_square=1.5, part_norms=(1.2, 1.2))
    loss, norms = (1.0 if "loss" in policy.needs else None), (gradient if "gradient" in policy.needs else None)
    return replace(signals, samples=size, knobs=knobs, loss=loss, gradient=norms)


def _is_plain(state: Any) -> bool:
    """Whether a checkpoint can surely hold it; it takes torch to know more."""
    if type(state) is dict:
        return all(map(_is_plain, (*state, *state.values())))
    if type(state) in (list, tuple):
        return all(map(_is_plain, state))
    return state is None or type(state) in (bool, int, float, str)


def measured_on_test(workload: Trainable, assignment: Assignment) -> Mapping[str, float]:
    """Metrics on "test" of the newest checkpoint at a step <= `assignment.recorded`."""
    if isinstance(workload, OwnTraining):
        return workload.test(assignment)
    from trainables.execution import run

    assert isinstance(workload, Workload)
    return run.test(workload, assignment)


def predictions_on_test(workload: Trainable, assignment: Assignment) -> Predictions | None:
    """That checkpoint's answers to each example of "test"; None if the workload does not give them."""
    if isinstance(workload, OwnTraining):
        return None
    from trainables.execution import run

    assert isinstance(workload, Workload)
    return run.predictions(workload, assignment)


def can_be_forked(checkpoints: Path, step: int) -> bool:
    """Whether the trial with this folder of checkpoints still has one of exactly this step, from which another may start."""
    from trainables.execution.store import Store
    from trainables.scripts.forks import copy_of

    own = any((found.step, found.cursor) == (step, 0) for found in Store(checkpoints).find())
    return own or copy_of(checkpoints, step).is_dir()


def saved_state(checkpoint: Path) -> Any:
    """The state in a checkpoint that a worker wrote: what a generator yielded; of a Workload, all of the training's.

    Raises ValueError for a file or folder that no worker wrote, or that has changed since.
    """
    from trainables.execution.checkpoint import DamagedCheckpoint, load

    try:
        state = load(checkpoint)
    except DamagedCheckpoint as error:
        raise ValueError(str(error)) from error
    return state.get("state", state)
