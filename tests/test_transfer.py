"""Earlier runs that a sweep learns from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import run
from orchestrator.driver import Driver
from orchestrator.errors import BadInput, ResumeRefused
from orchestrator.reading.audit import audit
from orchestrator.reading.beginning import taught
from orchestrator.reading.dry_run import print_plan
from orchestrator.record.ledger import Ledger
from orchestrator.record.warm_start import earlier_histories
from search.contract import Verdict
from search.history import History
from search.records import Report, Suggestion, start
from search.schedulers.asha import Asha
from search.searchers.grid import Grid
from search.searchers.multitask import MultitaskSearch
from search.searchers.points import Points
from search.searchers.random import Random
from search.space import Space, choice, loguniform, uniform
from search.task import FULL, Task
from tests.support import SPACE, recorded, simulated, small_sweep
from tests.tasked import POINT, tasked
from trainables.workloads.quadratic import Quadratic


def test_an_earlier_run_is_used_as_it_was_when_it_was_named(tmp_path: Path) -> None:
    simulated(tmp_path / "old", small_sweep(name="old", mode="max", num_samples=4))
    old = simulated(tmp_path / "old", small_sweep(name="old", mode="max", num_samples=4)).history
    best = min(old, key=lambda trial: trial.loss)
    sweep = small_sweep(transfer=["old"], num_samples=2)
    driver = simulated(tmp_path / "new", sweep)
    evidence = f"one of the best of an earlier sweep (its trial {best.number})"
    assert recorded(tmp_path / "new", "suggestion")[0]["evidence"] == evidence
    assert dict(driver.history.trials[0].config) == dict(best.config)
    assert [trial.losses for trial in driver.history.earlier[0]] == [trial.losses for trial in old]  # its own sign
    simulated(tmp_path / "old", small_sweep(name="old", mode="max", num_samples=9))
    again = simulated(tmp_path / "new", replace(sweep, num_samples=4))
    assert len(again.history.earlier[0].trials) == 4
    assert len([row for row in recorded(tmp_path / "new", "event") if row["kind"] == "transfer"]) == 1
    fresh = simulated(tmp_path / "newer", replace(sweep, transfer=(str(tmp_path / "old"),)))
    assert len(fresh.history.earlier[0].trials) == 9


def test_another_run_under_the_name_of_an_earlier_one_is_refused(tmp_path: Path) -> None:
    simulated(tmp_path / "old", small_sweep(name="old", num_samples=3))
    simulated(tmp_path / "new", small_sweep(transfer=["old"], num_samples=1))
    shutil.rmtree(tmp_path / "old")
    simulated(tmp_path / "old", small_sweep(name="old", num_samples=3, seed=7))
    with pytest.raises(ResumeRefused, match="transfer='old' does not hold the records"):
        simulated(tmp_path / "new", small_sweep(transfer=["old"], num_samples=1))


def test_whichever_searcher_starts_with_the_best_of_an_earlier_run_that_differ(tmp_path: Path) -> None:
    """A model's best trials lie close together: two of them teach no more than one."""
    space = Space({"learning_rate": uniform(0.0, 1.0), "momentum": 0.5, "batch_size": 8})
    rates = [0.11, 0.1, 0.12, 0.5, 0.3, 0.7]
    points = [{"learning_rate": rate} for rate in rates]
    old = small_sweep(name="old", space=space, points_to_evaluate=points, num_samples=6)
    ranked = sorted(simulated(tmp_path / "old", old).history, key=lambda trial: trial.loss)
    expected: list[float] = []
    for rate in (float(trial.config["learning_rate"]) for trial in ranked):
        if all(abs(rate - other) > 0.1 for other in expected):
            expected.append(rate)
    sweep = small_sweep(name="new", space=space, searcher=Grid(resolution=5), transfer=["old"], num_samples=None)
    driver = simulated(tmp_path / "new", sweep)
    tried = [float(trial.config["learning_rate"]) for trial in driver.history]
    assert tried[:3] == expected[:3]
    assert len(expected) > 3
    assert sorted(tried) == sorted({0.0, 0.25, 0.5, 0.75, 1.0, *expected[:3]})


def test_an_earlier_trial_outside_of_the_space_does_not_start(tmp_path: Path) -> None:
    old = simulated(tmp_path / "old", small_sweep(name="old")).history
    low = min(float(trial.config["learning_rate"]) for trial in old)
    narrowed = Space(SPACE | {"learning_rate": loguniform(low / 2, low * 1.01)})
    new = simulated(tmp_path / "new", small_sweep(name="new", space=narrowed, transfer=["old"], num_samples=3)).history
    assert [trial.first_origin for trial in new] == ["point", "random", "random"]


def test_points_learn_from_earlier_runs_if_the_searcher_behind_them_does() -> None:
    points = Points([], MultitaskSearch(n_initial=5))
    assert "5 configurations" in points.use_of_earlier()
    assert small_sweep(searcher=points, transfer=["old"]).transfer == ("old",)


def test_the_start_says_what_an_earlier_run_teaches_and_from_when_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(small_sweep(name="old", num_samples=3), simulate=True)
    assert "learns from" not in capfd.readouterr().err
    sweep = small_sweep(name="new", searcher=MultitaskSearch(), transfer=["old"], num_samples=1)
    run(sweep, simulate=True)
    told = " ".join(capfd.readouterr().err.split())
    assert (
        "MultitaskSearch() learns from 3 results of old, once 8 configurations have started here (n_initial)." in told
    )
    elsewhere = Space(SPACE | {"learning_rate": loguniform(0.5, 0.9)})
    run(replace(sweep, name="newer", space=elsewhere), simulate=True)
    assert "old teaches nothing: no full training of it" in " ".join(capfd.readouterr().err.split())


def test_with_the_same_seed_only_the_best_of_an_earlier_run_are_trained_again(tmp_path: Path) -> None:
    """Random draws depend on the seed, so the first ones would all return."""
    old = simulated(tmp_path / "old", small_sweep(name="old")).history
    sweep = small_sweep(name="new", searcher=MultitaskSearch(finalists=0), transfer=["old"], num_samples=7)
    new = simulated(tmp_path / "new", sweep).history
    again = [trial for trial in new if old.known(trial.config)]
    assert [trial.first_origin for trial in new] == ["point"] * len(again) + ["initial"] * (7 - len(again))
    assert 1 <= len(again) <= 3
    ledger = Ledger.read(tmp_path / "new")
    assert audit(sweep, ledger).differences == ()
    ledger.close()


def test_a_record_of_an_older_release_keeps_its_random_draws(tmp_path: Path) -> None:
    simulated(tmp_path / "old", small_sweep(name="old", searcher=Random(bracketed=True)))  # the draws of a start
    sweep = small_sweep(searcher=MultitaskSearch(), transfer=["old"])
    (taught,), (text,) = earlier_histories(sweep, tmp_path / "new", [])
    note = json.loads(text)
    assert taught.is_avoided
    assert taught.is_tried_first
    del note["is_avoided"], note["is_tried_first"]
    (taught,), _ = earlier_histories(sweep, tmp_path / "new", [{"text": json.dumps(note)}])
    draw = MultitaskSearch().suggest(History(sweep.space, horizon=4, earlier=[taught]))
    assert isinstance(draw, Suggestion)
    assert taught.known(draw.config) is taught.trials[0]


def test_where_an_earlier_run_has_tried_everything_it_is_tried_again(tmp_path: Path) -> None:
    space = Space({"learning_rate": choice([0.01, 0.1]), "momentum": 0.5, "batch_size": 8})
    simulated(tmp_path / "old", small_sweep(name="old", space=space, num_samples=2))
    sweep = small_sweep(searcher=MultitaskSearch(finalists=0), transfer=["old"], space=space, num_samples=2)
    tried = simulated(tmp_path / "new", sweep).history
    assert {trial.config["learning_rate"] for trial in tried} == {0.01, 0.1}


def test_an_earlier_run_keeps_its_own_tasks_and_steps(tmp_path: Path) -> None:
    simulated(tmp_path / "old", tasked(name="old", tasks=Task.data(0.25, 1.0)))
    narrow = Space(SPACE | {"momentum": uniform(0.0, 0.3)})
    driver = simulated(tmp_path / "new", small_sweep(transfer="old", space=narrow, num_samples=1))
    earlier = driver.history.earlier[0]
    assert (earlier.horizon, [task.name for task in earlier.tasks]) == (8, ["0.25 of the data", FULL])
    assert {trial.in_space for trial in earlier} == {True, False}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transfer": ["oldd"]}, "no run 'oldd': no ledger.db in"),
        ({"transfer": ["new"]}, "no run 'new'|is this run itself"),
        ({"space": Space({k: v for k, v in SPACE.items() if k != "momentum"})}, "'old' has a parameter 'momentum', and this"),
        ({"space": Space(SPACE | {"depth": 3})}, "'old' has no parameter 'depth', and this sweep has one"),
    ],
)  # fmt: skip
def test_an_earlier_run_that_says_nothing_about_this_one_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    simulated(tmp_path / "old", small_sweep(name="old", num_samples=1))
    with pytest.raises(BadInput, match=words):
        simulated(tmp_path / "new", small_sweep(**({"transfer": ["old"]} | changes)))


def test_an_earlier_run_of_another_metric_is_refused(tmp_path: Path) -> None:
    class Renamed(Quadratic):
        metric, metrics = "error", ("error", "loss")  # type: ignore[misc]

        def evaluate(self, model: Any, part: str) -> Mapping[str, float]:
            found = super().evaluate(model, part)
            return {**found, "error": found["loss"]}

    simulated(tmp_path / "old", small_sweep(name="old", num_samples=1, workload=Renamed(horizon=4)))
    with pytest.raises(BadInput, match="'old' tunes 'error', this sweep 'loss'; the metric must be the same"):
        simulated(tmp_path / "new", small_sweep(transfer=["old"]))


def test_the_description_of_a_sweep_with_everything_is_json() -> None:
    sweep = tasked(tasks=Task.data(0.1, 1.0), budget=9.0, finalists=2, transfer=("a",))
    about = json.loads(json.dumps(sweep.describe()))
    assert about["tasks"][0]["changes"] == {"data_share": 0.1}
    assert (about["budget"], about["finalists"], about["confirmations"], about["transfer"]) == (9.0, 2, 1, ["a"])


def test_a_cheap_result_stays_within_its_task() -> None:
    """The verdict on a full training does not depend on cheap ones that did better."""
    history = History(Space(SPACE), horizon=4, tasks=Task.data(0.25, 1.0))
    for _ in range(4):
        cheap = history.append(start(POINT, task="0.25 of the data"))
        history.append(Report(cheap.number, 1, 0.1))
    full = history.append(start(POINT))
    history.append(Report(full.number, 1, 1e6))
    assert Asha().judge(full, history) is Verdict.CONTINUE


def test_the_plan_and_the_run_count_the_same_configurations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A baseline among the best of the earlier run starts as the baseline."""
    old = simulated(tmp_path / "old", small_sweep(name="old", num_samples=2)).history
    best = min(old, key=lambda trial: trial.loss)
    for baseline, told in (
        (None, "best 2 configurations of old start"),
        (best.config, "best 1 configuration of old starts"),
    ):
        sweep = small_sweep(name="new", transfer=["old"], num_samples=4, baseline=baseline)
        print_plan(sweep, tmp_path / "new")
        assert f"transfer   the {told} first" in capsys.readouterr().out
        ledger = Ledger.write(tmp_path / f"new-{told[5]}")
        assert f"The {told} first." in taught(Driver(sweep, ledger))
        ledger.close()
