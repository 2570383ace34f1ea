"""What a mirror is given: a run, its trials, their steps and endings, as plain data with secrets masked.

Use when   another tool should show a run: subclass `Mirror` in a file of its own, and name it in `targets.py`.
Contract   Every call may come again with the same content, after a kill between the tool's disk and our position.
           It must then change nothing. Calls come from one process at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.records import Config, Status


@dataclass(frozen=True)
class MirroredRun:
    """A run and its settings in force."""

    id: str  # 12 hexadecimal digits; stays when the run is renamed or moved
    name: str  # the name in the mirror
    metric: str
    mode: str  # "min" or "max"
    settings: Mapping[str, Any]  # the description on record
    began: float  # seconds since 1970, UTC
    state: str  # running, interrupted, finished, out of time or failed
    tags: Sequence[str] = ()
    note: str = ""
    best: Mapping[str, Any] | None = None  # the best trial and its scores, as `status` tells them


@dataclass(frozen=True)
class Step:
    """One report of a trial. `metrics` may hold NaN and infinities."""

    step: int
    time: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Ending:
    """How and when a trial came to rest."""

    status: Status
    reason: str
    time: float


@dataclass(frozen=True)
class MirroredTrial:
    """A trial as it stands. `ending` is None while it runs, also after a stopped trial was resumed."""

    number: int
    config: Config  # active parameters only
    task: str
    origin: str
    seed: int
    began: float
    parent: int | None = None  # of a fork: whose state it took over …
    parent_step: int | None = None  # … and at which step; its own steps begin after it
    last: Step | None = None  # its last report
    test: Mapping[str, float] | None = None  # the metrics on the test part, if it was measured
    ending: Ending | None = None

    @property
    def failed(self) -> bool:
        return self.ending is not None and self.ending.status.is_failure

    @property
    def label(self) -> str:
        return f"trial-{self.number:05d}"


class Mirror(ABC):
    """A copy of a run in another tool."""

    whole = False
    """Whether the tool cannot continue a trial: then each comes once it rests, with all its steps from the first."""

    def __init__(self, output: Path, project: str) -> None:
        """`output`: an existing folder, also of other runs' mirrors. Raises BadInput if the tool is not installed."""
        self.output = output
        self.project = project

    @abstractmethod
    def start(self, run: MirroredRun) -> None:
        """Before everything else."""

    @abstractmethod
    def begin(self, trial: MirroredTrial) -> None:
        """A trial of which this process has not told yet."""

    @abstractmethod
    def log(self, trial: MirroredTrial, steps: Sequence[Step]) -> None:
        """Steps of a trial that has begun, in order."""

    @abstractmethod
    def end(self, trial: MirroredTrial) -> None:
        """The trial rests (`trial.ending`), was measured on the test part, or goes on after it had rested (None)."""

    @abstractmethod
    def finish(self, run: MirroredRun) -> None:
        """After everything that is on record so far; `run` is up to date."""

    @abstractmethod
    def shown_by(self) -> str:
        """The command that shows the mirror, for a shell."""
