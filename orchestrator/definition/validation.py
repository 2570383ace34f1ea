"""Checks of each field of a sweep on its own, before anything starts.

`Sweep` calls these in its constructor. Checks that need several fields together, or the machine, are in checks.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.definition.units import number_of_bytes, seconds
from orchestrator.definition.wording import named
from orchestrator.errors import BadInput, did_you_mean
from orchestrator.money.amounts import CPU_HOURS, GPU_HOURS, Amount, full_trainings
from orchestrator.money.prices import CPU, held_by_trial
from search import settings, signatures
from search.records import Config
from search.rules.conduct import Rules
from search.task import FULL, Task
from search.task import problem as problem_with_tasks
from search.wording import call_of, shown, underived
from trainables.contract import Policy, Workload, objection_to_knobs

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

NAMED = {  # by each class of workload
    "metric": "'accuracy'",
    "mode": "'max'",
    "metrics": "('accuracy', 'loss')",
    "horizon": "10",
}
RESOURCES = ("cpu", "gpu", "memory")
SEARCHED = 10  # full trainings that the budget we advise leaves to search with


def name(value: object) -> None:
    """Refuse a name that is not a plain file name: the run's folder gets it."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise BadInput(f"name={value!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit.")


def workload(sweep: Sweep) -> None:
    """Require the methods and names of a Workload; refuse one whose settings could change during a trial."""
    given = sweep.workload
    if not isinstance(given, Workload):
        return
    kind = type(given).__name__
    if wrong := signatures.objection(kind, given, Workload):
        raise BadInput(wrong)
    for each, example in NAMED.items():
        if not hasattr(given, each):
            raise BadInput(f"{kind}: names no {each}; write in the class, for example: {each} = {example}")
    if not isinstance(given.metrics, (tuple, list)) or not all(isinstance(each, str) for each in given.metrics):
        raise BadInput(
            f"{kind}: metrics = {given.metrics!r} must be a tuple of names; write metrics = ({given.metric!r},)"
        )
    settings_of = getattr(given, "__dataclass_params__", None)
    if settings_of is not None and not settings_of.frozen:
        raise BadInput(
            f"{kind}: all trials in a process share one workload, so what one of them changes in it, the next would find; write "
            "@dataclass(frozen=True), and read data that never change in a cached_property or in a function with lru_cache."
        )


def metric(sweep: Sweep) -> None:
    """Require a metric that the workload reports."""
    if sweep.metric_name not in sweep.workload.metrics:
        raise BadInput(
            f"Sweep(metric={sweep.metric_name!r}): {type(sweep.workload).__name__} does not report this metric."
            + did_you_mean(sweep.metric_name, sweep.workload.metrics)
        )
    if sweep.metric and sweep.metric != sweep.workload.metric and not sweep.mode:
        raise BadInput(f"Sweep(metric={sweep.metric!r}): add mode='min' or mode='max'.")


def numbers(sweep: Sweep) -> None:
    """Counts, limits and durations."""
    try:
        _counts(sweep)
    except ValueError as error:
        raise BadInput(str(error)) from None
    diverges = Rules(diverged_beyond=sweep.diverged_beyond, goal=sweep.goal).has_diverged
    if sweep.target is not None and diverges(sweep.loss(sweep.target)):
        raise BadInput(
            f"Sweep(target={sweep.target!r}): is beyond diverged_beyond={sweep.diverged_beyond!r}; "
            f"mode is {'max' if sweep.maximise else 'min'!r}: correct the one that is wrong."
        )
    for each in ("time_budget", "max_silence"):
        value = getattr(sweep, each)
        if value is not None and not seconds(value, each) > 0:
            raise BadInput(f"Sweep({each}={value!r}): must be more than 0; leave it out for no limit.")


def _counts(sweep: Sweep) -> None:
    least = {
        "num_samples": 1, "max_concurrent": 1, "confirmations": 1, "workers": 1, "keep_checkpoints": 1,
        "finalists": 0, "seed": 0, "allow_failed": 0, "retries": 0,
    }  # fmt: skip
    for each, smallest in least.items():
        if getattr(sweep, each) is not None or each not in ("num_samples", "max_concurrent", "finalists"):
            settings.whole("Sweep", smallest, **{each: getattr(sweep, each)})
    settings.flag("Sweep", first_alone=sweep.first_alone)
    settings.number("Sweep", "[0, inf]", checkpoint_seconds=sweep.checkpoint_seconds)
    for each in ("diverged_beyond", "target"):
        if getattr(sweep, each) is not None:
            settings.number("Sweep", "(-inf, inf)", **{each: getattr(sweep, each)})


def resources(sweep: Sweep) -> None:
    """Require known resources, in amounts that are enough for each worker."""
    title = f"Sweep(resources={dict(sweep.resources)!r})"
    for each, amount in sweep.resources.items():
        if each not in RESOURCES:
            raise BadInput(f"{title}: no resource {each!r}." + did_you_mean(each, RESOURCES))
        if each == "memory":
            number_of_bytes(amount)
        elif not settings.is_number(amount) or not 0 <= amount < 1e6:
            raise BadInput(f"{title}: {each} must be a number, 0 or more.")
    for each in ("cpu", "gpu"):
        amount = sweep.resources.get(each, 0)
        if sweep.workers > 1 and amount < sweep.workers and (each == "cpu" or amount):
            raise BadInput(
                f"Sweep(workers={sweep.workers}): the trial has resources={dict(sweep.resources)!r}; "
                f"give it {each}={sweep.workers} or more, one for each worker."
            )


def points(sweep: Sweep) -> tuple[Config, ...]:
    """The points to evaluate, as plain values. Also that the baseline is a configuration."""
    given: list[tuple[str, Any]] = [("points_to_evaluate", point) for point in sweep.points_to_evaluate]
    if sweep.baseline is not None and sweep.baseline != "workload":
        given.append(("baseline", sweep.baseline))
    for where, point in given:
        if not isinstance(point, Mapping):
            raise BadInput(f"Sweep({where}): {point!r} is not a configuration; write a dict of parameter values.")
        reason = sweep.space.why_not(point) if where == "points_to_evaluate" else None
        if reason:
            raise BadInput(f"Sweep({where}): {dict(point)!r} is not in the space: {reason}")
    return tuple(map(sweep.space.check, sweep.points_to_evaluate))


def parameters(sweep: Sweep) -> None:
    """Require every parameter that the workload reads."""
    if not isinstance(sweep.workload, Workload):  # the user's own training, which reports this itself
        return
    for config in sweep.examples:
        try:
            knobs = sweep.workload.knobs(config)
        except KeyError as error:
            if not error.args or error.args[0] in config:
                raise
            raise BadInput(
                f"Sweep(space): {type(sweep.workload).__name__} reads the parameter {error}, which is missing in {config!r}; "
                "add it to the space: a range, or a plain value that holds for all trials."
            ) from None
        if objection := objection_to_knobs(sweep.workload, config, knobs):
            raise BadInput(objection)


def policies(sweep: Sweep) -> tuple[Policy[Any], ...]:
    """The policies of some configurations; refuses a function that returns something else, and wrong methods."""
    found = _policies(sweep)
    for policy in found:
        if wrong := signatures.objection(f"Sweep(policy={type(policy).__name__})", policy, Policy):
            raise BadInput(wrong)
    return found


def _policies(sweep: Sweep) -> tuple[Policy[Any], ...]:
    if sweep.policy is None or isinstance(sweep.policy, Policy):
        return () if sweep.policy is None else (sweep.policy,)
    found = []
    for config in sweep.examples:
        try:
            policy = sweep.policy_for(config)
        except Exception as error:
            raise BadInput(f"Sweep(policy): no policy for {config!r}: {type(error).__name__}: {error}") from error
        if policy is not None and not isinstance(policy, Policy):
            remedy = underived(policy, Policy) or (f"write {call_of(policy)}" if isinstance(policy, type) else "")
            raise BadInput(
                f"Sweep(policy={named(sweep.policy)}): must return a Policy or None, not {shown(policy)}{'; ' * bool(remedy)}{remedy}."
            )
        found += [] if policy is None else [policy]
    return tuple(found)


def policy_resumes(sweep: Sweep) -> bool:
    """False if some configuration gets a policy whose schedule depends on the length of the training."""
    return all(policy.resumable for policy in sweep.example_policies)


def tasks(sweep: Sweep) -> tuple[Task, ...]:
    """The tasks in one list; those that cannot be resumed are marked so."""
    found = tuple(_flat(sweep.tasks))
    for task in found:
        if not isinstance(task, Task):
            raise BadInput(
                f"Sweep(tasks): {task!r} is not a Task; write tasks=Task.epochs(0.1, 0.5, 1.0), or a list of tasks."
            )
        _changes(sweep, task)
    wrong = problem_with_tasks(found)
    if wrong:
        raise BadInput(f"Sweep(tasks={list(found)!r}): {wrong}.")
    if any(task.resumes and task.share < 1 for task in found) and not policy_resumes(sweep):
        # Its short training is not the beginning of a long one: a promotion starts over.
        return tuple(replace(task, resumes=task.name == FULL) for task in found)
    return found


def workloads(sweep: Sweep) -> None:
    """Require for each task a workload of the length that the task states."""
    for task in sweep.tasks:
        steps = task.steps(sweep.workload.horizon)
        try:
            horizon = steps if task.resumes else sweep.workload_for(task.name).horizon
        except (TypeError, ValueError) as error:
            raise BadInput(f"Sweep(tasks): {task!r} of {shown(sweep.workload)}: {error}") from error
        if horizon != steps:
            raise BadInput(f"Sweep(tasks): {task!r} should have {steps} steps, but its workload has horizon={horizon}.")


def _flat(given: Any) -> Iterable[Any]:
    """`Task.epochs(…)` may stand in a list beside other tasks."""
    if isinstance(given, Task) or not isinstance(given, (list, tuple)):
        return (given,)
    return (task for some in given for task in _flat(some))


def _changes(sweep: Sweep, task: Task) -> None:
    workload = sweep.workload
    known: list[str] = [f.name for f in fields(workload) if f.init] if is_dataclass(workload) else []
    for each, value in task.changes.items():
        if each == "horizon":
            raise BadInput(f"Sweep(tasks): {task.name!r} changes the horizon; write share= instead, of the steps.")
        if each not in known:
            hint = did_you_mean(each, known) if known else " It is not a dataclass, and cannot be changed."
            raise BadInput(
                f"Sweep(tasks): {task.name!r} has {each}={value!r}, but {type(workload).__name__} has no field {each!r}.{hint}"
            )


def budget(sweep: Sweep) -> None:
    """Require a budget in full trainings that leaves at least one for the search, or one that its devices can use."""
    if isinstance(sweep.budget, Amount):
        _device_budget(sweep, sweep.budget)
        return
    amount, reserved = full_trainings(sweep.budget), sweep.finalist_count * sweep.confirmations
    if amount is None:
        return
    if reserved and amount - reserved < 1:
        raise BadInput(
            f"Sweep(budget={amount!r}): {sweep.finalist_count} finalists × {sweep.confirmations} confirmations take "
            f"{reserved} full trainings, and less than one is left for the search; raise the budget to "
            f"{reserved + int(sweep.baseline_config is not None) + SEARCHED}, which leaves {SEARCHED} to search with, or lower "
            "finalists."
        )
    if amount < 1:
        raise BadInput(
            f"Sweep(budget={amount!r}): is counted in full trainings, and with less than one nothing could be "
            "completed; write budget=1 or more."
        )


def _device_budget(sweep: Sweep, amount: Amount) -> None:
    device, _ = held_by_trial(sweep.resources)
    if amount.unit == (GPU_HOURS if device == CPU else CPU_HOURS):
        remedy = "write 'N cpu-hours', or give each trial a GPU" if device == CPU else "write 'N gpu-hours'"
        raise BadInput(
            f"Sweep(budget={str(amount)!r}): a trial with resources={dict(sweep.resources)!r} uses no {amount.unit[:3]}, so "
            f"nothing would count; {remedy}."
        )
