"""Small real sweeps that many tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.driver import Driver
from orchestrator.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from orchestrator.sweep import Sweep
from search.searchers.random import Random
from search.space import Space, loguniform, pow2, uniform
from trainables.workloads.quadratic import Quadratic

ROOT = Path(__file__).resolve().parent.parent
SPACE = {"learning_rate": loguniform(1e-3, 0.3), "momentum": uniform(0.0, 0.9), "batch_size": pow2(4, 32)}


def small_sweep(**changes: Any) -> Sweep:
    """Five quadratics of four steps, random search."""
    fields: dict[str, Any] = {
        "name": "small",
        "workload": Quadratic(horizon=4),
        "space": Space(SPACE),
        "searcher": Random(),
        "num_samples": 5,
        "checkpoint_seconds": 0.0,
        "baseline": None,
    }
    return Sweep(**(fields | changes))


def simulated(folder: Path, sweep: Sweep, workers: int = 1) -> Driver:
    """Run (or continue) `sweep` in `folder` in this process; returns its driver, the ledger closed."""
    ledger = Ledger.write(folder)
    try:
        clock = SimulatedClock()
        driver = Driver(sweep, ledger, clock=clock)
        simulate(driver, clock, workers=workers)
        driver.close()
    finally:
        ledger.close()
    return driver


def recorded(folder: Path, table: str) -> list[dict[str, Any]]:
    ledger = Ledger.read(folder)
    try:
        return ledger.rows(table)
    finally:
        ledger.close()


def sequence(folder: Path) -> list[tuple[Any, ...]]:
    """What must be equal between two runs of the same sweep: every configuration, step and metric, in order."""
    rows = [
        (row["seq"], "suggestion", row["trial"], json.dumps(row["config"])) for row in recorded(folder, "suggestion")
    ]
    rows += [(row["seq"], "report", row["trial"], row["step"], row["value"]) for row in recorded(folder, "report")]
    rows += [(row["seq"], "ending", row["trial"], row["status"], row["step"]) for row in recorded(folder, "ending")]
    return [row[1:] for row in sorted(rows)]


def run_script(
    script: Path | str, *arguments: str, cwd: Path, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script as a user would."""
    return subprocess.run(
        [sys.executable, str(script), *arguments], cwd=cwd, text=True, capture_output=True, timeout=timeout,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"} | environment,
    )  # fmt: skip


def orchestrator(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The `orchestrator` command."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments], cwd=cwd, text=True, capture_output=True, timeout=120,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
    )  # fmt: skip


@dataclass(frozen=True)
class Troubled:
    """A quadratic whose chosen trials go wrong: {trial: kind}. Everything else is the real workload."""

    trouble: tuple[tuple[int, str], ...] = ()
    inner: Quadratic = field(default_factory=lambda: Quadratic(horizon=4))

    metric = "loss"
    mode = "min"
    metrics = ("loss",)
    baseline = None

    @property
    def horizon(self) -> int:
        return self.inner.horizon

    def prepare(self, folder: Path) -> None:
        self.inner.prepare(folder)

    def test(self, assignment: Any) -> Any:
        return self.inner.test(assignment)

    def run(self, policy: Any, assignment: Any, should_pause: Any = None) -> Any:
        return _TroubledRun(
            self.inner.run(policy, assignment, should_pause), dict(self.trouble).get(assignment.trial, ""), assignment
        )


class _TroubledRun:
    def __init__(self, run: Any, trouble: str, assignment: Any) -> None:
        self._run, self._trouble, self._assignment = run, trouble, assignment
        self.save = run.save

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        item = next(self._run)
        if item is None or item.kind != "report" or item.step != 2 or not self._trouble:
            return item
        return self._spoil(item)

    def _spoil(self, item: Any) -> Any:
        trouble = self._trouble
        if trouble in ("nan", "inf", "-inf"):
            return replace(item, metrics={"loss": float(trouble)})
        if trouble == "typo":
            return replace(item, metrics={"lose": 1.0})
        if trouble == "string":
            return replace(item, metrics={"loss": "low"})
        if trouble == "other":
            return replace(item, metrics={"loss": item.metrics["loss"] + 1e-9})
        if trouble == "memory":
            raise MemoryError("no more")
        if trouble == "allocate":
            return bytearray(2**34)
        if trouble == "hang":
            import time

            marker = self._assignment.folder.parent / "hung"
            if not marker.exists():
                marker.touch()
                time.sleep(600)
            return item
        if trouble == "die":
            marker = self._assignment.folder.parent / "died"
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), 9)
            return item
        if trouble == "die always":
            os.kill(os.getpid(), 9)
        raise RuntimeError(f"trial {self._assignment.trial} is broken by design")
