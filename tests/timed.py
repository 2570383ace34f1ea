"""A training without torch, on a simulated clock: what a step takes and gives is a function of the configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from orchestrator.driver import Driver
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from orchestrator.sweep import Sweep
from search.contract import derived_seed
from search.records import Config
from search.schedulers.run_to_end import RunToEnd
from search.searchers.random import Random
from search.space import Space, loguniform, uniform
from search.work import Assignment, Progress
from trainables.contract import Workload


@dataclass(frozen=True)
class Timed:
    """A step takes `seconds` × 2^u for a u in [-1, 1] of the configuration; every `saves`th step is a checkpoint."""

    seconds: float = 60.0
    horizon: int = 6
    saves: int = 2

    metric: ClassVar[str] = "loss"
    mode: ClassVar[str] = "min"
    metrics: ClassVar[tuple[str, ...]] = ("loss",)
    baseline: ClassVar[Config | None] = None

    def prepare(self, folder: Path) -> None: ...

    def step_seconds(self, config: Config) -> float:
        return self.seconds * 2.0 ** float(config["slow"])

    def run(
        self, policy: Any, assignment: Assignment, should_pause: Callable[[], bool] | None = None
    ) -> Iterator[Progress | None]:
        place, config = assignment.folder / "step", assignment.config
        step = int(place.read_text()) if place.exists() else 0
        for each in range(min(step, assignment.recorded) + 1, assignment.until + 1):
            noise = derived_seed(sorted(config.items()), each) / 2**33
            yield Progress("report", each, {"loss": config["rate"] + noise + 1 / each}, self.step_seconds(config))
            if each % self.saves == 0:
                place.write_text(str(each))
                sha = hashlib.sha256(str(each).encode()).hexdigest()
                yield Progress("checkpoint", each, path=str(place), sha256=sha, bytes=1)

    def test(self, assignment: Assignment) -> Mapping[str, float]:
        return {}


assert not isinstance(Timed(), Workload)


def timed_sweep(**changes: Any) -> Sweep:
    fields: dict[str, Any] = {
        "name": "timed", "workload": Timed(), "space": Space({"rate": loguniform(1e-3, 1.0), "slow": uniform(-1.0, 1.0)}),
        "searcher": Random(), "scheduler": RunToEnd(), "baseline": None,
    }  # fmt: skip
    return Sweep(**(fields | changes))


def timed_run(
    folder: Path, sweep: Sweep, *, workers: int = 1, lifetime: Callable[[Any], float] | None = None
) -> Driver:
    """Run (or continue) the sweep in `folder` on a simulated clock; the ledger is closed."""
    ledger, clock = Ledger.write(folder), SimulatedClock()
    try:
        driver = Driver(sweep, ledger, clock=clock)
        simulate(driver, clock, workers=workers, **({} if lifetime is None else {"lifetime": lifetime}))
        driver.close()
    finally:
        ledger.close()
    return driver
