"""All errors that a caller may expect, with their exit codes.

OrchestratorError            1  a fault of ours
├── BadInput                 2  the sweep, a flag or a name is wrong
├── TrialsFailed             3  there are results, but more trials failed than allowed
├── NoMetric                 4  there is no result: no trial gave a finite value of the metric
├── RunInUse                 5  another driver works in this run's folder
├── ResumeRefused            6  the sweep has changed so that its old results mean nothing
├── StorageError             7  the disk is full, read-only, unreachable, or the ledger is damaged
│   └── LedgerDamaged
├── EngineLost               8  Ray could not be started, or has died; the same command continues
└── Interrupted              130 (Ctrl-C) or 143 (SIGTERM), after a clean save
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.reading.result import Result


class OrchestratorError(Exception):
    """The base of all our errors. `result` holds what the sweep had found by then; None if nothing was started.

    >>> try:  # doctest: +SKIP
    ...     result = run(sweep)
    ... except OrchestratorError as error:
    ...     result = error.result
    """

    exit_code = 1
    result: Result | None = None

    def _render_traceback_(self) -> list[str]:
        """The text that IPython shows: the message without its frames."""
        return [f"{type(self).__name__}: {self}"]


class BadInput(OrchestratorError, ValueError):
    """The sweep, a flag or a name is wrong; nothing was started.

    >>> try:
    ...     sweep = Sweep("a/b", "python train.py", Space({"lr": uniform(0, 1)}), minimize="loss", steps=3)
    ... except BadInput as error:
    ...     print(error)
    name='a/b': use letters, digits, '.', '_' and '-', beginning with a letter or digit.
    """

    exit_code = 2


class TrialsFailed(OrchestratorError):
    """There are results, but more trials failed than `allow_failed`.

    >>> try:  # doctest: +SKIP
    ...     result = run(sweep)
    ... except TrialsFailed as error:
    ...     result = error.result
    """

    exit_code = 3


class NoMetric(OrchestratorError):
    """No trial gave a finite value of the metric.

    >>> try:  # doctest: +SKIP
    ...     result = run(sweep)
    ... except NoMetric as error:
    ...     print(error.result.trials.reason)
    """

    exit_code = 4


class RunInUse(OrchestratorError):
    """Another driver works in this run's folder.

    >>> try:  # doctest: +SKIP
    ...     result = run(sweep)
    ... except RunInUse:
    ...     result = Result("runs/mine")
    """

    exit_code = 5


class ResumeRefused(OrchestratorError):
    """The sweep has changed in a way that makes its old results useless.

    >>> try:  # doctest: +SKIP
    ...     result = run(sweep)
    ... except ResumeRefused:
    ...     result = run(sweep, name="mine-2")
    """

    exit_code = 6


class StorageError(OrchestratorError):
    """The disk is full, read-only or unreachable, or the ledger is damaged.

    >>> try:  # doctest: +SKIP
    ...     result = run(sweep)
    ... except StorageError:
    ...     result = run(sweep, runs="/other/disk")
    """

    exit_code = 7


class LedgerDamaged(StorageError):
    pass


class Interrupted(OrchestratorError):
    """Ctrl-C or SIGTERM, after a clean save; a script finishes the save that it is in.

    >>> try:  # doctest: +SKIP
    ...     result = run(sweep)
    ... except Interrupted:
    ...     result = run(sweep)
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class LeftAtOnce(KeyboardInterrupt):
    """A second Ctrl-C in a program or a notebook: the engine leaves at once. Nobody outside sees this one."""


class NotTheSame(TrialsFailed):
    """A replay gave other numbers, or an audit other decisions: code, data, machine or record have changed."""


class EngineLost(OrchestratorError):
    exit_code = 8


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' for a misspelt name; if no known name is close, all known names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(names)}."
