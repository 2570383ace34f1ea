"""MLflow: a parent run for the sweep and a child run for each trial, in an SQLite store.

That store keeps one row for each metric, step and time. The times are those of the ledger, so a metric that is sent
again after a kill changes nothing.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.mirrors.contract import Mirror, MirroredRun, MirroredTrial, Step
from orchestrator.record.encoding import to_json

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a mirror tells nobody that it was made
try:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag
except ImportError as error:
    raise BadInput("--to mlflow needs MLflow: pip install mlflow (or mlflow-skinny, without its pages).") from error

RUN, TRIAL = "orchestrator.run", "orchestrator.trial"  # tags by which runs are found again
AT_ONCE = 1000  # metrics in one call, by MLflow's own limit
LONGEST = {"param": 6000, "tag": 8000}  # characters of a value, by MLflow's own limits
SHOWN = ("workload", "searcher", "scheduler", "policy", "metric", "mode", "num_samples", "budget", "seed", "tasks")


class MlFlow(Mirror):
    """The experiment `project` (default: the run's name) in `output/mlflow.db`."""

    def start(self, run: MirroredRun) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells how it makes the tables
        self._client = MlflowClient(tracking_uri=self._store)
        name = self.project or run.name
        found = self._client.get_experiment_by_name(name)
        place = (self.output / "artifacts").as_uri()
        self._experiment = (
            found.experiment_id if found else self._client.create_experiment(name, artifact_location=place)
        )
        self._run = run
        self._ids = self._known()
        settings = {name: run.settings[name] for name in SHOWN if run.settings.get(name)}
        self._parent = self._ids.get("") or self._create("", run.name, run.began, {})
        self._client.log_batch(self._parent, params=_params(settings))

    def begin(self, trial: MirroredTrial) -> None:
        if trial.label not in self._ids:
            self._create(
                trial.label, f"{self._run.name} {trial.number}", trial.began, {"mlflow.parentRunId": self._parent}
            )
        about = {"task": trial.task, "origin": trial.origin, "seed": trial.seed}
        if trial.parent is not None:
            about |= {"parent": trial.parent, "parent_step": trial.parent_step}
        self._client.log_batch(self._ids[trial.label], params=_params(trial.config), tags=_tags(about))

    def log(self, trial: MirroredTrial, steps: Sequence[Step]) -> None:
        metrics = [
            Metric(_name(name), value, round(step.time * 1000), step.step)
            for step in steps
            for name, value in step.metrics.items()
        ]
        for first in range(0, len(metrics), AT_ONCE):
            self._client.log_batch(self._ids[trial.label], metrics=metrics[first : first + AT_ONCE])

    def end(self, trial: MirroredTrial) -> None:
        number, ending = self._ids[trial.label], trial.ending
        if ending is None:
            self._client.update_run(number, status="RUNNING")
            return
        tested = [
            Metric(_name(f"test_{name}"), value, round(ending.time * 1000), trial.last.step if trial.last else 0)
            for name, value in (trial.test or {}).items()
        ]
        about = {"status": ending.status.value, "reason": ending.reason}
        self._client.log_batch(number, metrics=tested, tags=_tags(about))
        status = "FAILED" if trial.failed else "FINISHED"
        self._client.set_terminated(number, status=status, end_time=round(ending.time * 1000))

    def finish(self, run: MirroredRun) -> None:
        about: dict[str, Any] = {"state": run.state, "tags": ", ".join(run.tags), "mlflow.note.content": run.note}
        if run.best is not None:
            about |= {"best_trial": run.best["trial"], f"best_{run.metric}": run.best["value"]}
        self._client.log_batch(self._parent, tags=_tags(about))
        status = {"running": "RUNNING", "interrupted": "RUNNING", "failed": "FAILED"}.get(run.state, "FINISHED")
        if status == "RUNNING":
            self._client.update_run(self._parent, status=status)
        else:
            self._client.set_terminated(self._parent, status=status)

    def shown_by(self) -> str:
        return f"mlflow ui --backend-store-uri {shlex.quote(self._store)}"

    @property
    def _store(self) -> str:
        return f"sqlite:///{self.output / 'mlflow.db'}"

    def _known(self) -> dict[str, str]:
        """The MLflow ids of what is mirrored: a trial's label, or nothing for the sweep → its id."""
        ids: dict[str, str] = {}
        page: str | None = None
        while page != "":
            found = self._client.search_runs(
                [self._experiment], f"tags.`{RUN}` = '{self._run.id}'", max_results=AT_ONCE, page_token=page
            )
            ids |= {run.data.tags[TRIAL]: run.info.run_id for run in found}
            page = found.token or ""
        return ids

    def _create(self, trial: str, name: str, began: float, tags: Mapping[str, str]) -> str:
        about = {RUN: self._run.id, TRIAL: trial, **tags}
        made = self._client.create_run(self._experiment, round(began * 1000), tags=about, run_name=name)
        self._ids[trial] = made.info.run_id
        return str(made.info.run_id)


def _params(values: Mapping[str, Any]) -> list[Any]:
    return [Param(_name(name), _text(value)[: LONGEST["param"]]) for name, value in values.items()]


def _tags(values: Mapping[str, Any]) -> list[Any]:
    named = {name if name.startswith("mlflow.") else f"orchestrator.{name}": value for name, value in values.items()}
    return [RunTag(name, _text(value)[: LONGEST["tag"]]) for name, value in named.items()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value)


def _name(name: str) -> str:
    """A name that MLflow accepts."""
    return re.sub(r"[^\w./ -]", "_", name)
