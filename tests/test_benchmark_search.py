"""The exam on learning curves: its problems, its clock, its sums; and the adapter for a harness with its own clock."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import search.schedulers
import search.searchers
from orchestrator.sweep import Sweep
from search.ask_and_tell import AskAndTell
from search.contract import Scheduler, Searcher
from search.history import History
from search.models.fits import rank_correlation
from search.records import Status, Suggestion, start
from search.rules.population import Population
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.run_to_end import RunToEnd
from search.searchers.random import Random
from search.space import Space, choice, loguniform, pow2
from search.task import Task
from search.work import Progress, Reported
from tests.support import ROOT, assert_listed, concrete, run_script, simulated
from trainables.contract import OwnTraining

BENCHMARKS = ROOT / "experiments" / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import beginnings  # noqa: E402
import curves  # noqa: E402
import families  # noqa: E402
import fleet  # noqa: E402
import knowable  # noqa: E402
import other_libraries  # noqa: E402
import peer  # noqa: E402
import race  # noqa: E402
import recorded_curves  # noqa: E402
import regret  # noqa: E402
import standing  # noqa: E402
import starts  # noqa: E402
from beginnings import change, power  # noqa: E402

PARAMS = [
    {"name": "lr", "type": "float", "low": 1e-4, "high": 1.0, "log": True},
    {"name": "layers", "type": "int", "low": 1, "high": 4, "log": False},
]


def table(folder: Path, **arrays: Any) -> Path:
    """A folder with one recorded table of 20 runs of 5 steps."""
    rng = np.random.default_rng(0)
    configs = np.stack([10 ** rng.uniform(-4, 0, 20), rng.integers(1, 5, 20)], axis=1)
    losses = 1 + np.log10(configs[:, [0]]) ** 2 / np.arange(1, 7)
    losses[3, 4:] = np.inf
    folder.mkdir(exist_ok=True)
    (folder / "space.json").write_text(json.dumps(PARAMS))
    np.savez(folder / "wine.npz", **({"configs": configs, "val": losses} | arrays))
    np.savez(folder / "weights.npz", weights=losses)
    return folder


def test_a_made_up_task_is_the_same_in_every_process_and_no_two_are() -> None:
    one, again, other = curves.MadeUp(3), curves.MadeUp(3), curves.MadeUp(4)
    config = one.space.sample(np.random.default_rng(0))
    assert np.array_equal(one.curve(config).losses, again.curve(config).losses, equal_nan=True)
    assert one.best == again.best < one.typical
    assert one.best != other.best
    assert one.curve(config).losses.shape == one.curve(config).cost_seconds.shape == (one.horizon,)


@pytest.mark.parametrize("task", range(4))
def test_the_made_up_family_is_as_hard_as_it_says(task: int) -> None:
    problem = curves.MadeUp(task)
    rng = np.random.default_rng(1)
    found = [problem.curve(problem.space.sample(rng)) for _ in range(400)]
    diverged = [curve for curve in found if np.isnan(curve.losses[-1])]
    assert 0.02 < len(diverged) / 400 < 0.5
    assert any(np.isfinite(curve.losses[9]) for curve in diverged)  # some late
    sound = np.array([curve.losses for curve in found if np.isfinite(curve.losses).all()])
    top = sound[np.argsort(sound[:, -1])[: len(sound) // 4]]
    assert rank_correlation(top[:, 0], top[:, -1]) < 0.8  # the curves of the good ones cross
    costs = [curve.cost_seconds[0] for curve in found]
    assert np.quantile(costs, 0.9) > 5 * np.quantile(costs, 0.1)
    assert problem.best < sound[:, -1].min() + 0.05


def test_a_table_answers_with_its_nearest_row_and_tames_what_diverged(tmp_path: Path) -> None:
    (problem,) = curves.tables(table(tmp_path))
    assert (problem.name, problem.horizon) == ("wine", 5)
    stored = np.load(tmp_path / "wine.npz")
    config = {"lr": float(stored["configs"][7, 0]), "layers": int(stored["configs"][7, 1])}
    assert np.array_equal(problem.curve(config).losses, stored["val"][7, 1:])
    assert np.all(np.isfinite(problem.losses))
    assert problem.losses[3, -1] == 1.5 * np.median(stored["val"][:, 0])
    assert problem.full_cost == 5


def test_a_table_may_have_errors_after_each_epoch_and_seconds(tmp_path: Path) -> None:
    seconds = np.arange(1.0, 21.0)
    errors = np.random.default_rng(0).random((20, 6))
    stored = np.load(table(tmp_path) / "wine.npz")["configs"]
    np.savez(tmp_path / "wine.npz", configs=stored, val_err=errors, cost_per_epoch=seconds)
    (problem,) = curves.tables(tmp_path)
    assert problem.horizon == 6
    assert problem.full_cost == pytest.approx(6 * seconds.mean())


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"space\.json"):
        curves.tables(tmp_path)
    done = run_script(BENCHMARKS / "regret.py", "--tables", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "space.json" in done.stderr


@dataclass(frozen=True)
class Recorded(OwnTraining):
    """A problem's curves as something that a sweep can tune."""

    problem: Any
    metric = "loss"
    mode = "min"
    metrics = ("loss",)
    baseline = None

    @property
    def horizon(self) -> int:
        return int(self.problem.horizon)

    def run(self, policy: Any, assignment: Any, should_pause: Any = None) -> Run:
        return Run(self.problem.curve(assignment.config), assignment)


class Run(Iterator[Progress]):
    def __init__(self, curve: Any, assignment: Any) -> None:
        self.curve, self.step, self.until = curve, assignment.recorded, assignment.until

    def __next__(self) -> Progress:
        if self.step >= self.until:
            raise StopIteration
        self.step += 1
        loss, cost = (float(values[self.step - 1]) for values in (self.curve.losses, self.curve.cost_seconds))
        return Reported(step=self.step, metrics={"loss": loss}, cost_seconds=cost)


@pytest.mark.parametrize("scheduler", [Asha(), AshaPromote(reduction_factor=2)])
def test_the_short_loop_decides_as_the_simulated_engine_does(tmp_path: Path, scheduler: Any) -> None:
    problem = curves.MadeUp(0, horizon=6)
    sweep = Sweep(
        name="recorded", workload=Recorded(problem), space=problem.space, searcher=Random(), scheduler=scheduler,
        num_samples=12, seed=3, first_alone=False,
    )  # fmt: skip
    engine = simulated(tmp_path, sweep, workers=3).history
    tuning = AskAndTell(problem.space, Random(), scheduler, horizon=6, seed=3, limit=12)
    race.race(problem, tuning, workers=3, seconds=math.inf)
    loop = tuning.history
    assert [(t.config, t.status, t.steps, t.losses) for t in loop if t.status is not Status.DIVERGED] == [
        (t.config, t.status, t.steps, t.losses) for t in engine if t.status is not Status.DIVERGED
    ]
    assert len(loop) == len(engine)


@pytest.mark.parametrize("scheduler", [Asha(), AshaPromote(reduction_factor=2)])
def test_budget_target_baseline_points_and_finalists_are_the_same_in_both(tmp_path: Path, scheduler: Any) -> None:
    problem = curves.MadeUp(0, horizon=6)
    baseline, point = (problem.space.sample(np.random.default_rng(seed)) for seed in (1, 2))
    finals = [problem.curve(point).losses[-1], problem.curve(baseline).losses[-1]]
    for amounts in (
        {"budget": 6.0, "finalists": 2},
        {"target": float(min(finals)), "finalists": 1, "confirmations": 2},
    ):
        folder = tmp_path / next(iter(amounts))
        sweep = Sweep(
            name="recorded", workload=Recorded(problem), space=problem.space, searcher=Random(), scheduler=scheduler, seed=3,
            num_samples=12, first_alone=False, baseline=baseline, points_to_evaluate=[point], **amounts,
        )  # fmt: skip
        engine = simulated(folder, sweep, workers=3)
        tuning = AskAndTell(
            problem.space, Random(), scheduler, horizon=6, seed=3, limit=12, baseline=baseline, points=[point],
            goal=sweep.goal, **amounts,
        )  # fmt: skip
        race.race(problem, tuning, workers=3, seconds=math.inf)
        assert [trial.first_origin for trial in tuning.history][:2] == ["baseline", "point"]
        assert tuning.over == engine.over
        assert [(t.config, t.first_origin, t.status, t.steps, str(t.losses)) for t in tuning.history] == [
            (t.config, t.first_origin, t.status, t.steps, str(t.losses))
            for t in engine.history  # NaN != NaN
        ]
        assert tuning.history.trials[-1].first_origin == "finalist"


def test_costs_budget_and_both_rules() -> None:
    problem = curves.MadeUp(1)
    seconds = 3 * problem.full_cost
    for charge in (0.0, 3.0):
        tuning = AskAndTell(problem.space, Random(), AshaPromote(), horizon=problem.horizon, seed=0)
        outcome = race.race(problem, tuning, workers=2, seconds=seconds, resume_charge=charge)
        assert all(when <= seconds for when, _ in outcome.any)
        assert sum(trial.cost_seconds for trial in tuning.history) <= 2 * seconds
        best = min(loss for trial in tuning.history for loss in trial.losses if math.isfinite(loss))
        assert outcome.any[-1][1] == best
        finals = [trial.loss for trial in tuning.history.having(Status.COMPLETED)]
        assert [loss for _, loss in outcome.full[-1:]] == ([min(finals)] if finals else [])
        values = [race.regret(problem, outcome.any, share * seconds) for share in standing.SHARES]
        assert values == sorted(values, reverse=True)
        assert all(0 <= value <= 1 for value in values)
        assert outcome.resumes > 0
        for trial in tuning.history:  # each resume costs `charge` steps more
            resumes = sum(r.trial == trial.number for r in tuning.records if getattr(r, "kind", "") == "resume")
            resumes -= (
                trial.suggestion.kind == "resume" and trial.status is Status.RUNNING and not _went_on(trial, tuning)
            )
            step = problem.curve(trial.config).cost_seconds[0]
            assert trial.cost_seconds == pytest.approx(step * (len(trial.steps) + charge * resumes))


def _went_on(trial: Any, tuning: AskAndTell) -> bool:
    """Whether a trial that was running at the end had reported since its last suggestion."""
    mine = [r for r in tuning.records if r.trial == trial.number]
    return type(mine[-1]).__name__ == "Report"


def test_errors_are_taken_over_seeds_of_the_mean_over_tasks() -> None:
    rows = [
        {"method": "a", "seed": seed, "task": task, "any_1.00": value}
        for seed, task, value in [(0, "x", 0.0), (0, "y", 1.0), (1, "x", 0.5), (1, "y", 0.5)]
    ]
    assert standing.over_seeds(rows, "a", "any_1.00") == (0.5, 0.0)


def test_the_script_writes_rows_and_a_picture_and_repeats_nothing(tmp_path: Path) -> None:
    arguments = ["--methods", "random,asha", "--max-tasks", "2", "--seeds", "2", "--evals", "4", "--output", "out"]
    for _ in range(2):
        done = run_script(BENCHMARKS / "regret.py", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "full trainings only" in done.stdout
        assert "±" in done.stdout
    with (tmp_path / "out" / "regret.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 2 * 2 * 2
    assert {row["method"] for row in rows} == {"random", "asha"}
    assert (tmp_path / "out" / "regret.png").stat().st_size > 10_000


def test_the_cost_to_reach_a_level_is_counted_in_full_trainings(tmp_path: Path) -> None:
    fields = ["family", "task", "method", "settings", "seed", "evals", "resume_charge", "until"]
    rows = [
        ["x", "a", "slow", "", 0, 40.0, 0.0, 1.0, "0.10000:0.900000 0.90000:0.300000", "0.50000:0.400000"],
        ["x", "a", "quick", "", 0, 20.0, 0.0, 1.0, "0.05000:0.500000 0.10000:0.200000", "0.50000:0.100000"],
        ["x", "a", "quick", "", 1, 20.0, 0.0, 0.2, "0.05000:0.500000", ""],  # a part of the next
        ["x", "a", "quick", "", 1, 20.0, 0.0, 1.0, "0.05000:0.500000 0.40000:0.300000", "0.50000:0.900000"],
        ["x", "a", "quick", "", 0, 20.0, 2.0, 1.0, "0.05000:0.100000", ""],  # the other has no such rows
    ]
    with (tmp_path / "regret.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([[*fields, "any_trace", "full_trace"], *rows])
    given = ["--method", "quick", "--level", "slow"]
    done = run_script(BENCHMARKS / "reaching.py", str(tmp_path), *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    any_step, full = (line.split() for line in done.stdout.splitlines() if line.startswith("a "))
    assert any_step == ["a", "0.300", "5.00", "8.00", "2/2", "12.5%", "20%"]
    assert full == ["a", "0.400", "inf", "inf", "1/2", "inf%", "inf%"]
    done = run_script(BENCHMARKS / "reaching.py", str(tmp_path), "--method", "none", cwd=tmp_path)
    assert "none" in done.stderr


@pytest.mark.slow
def test_what_a_suggestion_costs_is_measured_for_ours_and_for_optunas(tmp_path: Path) -> None:
    done = run_script(BENCHMARKS / "deciding.py", "--sizes", "12", "--methods", "tpe,optuna-tpe", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if "MiB" in line]
    assert [line[0] for line in lines] == ["tpe", "optuna-tpe"]
    assert all(float(line[3]) > 0 for line in lines)


def test_an_unknown_method_task_or_family_is_refused(tmp_path: Path) -> None:
    for flags, words in (
        (["--methods", "magic"], "--methods: there is no 'magic'"),
        (["--tasks", "a"], "no task 'a'"),
        (["--families", "hard"], "no 'hard'"),
        (["--method", "mine=Rndom()"], "name 'Rndom'"),
    ):
        done = run_script(BENCHMARKS / "regret.py", *flags, cwd=tmp_path)
        assert done.returncode == 2
        assert words in done.stderr


ANALYTIC = sorted(families.SHAPES)


@pytest.mark.parametrize("name", ANALYTIC)
def test_a_task_of_a_family_is_the_same_in_every_process_and_its_best_is_known(name: str) -> None:
    one, again, other = families.Analytic(name, 0), families.Analytic(name, 0), families.Analytic(name, 1)
    rng = np.random.default_rng(0)
    configs = [one.space.sample(rng) for _ in range(100)]
    found = [one.curve(config) for config in configs]
    for config, curve in zip(configs[:5], found, strict=False):
        assert np.array_equal(curve.losses, again.curve(config).losses, equal_nan=True)
        assert curve.losses.shape == curve.cost_seconds.shape == curve.truth.shape == (one.horizon,)
    assert not np.array_equal(found[0].losses, other.curve(configs[0]).losses, equal_nan=True)
    assert one.best == again.best < one.typical
    assert all(curve.truth[np.isfinite(curve.losses)].min(initial=math.inf) >= one.best for curve in found)


def spearman(name: str, step: float) -> float:
    """Of the losses after a share of the horizon with the last ones, over the curves that do not diverge."""
    problem = families.Analytic(name, 0)
    rng = np.random.default_rng(1)
    losses = np.array([problem.curve(problem.space.sample(rng)).losses for _ in range(300)])
    losses = losses[np.isfinite(losses).all(axis=1)]
    return rank_correlation(losses[:, max(0, round(step * problem.horizon) - 1)], losses[:, -1])


@pytest.mark.parametrize(
    ("name", "share", "low", "high"),
    [
        ("late", 0.0, -1.0, -0.5), ("late", 0.5, 0.8, 1.0), ("flat", 0.0, -0.2, 0.2), ("useless", 0.3, -0.2, 0.2),
        ("useless", 0.6, 0.8, 1.0), ("misleading", 0.3, -1.0, -0.5), ("misleading", 0.7, 0.9, 1.0),
        ("schedule", 0.0, 0.1, 0.5), ("schedule", 0.5, 0.4, 0.75), ("few", 0.3, 0.9, 1.0),
    ],
)  # fmt: skip
def test_beginnings_say_as_much_about_ends_as_the_family_promises(
    name: str, share: float, low: float, high: float
) -> None:
    assert low <= spearman(name, share) <= high


def test_the_other_families_are_as_hard_as_they_say() -> None:
    def losses(name: str) -> Any:
        problem = families.Analytic(name, 0)
        rng = np.random.default_rng(1)
        return problem, [problem.curve(problem.space.sample(rng)) for _ in range(300)]

    problem, found = losses("diverging")
    ends = np.array([np.isnan(curve.losses).argmax() if np.isnan(curve.losses[-1]) else -1 for curve in found])
    assert 0.3 < np.mean(ends >= 0) < 0.7
    assert np.mean(ends >= problem.horizon / 3) > 0.05  # some late
    _, found = losses("rising")
    assert np.mean([curve.truth[-1] > curve.truth.min() for curve in found]) > 0.5
    _, found = losses("costly")
    costs = [curve.cost_seconds[0] for curve in found]
    assert 15 < max(costs) / min(costs) <= 20
    assert np.corrcoef(np.log(costs), [curve.truth[-1] for curve in found])[0, 1] < -0.4
    problem, found = losses("needle")
    good = [curve.truth[-1] < problem.best + 0.5 * (problem.typical - problem.best) for curve in found]
    assert 0 < np.mean(good) < 0.04
    _, found = losses("noisy")
    plateau = np.array([curve.losses[50:] - curve.truth[50:] for curve in found])
    ends = np.sort([curve.truth[-1] for curve in found])
    assert 2 * plateau.std() > ends[30] - ends[3]  # the noise spans what separates the good ones
    assert len(families.SHAPES["wide"].space.parameters) == 40
    assert families.SHAPES["conditional"].space.is_conditional


def test_every_family_of_the_fleet_is_for_choosing_or_for_reporting_and_none_for_both() -> None:
    choosing, reporting = (fleet.names_of(part) for part in ("choosing", "reporting"))
    assert sorted(choosing + reporting) == sorted(fleet.FAMILIES) == sorted(fleet.names_of("all"))
    assert not set(choosing) & set(reporting)
    assert set(ANALYTIC) <= set(fleet.FAMILIES)
    found, missing = fleet.load(["few", "lcbench", "opda"], fleet.Sources())
    assert {name: [problem.name for problem in problems] for name, problems in found.items()} == {
        "few": ["few 0", "few 1", "few 2"]
    }
    assert "--harness" in missing["lcbench"]
    assert "--data" in missing["opda"]


def test_an_incumbent_is_chosen_by_what_is_seen_and_judged_by_the_truth() -> None:
    outcome = race.Outcome()
    outcome.record(1.0, loss=0.5, truth=0.5, is_full=False)
    outcome.record(2.0, loss=0.3, truth=0.6, is_full=False)  # lucky
    outcome.record(3.0, loss=0.4, truth=0.2, is_full=True)
    assert outcome.any == [(1.0, 0.5), (2.0, 0.6)]
    assert outcome.full == [(3.0, 0.2)]


def test_a_seed_that_lacks_a_task_does_not_count() -> None:
    values = [("asha", 0, "x", 0.2), ("asha", 0, "y", 0.4), ("mine", 0, "x", 0.1), ("mine", 0, "y", 0.3)]
    interrupted = [*values, ("asha", 1, "x", 0.2), ("asha", 1, "y", 0.4), ("mine", 1, "x", 0.9)]
    for cells in (values, interrupted):
        rows = [
            {"method": method, "seed": str(seed), "task": task, "any_1.00": value}
            for method, seed, task, value in cells
        ]
        assert standing.by_seed(rows, "mine", "any_1.00") == {0: pytest.approx(0.2)}
        assert standing.behind(rows, "mine", "any_1.00")[0] == pytest.approx(-0.1)


def test_a_method_is_compared_with_the_better_reference_on_the_seeds_that_it_has() -> None:
    values = {"asha": [0.4, 0.6, 0.0], "asha-promote": [0.5, 0.6, 0.0], "mine": [0.3, 0.7]}
    rows = [
        {"method": method, "seed": str(seed), "task": "x", "any_1.00": value}
        for method, of in values.items()
        for seed, value in enumerate(of)
    ]
    assert standing.behind(rows, "mine", "any_1.00") == (pytest.approx(0.0), pytest.approx(0.1))


def fleet_run(folder: Path, *flags: str) -> tuple[str, list[dict[str, str]]]:
    done = run_script(BENCHMARKS / "regret.py", "--evals", "4", "--output", "out", *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    with (folder / "out" / "regret.csv").open(newline="") as handle:
        return done.stdout, list(csv.DictReader(handle))


def test_a_part_of_the_budget_is_run_first_and_the_rest_on_demand(tmp_path: Path) -> None:
    given = ["--families", "few,opda", "--max-tasks", "1", "--seeds", "1", "--methods", "asha"]
    mine = ["--method", "mine=Random()|AshaPromote(reduction_factor=3)"]
    printed, part = fleet_run(tmp_path, *given, *mine, "--until", "0.25", "--rules", "any,full,charged")
    assert "opda is left out" in printed
    assert "100%" not in printed
    assert "mine less the better of asha" in printed
    assert {(row["method"], row["resume_charge"]) for row in part} == {
        (method, charge) for method in ("asha", "mine") for charge in ("0.0", "2.0")
    }
    assert all(row["any_0.50"] == "" for row in part)
    printed, rows = fleet_run(tmp_path, *given, *mine, "--jobs", "2")
    assert "100%" in printed
    assert rows[: len(part)] == part
    whole = rows[len(part) :]
    assert [row["until"] for row in whole] == ["1.0", "1.0"]
    for row in whole:  # the beginning of a whole run is the part
        (before,) = [r for r in part if (r["method"], r["resume_charge"]) == (row["method"], "0.0")]
        assert row["any_trace"].startswith(before["any_trace"])
        assert row["any_0.25"] == before["any_0.25"]
    assert fleet_run(tmp_path, *given, *mine, "--until", "0.5")[1] == rows


def test_every_searcher_and_scheduler_is_in_a_method() -> None:
    """But for populations, which fork, and for what has no settings of its own to start with (`Points`)."""
    searchers = {kind for kind in concrete(search.searchers, Searcher) if not issubclass(kind, Population)}
    found = {kind for kind in searchers if all(field.default is not MISSING for field in fields(kind))}
    methods = regret.METHODS.values()
    where = "METHODS of experiments/benchmarks/regret.py"
    assert_listed(found, [method.searcher for method in methods], where)
    assert_listed(concrete(search.schedulers, Scheduler), [method.scheduler for method in methods], where)


def test_every_method_of_the_exam_can_search_its_space() -> None:
    for searcher in [method.searcher for method in regret.METHODS.values()]:
        searcher.check(curves.SPACE)


class Harness:
    """A harness of the other kind, one worker: it owns the clock and the curves, and speaks to a peer."""

    def __init__(self, optimiser: peer.Peer, epochs: int) -> None:
        self.optimiser, self.epochs, self.now = optimiser, epochs, 0.0
        self.at: dict[str, int] = {}
        self.configs: dict[str, dict[str, Any]] = {}

    def one_turn(self) -> str:
        answer = self.optimiser.suggest(self.now)
        assert answer is not None
        kind, what = answer
        if kind == "start":
            number = f"trial {len(self.at)}"
            self.at[number], self.configs[number] = 0, what
            self.optimiser.started(number, what)
        else:
            number = what
        while True:
            self.at[number] += 1
            self.now += self.configs[number]["layers"]
            verdict = self.optimiser.report(
                number, self.at[number], self.configs[number]["lr"] / self.at[number], self.now
            )
            if self.at[number] == self.epochs:
                self.optimiser.finished(number, self.epochs, 0.0)
                return "stop"
            if verdict != "continue":
                return verdict


def test_the_peer_pauses_resumes_and_learns_the_cost_of_each_step() -> None:
    optimiser = peer.Peer(PARAMS, 9, seed=2, searcher=Random(), scheduler=AshaPromote(reduction_factor=3))
    harness = Harness(optimiser, 9)
    verdicts = [harness.one_turn() for _ in range(40)]
    history = optimiser.tuning.history
    assert {"pause", "stop"} == set(verdicts)
    assert history.count(Status.COMPLETED) == verdicts.count("stop") > 0
    assert len(history.trials) < 40  # the others were resumed
    for trial in history:
        assert trial.steps == list(range(1, trial.step + 1))
        assert trial.cost_seconds == pytest.approx(trial.step * trial.config["layers"])


def test_a_peer_stops_what_diverged() -> None:
    optimiser = peer.Peer(PARAMS, 9, searcher=Random())
    answer = optimiser.suggest(0.0)
    assert answer is not None
    optimiser.started(0, answer[1])
    assert optimiser.report(0, 1, math.nan, 1.0) == "stop"
    assert optimiser.tuning.history.trials[0].status is Status.DIVERGED


@dataclass(frozen=True)
class Small(Searcher):
    def suggest(self, history: History) -> Suggestion | None:
        return start(history.space.sample(np.random.default_rng(0)), task="small")


def test_a_peer_refuses_a_task_that_curves_do_not_have() -> None:
    tasks = (Task.changed("small", 0.1, width=2), Task("full", 1.0))
    with pytest.raises(ValueError, match=r"use Task\.epochs"):
        peer.Peer(PARAMS, 9, searcher=Small(), scheduler=RunToEnd(), tasks=tasks).suggest(0.0)


def test_a_step_of_a_recorded_schedule_is_a_tenth_of_that_run(tmp_path: Path) -> None:
    names = ["epochs", "batch_size", "lr", "lr_peak_epoch", "momentum", "weight_decay", "label_smoothing"]
    rows = [[20, 128, 0.1, 5, 0.9, 1e-4, 0.0], [100, 512, 1.0, 80, 0.8, 1e-5, 0.1]]
    top1 = np.full((2, 100), np.nan, dtype=np.float32)
    top1[0, :20], top1[1, :30] = np.arange(1, 21) / 100, 0.5
    seconds = np.where(np.isnan(top1), np.nan, 10.0).cumsum(axis=1).astype(np.float32)
    np.savez(
        tmp_path / "alexnet_imagenet.npz", columns=names, configs=rows, top1=top1, time=seconds,
        nan_train_loss=[False, True], n_recorded=[20, 30],
    )  # fmt: skip
    names = [
        "num_train_epochs",
        "train_batch_size",
        "total_model_steps",
        "learning_rate",
        "warmup_steps",
        "cls_drop_out",
    ]
    np.savez(
        tmp_path / "deberta_base_mnli.npz", columns=names, configs=[[1, 32, 5000, 1e-4, 500, 0.1]],
        step=[[1000, 2000, 5000, 0]], acc_matched=[[0.5, 0.6, 0.9, np.nan]],
    )  # fmt: skip
    alexnet, deberta = curves.schedules(tmp_path)
    assert alexnet.losses[0] == pytest.approx(1 - np.arange(2, 21, 2) / 100)
    assert alexnet.losses[1] == pytest.approx([0.5] * 3 + [np.nan] * 7, nan_ok=True)
    assert alexnet.cost_seconds.sum(axis=1) == pytest.approx([200, 1000])
    assert alexnet.space.from_unit(alexnet.units[0])["peak"] == pytest.approx(0.25)
    assert deberta.losses[0] == pytest.approx([2 / 3, 0.5, 0.5, *[0.4] * 6, 0.1])
    assert (deberta.best, alexnet.best) == (pytest.approx(0.1), pytest.approx(0.5))
    with pytest.raises(ValueError, match=r"alexnet_imagenet\.npz is missing"):
        curves.schedules(tmp_path / "elsewhere")


def test_an_optimiser_behind_a_harness_races_as_by_itself() -> None:
    """Ours, through the adapter for the harness and back, has the trace of our own race."""
    problem = families.family("few")[0]
    seconds = 0.1 * 50 * problem.full_cost / 4
    alone = race.race(
        problem,
        AskAndTell(problem.space, Random(), Asha(), horizon=problem.horizon, seed=3),
        workers=4,
        seconds=seconds,
    )
    view = other_libraries.View(problem.space)
    ours = peer.Peer(view.params, problem.horizon, seed=3, searcher=Random(), scheduler=Asha())
    behind = other_libraries.raced(problem, view, ours, workers=4, seconds=seconds)
    assert behind.any == alone.any
    assert behind.full == alone.full
    assert (behind.trials, behind.complete) == (alone.trials, alone.complete)


def test_the_adapters_see_numbers_and_the_curves_what_they_mean() -> None:
    space = Space({"width": pow2(16, 512), "kind": choice(["a", "b"]), "rate": loguniform(1e-3, 1.0)})
    view = other_libraries.View(space)
    assert [(given["type"], given["low"], given["high"], given["log"]) for given in view.params] == [
        ("int", 4, 9, False), ("int", 0, 1, False), ("float", 1e-3, 1.0, True),
    ]  # fmt: skip
    assert view.config({"width": 5, "kind": 1, "rate": 0.1}) == {"width": 32, "kind": "b", "rate": 0.1}
    assert view.from_unit([0.0, 1.0, 0.5]) == {"width": 4, "kind": 1, "rate": pytest.approx(10**-1.5)}
    assert other_libraries.broken(families.family("diverging")[0]) > 0


def test_two_dumps_of_decisions_are_compared_to_the_last_bit(tmp_path: Path) -> None:
    import same_decisions  # imports all of search/

    before, after = tmp_path / "before.json", tmp_path / "after.json"
    same_decisions.dump(before, "grid on continuous")
    same_decisions.dump(after, "grid on continuous")
    assert len(json.loads(before.read_text())) == 4
    assert same_decisions.compare(before, after) == 0
    told = json.loads(after.read_text())
    last = list(told.values())[-1][-1]
    last["words"] = "in other words"
    after.write_text(json.dumps(told))
    assert same_decisions.compare(before, after) == 0
    last["decision"]["config"] += " "
    after.write_text(json.dumps(told))
    assert same_decisions.compare(before, after) == 1


def test_power_laws_find_late_starters_and_are_exact_on_a_power_law(capsys: pytest.CaptureFixture[str]) -> None:
    curve = 0.3 + 2.0 * np.arange(1, 41.0) ** -0.5
    assert power(curve[:12], 40) == pytest.approx(curve[-1], rel=1e-3)
    after = np.concatenate([np.full(6, 5.0), 0.3 + 2.0 * np.arange(7, 13.0) ** -0.5])
    assert abs(change(after, 40) - curve[-1]) < abs(power(after, 40) - curve[-1]) / 2
    beginnings.main(["--families", "late,opda", "--count", "30"])
    written = capsys.readouterr().out
    last, _, _, _, changed = (float(cell.split("/")[1]) for cell in _row(written, "late", "40%"))
    assert changed > last + 0.2
    assert "opda left out: give the folder" in written


def _row(table: str, family: str, seen: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {family} |") and f"| {seen} |" in line)
    return line.strip("|").split("|")[3:]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # a width at its bound
def test_a_model_knows_more_where_it_is_told_the_row_that_answered() -> None:
    (table,) = (table for table in recorded_curves.recorded() if table.name == "mlp")
    told, told_best, true, true_best = knowable.bought(table, trainings=5, seed=0)
    assert 0.2 < told < true < 1
    assert min(told_best, true_best) > 0.05  # by chance one in twenty


def test_the_best_of_the_first_configurations_is_better_from_the_middle() -> None:
    (table,) = (table for table in recorded_curves.recorded() if table.name == "mlp")
    ((evenly, *_),), ((bracketed, *_),) = starts.measured([table], draws=1000)
    assert 0.1 < bracketed < evenly - 0.02 < 0.4
