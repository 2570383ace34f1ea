"""The places of a run's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from search.work import FUNCTIONS as FUNCTIONS
from search.work import SCRIPT

PREPARED, TRIALS, CHECKPOINTS = "prepared", "trials", "checkpoints"


@dataclass(frozen=True)
class Places:
    """The parts of a run's folder."""

    folder: Path

    @property
    def shared(self) -> Path:
        """The data that `Workload.prepare` made; all trials read it."""
        return self.folder / PREPARED

    @property
    def functions(self) -> Path:
        """The function that trains in processes of its own, for all trials; only while the sweep runs."""
        return self.folder / FUNCTIONS

    @property
    def pause_file(self) -> Path:
        """While this file exists, trials save a checkpoint and pause at the next update."""
        return self.folder / "pause"

    def trial(self, number: int) -> Path:
        """A trial's own folder: its checkpoints and its log."""
        return self.folder / TRIALS / f"{number:05d}"

    def checkpoints(self, number: int) -> Path:
        return self.trial(number) / CHECKPOINTS

    def script(self, number: int) -> Path:
        """The TRIAL_FOLDER of a script."""
        return self.checkpoints(number) / SCRIPT
