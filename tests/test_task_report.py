"""What people see of tasks, budgets and finalists."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from ruamel.yaml import YAML
from typer.testing import CliRunner

from orchestrator import Result
from orchestrator.commands import app
from orchestrator.driver import Driver
from orchestrator.driving.time_spent import WAITED
from orchestrator.page.document import answer_lines, document
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections import origins
from orchestrator.reading.dry_run import print_plan
from orchestrator.reading.export import best_as_yaml, records
from orchestrator.reading.printed_summary import print_summary
from orchestrator.reading.progress import Display
from orchestrator.reading.summary import glance, summary
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from search.records import FINALIST
from search.rules.finalists import winner
from search.task import FULL, Task
from tests.climbing import Climbing
from tests.pages import add_trial, made_up
from tests.support import recorded, simulated, small_sweep
from tests.tasked import Confused, tasked
from trainables.workloads.quadratic import Quadratic


def printed(folder: Path) -> tuple[dict[str, Any], str]:
    """The summary as data and as text."""
    ledger, out = Ledger.read(folder), io.StringIO()
    try:
        print_summary(ledger, Console(file=out, width=120))
        return summary(ledger), out.getvalue()
    finally:
        ledger.close()


def test_the_report_tells_tasks_promotions_finalists_and_the_budget(tmp_path: Path) -> None:
    tasks = [*Task.epochs(0.5, 1.0), Task.changed("little data", 0.2, data_share=0.25)]
    sweep = tasked(tasks=tasks, num_samples=None, budget=9.0, finalists=2, searcher=Climbing(many=2))
    driver = simulated(tmp_path, sweep)
    facts, text = printed(tmp_path)
    assert [task["task"] for task in facts["tasks"]] == ["little data", "0.5 of the epochs", FULL]
    assert sum(task["spent"] for task in facts["tasks"]) == pytest.approx(driver.history.spent, abs=0.01)
    rows = recorded(tmp_path, "suggestion")
    assert facts["promotions"]["went on"] == sum(row["kind"] == "resume" for row in rows)
    assert facts["promotions"]["restarted"] == sum(
        row["origin"] == "promotion" and row["kind"] == "start" for row in rows
    )
    assert f"{facts['promotions']['went on']} continued from their checkpoints" in text
    assert "little data" in text
    assert "of 9 full trainings" in text
    assert "Search       over: 7 of the 9 full trainings were for the search and are used up" in text
    assert [finalist["trial"] for finalist in facts["finalists"] if finalist["winner"]] == [facts["best"]["trial"]]
    assert "The winner" in text
    best = facts["best"]
    assert re.search(rf"best so far \(trial {best['trial']}\), on 1 fresh seed +{best['value']:.4g}\b", text)
    assert re.search(rf"best so far \(trial {best['trial']}\), first score +{best['first']:.4g}\b", text)


def test_all_readers_tell_a_confirmed_winner_by_the_mean_of_its_fresh_seeds(tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "again", trials=8)
    best = winner(Recorded.of(ledger).history)
    assert best is not None
    with ledger.transaction():
        for number, noise in ((8, 0.1), (9, 0.3)):
            add_trial(ledger, number, best.config, 4, FINALIST, noise=noise)
    facts, short = summary(ledger), glance(ledger)
    page, found = dict(answer_lines(document(ledger, strict=True))), origins.section(Recorded.of(ledger))
    exported = YAML(typ="safe").load(best_as_yaml(ledger))
    ledger.close()
    assert [facts["best"][name] for name in ("value", "first")] == pytest.approx([best.loss + 0.2, best.loss])
    told = {name: facts["best"][name] for name in ("trial", "value", "first", "confirmed")}
    assert short["best"] == told == {name: exported[name] for name in told}
    mean = f"{told['value']:.4g}"
    assert page["What won"].startswith(f"Trial {best.number}: loss {mean} (mean of 2 fresh seeds). ")
    assert found is not None
    assert found.sentences[0].startswith(f"The best trial, {best.number} (loss {mean}, mean of 2 fresh seeds), was")
    result = Result(tmp_path / "again")
    assert (result.value, result.first, result.confirmed) == (told["value"], told["first"], told["confirmed"])
    assert f"{told['value']:.6g} of trial {best.number}, mean of 2 fresh seeds" in repr(result)
    status = CliRunner().invoke(app, ["status", str(tmp_path / "again")]).output
    assert f"best loss {told['value']:.6g} (trial {best.number}, mean of 2 fresh seeds); " in status
    listed = CliRunner().invoke(app, ["list", "--runs", str(tmp_path)], env={"COLUMNS": "200"}).output
    head, row = (re.split(r"  +", line.strip()) for line in listed.splitlines()[:2])
    cells = dict(zip(head, row, strict=False))
    assert (cells["best"], cells["fresh seeds"]) == (mean, "2")
    assert json.loads(CliRunner().invoke(app, ["list", "--runs", str(tmp_path), "--json"]).output)[0]["best"] == told


def test_each_observation_says_what_it_built_upon(tmp_path: Path) -> None:
    tasks = [*Task.epochs(0.5, 1.0), Task.changed("little data", 0.2, data_share=0.25)]
    simulated(tmp_path, tasked(tasks=tasks, num_samples=8, searcher=Climbing(many=2)))
    ledger = Ledger.read(tmp_path)
    reports = [record for record in records(ledger) if record["kind"] == "report"]
    ledger.close()
    paid = {(record["task"], record["paid"], record["resumed"]) for record in reports}
    assert paid == {
        ("little data", "from the start", False),
        (FULL, "restarted, paid in full", False),
        (FULL, "went on from step 4", True),
    }
    assert {record["step"] for record in reports if record["resumed"]} == {5, 6, 7, 8}


def test_fallbacks_are_counted_with_their_reasons(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep(searcher=Confused("tiny"), num_samples=3))
    facts, text = printed(tmp_path)
    assert facts["fallbacks"] == {"Confused.suggest() returned task='tiny': the sweep has no task of this name": 3}
    assert "Fallback     3 × Confused.suggest() returned" in text


def test_the_report_says_how_long_workers_waited(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep(workload=Quadratic(horizon=4, declared_cost=1.0)))
    assert "Waiting" not in printed(tmp_path)[1]
    ledger = Ledger.write(tmp_path)
    with ledger.transaction():
        ledger.add_event(WAITED, "5.0")
    ledger.close()
    assert "workers waited 5.0 s for decisions, 20.0 % of worker time" in printed(tmp_path)[1]


def test_a_sweep_of_cheap_tasks_only_has_no_best_and_says_so(tmp_path: Path) -> None:
    simulated(tmp_path, tasked(tasks=Task.data(0.25, 1.0), num_samples=2))
    facts, text = printed(tmp_path)
    assert facts["best"] is None
    assert "no full training has reported yet" in text


def test_the_plan_shows_tasks_budget_and_finalists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [*Task.epochs(0.5, 1.0), Task.changed("little data", 0.2, data_share=0.25)]
    print_plan(tasked(tasks=tasks, num_samples=None, budget=9.0, finalists=2), tmp_path)
    text = capsys.readouterr().out
    assert "little data: 8 steps, data_share=0.25, costs 0.2; a promotion starts over" in text
    assert "0.5 of the epochs: 4 steps, costs 0.5; can be resumed later" in text
    assert "budget     9 full trainings of 8 steps, 7 of them for the search" in text
    assert "finalists  the best 2 are trained again" in text
    assert text.count("learning_rate=") == 5
    assert list(tmp_path.iterdir()) == []


def test_the_display_shows_what_is_spent_of_the_budget(tmp_path: Path) -> None:
    out = io.StringIO()
    ledger, clock = Ledger.write(tmp_path), SimulatedClock()
    display = Display(Console(file=out, width=120))
    driver = Driver(small_sweep(num_samples=None, budget=3.0), ledger, clock=clock, listen=display.listen)
    display.watch(driver)
    with display:
        simulate(driver, clock, workers=1, refresh=display.refresh)
    ledger.close()
    assert "of 3 full trainings" in out.getvalue()
    assert "enough: the budget of 3 full trainings is used up" in out.getvalue()
