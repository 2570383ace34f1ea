"""The result of a sweep: `run(sweep)` returns it, and `Result("mine")` reads that of any run."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.driving.places import Places
from orchestrator.errors import BadInput
from orchestrator.reading.scores import which
from orchestrator.reading.trial_table import trial_rows
from orchestrator.record.encoding import number
from orchestrator.record.ledger import FILE, Ledger
from orchestrator.record.storage import find_run
from search.records import Config
from search.wording import shown

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.sweep import Sweep

SHOWN = 10  # trials in a notebook's table
WIDTH = 120  # characters in a line of the report


class Result:
    """The best configuration of a run, its trials and its files. Reads the record once, without later updates.

    `run` is a name below the folder `runs`, or the path of the run's folder, as for the commands of `orchestrator`.
    `config`, `value`, `trial`, `step`, `checkpoint` and `trial_folder` are those of the best trial; None before there is
    one. If its configuration was trained again, `value` is the mean of the fresh seeds; `confirmed` has their values
    (None: diverged; empty if they are copies of an earlier run), and `first` is the score with which the trial was found:
    that of `checkpoint`. `state` is running, interrupted, finished, out of time or failed.

    >>> result = Result("mine")  # doctest: +SKIP
    >>> result.config, result.value  # doctest: +SKIP
    """

    def __init__(self, run: Path | str, *, runs: Path | str = "runs") -> None:
        from orchestrator.reading.printed_summary import print_summary
        from orchestrator.reading.summary import summary

        self.folder = find_run(run, runs)
        ledger = Ledger.read(self.folder)
        try:
            facts = summary(ledger)
            self._report = _text(lambda console: print_summary(ledger, console, facts=facts))
            self._rows = trial_rows(ledger)
        finally:
            ledger.close()
        best: Mapping[str, Any] = facts["best"] or {}
        self.name: str = facts["name"]
        self.state: str = facts["state"]
        self.metric: str = facts["metric"]
        self.mode: str = facts["mode"]
        self.config: Config | None = best.get("config")
        self.value: float | None = best.get("value")
        self.first: float | None = best.get("first")
        self.confirmed: list[float | None] = best.get("confirmed", [])
        self.trial: int | None = best.get("trial")
        self.step: int | None = best.get("step")
        self.checkpoint = Path(best["checkpoint"]) if best.get("checkpoint") else None

    @property
    def ledger(self) -> Path:
        """The record: one SQLite file, which is also an Optuna study."""
        return self.folder / FILE

    @property
    def trial_folder(self) -> Path | None:
        """The folder with everything that the best trial has written."""
        return None if self.trial is None else Places(self.folder).trial(self.trial)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial: its configuration (config.lr, …), value, the other metrics of the same report (metric.accuracy, …),
        status, step, reason, seconds, task, origin and seed; `repeats`: of a finalist's repetition, which trial's configuration;
        `code`, if the training was edited: 1 for the code of the first trial, 2 after the first edit, and so on.
        Whole numbers and booleans that some trials lack keep their type, with <NA> there."""
        import pandas as pd

        frame = pd.DataFrame(self._rows).set_index("trial") if self._rows else pd.DataFrame(columns=["value", "status"])
        for name in {"repeats", "code"} & {*frame.columns}:
            frame[name] = frame[name].astype("Int64")
        settings = [name for name in frame.columns if name.startswith("config.")]
        for name in settings:
            kinds = {type(row[name]) for row in self._rows if row.get(name) is not None}
            if frame[name].isna().any() and kinds in ({int}, {bool}):
                frame[name] = frame[name].astype("boolean" if kinds == {bool} else "Int64")
        metrics = [name for name in frame.columns if name.startswith("metric.")]
        first = [*settings, "value", *metrics]
        return frame[first + [name for name in frame.columns if name not in first]]

    def config_of(self, trial: int) -> Config:
        """The configuration of a trial: its active parameters, with the types that the training got."""
        row = next((row for row in self._rows if row["trial"] == trial), None)
        if row is None:
            raise BadInput(
                f"{self.folder}: config_of({shown(trial)}): there is no such trial; see result.trials.index."
            )
        return {name.removeprefix("config."): value for name, value in row.items() if name.startswith("config.")}

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row per report: trial, step, seconds since the one before, and a column for each metric, in that order."""
        import pandas as pd

        ledger = Ledger.read(self.folder)
        try:
            found = ledger.rows("report")
        finally:
            ledger.close()
        rows = [
            {"trial": row["trial"], "step": row["step"], "seconds": row["cost_seconds"]}
            | {name: value for name, value in row["metrics"].items() if name not in ("trial", "step", "seconds")}
            | {self.metric: number(row["value"], row["kind"])}
            for row in found
        ]
        frame = pd.DataFrame(rows, columns=None if rows else ["trial", "step", "seconds", self.metric])
        return frame.sort_values(["trial", "step"], ignore_index=True)

    def load_state(self) -> Any:
        """The state in the best trial's checkpoint: once it has ended, what your generator yielded at its last step.

        Of a Workload of ours it is the state of the whole training, with the model's under "weights". Raises BadInput for a
        script or a function that reports, whose checkpoint only its own code can read, and if no state was saved.

        >>> model.load_state_dict(result.load_state()["model"])  # doctest: +SKIP
        """
        from trainables.carry_out import saved_state

        if self.trial is None:
            raise BadInput(f"{self.folder}: no trial is the best yet, so there is no state to load.")
        if self.checkpoint is None:
            raise BadInput(
                f"{self.folder}: trial {self.trial}, the best, has no checkpoint. A generator must yield (metrics, state), with a "
                "state of plain data, tensors and arrays; a function that reports calls report(…, checkpoint=path)."
            )
        if Places(self.folder).script(self.trial).is_dir():
            raise BadInput(
                f"{self.folder}: trial {self.trial} wrote its checkpoint itself; load it as the training does, from "
                f"result.checkpoint, {self.checkpoint}."
            )
        try:
            return saved_state(self.checkpoint)
        except ValueError as error:
            raise BadInput(f"{self.checkpoint}: {error}.") from error

    def replay(self, sweep: Sweep, trial: int | None = None) -> None:
        """Train a recorded trial again, the best if none is named, and compare each step with the record.

        `sweep` is the one that made the run. Prints the steps; raises NotTheSame if one differs.
        """
        from orchestrator.reading.replay import replay_trial
        from orchestrator.sweep import Sweep

        if not isinstance(sweep, Sweep):
            meant = sweep if isinstance(sweep, int) else 0 if trial is None else trial
            raise BadInput(
                f"replay({shown(sweep)}): pass the sweep that made the run, then the number of the trial: replay(sweep, {meant})."
            )
        if trial is not None and not hasattr(trial, "__index__"):
            raise BadInput(f"replay(sweep, {shown(trial)}): must be the number of a trial: replay(sweep, 0).")
        number = self.trial if trial is None else trial
        if number is None:
            raise BadInput(f"{self.folder}: no trial is the best yet; name the one to train again.")
        replay_trial(sweep, self.folder, int(number), None)

    @property
    def _which(self) -> str:
        """The best trial, and the fresh seeds that its value is the mean of."""
        return which({"trial": self.trial, "confirmed": self.confirmed})

    def report(self) -> str:
        """The summary, as text."""
        return self._report

    def __repr__(self) -> str:
        count = f"{len(self._rows)} trial{'s' * (len(self._rows) != 1)}"
        if self.value is None:
            return f"Result({self.name}: {self.state}, {count}, no result)"
        return f"Result({self.name}: {self.state}, {count}, {self.metric}={self.value:.6g} of {self._which}, {self.config})"

    def _repr_html_(self) -> str:
        """HTML for a notebook: the best configuration, and the best trials as a table."""
        best = (
            "no result yet" if self.value is None else f"{escape(self.metric)} <b>{self.value:.6g}</b> ({self._which})"
        )
        settings = "".join(
            f"<tr><td>{escape(str(name))}</td><td>{escape(_short(value))}</td></tr>"
            for name, value in (self.config or {}).items()
        )
        ranked = (
            self.trials.sort_values("value", ascending=self.mode == "min", na_position="last")
            if self._rows
            else self.trials
        )
        table = (
            ranked.head(SHOWN)
            .drop(columns=["origin", "task", "repeats", "seed"], errors="ignore")
            .to_html(na_rep="", float_format=_short)
        )
        return (
            f"<div><p><b>{escape(self.name)}</b>: {escape(self.state)}, {len(self._rows)} trials; {best}</p>"
            f"<table>{settings}</table>{table}<p><code>{escape(str(self.folder))}</code></p></div>"
        )


def _text(write: Any) -> str:
    from rich.console import Console

    stream = io.StringIO()
    write(Console(file=stream, width=WIDTH, force_terminal=False, force_jupyter=False, color_system=None))
    return stream.getvalue()


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
