"""By how much do sweeps exceed a budget in dollars, while their workers are killed at random?

    python experiments/benchmarks/budgets.py            # 50 sweeps: about a minute

Sweeps     of a training without weights on a simulated clock: a step takes 30 to 120 s, six steps are a full training,
           every second one writes a checkpoint. Four kinds in turn: random search, ASHA that stops, ASHA that
           promotes, random search with a finalist. $4 at $3.60 for a GPU-hour: some eleven full trainings.
Kills      a worker that gets an order dies with a probability of `--share`, at a random moment of a full training.
Bound      one report interval of each worker: workers × 120 s.
Audit      every decision is derived again from the record.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from orchestrator.driver import Driver
from orchestrator.reading.audit import audit
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from orchestrator.sweep import Sweep
from orchestrator.worker.job import Order
from search.contract import derived_seed
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.run_to_end import RunToEnd
from search.searchers.random import Random
from search.space import Space, loguniform, uniform
from search.work import Assignment, Progress, Reported, Saved
from trainables.contract import OwnTraining


@dataclass(frozen=True)
class Timed(OwnTraining):
    """A training without weights: a step takes `seconds` × 2^slow; every `saves`th step is a checkpoint."""

    seconds: float = 60.0
    horizon: int = 6
    saves: int = 2

    metric: ClassVar[str] = "loss"
    mode: ClassVar[str] = "min"
    metrics: ClassVar[tuple[str, ...]] = ("loss",)

    def run(
        self, policy: Any, assignment: Assignment, should_pause: Callable[[], bool] | None = None
    ) -> Iterator[Progress | None]:
        place, config = assignment.folder / "step", assignment.config
        saved = int(place.read_text()) if place.exists() else 0
        for step in range(min(saved, assignment.recorded) + 1, assignment.until + 1):
            noise = derived_seed(sorted(config.items()), step) / 2**33
            loss = config["rate"] + noise + 1 / step
            yield Reported(step, {"loss": loss}, self.seconds * 2 ** config["slow"])
            if step % self.saves == 0:
                place.write_text(str(step))
                yield Saved(step, str(place), hashlib.sha256(str(step).encode()).hexdigest(), 1)


KINDS: list[dict[str, Any]] = [
    {},
    {"scheduler": Asha(reduction_factor=2)},
    {"scheduler": AshaPromote(reduction_factor=2)},
    {"finalists": 1},
]


def timed_sweep(**changes: Any) -> Sweep:
    """A sweep of that training on one GPU, which costs $3.60 an hour."""
    fields: dict[str, Any] = {
        "name": "timed", "workload": Timed(), "space": Space({"rate": loguniform(1e-3, 1.0), "slow": uniform(-1.0, 1.0)}),
        "searcher": Random(), "scheduler": RunToEnd(), "baseline": None, "resources": {"cpu": 1, "gpu": 1},
        "prices": {"H100": 3.6}, "retries": 10,
    }  # fmt: skip
    return Sweep(**(fields | changes))


def lifetimes(seed: int, share: float) -> Callable[[Order], float]:
    """After how many seconds the worker of an order dies."""
    rng = np.random.default_rng(seed)
    return lambda order: float(rng.uniform(0, 360)) if rng.random() < share else math.inf


def carried_out(folder: Path, sweep: Sweep, workers: int, lifetime: Callable[[Order], float]) -> Driver:
    """Run (or continue) the sweep in `folder` on a simulated clock; the ledger is closed."""
    ledger, clock = Ledger.write(folder), SimulatedClock()
    try:
        driver = Driver(sweep, ledger, clock=clock)
        simulate(driver, clock, workers=workers, lifetime=lifetime)
        driver.close()
    finally:
        ledger.close()
    return driver


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=50)
    parser.add_argument("--share", type=float, default=0.45, help="of the orders whose worker may die")
    options = parser.parse_args()
    beyond, shares, spent_shares, losses, orders, differences = [], [], [], 0, 0, 0
    for seed in range(options.sweeps):
        workers = 1 + seed % 8
        sweep = timed_sweep(budget="$4", seed=seed, **KINDS[seed // 8 % len(KINDS)])
        limit = sweep.device_budget
        assert limit is not None
        with tempfile.TemporaryDirectory() as place:
            driver = carried_out(Path(place) / "run", sweep, workers, lifetimes(seed, options.share))
            ledger = Ledger.read(Path(place) / "run")
            differences += len(audit(sweep, ledger).differences)
            losses += len(ledger.rows("lost"))
            orders += len(ledger.rows("suggestion")) + len(ledger.rows("lost"))
            ledger.close()
        spent = limit.spent(driver.history)
        beyond.append(spent - limit.amount)
        shares.append((spent - limit.amount) / (workers * 120 * 3.6 / 3600))
        spent_shares.append(spent / limit.amount)
    over = [each for each in beyond if each > 0]
    print(f"{options.sweeps} sweeps, {losses} of {orders} workers were killed ({losses / orders:.0%})")
    print(f"spent: {statistics.mean(spent_shares):.1%} of the budget on average, at least {min(spent_shares):.1%}")
    print(f"exceeded in {len(over)} sweeps, by at most ${max(beyond):.2f}: {max(shares):.2f} of the bound")
    print(f"decisions that the audit derives otherwise: {differences}")


if __name__ == "__main__":
    main()
