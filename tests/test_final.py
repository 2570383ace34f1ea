"""Finalists: the best are trained again on fresh seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver import Driver
from orchestrator.reading.summary import summary
from orchestrator.record.ledger import Ledger
from search.contract import Searcher
from search.history import History, Trial
from search.records import BASELINE, FINALIST, Status, Suggestion
from search.schedulers.asha import Asha, AshaPromote
from search.searchers.points import Points
from search.searchers.random import Random
from tests.support import interrupted_after, recorded, sequence, simulated, small_sweep
from tests.tasked import POINT, tasked
from trainables.workloads.quadratic import Quadratic


def runs_of(driver: Driver) -> list[Trial]:
    return [trial for trial in driver.history if trial.first_origin == FINALIST]


def test_the_best_are_trained_again_on_fresh_seeds_and_name_the_winner(tmp_path: Path) -> None:
    noisy = Quadratic(horizon=4, noise=3.0, declared_cost=1.0)  # who is before whom at a rung is no accident
    sweep = small_sweep(workload=noisy, num_samples=8, finalists=3, confirmations=2, scheduler=Asha(), baseline=POINT)
    driver = simulated(tmp_path, sweep, workers=2)
    found, again = driver.history.trials[:8], runs_of(driver)
    assert len(driver.history.trials) == 8 + 3 * 2
    completed = sorted((t for t in found if t.status is Status.COMPLETED), key=lambda trial: trial.loss)
    best = completed[:3]
    assert [dict(trial.config) for trial in again] == [dict(trial.config) for trial in best] * 2
    assert {trial.status for trial in again} == {Status.COMPLETED}  # never judged
    seeds = [row["seed"] for row in recorded(tmp_path, "suggestion")]
    assert len(set(seeds)) == len(seeds)
    evidence = [row["evidence"] for row in recorded(tmp_path, "suggestion") if row["origin"] == FINALIST]
    assert evidence[0] == f"repeats trial {best[0].number}"
    means = {t.number: (again[i].loss + again[i + 3].loss) / 2 for i, t in enumerate(best)}
    assert driver.best is not None
    assert driver.best.number == min(means, key=lambda number: means[number])
    assert {row["trial"] for row in recorded(tmp_path, "test")} == {driver.best.number, 0}
    before = sequence(tmp_path)
    simulated(tmp_path, sweep)
    assert sequence(tmp_path) == before


@pytest.mark.parametrize("scheduler", [None, AshaPromote(reduction_factor=2)])
def test_cut_off_among_the_finalists_the_same_command_goes_on(tmp_path: Path, scheduler: Any) -> None:
    changes: dict[str, Any] = {"num_samples": 4, "finalists": 2, "confirmations": 2}
    changes |= {} if scheduler is None else {"scheduler": scheduler}
    whole = simulated(tmp_path / "whole", small_sweep(**changes))
    answers = len(recorded(tmp_path / "whole", "report"))
    for cut in range(answers - 14, answers, 3):
        folder = tmp_path / str(cut)
        interrupted_after(folder, small_sweep(**changes), cut, workers=1)
        before = sequence(folder)
        driver = simulated(folder, small_sweep(**changes))
        assert sequence(folder)[: len(before)] == before
        assert sequence(folder) == sequence(tmp_path / "whole")
        assert driver.best is not None
        assert whole.best is not None
        assert driver.best.number == whole.best.number


def test_where_all_trials_rest_the_best_are_taken_to_the_end_first(tmp_path: Path) -> None:
    driver = simulated(tmp_path, tasked(num_samples=8, finalists=2, baseline=POINT), workers=3)
    rows = recorded(tmp_path, "suggestion")
    taken = [row for row in rows if row["origin"] == FINALIST and row["kind"] == "resume"]
    assert len(taken) == 2
    assert all(driver.history.trials[row["trial"]].status is Status.COMPLETED for row in taken)
    assert all(driver.history.trials[row["trial"]].steps == list(range(1, 9)) for row in taken)
    assert len(runs_of(driver)) == 2
    assert max(row["seq"] for row in taken) < min(
        row["seq"] for row in rows if row["origin"] == FINALIST and row["kind"] == "start"
    )


def test_finalists_are_paid_from_the_budget_and_need_no_room(tmp_path: Path) -> None:
    driver = simulated(tmp_path, small_sweep(num_samples=None, budget=6.0, finalists=2))
    assert len(driver.history.trials) == 6
    assert len(runs_of(driver)) == 2
    assert driver.history.spent == pytest.approx(6.0)
    fewer = simulated(tmp_path / "fewer", small_sweep(num_samples=2, finalists=5))
    assert len(fewer.history.trials) == 2 + 2


@dataclass(frozen=True)
class Careful(Searcher):
    """Wants its best two confirmed."""

    finalists = 2

    def suggest(self, history: History) -> Suggestion | None:
        return Random().suggest(history)


def test_a_searcher_may_ask_for_finalists_and_the_sweep_has_the_last_word(tmp_path: Path) -> None:
    assert small_sweep(searcher=Careful()).finalist_count == 2
    assert small_sweep(searcher=Careful(), finalists=0).finalist_count == 0
    assert small_sweep(searcher=Points([POINT], then=Careful())).finalist_count == 2
    assert len(runs_of(simulated(tmp_path, small_sweep(searcher=Careful(), num_samples=3)))) == 2


def test_stopped_trials_keep_their_checkpoints_only_until_the_search_has_a_result(tmp_path: Path) -> None:
    sweep = small_sweep(num_samples=12, scheduler=Asha(grace_period=1, reduction_factor=2), finalists=1, baseline=POINT)
    driver = simulated(tmp_path, sweep)
    stopped = {trial.number for trial in driver.history.having(Status.STOPPED)}
    own = [trial for trial in driver.history.having(Status.COMPLETED) if trial.first_origin not in (BASELINE, FINALIST)]
    assert stopped
    assert own
    kept = {int(path.parent.parent.name) for path in tmp_path.glob("trials/*/checkpoints/*")}
    assert not kept & stopped
    assert own[0].number in kept


def test_the_winners_checkpoint_is_there_even_if_few_are_kept(tmp_path: Path) -> None:
    driver = simulated(tmp_path, small_sweep(workload=Quadratic(horizon=4, noise=3.0), finalists=4, keep_checkpoints=1))
    assert driver.best is not None
    assert [row["trial"] for row in recorded(tmp_path, "test")] == [driver.best.number]


@pytest.mark.parametrize("cut", [None, 22, 29])
def test_the_models_of_the_winners_fresh_seeds_are_kept_and_no_losers(tmp_path: Path, cut: int | None) -> None:
    """The one to deploy may be one of these: the seed makes the model. Until the last has ended, anyone may win."""
    sweep = small_sweep(
        workload=Quadratic(horizon=4, noise=3.0), num_samples=4, finalists=3, confirmations=2, keep_checkpoints=1
    )
    if cut is not None:
        interrupted_after(tmp_path, sweep, cut, workers=2)
    driver = simulated(tmp_path, sweep, workers=2)
    kept = {trial for trial in runs_of(driver) if driver.keeps(trial.number)}
    assert driver.best is not None
    assert len(kept) == 2
    assert {trial.number for trial in kept} == {
        int(path.parent.parent.name)
        for path in tmp_path.glob("trials/*/checkpoints/*")
        if driver.history.trials[int(path.parent.parent.name)] in runs_of(driver)
    }
    assert all(trial.config == driver.best.config for trial in kept)
    ledger = Ledger.read(tmp_path)
    best = summary(ledger)["best"]
    ledger.close()
    assert [(run["trial"], run["value"]) for run in best["fresh"]] == [
        (trial.number, trial.loss) for trial in sorted(kept, key=lambda trial: trial.loss)
    ]
    assert all(Path(run["checkpoint"]).is_dir() for run in best["fresh"])
