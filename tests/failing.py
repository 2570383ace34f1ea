"""Sweeps over small functions that fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.driver import Driver
from orchestrator.sweep import Sweep
from search.schedulers.run_to_end import RunToEnd
from search.searchers.random import Random
from search.space import Space, uniform
from trainables.execution.store import Store
from trainables.workloads.callable import FromFunction

SPACE = Space({"x": uniform(0.0, 1.0)})


def function(train: Callable[..., Any], horizon: int = 4) -> FromFunction:
    return FromFunction(train, metric="loss", mode="min", horizon=horizon)


def sweep_of(train: Callable[..., Any], **more: Any) -> Sweep:
    fields: dict[str, Any] = {
        "name": "own", "workload": function(train), "space": SPACE, "searcher": Random(), "scheduler": RunToEnd(), "num_samples": 4,
    }  # fmt: skip
    return Sweep(**(fields | more))


def orders(driver: Driver) -> list[int]:
    """The trials that are handed out to free workers now."""
    found = []
    while (order := driver.next()) is not None:
        if order.kind == "train":
            found.append(order.trial)
        else:
            driver.finish_job(order)
    return found


def kept(driver: Driver) -> set[int]:
    return {trial.number for trial in driver.history if Store(driver.places.checkpoints(trial.number)).find()}
