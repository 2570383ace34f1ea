"""The short form of a sweep: a function or a command in place of a Workload, `minimize=` in place of metric and mode.

    Sweep("mine", train, space, minimize="valid_loss", steps=20)
    Sweep("mine", "python train.py", space, minimize="valid_loss", steps=20)

are

    Sweep("mine", FromFunction(train, metric="valid_loss", mode="min", horizon=20), space)
    Sweep("mine", Script("python train.py", metric="valid_loss", mode="min", horizon=20), space)

and the ledger records them alike. `steps` belongs to a sweep of a function or a command, `horizon` to a Workload; both
give the number of steps of a full training.
"""

from __future__ import annotations

import importlib
import os
import shlex
from typing import Any, NamedTuple

from orchestrator.definition.wording import named
from orchestrator.errors import BadInput
from search.wording import as_class, shown
from trainables.contract import Trainable


class Goal(NamedTuple):
    """The metric and its direction; if both are empty, the workload's."""

    metric: str
    mode: str


def goal(minimize: str | None, maximize: str | None, metric: str, mode: str) -> Goal:
    """The metric and mode of either form. Raises BadInput if both forms are given."""
    if minimize is not None and maximize is not None:
        raise BadInput(
            f"Sweep(minimize={minimize!r}, maximize={maximize!r}): a sweep tunes one metric; leave out one of them."
        )
    if minimize is None and maximize is None:
        return Goal(metric, mode)
    word, name = ("minimize", minimize) if minimize is not None else ("maximize", maximize)
    if metric or mode:
        twice = f"metric={metric!r}" if metric else f"mode={mode!r}"
        raise BadInput(f"Sweep({word}={name!r}, {twice}): {word} already says both; leave out metric and mode.")
    if not isinstance(name, str) or not name.strip():
        several = (
            " A sweep tunes one metric; report the others beside it." if isinstance(name, (list, tuple, set)) else ""
        )
        known = "valid_loss" if word == "minimize" else "valid_accuracy"
        raise BadInput(f"Sweep({word}={name!r}): must be the name of a metric, as in {word}={known!r}.{several}")
    return Goal(name, word[:3])


def workload_of(given: Any, wanted: Goal, steps: int | None) -> tuple[Trainable, Goal]:
    """The Workload, and the goal that it does not state itself. Raises BadInput if `given` cannot become a Workload."""
    if _is_of_ray(given):
        raise BadInput(
            f"Sweep(workload={shown(given)}): a Trainable of Ray; write a generator, def train(config, state), that does what setup does, "
            "then what step does in a loop, with yield metrics, state (docs/own_training.md)."
        )
    if objection := as_class(f"Sweep(workload={shown(given)})", given, object):
        raise BadInput(objection)
    if isinstance(given, Trainable):
        if steps is not None:
            title = type(given).__name__
            raise BadInput(
                f"Sweep(steps={steps!r}): {title} has a horizon of its own, {given.horizon!r}; leave out steps, and write "
                f"{title}(horizon={steps!r}) for another."
            )
        return given, wanted
    kind, first = _kind(given)
    if not wanted.metric or not wanted.mode:
        where = "reports or yields" if callable(given) else "reports or prints"
        said = f"metric={wanted.metric!r}" if wanted.metric else f"workload={named(given)}"
        raise BadInput(f"Sweep({said}): add minimize=… or maximize=…, the name of a metric that the training {where}.")
    if steps is None:
        one = "; steps=1 if the function returns its result" if callable(given) else ""
        raise BadInput(f"Sweep(workload={named(given)}): add steps=…, the last step that a full training reports{one}.")
    try:
        workload = getattr(importlib.import_module("trainables"), kind)
        return workload(first, metric=wanted.metric, mode=wanted.mode, horizon=steps), Goal("", "")
    except ValueError as error:
        raise BadInput(f"Sweep(workload={named(given)}): {error}") from error


def _kind(given: Any) -> tuple[str, Any]:
    """The class of trainables/ for `given`, and that class's first argument."""
    if isinstance(given, str):
        return "Script", given
    if isinstance(given, (list, tuple)) and given and all(isinstance(word, (str, os.PathLike)) for word in given):
        return "Script", shlex.join(os.fspath(word) for word in given)
    if callable(given):
        return "FromFunction", given
    raise BadInput(
        f"Sweep(workload={given!r}): must be a function, a command such as 'python train.py', or a Workload: derive your class "
        "from Workload of trainables.contract (from OwnTraining if it trains in its own way)."
    )


def _is_of_ray(workload: Any) -> bool:
    """Whether it is a class for Ray Tune, or an object of one."""
    kind = workload if isinstance(workload, type) else type(workload)
    return any(each.__name__ == "Trainable" and each.__module__.startswith("ray.tune") for each in kind.__mro__)
