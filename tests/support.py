"""Small real sweeps that many tests share."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.driver import Driver
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from orchestrator.sweep import Sweep
from search.schedulers.run_to_end import RunToEnd
from search.searchers.random import Random
from search.space import Space, loguniform, pow2, uniform
from trainables.workloads.quadratic import Quadratic

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {"COLUMNS": "200", "NO_COLOR": "1"}  # of scripts
SPACE = {"learning_rate": loguniform(1e-3, 0.3), "momentum": uniform(0.0, 0.9), "batch_size": pow2(4, 32)}


def small_sweep(**changes: Any) -> Sweep:
    """Five quadratics of four steps, random search."""
    fields: dict[str, Any] = {
        "name": "small",
        "workload": Quadratic(horizon=4),
        "space": Space(SPACE),
        "searcher": Random(),
        "scheduler": RunToEnd(),
        "num_samples": 5,
        "checkpoint_seconds": 0.0,
        "baseline": None,
    }
    return Sweep(**(fields | changes))


def simulated(folder: Path, sweep: Sweep, workers: int = 1, *, retry_failed: bool = False) -> Driver:
    """Run (or continue) `sweep` in `folder` in this process; returns its driver, the ledger closed."""
    ledger = Ledger.write(folder)
    try:
        clock = SimulatedClock()
        driver = Driver(sweep, ledger, clock=clock, retry_failed=retry_failed)
        simulate(driver, clock, workers=workers)
        driver.close()
    finally:
        ledger.close()
    return driver


def interrupted_after(
    folder: Path, sweep: Sweep, answers: int, workers: int = 2, *, retry_failed: bool = False
) -> None:
    """Stop dead after so many results, as a SIGKILL would: nothing is closed or said."""

    class Killed(BaseException):
        pass

    ledger = Ledger.write(folder)
    clock = SimulatedClock()
    driver = Driver(sweep, ledger, clock=clock, retry_failed=retry_failed)
    left = answers

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    with contextlib.suppress(Killed):
        simulate(driver, clock, workers=workers, refresh=count)
    ledger.close(abruptly=True)


def concrete(package: ModuleType, contract: type) -> set[type]:
    """Every class of the package's modules that fulfils the contract."""
    names = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    members = [member for name in names for member in vars(importlib.import_module(name)).values()]
    return {m for m in members if inspect.isclass(m) and issubclass(m, contract) and not inspect.isabstract(m)}


def assert_listed(kinds: set[type], listed: Iterable[object], where: str) -> None:
    """Fail, with the line to add, unless `listed` has an object of each of the classes and no others."""
    known = {type(each) for each in listed}
    lacking, other = ({kind.__name__ for kind in some} for some in (kinds - known, known - kinds))
    assert not lacking, f"add a line for {', '.join(sorted(lacking))} to {where}"
    assert not other, f"{where} has {', '.join(sorted(other))}, which no module of the package defines"


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
        env=os.environ | ENVIRONMENT | environment,
    )  # fmt: skip


def orchestrator(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The `orchestrator` command."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments], cwd=cwd, text=True, capture_output=True, timeout=120,
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
