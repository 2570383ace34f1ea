"""A run by hand to which everything has happened that a mirror must get right."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path

from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import STATE
from search.records import FINALIST, Status, Suggestion, start
from search.space import Space, choice, loguniform, uniform, when
from tests.support import small_sweep

TOKEN = "hf_0123456789abcdef"  # a secret, by its look
SPACE = Space(
    {
        "learning_rate": loguniform(1e-3, 0.3),
        "optimizer": choice(["sgd", "adam", None]),
        "momentum": when(uniform(0.0, 0.9), optimizer="sgd"),
        "batch_size": 8,
        "hub": choice([TOKEN, "none"]),
    }
)
SGD = {"learning_rate": 0.1, "optimizer": "sgd", "momentum": 0.5, "batch_size": 8, "hub": TOKEN}
ADAM = {"learning_rate": 0.01, "optimizer": "adam", "batch_size": 8, "hub": "none"}


def begin(ledger: Ledger) -> None:
    """Trials 0 to 5: completed, stopped, diverged, failed before a report, a fork of 0, stopped."""
    with ledger.transaction():
        ledger.add_sweep(small_sweep(name="eventful", mode="max", space=SPACE, num_samples=20), "", [])
        for trial, suggestion in enumerate((start(SGD), start(ADAM), start(SGD), start(ADAM, origin="random"))):
            ledger.add_suggestion(trial, suggestion, seed=100 + trial)
        report(ledger, 0, 1, [0.1, 0.2, 0.3, 0.4])
        ledger.add_ending(0, Status.COMPLETED, 4, "reached the horizon")
        report(ledger, 1, 1, [0.1, 0.1])
        ledger.add_ending(1, Status.STOPPED, 2, "Median at step 2")
        report(ledger, 2, 1, [0.2, inf, nan])
        ledger.add_ending(2, Status.DIVERGED, 3, "loss is nan")
        ledger.add_ending(3, Status.FAILED, 0, f"RuntimeError: no login with {TOKEN}")
        add(ledger, 4, Suggestion("fork", SGD, parent=0, parent_step=2))
        report(ledger, 4, 3, [0.35, 0.45])
        ledger.add_ending(4, Status.COMPLETED, 4, "reached the horizon")
        add(ledger, 5, start(ADAM))
        report(ledger, 5, 1, [0.2, 0.3])
        ledger.add_ending(5, Status.STOPPED, 2, "rests at step 2")


def go_on(ledger: Ledger) -> None:
    """Trial 5 is resumed and fails; a finalist repeats trial 4 and is tested; trial 7 runs."""
    with ledger.transaction():
        add(ledger, 5, Suggestion("resume", ADAM, 5))
        report(ledger, 5, 3, [0.35])
        ledger.add_ending(5, Status.FAILED, 3, "OutOfMemory")
        add(ledger, 6, start(SGD, origin=FINALIST))
        report(ledger, 6, 1, [0.1, 0.2, 0.3, 0.44])
        ledger.add_ending(6, Status.COMPLETED, 4, "reached the horizon")
        ledger.add_test(6, 4, {"loss": 0.43})
        add(ledger, 7, start(ADAM))
        report(ledger, 7, 1, [0.25])


def finish(ledger: Ledger) -> None:
    with ledger.transaction():
        report(ledger, 7, 2, [0.3, 0.35, 0.4])
        ledger.add_ending(7, Status.COMPLETED, 4, "reached the horizon")
        ledger.add_event(STATE, "finished")


STEPS = {  # trial → step → metric, at the end
    0: {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}, 1: {1: 0.1, 2: 0.1}, 2: {1: 0.2, 2: inf, 3: nan}, 3: {}, 4: {3: 0.35, 4: 0.45},
    5: {1: 0.2, 2: 0.3, 3: 0.35}, 6: {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.44}, 7: {1: 0.25, 2: 0.3, 3: 0.35, 4: 0.4},
}  # fmt: skip
FAILED = (2, 3, 5)  # diverged ones with them


def add(ledger: Ledger, trial: int, suggestion: Suggestion) -> None:
    ledger.add_suggestion(trial, suggestion, seed=100 + trial)


def report(ledger: Ledger, trial: int, first: int, values: list[float]) -> None:
    for step, value in enumerate(values, start=first):
        ledger.add_report(trial, step, value, 0.5, {"loss": value, "accuracy": value / 2})


def whole(folder: Path) -> Path:
    ledger = Ledger.write(folder)
    for act in (begin, go_on, finish):
        act(ledger)
    ledger.close()
    return folder
