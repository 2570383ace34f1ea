"""Weights & Biases: an offline run for each trial, written to disk. `wandb sync` uploads them; the mirror sends nothing.

An offline run cannot be continued. So a trial is written once it rests, and written again from its first step if it was
resumed since or a kill has cut it.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.mirrors.contract import Mirror, MirroredRun, MirroredTrial, Step

try:
    import wandb
except ImportError as error:
    raise BadInput("--to wandb needs Weights & Biases: pip install wandb.") from error

QUIET: dict[str, Any] = {
    "silent": True, "console": "off", "disable_git": True, "disable_code": True, "disable_job_creation": True,
    "x_disable_stats": True, "x_disable_meta": True,  # they would describe the machine that mirrors
}  # fmt: skip


class WeightsAndBiases(Mirror):
    """The group RUN in the project `project` (default: the run's name), below `output/wandb`."""

    whole = True

    def start(self, run: MirroredRun) -> None:
        self._run = run
        self.project = self.project or run.name

    def begin(self, trial: MirroredTrial) -> None:
        number = f"{self._run.id}-{trial.number}"
        for earlier in (self.output / "wandb").glob(f"offline-run-*-{number}"):
            shutil.rmtree(earlier)
        about = {"origin": trial.origin, "seed": trial.seed}
        if trial.parent is not None:
            about |= {"parent": trial.parent, "parent_step": trial.parent_step}
        self._trial = wandb.init(
            mode="offline", dir=self.output, project=self.project, group=self._run.name, id=number,
            name=f"{self._run.name} {trial.number}", job_type=trial.task, tags=list(self._run.tags),
            notes=self._run.note or None, config={"orchestrator": about, **trial.config}, reinit="create_new",
            settings=wandb.Settings(**QUIET),
        )  # fmt: skip

    def log(self, trial: MirroredTrial, steps: Sequence[Step]) -> None:
        for step in steps:
            self._trial.log({**step.metrics, "_timestamp": step.time}, step=step.step)

    def end(self, trial: MirroredTrial) -> None:
        ending = trial.ending
        self._trial.summary["status"] = "running" if ending is None else ending.status.value
        self._trial.summary["reason"] = "" if ending is None else ending.reason
        for name, value in (trial.test or {}).items():
            self._trial.summary[f"test/{name}"] = value
        self._trial.finish(exit_code=1 if trial.failed else 0)

    def finish(self, run: MirroredRun) -> None:
        pass

    def shown_by(self) -> str:
        return f"wandb sync {shlex.quote(str(self.output / 'wandb'))}/offline-run-*"
