"""Everything that can go wrong on purpose, with the exit code that says so.

OrchestratorError            1  a fault of ours
├── BadInput                 2  the sweep, a flag or a name is wrong
├── TrialsFailed             3  there are results, but more trials failed than allowed
├── NoMetric                 4  there is no result: no trial gave a finite value of the metric
├── RunInUse                 5  another driver works in this run's folder
├── ResumeRefused            6  the sweep has changed so that its old results mean nothing
├── StorageError             7  the disk is full, read-only, unreachable, or the ledger is damaged
│   └── LedgerDamaged
├── EngineLost               8  Ray could not be started, or has died; the same command goes on
└── Interrupted              130 (Ctrl-C) or 143 (SIGTERM), after a clean save
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.result import Result


class OrchestratorError(Exception):
    """`run(sweep)` leaves in `result` what there is nevertheless; None if nothing was started."""

    exit_code = 1
    result: Result | None = None

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: the sentence is meant for people, the frames behind it are not."""
        return [f"{type(self).__name__}: {self}"]


class BadInput(OrchestratorError, ValueError):
    exit_code = 2


class TrialsFailed(OrchestratorError):
    exit_code = 3


class NoMetric(OrchestratorError):
    exit_code = 4


class RunInUse(OrchestratorError):
    exit_code = 5


class ResumeRefused(OrchestratorError):
    exit_code = 6


class StorageError(OrchestratorError):
    exit_code = 7


class LedgerDamaged(StorageError):
    pass


class Interrupted(OrchestratorError):
    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NotTheSame(TrialsFailed):
    """A trial that was trained again gave other numbers, or an audit other decisions: code, data or record have changed."""


class EngineLost(OrchestratorError):
    exit_code = 8


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' for a misspelt name, with all known names when nothing is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(names)}."
