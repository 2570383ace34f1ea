"""The numbers behind the report are right where the truth is known, and say so where the record is too small."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr

from orchestrator.page.analysis.columns import columns_of, places
from orchestrator.page.analysis.idle import at_once, idle
from orchestrator.page.analysis.importance import Importance, TooFew, importance
from orchestrator.page.analysis.influence import influences
from orchestrator.page.analysis.mcnemar import p_value
from orchestrator.page.analysis.rank_correlation import partial, spearman
from orchestrator.page.analysis.stages import stages
from orchestrator.page.analysis.task_correlation import APART, PRIORS, WEIGHT, learned
from orchestrator.page.sections import answer as answer_section
from orchestrator.page.sections import workers
from orchestrator.reading.influence_needs import FEWEST
from orchestrator.record.encoding import USED
from search.history import History
from search.models.fidelities import level
from search.models.fits import CurveFits
from search.records import End, Report, Status, resume, start
from search.space import Space, choice, loguniform, pow2, randint, uniform, when
from search.task import FULL, Task
from tests.histories import SPACES
from tests.records_on_disk import sweep_over, trained, written

SEEDS = 20
NAMES = ("a", "b", "c", "d", "e")


def found(function: Callable[[Any], Any], seed: int, trials: int = 60) -> Importance:
    """The importances of five parameters in [0, 1]; a tenth of the results' deviation is noise."""
    rng = np.random.default_rng(seed)
    x = rng.random((trials, len(NAMES)))
    values = function(x)
    noise = rng.normal(size=trials) * 0.1 * (values.std() or 1.0)
    answer = importance(NAMES, x, values + noise)
    assert isinstance(answer, Importance)
    return answer


# Importance.


@pytest.fixture(scope="module")
def sums() -> list[Importance]:
    """3 a + b: the variances have the ratio 9 to 1; the other three have no influence."""
    return [found(lambda x: 3 * x[:, 0] + x[:, 1], seed) for seed in range(SEEDS)]


def test_importance_is_the_share_of_the_variance(sums: list[Importance]) -> None:
    shares = np.array([each.share for each in sums])
    assert shares[:, 0].mean() == pytest.approx(0.9, abs=0.12)  # a forest of 60 trials flattens the ends: 0.81
    assert shares[:, 1].mean() == pytest.approx(0.1, abs=0.07)
    assert np.abs(shares[:, 2:].mean(0)).max() < 0.01  # no bias away from zero
    assert (shares[:, 0] > shares[:, 1]).all()
    assert all(each.order[0] == "a" for each in sums)


def test_what_has_an_influence_shows_and_what_has_none_rarely_does(sums: list[Importance]) -> None:
    assert all(each.shows("a") for each in sums)
    assert sum(each.shows("b") for each in sums) >= 0.8 * SEEDS
    alarms = [each.shows(name) for each in sums for name in "cde"]
    assert np.mean(alarms) <= 0.05  # of 60 parameters without influence


def test_in_pure_noise_nothing_shows_and_nothing_is_explained() -> None:
    answers = [found(lambda x: 0 * x[:, 0], seed) for seed in range(6)]
    assert np.mean([each.shows(name) for each in answers for name in NAMES]) <= 0.1
    assert all(each.explained < 0.1 for each in answers)


def test_an_interaction_counts_for_both_parameters() -> None:
    answer = found(lambda x: (x[:, 0] - 0.5) * (x[:, 1] - 0.5), seed=1, trials=200)
    assert min(answer.share[:2]) > 0.3
    assert max(answer.share[2:]) < 0.05


def test_units_and_a_few_enormous_losses_change_nothing() -> None:
    rng = np.random.default_rng(3)
    x = rng.random((40, 2))
    losses = x[:, 0] + 0.1 * x[:, 1]
    assert importance(NAMES[:2], x, losses) == importance(NAMES[:2], x, np.exp(50 * losses))


@pytest.mark.parametrize(("trials", "parameters", "needed"), [(19, 2, FEWEST), (44, 9, 45), (0, 1, FEWEST)])
def test_too_few_trials_give_no_bar(trials: int, parameters: int, needed: int) -> None:
    answer = importance([f"p{k}" for k in range(parameters)], np.zeros((trials, parameters)), np.arange(float(trials)))
    assert answer == TooFew(trials, needed)
    assert str(answer) == f"{trials} of the {needed} trials needed"


def test_equal_results_give_no_bar() -> None:
    assert str(importance(["a"], np.linspace(0, 1, 30)[:, None], np.ones(30))) == "all results are equal"


# Columns.


@pytest.mark.parametrize("name", ["continuous", "mixed", "conditional", "finite"])
def test_a_recorded_parameter_has_the_place_that_the_space_gives_it(name: str) -> None:
    space, rng = SPACES[name], np.random.default_rng(0)
    columns = columns_of({"space": json.loads(json.dumps(space.describe()))})
    configs = [space.sample(rng) for _ in range(30)]
    units = np.array([space.to_unit(config) for config in configs])
    indices = [space.coordinates[column.name] for column in columns]
    order = np.argsort(indices)
    ours, theirs = places([columns[k] for k in order], configs), units[:, sorted(indices)]
    # A whole number lies at the middle of its bin there, at its place in the range here.
    assert np.abs(ours - theirs).max() < 0.5
    for k, column in enumerate(columns[i] for i in order):
        if column.kind in ("float", "choice"):
            assert ours[:, k] == pytest.approx(theirs[:, k])
        else:
            assert (np.argsort(ours[:, k], kind="stable") == np.argsort(theirs[:, k], kind="stable")).all()


def test_a_conditional_parameter_is_measured_where_it_acts(tmp_path: Path) -> None:
    space = Space(
        {"opt": choice(["sgd", "adam"]), "beta": when(uniform(0, 1), opt="adam"), "x": uniform(0, 1), "one": 3}
    )
    rng = np.random.default_rng(0)
    configs = [space.sample(rng) for _ in range(80)]
    ends = np.array([3 * config.get("beta", 0.5) + 0.3 * rng.normal() for config in configs])
    run = written(tmp_path, sweep_over(space, horizon=1), trained(configs, ends[:, None]))
    (last,) = influences(run.history, columns_of(run.about))
    shares = {bar.name: bar for bar in last.bars}
    assert set(shares) == {"opt", "beta", "x"}
    assert last.bars[0].name == "beta"
    assert shares["beta"].low > 0.2
    assert not shares["x"].shows


def test_a_diverged_training_counts_as_the_worst(tmp_path: Path) -> None:
    space, rng = Space({"x": uniform(0, 1), "y": uniform(0, 1)}), np.random.default_rng(1)
    configs = [space.sample(rng) for _ in range(40)]
    curves = np.array([[1.0, math.nan] if c["x"] > 0.6 else [1.0, 0.5 + 0.01 * rng.random()] for c in configs])
    run = written(tmp_path, sweep_over(space, horizon=2), trained(configs, curves))
    last = influences(run.history, columns_of(run.about))[-1]
    assert last.trials == 40
    assert last.bars[0].name == "x"
    assert last.bars[0].shows


# Rank correlation.


def test_the_rank_correlation_is_scipys_and_its_interval_holds_the_truth() -> None:
    rho, holds = 0.7, []
    truth = 6 / math.pi * math.asin(rho / 2)  # of normal variables
    for seed in range(100):
        early, noise = np.random.default_rng(seed).normal(size=(2, 40))
        late = rho * early + math.sqrt(1 - rho**2) * noise
        answer = spearman(early, late)
        assert answer is not None
        assert answer.value == pytest.approx(spearmanr(early, late).statistic)
        holds.append(answer.low <= truth <= answer.high)
    assert 0.8 <= np.mean(holds) <= 0.98  # nominally 0.9


def test_too_few_or_equal_results_have_no_correlation() -> None:
    assert spearman(np.arange(9.0), np.arange(9.0)) is None
    assert spearman(np.ones(20), np.arange(20.0)) is None


def test_what_a_middle_stage_adds_is_told_from_what_it_repeats() -> None:
    rng = np.random.default_rng(0)
    early, extra, noise = rng.normal(size=(3, 60))
    late = early + extra
    adds, repeats = partial(early + 0.7 * extra, late, early), partial(early + 0.1 * noise, late, early)
    assert adds is not None
    assert repeats is not None
    assert adds.low > 0.5
    assert repeats.low < 0 < repeats.high


# The correlation that the model has learned.


def with_fits(tasks: list[Task], fits: list[list[float]], shape: list[int]) -> History:
    history = History(Space({"x": uniform(0, 1), "y": uniform(0, 1)}), horizon=9, tasks=tasks)
    memo = CurveFits(shape, results=10, fits=fits, skill=0.5).memo
    history.append(start({"x": 0.5, "y": 0.5}, memo=memo))
    history.append(Report(0, 3, 1.0))
    return history


def test_the_learned_correlation_is_that_of_the_models_kernel() -> None:
    torch = pytest.importorskip("torch")
    gp = pytest.importorskip("search.models.gp", exc_type=ImportError)
    tasks = [Task.changed("small", 0.1, side=8), Task.changed("big", 0.5, side=32), *Task.epochs(0.3, 1.0)]
    model = gp.CurveModel(2, tasks=3)
    rng = np.random.default_rng(0)
    model.hyperparameters = (
        np.array(model.hyperparameters) + 0.3 * rng.normal(size=len(model.hyperparameters))
    ).tolist()
    history = with_fits(tasks, [model.hyperparameters], [2, 3, 0])
    model.kernel.log_drift.data.fill_(-40.0)  # the drift is common to all configurations
    with torch.no_grad():
        rows = torch.tensor([[0.2, 0.7, at, task] for at, task in ((1, 0), (1, 1), (1, 2), (level(3, 9), 0))]).double()
        covariance = model.kernel.forward(rows, rows).numpy()
    truth = covariance[0] / np.sqrt(covariance[0, 0] * covariance.diagonal())
    answers = {stage.name: learned(history, stage) for stage in stages(history)}
    assert answers["full trainings"] is None
    for name, value in zip(("small", "big", "0.3 of the epochs"), truth[1:], strict=True):
        answer = answers[name]
        assert answer is not None
        assert answer.value == pytest.approx(value, abs=1e-5)
        assert answer.prior[1] < answer.prior[0] < answer.prior[2]


def test_the_priors_are_those_of_the_models_kernel() -> None:
    gp = pytest.importorskip("search.models.gp", exc_type=ImportError)
    priors = {name: prior for name, _, prior, *_ in gp.CurveKernel(2, tasks=2).named_priors()}
    for name, (centre, spread) in {**PRIORS, "weights": WEIGHT, "log_apart": APART}.items():
        prior = priors[f"{name}_prior"]
        assert float(prior.loc) == pytest.approx(centre)
        assert float(prior.scale) == pytest.approx(spread)


def test_without_fits_or_with_those_of_another_model_nothing_is_learned() -> None:
    for fits in ([], [[0.0] * 3]):
        history = with_fits([], fits, [2, 1, 0])
        assert [learned(history, stage) for stage in stages(history)] == [None] * len(stages(history))


# Stages.


def test_the_stages_are_the_tasks_or_the_common_rungs_or_shares_of_the_horizon() -> None:
    space = Space({"x": uniform(0, 1)})
    plain = History(space, horizon=20)
    assert [stage.step for stage in stages(plain)] == [2, 5, 10, 20]
    stopped = History(space, horizon=20)
    for number in range(12):
        stopped.append(start({"x": number / 12}))
        last = 3 if number < 8 else 9 if number < 11 else 17
        stopped.append(Report(number, last, float(number)))
        stopped.append(End(number, Status.STOPPED))
    assert [stage.step for stage in stages(stopped)] == [3, 9, 20]
    tasked = History(space, horizon=20, tasks=[Task.changed("small", 0.1, side=8), Task(FULL, 1.0)])
    assert [stage.name for stage in stages(tasked)] == ["small", "full trainings"]


# The time of workers.


def at(run: Any, times: dict[tuple[str, int], float]) -> Any:
    """The run with the n-th record of a table at these seconds, all others at the latest before them."""
    rows = {table: [dict(row) for row in found] for table, found in run.rows.items()}
    for (table, index), second in times.items():
        rows[table][index]["time"] = f"2026-01-01 00:{int(second // 60):02d}:{second % 60:09.6f}"
    first = min(row["seq"] for row in rows["suggestion"])
    last = "2026-01-01 00:00:00.000000"
    everything = sorted((row for found in rows.values() for row in found), key=lambda row: row["seq"])
    for row in everything:
        last = row["time"] = row["time"] if row["time"].startswith("2026-01-01") and row["seq"] >= first else last
    return replace(run, rows=rows)


def test_workers_are_busy_idle_or_starting(tmp_path: Path) -> None:
    records = [
        start({"x": 0.1}), start({"x": 0.2}), Report(0, 1, 1.0, 6.0), End(0, Status.COMPLETED),
        Report(1, 1, 1.0, 8.0), End(1, Status.COMPLETED), ("waited", "5.0"),
    ]  # fmt: skip
    run = written(tmp_path, sweep_over(Space({"x": uniform(0, 1)}), horizon=1), records)
    seconds = {
        ("suggestion", 0): 0.0,
        ("suggestion", 1): 2.0,
        ("report", 0): 8.0,
        ("ending", 0): 10.0,
        ("ending", 1): 12.0,
    }
    answer = idle(at(run, seconds))
    assert answer is not None
    assert (answer.held, answer.trained, answer.overhead, answer.waited) == (20.0, 14.0, 6.0, 5.0)
    assert at_once(answer.stretches) == ([0.0, 2.0, 10.0, 12.0], [1, 2, 1, 0])
    assert answer.is_wall_clock
    declared = replace(run, history=run.history)
    quick = idle(at(declared, {("suggestion", 0): 0.0, ("ending", 1): 1.0}))
    assert quick is not None
    assert not quick.is_wall_clock  # 14 seconds of training in one


def test_what_a_first_step_took_longer_counts_as_a_start(tmp_path: Path) -> None:
    records = [start({"x": 0.1}), *(Report(0, step, 1.0, took) for step, took in ((1, 7.0), (2, 1.0), (3, 1.0)))]
    run = written(tmp_path, sweep_over(Space({"x": uniform(0, 1)}), horizon=3), [*records, End(0, Status.COMPLETED)])
    section = workers.section(at(run, {("suggestion", 0): 0.0, ("ending", 0): 10.0}))
    assert section is not None
    assert section.sentences[0].startswith("Workers trained for 3 s, 30 % of their time (10 s).")
    assert "The extra time of first reports counts as start." in section.sentences[0]
    assert "took 7 s (70 %)" in section.sentences[-1]


def test_the_time_between_two_drivers_counts_for_nobody(tmp_path: Path) -> None:
    records = [start({"x": 0.1}), Report(0, 1, 1.0, 4.0), Report(0, 2, 1.0, 4.0), End(0, Status.COMPLETED)]
    run = written(tmp_path, sweep_over(Space({"x": uniform(0, 1)}), horizon=2), records)
    seconds = {("suggestion", 0): 0.0, ("report", 0): 5.0, ("report", 1): 40.0, ("ending", 0): 41.0}
    moved = at(run, seconds)
    for table in ("report", "ending"):
        moved.rows[table][-1]["epoch"] = 2  # another driver, 35 seconds later
    answer = idle(moved)
    assert answer is not None
    assert (answer.downtime, answer.held, answer.span) == (35.0, 6.0, 41.0)


def test_a_trial_taken_up_by_another_driver_has_a_worker_before_its_next_report(tmp_path: Path) -> None:
    """The driver was killed while it trained; the next one starts at 30 s, and the step under way takes 48 s again."""
    records = [
        start({"x": 0.1}), Report(0, 1, 1.0, 4.0), ("lease", ""), (USED, '{"seconds": 1.0, "what": "start"}'),
        Report(0, 2, 1.0, 48.0), End(0, Status.COMPLETED),
    ]  # fmt: skip
    run = written(tmp_path, sweep_over(Space({"x": uniform(0, 1)}), horizon=2), records)
    seconds = {
        ("suggestion", 0): 0.0, ("report", 0): 5.0, ("event", 0): 30.0, ("event", 1): 90.0, ("report", 1): 90.0,
        ("ending", 0): 91.0,
    }  # fmt: skip
    run = at(run, seconds)
    for row in [*run.rows["event"], run.rows["report"][1], run.rows["ending"][0]]:
        row["epoch"] = 2
    run.rows["event"][1]["trial"] = 0
    run.rows["lease"].append(dict(run.rows["lease"][0]))
    answer = idle(run)
    assert answer is not None
    assert (answer.downtime, answer.trained, answer.held) == (25.0, 52.0, 5.0 + 49.0 + 1.0)
    section = workers.section(run)
    assert section is not None
    assert section.sentences[-1] == "The sweep stood still for 25 s until it was continued. This time does not count."
    told = dict(answer_section.section(run).figures[0].rows)["What it cost"]
    assert "; the sweep took 66 s, not counting 25 s until it was continued." in told


@pytest.mark.parametrize(
    ("began", "is_simulated"), [((), True), (((USED, '{"seconds": 1.0, "what": "start"}'),), False)]
)
def test_a_simulated_sweep_shows_no_time_of_workers(began: Any, is_simulated: bool, tmp_path: Path) -> None:
    """Trials of several workers, which one process trains, would each seem to wait for the others."""
    records = [
        start({"x": 0.1}), start({"x": 0.2}), *began, Report(0, 1, 1.0, 3.0), Report(1, 1, 1.0, 4.0), ("spent", "4.0"),
        End(0, Status.COMPLETED), End(1, Status.COMPLETED),
    ]  # fmt: skip
    run = written(tmp_path, sweep_over(Space({"x": uniform(0, 1)}), horizon=1), records)
    seconds = {
        ("suggestion", 0): 0.0,
        ("report", 0): 5.0,
        ("report", 1): 10.0,
        ("ending", 0): 14.0,
        ("ending", 1): 14.0,
    }
    moved = at(run, seconds)
    moved.rows["sweep"][0]["time"] = moved.rows["suggestion"][0]["time"]
    section = workers.section(moved)
    assert section is not None
    assert section.sentences[0].startswith("The sweep was simulated: ") == is_simulated
    assert bool(section.figures) != is_simulated
    told = dict(answer_section.section(moved).figures[0].rows)["What it cost"]
    assert f"; the sweep took 14 s{' (4 s on its simulated clock)' if is_simulated else ''}. 2 trials" in told


def test_a_trial_has_no_worker_while_ray_starts(tmp_path: Path) -> None:
    """Two drivers: the first trial of each is suggested 20 seconds before anything runs."""
    began = (USED, '{"seconds": 1.0, "what": "start"}')
    records = [
        start({"x": 0.1}), began, Report(0, 1, 1.0, 3.0), Report(0, 2, 1.0, 2.0), End(0, Status.COMPLETED),
        start({"x": 0.2}), began, Report(1, 1, 1.0, 4.0), start({"x": 0.3}), Report(1, 2, 1.0, 1.0),
        End(1, Status.COMPLETED), Report(2, 1, 1.0, 1.0), End(2, Status.COMPLETED),
    ]  # fmt: skip
    run = written(tmp_path, sweep_over(Space({"x": uniform(0, 1)}), horizon=2), records)
    seconds = {
        ("suggestion", 0): 0.0, ("report", 0): 24.0, ("report", 1): 26.0, ("suggestion", 1): 30.0, ("event", 1): 50.0,
        ("report", 2): 54.0, ("suggestion", 2): 54.0, ("report", 3): 55.0, ("ending", 2): 60.0,
    }  # fmt: skip
    run = at(run, seconds)
    for trial, event in enumerate(row for row in run.rows["event"] if row["kind"] == USED):
        event["trial"] = trial
    second = run.rows["suggestion"][1]["seq"]
    for row in (row for rows in run.rows.values() for row in rows if row["seq"] >= second):
        row["epoch"] = 2
    answer = idle(run)
    assert answer is not None
    assert run.seconds_before_training == 2.0
    assert [(each.trial, each.begin, each.end) for each in answer.stretches] == [
        (0, 20.0, 26.0), (1, 49.0, 55.0), (2, 54.0, 60.0)
    ]  # fmt: skip


# McNemar's test.


@pytest.mark.parametrize(("fixed", "broken"), [(8, 1), (1, 8), (5, 5), (45, 3), (121, 59), (400, 395), (0, 6)])
def test_mcnemars_test_is_the_exact_binomial_one(fixed: int, broken: int) -> None:
    assert p_value(fixed, broken) == pytest.approx(binomtest(fixed, fixed + broken, 0.5).pvalue, rel=1e-9)


def test_mcnemars_test_by_hand() -> None:
    assert p_value(8, 1) == pytest.approx(2 * (1 + 9) / 2**9)
    assert p_value(0, 0) == 1.0


def test_a_resumed_trial_is_one_configuration() -> None:
    history = History(
        Space({"x": uniform(0, 1), "n": randint(1, 3), "b": pow2(1, 4), "r": loguniform(1, 2)}), horizon=4
    )
    trial = history.append(start({"x": 0.1, "n": 1, "b": 1, "r": 1.5}))
    history.append(Report(0, 1, 1.0))
    history.append(End(0, Status.STOPPED))
    history.append(resume(trial))
    history.append(Report(0, 4, 0.5))
    history.append(End(0, Status.COMPLETED))
    assert [len(stage.by_configuration(history)) for stage in stages(history)] == [1] * len(stages(history))
