"""Made-up spaces and histories for the exams of searchers and schedulers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from search.history import History
from search.records import Config, End, Report, Status, resume, start
from search.space import Space, choice, lograndint, loguniform, pow2, randint, uniform, when

HORIZON = 9

SPACES = {
    "continuous": Space({"x": uniform(-1, 2), "lr": loguniform(1e-4, 1)}),
    "mixed": Space(
        {
            "lr": loguniform(1e-5, 1),
            "layers": randint(1, 4),
            "width": lograndint(8, 64),
            "batch": pow2(16, 256),
            "act": choice(["relu", "tanh", None]),
            "bias": choice([True, False]),
            "only": choice(["one"]),
            "epochs": 9,
        }
    ),
    "conditional": Space(
        {
            "momentum": when(uniform(0, 0.9), optimizer=("sgd", "rmsprop")),
            "nesterov": when(choice([True, False]), optimizer="sgd"),
            "optimizer": choice(["sgd", "rmsprop", "adam"]),
            "lr": loguniform(1e-4, 1),
        }
    ),
    "constrained": Space(
        {"batch": pow2(16, 1024), "length": randint(16, 512), "x": uniform(0, 1)},
        {"fits in memory": lambda c: c["batch"] * c["length"] <= 16384},
    ),
    "finite": Space({"a": choice(["x", "y"]), "n": randint(1, 3), "b": pow2(1, 4)}),
    "conditions only": Space(
        {"o": choice(["a", "b"]), "n": when(randint(1, 9), o="a"), "x": when(uniform(0, 1), o="b")}
    ),
    "lists": Space(
        {
            "hidden": choice([[32, 32], [64], []]),
            "betas": choice([(0.9, 0.999), (0.9, 0.95), None]).prior([0.9, 0.95]),
            "dropout": when(uniform(0, 1), hidden=[[32, 32], [64]]),
        }
    ),
    "one choice": Space({"o": choice(["a", "b", "c"])}),
    "fixed": Space({"lr": 0.1}),
}


def loss_of(config: Config, step: int) -> float:
    """Any number, the same for the same configuration."""
    total = sum(
        math.log(abs(value) + 1e-3) if isinstance(value, float) else len(repr(value)) for value in config.values()
    )
    return abs(total) + 1 / step


def random_history(space: Space, *, seed: int, trials: int, horizon: int = HORIZON) -> History:
    """Trials of every status, resumed ones, cheap tasks, strangers from an older space, broken losses."""
    rng = np.random.default_rng(seed)
    history = History(space, horizon=horizon, seed=seed)
    for _ in range(trials):
        _add_trial(history, rng)
    return history


def _add_trial(history: History, rng: np.random.Generator) -> None:
    space, horizon = history.space, history.horizon
    config: Config = space.sample(rng)
    if rng.random() < 0.1:
        config = {"of_an_older_space": 3}
    trial = history.append(start(config, task="cheap" if rng.random() < 0.1 else "full"))
    outcome = rng.choice(
        ["completed", "stopped", "resumed", "running", "new", "diverged", "failed"],
        p=[0.35, 0.2, 0.1, 0.1, 0.05, 0.1, 0.1],
    )
    steps = {"completed": horizon, "new": 0}.get(str(outcome), int(rng.integers(1, horizon)))
    for step in range(1, steps + 1):
        history.append(Report(trial.number, step, loss_of(config, step) + rng.normal() / 10, metrics={}))
    if outcome == "completed":
        history.append(End(trial.number, Status.COMPLETED))
    elif outcome in ("stopped", "resumed"):
        history.append(End(trial.number, Status.STOPPED))
        if outcome == "resumed":
            history.append(resume(trial, until=horizon))
    elif outcome == "diverged":
        history.append(Report(trial.number, steps + 1, float(rng.choice([math.nan, math.inf, -math.inf, 1e300]))))
        history.append(End(trial.number, Status.DIVERGED, "broken loss"))
    elif outcome == "failed":
        history.append(End(trial.number, Status.FAILED, "out of memory"))


def records(history: History) -> list[Any]:
    """All that a decision must leave as it is."""
    return [
        len(history),
        *[(t.number, t.suggestion, t.status, tuple(t.steps), repr(t.losses), t.cost_seconds) for t in history],
        *[history.count(status) for status in Status],
    ]
