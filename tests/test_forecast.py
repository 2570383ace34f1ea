"""The forecast of cost and end: exact where nothing is uncertain, unbiased and honest about the rest."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import FromFunction, Quadratic, Script, report
from orchestrator.driver import Driver
from orchestrator.driving.foresight import FORESEEN, read
from orchestrator.main import run
from orchestrator.money.amounts import USD, Amount
from orchestrator.money.forecast import Forecast, Range, forecast
from orchestrator.money.order import full_trainings_of, lengths_in_random_order
from orchestrator.money.prices import prices_of
from orchestrator.outcome import tell_end
from orchestrator.reading.dry_run import print_plan
from orchestrator.reading.forecasts import as_plain, cost_in_all, foreseen, foreseen_words, time_left
from orchestrator.reading.room import no_room
from orchestrator.record.encoding import to_json
from orchestrator.record.ledger import Ledger
from orchestrator.sweep import Sweep
from search.contract import Scheduler, Searcher, Verdict
from search.history import History, Trial
from search.records import BASELINE, FINALIST, Began, End, Report, Status, Used, start
from search.rules.conduct import Rules
from search.rules.device_budget import DeviceBudget
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.hyperband import Hyperband
from search.schedulers.median import Median
from search.schedulers.run_to_end import RunToEnd
from search.searchers.grid import Grid
from search.searchers.pbt import PopulationBasedTraining
from search.searchers.random import Random
from search.space import Space, uniform
from search.work import Reported
from tests.support import ROOT
from trainables.contract import Trainable

sys.path.insert(0, str(ROOT / "experiments" / "benchmarks"))

from budgets import carried_out, timed_sweep
from forecast import MARKS, Race, plan, wilson

SPACE = Space({"x": uniform(0.0, 1.0)})
ENDED = 6


def so_far(*, limit: int | None = 10, ended: int = ENDED, running: int = 0, seconds: float = 10.0) -> History:
    """Trials of four steps, all of the same speed: some are completed, some have made two steps."""
    history = History(SPACE, horizon=4, limit=limit)
    history.append(Began("", "gpu", 1.0))
    for number in range(ended + running):
        trial = history.append(start({"x": number / 20}))
        for step in range(1, 5 if number < ended else 3):
            history.append(Report(trial.number, step, 1.0, seconds))
        if number < ended:
            history.append(End(trial.number, Status.COMPLETED))
    return history


def seen(
    history: History, rules: Rules | None = None, *, workers: int = 1, searcher: Searcher | None = None
) -> Forecast:
    found = forecast(history, searcher or Random(), RunToEnd(), rules or Rules(), workers=workers)
    assert found is not None
    return found


def test_before_a_step_is_measured_there_is_no_forecast() -> None:
    empty = History(SPACE, horizon=4, limit=10)
    assert forecast(empty, Random(), RunToEnd(), Rules(), workers=2) is None
    assert forecast(so_far(limit=None), Random(), RunToEnd(), Rules(), workers=2) is None  # nothing limits it


def test_trials_of_one_speed_cost_what_they_cost() -> None:
    """Four more trainings of 40 s on two workers."""
    found = seen(so_far(), workers=2)
    assert found.full_trainings == Range(4.0, 4.0, 4.0)
    assert found.spent_device_seconds == 240.0
    assert found.device_seconds.low < 160 < found.device_seconds.high
    assert found.device_seconds.middle == pytest.approx(160, rel=0.1)
    assert found.wall_seconds.middle == pytest.approx(80, rel=0.1)
    many = seen(so_far(limit=104, ended=100), workers=2)
    width = (many.device_seconds.high - many.device_seconds.low) / 160
    assert width < (found.device_seconds.high - found.device_seconds.low) / 160  # more trials, less doubt


def test_running_trials_need_only_their_rest_and_finalists_come_after_all_others() -> None:
    found = seen(so_far(limit=8, running=2), Rules(finalists=2), workers=2)
    assert found.full_trainings.middle == pytest.approx(2 * 0.5 + 2)
    assert found.wall_seconds.middle == pytest.approx(15 + 40, rel=0.1)  # one of the two steps is half done


def test_a_budget_ends_the_forecast() -> None:
    assert seen(so_far(limit=None), Rules(budget=9.0)).full_trainings.middle == 3.0
    dollars = DeviceBudget(0.40, "$0.40", lambda device: 3.6 / 3600)  # $0.24 is spent, a training costs $0.04
    assert seen(so_far(limit=None), Rules(device_budget=dollars)).full_trainings.middle == 4.0
    hours = Amount(400 / 3600, "gpu-hours")
    assert hours.rate("gpu", prices_of(None)) == pytest.approx(1 / 3600)
    assert Amount(1, USD).rate("gpu", prices_of(None)) is None


def test_the_baseline_to_come_is_trained_in_full_whatever_the_scheduler() -> None:
    """Five more trainings that stop at the first of four steps, and the baseline."""
    history = History(SPACE, horizon=4, limit=18)
    history.append(Began())
    for number in range(12):
        trial = history.append(start({"x": number / 20}))
        history.append(Report(trial.number, 1, 1.0, 10.0))
        history.append(End(trial.number, Status.STOPPED))
    with_one, without = seen(history, Rules(baseline={"x": 0.9})), seen(history)
    more = with_one.full_trainings.middle - without.full_trainings.middle
    assert more == pytest.approx(0.75, abs=0.25)


def test_a_grid_ends_the_forecast() -> None:
    """Of 21 points 6 are known; the baseline is one of them, a point lies beside them."""
    history = so_far(limit=100)
    assert seen(history, searcher=Grid(resolution=21)).full_trainings.middle == 15.0
    rules = Rules(baseline={"x": 1.0}, points=[{"x": 0.01}, {"x": 0.5}], finalists=2)
    assert seen(history, rules, searcher=Grid(resolution=21)).full_trainings.middle == 16.0 + 2
    assert seen(so_far(limit=8), searcher=Grid(resolution=21)).full_trainings.middle == 2.0
    assert seen(history, Rules(budget=9.0), searcher=Grid(resolution=21)).full_trainings.middle == 3.0
    few = seen(so_far(ended=1, limit=2), Rules(finalists=5))
    assert few.full_trainings.middle == 1 + 2, "two configurations are two finalists at most"


def test_a_time_budget_cuts_the_forecast_and_what_is_under_way() -> None:
    """Trainings of 40 s on two workers: after 60 s two have ended, and two are half done."""
    found = forecast(so_far(limit=100), Random(), RunToEnd(), Rules(finalists=2), workers=2, seconds=60.0)
    assert found is not None
    assert found.wall_seconds == Range(60.0, 60.0, 60.0)
    assert found.device_seconds.middle == pytest.approx(120.0, rel=0.01)
    assert found.full_trainings.middle == pytest.approx(3.0, rel=0.2)
    used = forecast(so_far(running=2), Random(), RunToEnd(), Rules(), workers=2, seconds=0.0)
    assert used is not None
    assert (used.wall_seconds.high, used.device_seconds.high) == (0.0, 0.0)


def test_a_population_trains_each_member_to_the_end() -> None:
    history = History(SPACE, horizon=8, limit=4)
    history.append(Began())
    for number in range(3):  # two segments of two steps, then it rests; the fourth member has not begun
        trial = history.append(start({"x": number / 10}, until=2))
        for step in (1, 2):
            history.append(Report(trial.number, step, 1.0, 5.0))
        history.append(End(trial.number, Status.STOPPED))
    found = seen(history, searcher=PopulationBasedTraining(population=4, interval=2))
    assert found.full_trainings.middle == pytest.approx(3 * 0.75 + 1)


def begun_slowly(trials: int, *, workers: int, steps: int, limit: int = 20, always: float = 0.0) -> History:
    """Trials of ten steps of a second. New processes need 30 s before their first step and 20 s more in it; all others
    `always`."""
    history = History(SPACE, horizon=10, limit=limit)
    history.append(Began())
    for number in range(trials):
        history.append(start({"x": number / 30}))
        new = number < workers
        history.append(Used(number, 30.0 if new else 0.0, "start"))
        for step in range(1, (10 if number < trials - 1 else steps) + 1):
            history.append(Report(number, step, 1.0, 1.0 + (step == 1) * (20.0 if new else always)))
        if number < trials - 1:
            history.append(End(number, Status.COMPLETED))
    return history


def test_the_start_of_workers_is_no_training_time() -> None:
    """Nineteen more trainings of 10 s; counted as training, each would take 10 × 21 s × (1 + 30 / 21)."""
    assert forecast(begun_slowly(1, workers=2, steps=1), Random(), RunToEnd(), Rules(), workers=2) is None
    found = seen(begun_slowly(1, workers=2, steps=2), workers=2)
    assert found.wall_seconds.middle == pytest.approx(8 + 18 * 10 / 2, rel=0.4)
    assert found.wall_seconds.high < 600
    later = seen(begun_slowly(10, workers=2, steps=10), workers=2)
    assert later.wall_seconds.middle == pytest.approx(10 * 10 / 2, rel=0.15)


def test_what_every_training_needs_to_start_is_counted_once_for_each() -> None:
    """A script imports in each trial: eight more trainings of 10 s and 5 s of start."""
    found = seen(begun_slowly(12, workers=1, steps=10, always=5.0))
    assert found.wall_seconds.middle == pytest.approx(8 * 15, rel=0.15)


def test_the_first_start_tells_all_later_ones_where_each_training_has_a_process() -> None:
    """Nineteen more trainings; the first one showed a start of 30 s and 20 s more in its first step."""
    history = begun_slowly(1, workers=1, steps=5)
    own = forecast(history, Random(), RunToEnd(), Rules(), workers=1, own_process=True)
    assert own is not None
    assert own.wall_seconds.middle - seen(history).wall_seconds.middle == pytest.approx(19 * 50, rel=0.05)


@pytest.mark.parametrize(
    ("workload", "is_own"),
    [
        (FromFunction(lambda config: report(1, loss=1.0), metric="loss", mode="min", horizon=3), True),
        (Script("python train.py", metric="loss", mode="min", horizon=3), True),
        (Quadratic(horizon=3), False),
    ],
)  # fmt: skip
def test_a_workload_says_whether_each_training_has_a_process_of_its_own(workload: Trainable, is_own: bool) -> None:
    assert workload.has_own_process is is_own


@pytest.mark.parametrize(
    ("scheduler", "mean"),
    [(RunToEnd(), 9.0), (Asha(reduction_factor=3), 2.1), (AshaPromote(reduction_factor=3), 2.4), (Hyperband(), 4.0)],
    ids=repr,
)
def test_results_in_random_order_say_what_a_scheduler_saves(scheduler: Scheduler, mean: float) -> None:
    """ASHA with a third: a third of the trials gets to step 3, a ninth to step 9: 1 + 2/3 + 6/9 steps, or a little less."""
    lengths = lengths_in_random_order(scheduler, 9)
    assert set(lengths) <= set(range(1, 10))
    assert np.mean(lengths) == pytest.approx(mean, abs=1.0)
    middle, low, high = full_trainings_of(scheduler, 9, 30)
    assert low <= middle <= high
    assert middle == pytest.approx(30 * np.mean(lengths) / 9, rel=0.1)


def test_a_scheduler_without_rungs_has_an_order_too() -> None:
    assert 1 < np.mean(lengths_in_random_order(Median(), 20)) <= 20


@dataclass(frozen=True)
class Limits(Scheduler):
    """Stops a trial that is above the limit of its step."""

    limits: Any

    def judge(self, trial: Trial, history: History) -> Verdict:
        return Verdict.STOP if trial.loss > self.limits[trial.step] else Verdict.CONTINUE


@pytest.mark.parametrize("make", [list, np.array, lambda limits: dict(enumerate(limits))])
def test_a_scheduler_whose_fields_have_no_hash_has_an_order_too(make: Any) -> None:
    """It ended each sweep as a fault of ours: `unhashable type: 'list'`."""
    strict, lax = (lengths_in_random_order(Limits(make([9.0, limit, 9.0])), 3) for limit in (0.0, 9.0))
    assert (set(strict), set(lax)) == ({1}, {3})


@pytest.mark.slow
def test_the_interval_holds_the_truth_of_sweeps_on_made_up_curves() -> None:
    """Ten sweeps, one of each method, three forecasts each; experiments/results/forecast.md has fifty."""
    held = []
    for number in range(200, 210):
        outcome = Race(plan(number)).run()
        assert set(outcome.foreseen) == set(MARKS)
        for seconds, device_seconds, found in outcome.foreseen.values():
            held += [found.device_seconds.low <= outcome.device_seconds - device_seconds <= found.device_seconds.high]
            held += [found.wall_seconds.low <= outcome.seconds - seconds <= found.wall_seconds.high]
    low, high = wilson(sum(held), len(held))
    assert low < 0.8 < high
    assert sum(held) > 0.6 * len(held)


# Words.


def test_the_words_of_a_forecast() -> None:
    found = Forecast(
        Range(7800, 6600, 9600), Range(100_000, 80_000, 150_000), Range(3, 2, 4), 100_000, 3.0, "gpu"
    )  # fmt: skip
    assert time_left(found) == "time left 2 h 10 min (1 h 50 min to 2 h 40 min)"
    assert time_left(found, age=7000) == "time left 13 min (0 s to 43 min)"
    assert time_left(found, age=7801) == ""  # it has run out, which says nothing of the end
    assert as_plain(found, 7801, prices_of(None))["seconds_left"] is None
    assert cost_in_all(found, None) == "56 h (50 h to 69 h) of device time in all"
    assert cost_in_all(found, 0.001) == "$200 ($180 to $250) in all, 56 h (50 h to 69 h) of device time"


def test_a_running_sweep_tells_its_latest_forecast(tmp_path: Path) -> None:
    found = seen(so_far())
    assert read(to_json(asdict(found))) == found
    ledger = Ledger.write(tmp_path)
    with ledger.transaction():
        ledger.add_sweep(timed_sweep(), "", [])
        ledger.add_event(FORESEEN, to_json(asdict(found)))
    told = foreseen(ledger)
    assert told is not None
    assert told["device_seconds_left"][1] == pytest.approx(found.device_seconds.middle, abs=1e-3)
    assert "time left" in foreseen_words(ledger)
    assert "$" in foreseen_words(ledger)
    with ledger.transaction():
        ledger.add_suggestion(0, start({"rate": 0.1, "slow": 0.0}), seed=0)
        ledger.add_search_end("enough")
    assert foreseen(ledger) is not None  # a trial still runs
    with ledger.transaction():
        ledger.add_ending(0, Status.COMPLETED, 1, "", "")
    assert foreseen(ledger) is None
    with ledger.transaction():
        ledger.add_sweep(timed_sweep(), "num_samples", [])
    assert foreseen(ledger) is not None  # the search goes on
    with ledger.transaction():
        ledger.add_event("state", "finished")
    assert foreseen(ledger) is None
    ledger.close()


def plan_of(sweep: object, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    print_plan(sweep, folder)  # type: ignore[arg-type]
    return capsys.readouterr().out


def test_a_dry_run_says_what_it_knows_and_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = timed_sweep(num_samples=12, scheduler=Asha(reduction_factor=2), resources={"cpu": 1}, prices={"cpu": 3.6})
    fresh = plan_of(sweep, tmp_path / "timed", capsys)
    assert "full trainings, if results come in random order; no step has been timed yet (--smoke times two)" in fresh
    assert "$" not in fresh
    carried_out(tmp_path / "timed-smoke", sweep.changed(num_samples=1, name="timed-smoke"), 1, lambda order: 1e9)
    timed = plan_of(sweep, tmp_path / "timed", capsys)
    assert "of the smoke test" in timed
    assert "$" in timed
    carried_out(tmp_path / "timed", sweep.changed(num_samples=8), 2, lambda order: 1e9)
    begun = plan_of(sweep, tmp_path / "timed", capsys)
    assert "ends in" in begun
    assert "in all" in begun
    assert "of the 8 configurations that this sweep drew at random reached it" in begun


def test_a_dry_run_counts_the_baseline_and_a_grid_and_what_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def middle(sweep: Sweep) -> float:
        (found,) = re.findall(r"forecast   (\S+) \(", plan_of(sweep, tmp_path / "timed", capsys))
        return float(found)

    sweep = timed_sweep(num_samples=12, scheduler=Asha(reduction_factor=2), resources={"cpu": 1})
    baseline = {"rate": 0.5, "slow": 0.0}
    saved = 1 - full_trainings_of(Asha(reduction_factor=2), 6, 200)[0] / 200
    more = middle(sweep.changed(baseline=baseline)) - middle(sweep)
    assert more == pytest.approx(saved, abs=0.1), "it is trained in full"
    assert middle(sweep.changed(finalists=2, confirmations=3)) == pytest.approx(middle(sweep) + 6, abs=0.1)
    grid = plan_of(
        sweep.changed(searcher=Grid(resolution=3), scheduler=RunToEnd(), baseline=baseline), tmp_path / "timed", capsys
    )
    assert "timed: 10 configurations of" in grid
    assert "at most 10 full trainings of 6 steps (60 steps), including the baseline\n" in grid
    assert "forecast   10 full trainings at most; no step" in grid
    ledger = Ledger.write(tmp_path / "timed")  # killed after the first step, from which no pace is known
    driver = Driver(sweep.changed(scheduler=RunToEnd()), ledger)
    while (order := driver.next()) is not None and order.assignment is None:
        driver.finish_job(order)
    driver.receive(0, [Reported(1, {"loss": 1.0}, cost_seconds=60.0)])
    ledger.close()
    begun = plan_of(sweep.changed(scheduler=RunToEnd()), tmp_path / "timed", capsys)
    assert "forecast   12 full trainings at most, of which 0.167 are done; no step" in begun


def test_a_dry_run_says_where_the_time_budget_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Six steps of a minute."""
    sweep = timed_sweep(
        space=Space({"rate": uniform(0, 1), "slow": 0.0}), resources={"cpu": 1}, num_samples=12, max_concurrent=1
    )
    carried_out(tmp_path / "timed-smoke", sweep.changed(num_samples=1, name="timed-smoke"), 1, lambda order: 1e9)
    ends, long = "the time budget ends it after 10 min at the latest", sweep.changed(time_budget="9h")
    fresh = plan_of(sweep.changed(time_budget="10m"), tmp_path / "timed", capsys)
    assert ends in fresh
    assert "10 min of device time, if all steps" in fresh
    assert "1 h 12 min of device time, if all steps" in (whole := plan_of(long, tmp_path / "timed", capsys))
    carried_out(tmp_path / "timed", sweep.changed(num_samples=4), 1, lambda order: 1e9)
    begun = plan_of(sweep.changed(time_budget="34m"), tmp_path / "timed", capsys)
    assert ends in begun
    assert "ends in 10 min, with 1 worker" in begun
    assert "34 min of device time in all" in begun
    assert "the time budget ends" not in whole + plan_of(long, tmp_path / "timed", capsys)


def test_a_dry_run_says_where_a_budget_of_money_ends_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six steps of a minute cost $0.36."""
    sweep = timed_sweep(space=Space({"rate": uniform(0, 1), "slow": 0.0}), resources={"cpu": 1}, prices={"cpu": 3.6})
    carried_out(tmp_path / "timed-smoke", sweep.changed(num_samples=1, name="timed-smoke"), 1, lambda order: 1e9)
    ends = "the budget ends it at $0.72 at the latest, after about 2 full trainings"
    assert ends in plan_of(sweep.changed(num_samples=12, budget="$0.72"), tmp_path / "timed", capsys)
    assert "the budget ends" not in plan_of(sweep.changed(num_samples=12, budget="$9"), tmp_path / "timed", capsys)
    only = plan_of(sweep.changed(budget="$0.72"), tmp_path / "timed", capsys)
    assert "what the budget allows: about 2 full trainings; a step took 60 s" in only


@pytest.mark.parametrize(
    ("budget", "finalists", "words"),
    [
        ("$1.2", 1, "warning    The budget of $1.20 leaves no room for a full training besides the baseline and the 3 "
         "repetitions of finalists; one costs about $0.36. Give $5, or drop finalists (finalists=0)."),
        (4, 1, "warning    The budget of 4 full trainings leaves no room for a full training besides the baseline and the"),
        ("$0.5", 0, "leaves no room for a full training besides the baseline; one costs about $0.36. Give $4."),
        ("$0.5", 1, "one costs about $0.36. Give $5."),  # without finalists it would not be enough either
        ("$1.8", 1, ""),
        (4.5, 1, ""),
        ("$0.8", 0, ""),
    ],
)  # fmt: skip
def test_a_budget_that_leaves_nothing_to_search_with_is_told_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: object, finalists: int, words: str
) -> None:
    """A full training costs $0.36; the baseline comes first, and three repetitions of each finalist last."""
    sweep = timed_sweep(
        space=Space({"rate": uniform(0, 1), "slow": 0.0}), resources={"cpu": 1}, prices={"cpu": 3.6}, budget=budget,
        baseline={"rate": 0.5, "slow": 0.0}, finalists=finalists, confirmations=3,
    )  # fmt: skip
    carried_out(tmp_path / "timed-smoke", sweep.changed(name="timed-smoke"), 1, lambda order: 1e9)
    printed = plan_of(sweep, tmp_path / "timed", capsys)
    assert words in printed
    assert ("warning" in printed) == bool(words)
    driver = carried_out(tmp_path / "timed", sweep, 1, lambda order: 1e9)
    searched = [trial for trial in driver.history if trial.first_origin not in (BASELINE, FINALIST)]
    assert (not searched) == bool(words), "the warning comes true, and nothing else does"
    assert bool(no_room(sweep, tmp_path / "timed", driver.history)) == bool(words), "as measured"


def test_the_start_and_the_end_say_that_a_budget_left_nothing_to_search_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = timed_sweep(
        resources={"cpu": 1}, prices={"cpu": 3.6}, baseline={"rate": 0.5, "slow": 0.0}, finalists=1, confirmations=2
    )
    run(sweep.changed(budget=3), folder=tmp_path / "run", simulate=True)
    told = capsys.readouterr().err
    assert "The budget of 3 full trainings leaves no room for a full training besides the baseline and the 2" in told
    run(sweep.changed(budget=5), folder=tmp_path / "other", simulate=True)
    assert "no room" not in capsys.readouterr().err
    folder = tmp_path / "dear"
    driver = carried_out(folder, sweep.changed(budget="$0.8"), 1, lambda order: 1e9)  # no smoke test told before
    ledger = Ledger.read(folder)
    tell_end(driver, ledger, None)
    ledger.close()
    told = capsys.readouterr().out
    assert "Not searched The budget of $0.80 leaves no room for a full training" in told
    (advised,) = re.findall(r"Give (\$\d+\.\d+)", told)
    (typed,) = re.findall(r"More trials .*--budget '(.*)'", told)
    assert typed == advised, "one budget is advised, not two"


def test_the_end_says_that_the_finalists_part_left_room_for_one_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = timed_sweep(resources={"cpu": 1}, prices={"cpu": 3.6}, budget="$1", finalists=2, confirmations=1)
    assert sweep.baseline_config is None
    driver = carried_out(tmp_path / "run", sweep, 1, lambda order: 1e9)
    ledger = Ledger.read(tmp_path / "run")
    tell_end(driver, ledger, None)
    ledger.close()
    told = capsys.readouterr().out
    assert (
        "leaves no room for a full training besides the first configuration and the 2 repetitions of finalists" in told
    )
    assert "or drop finalists (finalists=0)." in told
    asked = carried_out(tmp_path / "one", sweep.changed(num_samples=1), 1, lambda order: 1e9)
    assert no_room(sweep.changed(num_samples=1), tmp_path / "one", asked.history) == "", "only one was asked for"


def test_without_a_baseline_nothing_is_kept_for_one(tmp_path: Path) -> None:
    """A function of the user's has no baseline, unless the sweep gives one."""
    own = timed_sweep(baseline="workload", finalists=1, budget=2)
    assert own.baseline_config is None
    history = carried_out(tmp_path / "run", own, 1, lambda order: 1e9).history
    assert [trial.first_origin for trial in history] == ["random", FINALIST]
    assert no_room(own, tmp_path / "new", History(own.space, horizon=6)) == ""
