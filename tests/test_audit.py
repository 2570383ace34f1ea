"""`orchestrator audit`: every decision derived again from the record before it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.reading.audit import audit
from orchestrator.record import chain, schema
from orchestrator.record.ledger import Ledger
from orchestrator.sweep import Sweep
from search.contract import Searcher, derived_seed
from search.history import History
from search.records import FINALIST, Config, Status, Suggestion
from search.rules.finalists import confirm, finalists
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.hyperband import Hyperband
from search.schedulers.median import Median
from search.searchers.bohb import BohbSearch
from search.searchers.cmaes import CmaEs
from search.searchers.grid import Grid
from search.searchers.multitask import MultitaskSearch
from search.searchers.pb2 import Pb2
from search.searchers.pbt import PopulationBasedTraining
from search.searchers.random import Random
from search.searchers.sobol import Sobol
from search.space import Space, loguniform, uniform
from search.task import Task
from tests.support import SPACE, interrupted_after, orchestrator, run_script, simulated, small_sweep
from trainables.workloads.callable import FromFunction
from trainables.workloads.quadratic import Quadratic

POINT = {"learning_rate": 0.05, "momentum": 0.5, "batch_size": 8}
WORKLOAD = Quadratic(horizon=4, declared_cost=1.0)


def without_chance(config: Config, state: Any) -> Iterator[Any]:
    for step in range(1, 5):
        yield {"loss": config["learning_rate"] / step}


@dataclass(frozen=True)
class Fails(Quadratic):
    """Cannot do with much momentum."""

    def model(self, config: Config, prepared: Path | None) -> Any:
        if config["momentum"] > 0.6:
            raise ValueError(f"momentum of {config['momentum']}")
        return super().model(config, prepared)


@dataclass(frozen=True)
class Breaks(Searcher):
    """Every third decision."""

    def suggest(self, history: History) -> Suggestion:
        if len(history.trials) % 3 == 2:
            raise RuntimeError(f"broken at {len(history.trials)}")
        return Random().suggest(history)


def of(**changes: Any) -> Sweep:
    return small_sweep(**{"workload": WORKLOAD, "num_samples": 8} | changes)


SWEEPS = {
    "random": of(baseline="workload", points_to_evaluate=[POINT]),
    "asha": of(scheduler=Asha(grace_period=1, reduction_factor=2), baseline="workload"),
    "asha with finalists": of(scheduler=Asha(grace_period=1, reduction_factor=2), finalists=2, confirmations=2),
    "promotions": of(scheduler=AshaPromote(grace_period=1, reduction_factor=2), finalists=1),
    "promotions within a budget": of(
        scheduler=AshaPromote(grace_period=1, reduction_factor=2), num_samples=None, budget=5.0, finalists=1
    ),
    "hyperband": of(scheduler=Hyperband()),
    "bohb": of(searcher=BohbSearch(), scheduler=Hyperband()),
    "median": of(scheduler=Median()),
    "a target": of(target=0.25, finalists=1, num_samples=20),
    "cma": of(searcher=CmaEs()),
    "grid": of(searcher=Grid(resolution=2), num_samples=20, points_to_evaluate=[POINT]),
    "sobol": of(searcher=Sobol(), first_alone=False, seed=3),
    "tasks": of(searcher=MultitaskSearch(), num_samples=None, budget=4.0, tasks=Task.data(0.25, 1.0)),
    "a population": of(searcher=PopulationBasedTraining(population=4, interval=1), num_samples=4),
    "a bandit": of(searcher=Pb2(population=3, interval=2), num_samples=3, baseline="workload"),
    "failures": of(workload=Fails(horizon=4, declared_cost=1.0), num_samples=12),
    "only failures": of(workload=Fails(horizon=4), space=Space(SPACE | {"momentum": uniform(0.7, 0.9)})),
    "divergence": of(space=Space(SPACE | {"learning_rate": loguniform(0.1, 30.0)}), diverged_beyond=5.0, finalists=1),
    "a broken searcher": of(searcher=Breaks()),
    "a budget": of(num_samples=None, budget=4.5, finalists=1, confirmations=2, baseline="workload"),
    "time": of(time_budget=9),
}
LIKE_OTHERS = {"random", "asha", "promotions", "median", "cma", "sobol", "grid", "only failures", "a budget"}


def differences(folder: Path, sweep: Sweep) -> list[str]:
    ledger = Ledger.read(folder)
    try:
        return [str(difference) for difference in audit(sweep, ledger).differences]
    finally:
        ledger.close()


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder whose files need no disk, where the system has one: here nothing is to survive."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LIKE_OTHERS else ()) for name in SWEEPS]
)
def test_an_audit_finds_nothing_in_what_was_decided_by_the_rules(name: str, memory: Path) -> None:
    """Six records of each of 21 sweeps: alone and in parallel, whole, cut off, continued and made longer."""
    sweep = SWEEPS[name]
    for workers, answers in ((1, None), (3, 2), (2, 6)):
        folder = memory / f"{workers}-{answers}"
        if answers is not None:
            interrupted_after(folder, sweep, answers, workers)
            assert differences(folder, sweep) == []
        simulated(folder, sweep, workers)
        assert differences(folder, sweep) == []
    longer = replace(sweep, num_samples=(sweep.num_samples or 4) + 4)
    simulated(folder, longer, 2)
    assert differences(folder, longer) == []


def test_an_audit_accepts_the_copies_that_an_earlier_release_trained(memory: Path) -> None:
    """A repetition after one that was a copy: such a sweep now leaves it out."""
    sweep = of(workload=FromFunction(without_chance, metric="loss", mode="min", horizon=4), finalists=2)
    history = simulated(memory, sweep, 1).history
    assert sum(trial.first_origin == FINALIST for trial in history) == 1
    further = confirm(history, 2, 1, also_copies=True)
    assert further is not None
    number, first = len(history.trials), finalists(history, 2)[1].trial
    ledger = Ledger.write(memory)
    with ledger.transaction():
        ledger.add_suggestion(number, replace(further, trial=number), seed=derived_seed(sweep.seed, number))
        for step, loss in zip(first.steps, first.losses, strict=True):
            ledger.add_report(number, step, sweep.value(loss), 1.0, {sweep.metric_name: sweep.value(loss)})
        ledger.add_ending(number, Status.COMPLETED, first.step, "reached the horizon")
    ledger.close()
    assert differences(memory, sweep) == []


# Records that were tampered with.

Rows = list[tuple[str, dict[str, Any]]]


def tampered(source: Path, target: Path, change: Callable[[Rows], Rows]) -> None:
    """A copy of the run with changed rows, whole again by its own hashes: only an audit can tell."""
    with contextlib.closing(sqlite3.connect(source / "ledger.db")) as connection:
        rows = [(table, dict(zip(schema.COLUMNS[table], row, strict=True))) for table, row in chain.walk(connection)]
    Ledger.write(target).close()
    with contextlib.closing(sqlite3.connect(target / "ledger.db")) as connection, connection:
        at = chain.Link()
        for table, row in change(rows):
            stored = chain.row_of(table, row | {"seq": at.seq + 1})
            at = chain.following(at, table, stored)
            marks = ", ".join("?" * (len(stored) + 1))
            connection.execute(f"INSERT INTO {table} VALUES ({marks})", (*stored, at.hash))
        connection.commit()


def place(rows: Rows, table: str, number: int = 0, **wanted: Any) -> int:
    found = [i for i, (name, row) in enumerate(rows) if name == table and wanted.items() <= row.items()]
    return found[number]


def changed(table: str, number: int = 0, where: dict[str, Any] | None = None, **values: Any) -> Callable[[Rows], Rows]:
    def change(rows: Rows) -> Rows:
        at = place(rows, table, number, **(where or {}))
        return [*rows[:at], (table, rows[at][1] | values), *rows[at + 1 :]]

    return change


def dropped(table: str, **wanted: Any) -> Callable[[Rows], Rows]:
    def change(rows: Rows) -> Rows:
        at = place(rows, table, **wanted)
        return rows[:at] + rows[at + 1 :]

    return change


def swapped(rows: Rows) -> Rows:
    """The second suggestion comes when the third does."""
    one, two = place(rows, "suggestion", 1), place(rows, "suggestion", 2)
    return [*rows[:one], *rows[one + 1 : two], rows[one], *rows[two:]]


def out_of_turn(rows: Rows) -> Rows:
    at = place(rows, "suggestion", 3)
    return [*rows[: at + 1], ("suggestion", rows[at][1] | {"trial": 4}), *rows[at + 1 :]]


def too_early(rows: Rows) -> Rows:
    end = rows[place(rows, "search_end")]
    rest = [row for row in rows if row is not end]
    at = place(rest, "suggestion", 6)
    return [*rest[:at], end, *rest[at:]]


TAMPERED: dict[str, tuple[Callable[[Rows], Rows], str]] = {
    "another configuration": (
        changed("suggestion", 2, config='{"batch_size": 8, "learning_rate": 0.1, "momentum": 0.5}'),
        "config is",
    ),
    "another origin": (changed("suggestion", 1, origin="model"), "origin is 'model'"),
    "another step to rest at": (changed("suggestion", 3, until=2), "until is 2"),
    "another seed": (changed("suggestion", 2, seed=7), "its seed is 7"),
    "a verdict dropped": (dropped("verdict"), "is due"),
    "an end dropped": (dropped("ending", status="stopped"), "is due"),
    "another status": (changed("ending", where={"status": "stopped"}, status="failed"), "is due"),
    "a suggestion out of turn": (out_of_turn, "config is"),
    "suggestions in another order": (swapped, "trial"),
    "a search that was over too early": (too_early, "the search is over"),
    "no end of the search": (dropped("search_end"), "nothing is to be run|the search is over|search goes on"),
    "another end of the search": (changed("search_end", reason="enough"), "the search is over"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_an_audit_finds_what_the_rules_did_not_decide(how: str, memory: Path) -> None:
    sweep = of(scheduler=Asha(grace_period=1, reduction_factor=2), baseline="workload", finalists=1)
    simulated(memory / "whole", sweep, 2)
    tampered(memory / "whole", memory / "copied", lambda rows: rows)
    assert differences(memory / "copied", sweep) == []
    change, said = TAMPERED[how]
    tampered(memory / "whole", memory / "tampered", change)
    found = differences(memory / "tampered", sweep)
    assert found
    assert any(part in found[0] for part in said.split("|")), found[0]


@pytest.mark.slow
def test_the_command_runs_the_script_that_made_the_run(tmp_path: Path) -> None:
    script = tmp_path / "tune.py"
    script.write_text(
        "from orchestrator import launch\nfrom tests.support import small_sweep\nlaunch(small_sweep(name='mine'))\n"
    )
    done = run_script(script, "--simulate", cwd=tmp_path, PYTHONPATH=str(Path(__file__).parent.parent))
    assert done.returncode == 0, done.stderr
    audited = orchestrator("audit", "mine", cwd=tmp_path)
    assert audited.returncode == 0, audited.stderr
    assert "mine: 12 decisions derived again, all as recorded" in audited.stdout
    script.write_text(script.read_text().replace("name='mine'", "name='mine', seed=1"))
    refused = orchestrator("audit", "mine", cwd=tmp_path)
    assert refused.returncode == 3
    assert "config is" in refused.stdout
    assert "the record differs from what the rules say, first in record" in refused.stderr
