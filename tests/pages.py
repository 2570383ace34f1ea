"""Made-up runs for the page: written straight into a ledger, so that thousands of trials take seconds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import STATE
from search.records import BASELINE, FINALIST, Status, Suggestion, start
from search.task import Task
from tests.support import small_sweep
from trainables.workloads.quadratic import Quadratic

BASE = {"learning_rate": 0.1, "momentum": 0.0, "batch_size": 16}


def made_up(
    folder: Path, *, trials: int = 14, steps: int = 4, mode: str = "min", seed: int = 0, finalists: int = 0,
    failed: bool = True, state: str = "finished", origin: str = "random", **changes: Any,
) -> Ledger:  # fmt: skip
    """A run of random trials after a baseline; every third is stopped, some fail. The ledger stays open for writing."""
    rng = np.random.default_rng(seed)
    fields = {"workload": Quadratic(horizon=steps), "baseline": BASE, "num_samples": trials, "mode": mode} | changes
    sweep = small_sweep(**fields)
    ledger = Ledger.write(folder)
    with ledger.transaction():
        ledger.add_sweep(sweep, "", ["train.py"])
        add_trial(ledger, 0, BASE, steps, BASELINE, mode=mode)
        configs: list[Any] = [BASE, *(sweep.space.sample(rng) for _ in range(1, trials))]
        for number in range(1, trials):
            outcome = {2: Status.STOPPED, 5: Status.FAILED if failed else Status.COMPLETED}.get(
                number % 6, Status.COMPLETED
            )
            add_trial(ledger, number, configs[number], steps, origin, mode=mode, outcome=outcome)
        best = min(configs, key=worth)
        for repetition in range(finalists):
            noise = 0.01 * (repetition - (finalists - 1) / 2)
            add_trial(ledger, trials + repetition, best, steps, FINALIST, mode=mode, noise=noise)
        if state:
            ledger.add_event(STATE, state)
    return ledger


def add_trial(
    ledger: Ledger, number: int, config: Any, steps: int, origin: str = "random", *, mode: str = "min",
    outcome: Status | None = Status.COMPLETED, noise: float = 0.0,
) -> None:  # fmt: skip
    """A trial with all its reports; inside a transaction. `outcome` None: it is still running."""
    ledger.add_suggestion(number, start(config, origin=origin), seed=number)
    reached = steps if outcome is Status.COMPLETED else max(1, steps // 2)
    for step in range(1, reached + 1):
        loss = worth(config) + noise + 1.0 / step
        value = 10.0 - loss if mode == "max" else loss
        ledger.add_report(number, step, value, 30.0, {"loss": value})
    if outcome is not None:
        reason = f"out of memory in batch {number}" if outcome is Status.FAILED else ""
        ledger.add_ending(number, outcome, reached, reason)


def climbing(folder: Path, tasks: tuple[Task, ...], *, steps: int = 8) -> Ledger:
    """Six trials that climb over the tasks: each of them reaches one more than the one before it, at most the last."""
    ledger, rng = Ledger.write(folder), np.random.default_rng(0)
    sweep = small_sweep(workload=Quadratic(horizon=steps), tasks=tasks)
    number = 0
    with ledger.transaction():
        ledger.add_sweep(sweep, "", ["train.py"])
        for climb in range(6):
            config, reached = sweep.space.sample(rng), 0
            for place, task in enumerate(tasks[: climb + 1]):
                until = task.steps(steps)
                if not place or not tasks[place - 1].resumes:
                    reached, number = 0, number + (place > 0 or climb > 0)
                    first = start(config, until=until) if task.resumes else start(config, task=task.name)
                    ledger.add_suggestion(number, first, seed=number)
                else:
                    ledger.add_suggestion(number, Suggestion("resume", config, number, until), seed=number)
                for step in range(reached + 1, until + 1):
                    ledger.add_report(number, step, worth(config) + 1.0 / step, 10.0, {})
                reached = until
                is_over = not task.resumes or until == steps
                ledger.add_ending(number, Status.COMPLETED if is_over else Status.STOPPED, reached, "")
        ledger.add_event(STATE, "finished")
    return ledger


def worth(config: Any) -> float:
    """The part of the loss that the configuration makes, lowest at a learning rate of 0.03."""
    return 0.5 * (math.log10(config["learning_rate"]) + 1.5) ** 2 + 0.3 * (config["momentum"] - 0.6) ** 2 + 0.1
