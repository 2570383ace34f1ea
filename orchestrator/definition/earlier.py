"""Earlier results that a sweep takes over: runs by name or folder, and results from elsewhere as a `History`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from orchestrator.errors import BadInput, did_you_mean
from search.domain.scalars import plain_option
from search.history import History
from search.records import Config
from search.space import Space
from search.wording import shown

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

Transfer = tuple[str | History, ...] | Mapping[str, Config]
_WRITE = (
    "write the names or folders of earlier runs; of results from elsewhere, a study or a table, make a history: "
    "transfer=[History.of(space, [(configuration, value), …])]"
)


def transfer(sweep: Sweep) -> Transfer:
    """The earlier runs, as text, and the histories; as a mapping if the sweep states values of parameters."""
    given: Any = sweep.transfer
    if isinstance(given, Mapping):
        return {_run(run): _checked_statement(str(run), values, sweep.space) for run, values in given.items()}
    if isinstance(given, (str, PathLike, History)):
        given = [given]
    if not isinstance(given, Iterable) or hasattr(given, "columns"):  # a table
        raise BadInput(f"Sweep(transfer={shown(given)}): {_WRITE}.")
    return tuple(_checked_history(each, sweep) if isinstance(each, History) else _run(each) for each in given)


def stated(sweep: Sweep, run: str) -> Config:
    """The values that parameters had in an earlier run, which has no record of them."""
    return sweep.transfer.get(run, {}) if isinstance(sweep.transfer, Mapping) else {}


def called(earlier: str | History) -> str:
    """What people call an earlier run; a history goes by its results.

    >>> called(History.of(Space({"x": 1}), [({"x": 1}, 0.5)]))
    'History of 1 result (be55d723)'
    """
    if isinstance(earlier, str):
        return earlier
    count = len(earlier.trials)
    return f"History of {count} result{'s' * (count != 1)} ({fingerprint(earlier)[:8]})"


def described(sweep: Sweep) -> list[str] | dict[str, Config]:
    """For the record."""
    if isinstance(sweep.transfer, Mapping):
        return {run: dict(values) for run, values in sweep.transfer.items()}
    return [called(each) for each in sweep.transfer]


def fingerprint(history: History, stated: Config | None = None) -> str:
    """A digest of all results; without the values that are only stated."""
    left_out = stated or {}
    told = [
        (sorted((name, value) for name, value in t.config.items() if name not in left_out), t.task, t.status.value, t.steps, t.losses)
        for t in history
    ]  # fmt: skip
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def objection(run: str, names: Iterable[str], space: Space, *, is_history: bool = False) -> str:
    """Why an earlier search with parameters of these names teaches nothing here, with the remedy; empty if it does."""
    known = set(names)
    for name in space.names:
        if name not in known:
            remedy = (
                "add its value to each configuration, and it to the space that History.of takes"
                if is_history
                else f"if all its trainings had one value of it, state that: transfer={{{run!r}: {{{name!r}: …}}}}"
            )
            return f"{run!r} has no parameter {name!r}, and this sweep has one; {remedy}."
    for name in sorted(known - set(space.names)):
        return (
            f"{run!r} has a parameter {name!r}, and this sweep has none; to use the results with one value of it, fix it in the "
            f"space: {{{name!r}: …}}.{did_you_mean(name, space.names)}"
        )
    return ""


def _run(run: Any) -> str:
    if not isinstance(run, (str, PathLike)) or not str(run):
        raise BadInput(f"Sweep(transfer): {shown(run)} is not a run; {_WRITE}.")
    return str(run)


def _checked_statement(run: str, values: Any, space: Space) -> Config:
    example = f"transfer={{{run!r}: {{{space.names[0]!r}: …}}}}"
    if not isinstance(values, Mapping):
        raise BadInput(
            f"Sweep(transfer): {run!r}: {shown(values)} must be the values that parameters had in it, such as {example}; "
            "{} if there is nothing to state."
        )
    for name in values:
        if name not in space.names:
            raise BadInput(
                f"Sweep(transfer): {run!r}: this sweep has no parameter {name!r}.{did_you_mean(str(name), space.names)}"
            )
    return {name: plain_option(value) for name, value in values.items()}


def _checked_history(history: History, sweep: Sweep) -> History:
    name = called(history)
    if wrong := objection(name, history.space.names, sweep.space, is_history=True):
        raise BadInput(f"Sweep(transfer): {wrong}")
    mode = "max" if sweep.maximise else "min"
    if history.mode not in ("", mode):
        better, other = ("higher", "lower") if mode == "max" else ("lower", "higher")
        raise BadInput(
            f"Sweep(transfer): {name!r} was made of values of which {other} is better, and of {sweep.metric_name!r} {better} is "
            f"better; write History.of(space, results, goal=Goal({sweep.metric_name!r}, {mode!r}))."
        )
    return history
