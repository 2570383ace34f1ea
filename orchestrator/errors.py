"""Everything that can go wrong on purpose, with the exit code that says so.

OrchestratorError            1  a fault of ours
├── BadInput                 2  the sweep, a flag or a name is wrong
├── TrialsFailed             3  finished, but more trials failed than allowed
├── NoMetric                 4  finished, and no trial gave the metric
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


class OrchestratorError(Exception):
    exit_code = 1


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


class EngineLost(OrchestratorError):
    exit_code = 8


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' for a misspelt name, with all known names when nothing is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(names)}."
