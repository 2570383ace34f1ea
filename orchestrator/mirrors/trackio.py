"""Trackio: a run for each trial, in its local SQLite database.

Each row carries an id made of the run, the trial and the step, and Trackio keeps one row for an id: what is sent again
after a kill changes nothing. `trackio.log` cannot give a row its id or its time, so we call what it calls.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.mirrors.contract import Mirror, MirroredRun, MirroredTrial, Step


class Trackio(Mirror):
    """The project `project` (default: the run's name) in the folder `output`, which Trackio calls TRACKIO_DIR."""

    def __init__(self, output: Path, project: str) -> None:
        super().__init__(output, project)
        os.environ["TRACKIO_DIR"] = str(output)  # it is read when Trackio is imported
        try:
            from trackio.sqlite_storage import TRACKIO_DIR, SQLiteStorage
        except ImportError as error:
            raise BadInput("--to trackio needs Trackio: pip install trackio.") from error
        if output != Path(TRACKIO_DIR):
            raise BadInput(
                f"{output}: this process has opened Trackio for {TRACKIO_DIR}; mirror here in another process."
            )
        self._storage = SQLiteStorage

    def start(self, run: MirroredRun) -> None:
        self._run = run
        self.project = self.project or run.name

    def begin(self, trial: MirroredTrial) -> None:
        pass  # its configuration comes with its end, which `end` brings up to date

    def log(self, trial: MirroredTrial, steps: Sequence[Step]) -> None:
        self._send(trial, [(step.step, step.time, dict(step.metrics)) for step in steps])

    def end(self, trial: MirroredTrial) -> None:
        step, ending = trial.last.step if trial.last else 0, trial.ending
        tested = {f"test/{name}": value for name, value in (trial.test or {}).items()}
        about: dict[str, Any] = {
            "status": "running" if ending is None else ending.status.value,
            "reason": "" if ending is None else ending.reason,
            "task": trial.task,
            "origin": trial.origin,
            "seed": trial.seed,
        }
        if trial.parent is not None:
            about |= {"parent": trial.parent, "parent_step": trial.parent_step}
        time = ending.time if ending is not None else trial.began
        own = {"_Group": self._run.name, "_Created": _iso(trial.began), "orchestrator": about}  # beside the parameters
        self._send(trial, [(step, time, tested)], "test" if tested else "none", own | dict(trial.config))

    def finish(self, run: MirroredRun) -> None:
        pass

    def shown_by(self) -> str:
        folder, project = shlex.quote(str(self.output)), shlex.quote(self.project)
        return f"TRACKIO_DIR={folder} trackio show --project {project}"

    def _send(
        self,
        trial: MirroredTrial,
        rows: Sequence[tuple[int, float, dict[str, float]]],
        kind: str = "step",
        config: dict[str, Any] | None = None,
    ) -> None:
        own = f"{self._run.id}-{trial.number}"
        self._storage.bulk_log(
            self.project, f"{self._run.name} {trial.number}", [metrics for _, _, metrics in rows],
            steps=[step for step, _, _ in rows], timestamps=[_iso(time) for _, time, _ in rows],
            log_ids=[f"{own}-{kind}" if kind != "step" else f"{own}-{step}" for step, _, _ in rows],
            config=config, run_id=own,
        )  # fmt: skip


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, timezone.utc).isoformat()
