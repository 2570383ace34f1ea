"""A baseline that is not on record is trained, also in a finished sweep, and everything is compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.page.recorded import Recorded
from orchestrator.page.sections import answer
from orchestrator.reading.audit import audit
from orchestrator.reading.dry_run import print_plan
from orchestrator.reading.summary import summary
from orchestrator.record.ledger import Ledger
from orchestrator.sweep import Sweep
from search.records import BASELINE, FINALIST, Status
from search.schedulers.asha import Asha, AshaPromote
from tests.records_on_disk import read
from tests.support import interrupted_after, sequence, simulated, small_sweep
from trainables.workloads.quadratic import Quadratic

OLD = {"learning_rate": 0.001, "momentum": 0.0, "batch_size": 4}
NEW = {"learning_rate": 0.05, "momentum": 0.5, "batch_size": 8}
WORKLOAD = Quadratic(horizon=4, declared_cost=1.0)


def of(**changes: Any) -> Sweep:
    return small_sweep(**{"workload": WORKLOAD, "num_samples": 6, "scheduler": Asha(reduction_factor=2)} | changes)


def shown(run: Recorded) -> dict[str, str]:
    """The first screen of the page: question → answer."""
    (table, *_) = answer.section(run).figures
    return {row[0]: row[1] for row in table.rows}


@pytest.mark.parametrize("before", [OLD, None])
def test_a_new_baseline_of_a_finished_sweep_is_trained_in_full(tmp_path: Path, before: dict[str, Any] | None) -> None:
    simulated(tmp_path, of(baseline=before))
    driver = simulated(tmp_path, of(baseline=NEW))
    *_, last = driver.history.trials
    assert (last.number, last.first_origin, dict(last.config), last.status) == (6, BASELINE, NEW, Status.COMPLETED)
    assert driver.found.endswith("The new baseline is trained, one more than num_samples.")
    assert len(simulated(tmp_path, of(baseline=NEW)).history.trials) == 7  # once
    assert read(tmp_path).baseline.number == 6  # type: ignore[union-attr]


def test_everything_is_compared_with_the_present_baseline(tmp_path: Path) -> None:
    simulated(tmp_path, of(baseline=OLD))
    simulated(tmp_path, of(baseline=NEW))
    ledger = Ledger.read(tmp_path)
    facts = summary(ledger)
    ledger.close()
    assert (facts["baseline"]["trial"], facts["baseline"]["config"], facts["unfair"]) == (6, NEW, "")
    assert f"{facts['baseline']['value']:.3g}"[:5] in shown(read(tmp_path))["By how much"]


def test_until_the_new_baseline_is_trained_everything_says_so(tmp_path: Path) -> None:
    simulated(tmp_path, of(baseline=OLD))
    ledger = Ledger.write(tmp_path)
    with ledger.transaction():
        ledger.add_sweep(of(baseline=NEW), "baseline", [])
    facts = summary(ledger)
    ledger.close()
    page = shown(read(tmp_path))
    assert (facts["baseline"], facts["unfair"]) == (None, "the baseline that the sweep names is not trained yet")
    assert page["By how much"].startswith(
        "Unknown: the baseline that the sweep names is not trained yet (batch_size 8, "
    )


def test_a_new_baseline_comes_before_the_other_trials_that_still_fit(tmp_path: Path) -> None:
    simulated(tmp_path, of(baseline=OLD))
    driver = simulated(tmp_path, of(baseline=NEW, num_samples=8))
    assert [trial.first_origin for trial in driver.history.trials[6:]] == [BASELINE, "random"]
    assert driver.found.endswith("The new baseline is trained next.")


def test_a_completed_training_of_the_same_values_is_the_baseline(tmp_path: Path) -> None:
    best = simulated(tmp_path, of(baseline=OLD)).best
    assert best is not None
    driver = simulated(tmp_path, of(baseline=dict(best.config)))
    assert len(driver.history.trials) == 6
    assert read(tmp_path).baseline.number == best.number  # type: ignore[union-attr]


def test_a_stopped_training_of_the_same_values_is_not(tmp_path: Path) -> None:
    history = simulated(tmp_path, of(baseline=OLD)).history
    stopped = history.having(Status.STOPPED)[0]
    again = simulated(tmp_path, of(baseline=dict(stopped.config))).history.trials[6]
    assert (again.first_origin, again.status) == (BASELINE, Status.COMPLETED)


def test_a_used_up_budget_trains_no_new_baseline_and_says_so(tmp_path: Path) -> None:
    simulated(tmp_path, of(baseline=OLD, num_samples=None, budget=4.0))
    driver = simulated(tmp_path, of(baseline=NEW, num_samples=None, budget=4.0))
    assert [trial.first_origin for trial in driver.history].count(BASELINE) == 1
    assert driver.found.endswith("The budget is used up, so the new baseline is not trained: raise it.")


@pytest.mark.parametrize("more", [{}, {"finalists": 2}, {"scheduler": AshaPromote(reduction_factor=2), "finalists": 1}])
def test_the_record_with_a_new_baseline_passes_an_audit(tmp_path: Path, more: dict[str, Any]) -> None:
    simulated(tmp_path, of(baseline=OLD, **more))
    driver = simulated(tmp_path, of(baseline=NEW, **more))
    ledger = Ledger.read(tmp_path)
    found = audit(of(baseline=NEW, **more), ledger)
    ledger.close()
    assert (found.differences, found.decisions > 0) == ((), True)
    assert all(t.first_origin != FINALIST or t.status is Status.COMPLETED for t in driver.history)


def test_an_interrupted_new_baseline_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    for place in ("whole", "cut"):
        simulated(tmp_path / place, of(baseline=OLD))
    simulated(tmp_path / "whole", of(baseline=NEW))
    interrupted_after(tmp_path / "cut", of(baseline=NEW), 2)
    simulated(tmp_path / "cut", of(baseline=NEW))
    assert sequence(tmp_path / "cut") == sequence(tmp_path / "whole")


def test_the_plan_counts_the_new_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "small"
    simulated(folder, of(baseline=OLD))
    print_plan(of(baseline=NEW), folder)
    plan = capsys.readouterr().out
    assert "  baseline   the new baseline is trained, one more than num_samples\n" in plan
    assert "at most 7 full trainings" in plan
    assert "the next 1 training" in plan
    assert "(baseline)" in plan
