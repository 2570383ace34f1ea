"""Prices, bills, and budgets in dollars and device hours."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.console.typed_command import more
from orchestrator.definition.checks import on_this_machine
from orchestrator.driver import Driver
from orchestrator.errors import BadInput
from orchestrator.money import devices
from orchestrator.money.against_random import share_that_reached
from orchestrator.money.amounts import Amount, budget_of
from orchestrator.money.bill import Plan, bill
from orchestrator.money.first_steps import excess_of_first_steps
from orchestrator.money.prices import Price, Prices, prices_of
from orchestrator.page.charts import Chart, Table
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections import bill as bill_section
from orchestrator.reading.audit import audit
from orchestrator.reading.costs import cost_words
from orchestrator.reading.export import best_as_yaml
from orchestrator.reading.summary import summary
from orchestrator.record.encoding import seconds_between
from orchestrator.record.ledger import Ledger
from search.history import History
from search.records import Began, End, Report, Status, Used, start
from search.schedulers.asha import Asha
from search.space import Space, uniform
from search.task import Task
from search.work import Reported
from tests.records_on_disk import sweep_over, written
from tests.support import ROOT, interrupted_after, recorded, sequence, small_sweep

sys.path.insert(0, str(ROOT / "experiments" / "benchmarks"))

from budgets import KINDS, Timed, carried_out, lifetimes, timed_sweep

PRICES = {"H100": 3.6}
SPACE = Space({"x": uniform(0.0, 1.0)})


def forever(order: Any) -> float:
    return math.inf


def cost_of(folder: Path) -> dict[str, Any]:
    ledger = Ledger.read(folder)
    try:
        return dict(summary(ledger)["cost"])
    finally:
        ledger.close()


# Prices.


@pytest.mark.parametrize(
    ("device", "usd"),
    [
        ("NVIDIA H100 80GB HBM3", 2.5),
        ("NVIDIA A100-SXM4-40GB", 4.0),
        ("NVIDIA A10", 1.0),  # is no A100
        ("Tesla K80", 1.0),
        ("gpu", 1.0),
        ("cpu", 0.04),
    ],
)
def test_a_price_is_found_by_words_of_the_device_name(device: str, usd: float) -> None:
    prices = prices_of({"h100": 2.5, "A100": Price(32.0, devices=8, spot=True), "GPU": 1.0, "cpu": 0.04})
    assert prices.usd(device, 3600.0) == pytest.approx(usd)


def test_no_price_is_invented() -> None:
    prices = prices_of({"H100": 2.5, "A100": 4.0})
    assert prices.of("Tesla K80") is prices.of("cpu") is prices.of("gpu") is None
    only = prices_of({"H100": 2.5})
    assert only.of("gpu") == Price(2.5)  # a GPU that did not tell its name can only be this one
    assert only.of("Tesla K80") is None


@pytest.mark.parametrize("name", ["prices.json", "prices.yaml", "prices.toml"])
def test_prices_come_from_a_file(tmp_path: Path, name: str) -> None:
    if name.endswith("toml") and sys.version_info < (3, 11):
        pytest.skip("Python 3.10 reads no TOML")
    text = {
        "json": json.dumps({"H100": 2.5, "A100": {"usd_per_hour": 32, "devices": 8}}),
        "yaml": "H100: 2.5\nA100: {usd_per_hour: 32, devices: 8}\n",
        "toml": "[prices]\nH100 = 2.5\nA100 = { usd_per_hour = 32, devices = 8 }\n",
    }[name.partition(".")[2]]
    (tmp_path / name).write_text(text)
    assert prices_of(str(tmp_path / name)).plain() == {
        "H100": 2.5,
        "A100": {"usd_per_hour": 32, "devices": 8, "spot": False},
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"H100": -1}, "'H100' costs -1: must be a number of dollars"),
        ({"H100": "2.49"}, "'H100' costs '2.49'"),
        ({"H100": {"usd_per_hur": 1}}, "Did you mean 'usd_per_hour'?"),
        ({"H100": {"usd_per_hour": 1, "devices": 0}}, "devices=0: must be a whole number"),
        ({"H100": {"spot": True}}, "has no usd_per_hour"),
        ([2.49], "is not a table of prices"),
        ({"": 1.0}, "is not the name of a device"),
        ("nowhere.toml", "cannot be read: No such file"),
        ("prices.txt", "must end in"),
    ],
)
def test_bad_prices_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prices.txt").write_text("")
    with pytest.raises(BadInput) as refused:
        small_sweep(prices=given)
    assert words in str(refused.value)


# Budgets: what people write.


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("$200", Amount(200, "$")),
        ("$1,200.50", Amount(1200.5, "$")),
        ("200 usd", Amount(200, "$")),
        ("40 gpu-hours", Amount(40, "gpu-hours")),
        ("40 GPU hours", Amount(40, "gpu-hours")),
        ("1e2 cpu-h", Amount(100, "cpu-hours")),
        ("30 full trainings", 30.0),
        ("30", 30.0),
        (30, 30),
    ],
)
def test_a_budget_is_read_as_people_write_it(given: Any, meant: Any) -> None:
    assert budget_of(given) == meant
    assert isinstance(meant, (int, float)) or budget_of(str(meant)) == meant


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": "200 euros"}, "unknown unit 'euros'. Write 30 or '30 full trainings', '40 gpu-hours'"),
        ({"budget": "5 min"}, "write --time-budget 5m, or Sweep(time_budget='5m')"),
        ({"budget": "40 gpu-hous"}, "Did you mean 'gpu-hours'?"),
        ({"budget": "$"}, "must be a number of full trainings, or an amount with its unit"),
        ({"budget": "$-3"}, "must be more than 0"),
        ({"budget": "$5 gpu-hours"}, "two units"),
        ({"budget": "4 gpu-hours"}, "uses no gpu, so nothing would count; write 'N cpu-hours'"),
        ({"budget": "4 cpu-hours", "resources": {"gpu": 1}}, "write 'N gpu-hours'"),
        ({"budget": 0.5}, "nothing could be completed"),
        ({"max_cost": 3}, "Did you mean 'budget'?"),
        ({"price": PRICES}, "Did you mean 'prices'?"),
    ],
)
def test_bad_budgets_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as refused:
        small_sweep(num_samples=None, **changes)
    assert words in str(refused.value)


def test_dollars_need_the_price_of_the_device_before_anything_starts() -> None:
    with pytest.raises(BadInput, match=r"needs the price of a CPU core.*the prices are for H100.*prices={'cpu': 0.04}"):
        on_this_machine(small_sweep(budget="$200", prices=PRICES))
    with pytest.raises(
        BadInput, match=r"needs the price of a GPU for an hour\. Write prices={'H100': 2.49}, or --prices"
    ):
        on_this_machine(timed_sweep(budget="$200", prices=None), local=False)
    on_this_machine(small_sweep(budget="$200", prices={"cpu": 0.04}))


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, *rows: str) -> None:
    """A machine with these GPUs: index, uuid, name."""
    program = folder / "nvidia-smi"
    lines = [*rows, *(f"GPU {row.partition(',')[0]}: one" for row in rows)]
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_device_is_the_model_that_the_process_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, monkeypatch, "0, GPU-aa, NVIDIA A100-SXM4-40GB", "1, GPU-bb, Tesla T4")
    assert devices.device_name("gpu") == "NVIDIA A100-SXM4-40GB"
    assert devices.device_name("cpu") == "cpu"
    for seen in ("1", "GPU-bb"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
        assert devices.device_name("gpu") == "Tesla T4"
    with pytest.raises(
        BadInput, match=r"this machine has 'Tesla T4', and the prices are for H100\. Add a word of that name"
    ):
        on_this_machine(timed_sweep(budget="$200"))
    on_this_machine(timed_sweep(budget="$200", prices={"T4": 0.35}))


# The bill.


def test_the_bill_of_the_cars_study_is_right_to_the_dollar() -> None:
    """SigOpt's slides: 4.2 h for a training at $0.90 an hour; one page has 924 h and 46 h, another 928 h and 45 h."""
    table = {"multitask": (220, 924, 832), "Bayesian": (646, 2713, 2442), "random": (20 * 646, 54264, 48838)}
    for trainings, hours, usd in table.values():
        plan = Plan(trainings, 4.2, 0.90)
        assert round(plan.machine_hours) == hours
        assert round(plan.usd) == usd
    cars, random = Plan(220, 4.2, 0.90), Plan(20 * 646, 4.2, 0.90)
    assert round(cars.wall_hours(machines=20)) == 46
    assert cars.usd / random.usd == pytest.approx(0.017, abs=5e-4)
    assert int(random.usd / cars.usd) == 58
    other = replace(cars, hours=928 / 220)  # the other page: 928 h, on 20 machines 46 h, of which it prints 45
    assert 46 <= other.wall_hours(machines=20) < 47
    assert round(other.usd) == 835  # and not the 832 of the table, so the table's hours are those of 4.2 h


def billed(records: list[Any], prices: Prices | None = None) -> Any:
    """The bill of these records, in order."""
    history = History(SPACE, horizon=4, tasks=[*Task.data(0.5, 1.0)])
    reports, others = [], []
    for seq, record in enumerate(records):
        if isinstance(record, Report):
            reports.append((seq, record.trial, record.cost_seconds))
        elif isinstance(record, (Began, Used)):
            others.append((seq, record))
        history.append(record)
    return bill(reports, others, history.trials, prices or Prices({})), history


def test_every_second_is_on_the_bill_once_by_what_it_was_for() -> None:
    found, history = billed(
        [
            Began("", "gpu", 2.0), Used(None, 5.0, "prepare"), start({"x": 0.1}), Used(0, 0.0, "device", "NVIDIA L4"),
            Used(0, 3.0, "start"), Report(0, 1, 1.0, 10.0), Report(0, 2, 1.0, 10.0), Used(0, 4.0, "lost"),
            Report(0, 3, 1.0, 500.0), Report(0, 4, 1.0, 10.0), End(0, Status.COMPLETED), Used(0, 1.0, "test"),
            start({"x": 0.2}, task="0.5 of the data"), Report(1, 1, 1.0, 5.0), End(1, Status.FAILED),
            Began("fewer", "gpu", 0.5), start({"x": 0.3}), Report(2, 1, 1.0, 10.0), End(2, Status.STOPPED),
        ],
        prices_of({"L4": 0.72, "T4": 0.36}),
    )  # fmt: skip
    seconds = {name: amount for name, (amount, _) in found.by(1).items()}
    assert seconds == {
        "prepare": 10.0, "start": 6.0, "completed": 80.0, "stalled": 980.0, "lost": 8.0, "test": 2.0, "failed": 10.0,
        "stopped": 5.0,
    }  # fmt: skip
    assert found.device_seconds == sum(history.device_time.by_device.values()) == sum(seconds.values())
    assert found.gpu_hours == pytest.approx(found.device_seconds / 3600)
    ((device, (all_of_it, usd)),) = found.by(2).items()  # what ran before a trial told its GPU ran on that one too
    assert (device, all_of_it) == ("NVIDIA L4", found.device_seconds)
    assert found.usd == usd == pytest.approx(all_of_it * 0.72 / 3600)
    assert set(found.by(0)) == {"", "full", "0.5 of the data"}


def test_a_slow_first_step_is_a_start_and_a_slow_later_one_is_held_up() -> None:
    slow = [Report(0, step, 1.0, took) for step, took in enumerate((50.0, 1.0, 1.0, 500.0), start=1)]
    resumed = [Began("", "cpu", 1.0), *(Report(1, step, 1.0, took) for step, took in ((2, 11.0), (3, 1.0), (4, 1.0)))]
    found, history = billed(
        [start({"x": 0.1}), *slow, End(0, Status.COMPLETED), start({"x": 0.2}), Report(1, 1, 1.0, 2.9), *resumed]
    )
    seconds = {name: amount for name, (amount, _) in found.by(1).items()}
    assert seconds == {"start": 59.0, "stalled": 499.0, "completed": 4.0, "running": pytest.approx(5.9)}
    assert found.device_seconds == sum(history.device_time.by_device.values())


def test_a_resumed_trial_starts_again_and_one_slow_step_alone_is_a_start_if_others_start_alike() -> None:
    trials = billed([start({"x": number / 9}) for number in range(3)])[1].trials
    reports = [(1, 0, 21.0), (2, 0, 1.0), (3, 0, 1.0), (5, 0, 31.0), (6, 1, 100.0), (7, 2, 2.0)]
    assert excess_of_first_steps(reports, [(4, 0)], trials) == {1: 20.0, 5: 30.0, 6: 25.0}
    assert excess_of_first_steps(reports, [(4, None)], trials) == {1: 20.0, 5: 30.0, 6: 25.0}
    one_step = [(1, 0, 21.0), (2, 0, 1.0), (3, 1, 23.0), (4, 2, 19.0)]  # starts differ: all but a usual step is one
    assert excess_of_first_steps(one_step, [], trials) == {1: 20.0, 3: 22.0, 4: 18.0}
    assert excess_of_first_steps([(1, 0, 1.0), (2, 1, 90.0)], [], trials) == {}  # nothing tells how long a step takes


@pytest.mark.parametrize(("metrics", "what"), [({}, "untested"), ({"acc": 0.5}, "test")])
def test_a_training_without_a_test_has_none_on_the_bill_and_in_the_export(
    metrics: dict[str, float], what: str, tmp_path: Path
) -> None:
    ledger = Ledger.write(tmp_path)
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        ledger.add_suggestion(0, start({"x": 0.5}), seed=0)
        ledger.add_report(0, 4, 0.5, 1.0, {"loss": 0.5})
        ledger.add_ending(0, Status.COMPLETED, 1, "", "")
        ledger.add_test(0, 4, metrics)
        ledger.add_used(Used(0, 3.25, "test"))
    assert {"test", "untested"} & {*cost_of(tmp_path)["breakdown"]} == {what}
    assert ("test:" in best_as_yaml(ledger)) == bool(metrics)
    ledger.close()


def test_without_the_price_of_one_device_there_are_no_dollars() -> None:
    records = [Began("", "gpu", 1.0), start({"x": 0.1}), Used(0, 0.0, "device", "NVIDIA L4"), Report(0, 1, 1.0, 10.0)]
    found, _ = billed([*records, Used(None, 5.0, "prepare")], prices_of({"L4": 0.72}))
    assert found.usd is not None  # the unnamed GPU can only be the one that has a price
    found, _ = billed([*records, Used(None, 5.0, "prepare", "cpu")], prices_of({"L4": 0.72}))
    assert found.usd is None
    assert found.unpriced == ["cpu"]
    assert found.by(2)["NVIDIA L4"][1] == pytest.approx(10 * 0.72 / 3600)


def test_what_a_killed_worker_did_is_on_record_and_on_the_bill(tmp_path: Path) -> None:
    """The worker of the first order dies after 150 s: two steps and their checkpoint, and half of the third."""
    lives = iter([150.0])
    sweep = timed_sweep(space=Space({"rate": uniform(0, 1), "slow": 0.0}), num_samples=2)
    carried_out(tmp_path, sweep, 1, lambda order: next(lives, math.inf))
    cost = cost_of(tmp_path)
    assert {name: part["device_seconds"] for name, part in cost["breakdown"].items()} == {"completed": 720, "lost": 30}
    assert cost["device_seconds"] == 750
    assert cost["gpu_hours"] == pytest.approx(750 / 3600, abs=1e-4)
    assert cost["usd"] == pytest.approx(0.75)
    assert cost["seconds"] == 720


def test_repeated_steps_are_lost_work(tmp_path: Path) -> None:
    """The worker dies in the fourth step, after the only checkpoint at step two: the third is trained twice."""
    lives = iter([200.0])
    sweep = timed_sweep(space=Space({"rate": uniform(0, 1), "slow": 0.0}), num_samples=1)
    carried_out(tmp_path, sweep, 1, lambda order: next(lives, math.inf))
    lost = [json.loads(row["text"]) for row in recorded(tmp_path, "event") if row["kind"] == "used"]
    assert [(each["what"], each["seconds"]) for each in lost] == [("lost", 20.0), ("lost", 60.0)]
    assert cost_of(tmp_path)["device_seconds"] == 6 * 60 + 80


def test_a_driver_that_was_killed_leaves_an_estimate_of_what_its_workers_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records come every ten seconds; two trials ran when the driver died, and the last record is about one of them."""
    ticks = itertools.count()

    def now() -> str:
        minutes, tens = divmod(next(ticks), 6)
        return f"2026-01-01 00:{minutes:02d}:{tens}0.000000"

    monkeypatch.setattr("orchestrator.record.ledger.now", now)
    interrupted_after(tmp_path, timed_sweep(), answers=4, workers=2)
    carried_out(tmp_path, timed_sweep(), 2, forever)
    tables = ("suggestion", "report", "checkpoint", "event")
    first = [row for table in tables for row in recorded(tmp_path, table) if row["epoch"] == 1]
    heard, began = max(row["time"] for row in first), recorded(tmp_path, "sweep")[1]["seq"]
    used = {r["trial"]: r["text"] for r in recorded(tmp_path, "event") if r["kind"] == "used" and r["seq"] < began}
    assert set(used) == {0, 1}
    for trial, text in used.items():
        last = max(row["time"] for row in recorded(tmp_path, "report") if row["trial"] == trial and row["epoch"] == 1)
        assert json.loads(text) == {"what": "lost", "seconds": seconds_between(last, heard)}


def test_a_sweep_without_losses_writes_nothing_more_than_before(tmp_path: Path) -> None:
    carried_out(tmp_path, timed_sweep(num_samples=3, resources={"cpu": 1}, prices=None), 2, forever)
    assert [row for row in recorded(tmp_path, "event") if row["kind"] == "used"] == []
    cost = cost_of(tmp_path)
    assert cost["usd"] is None
    assert cost["gpu_hours"] == 0
    assert "CPU-hours; in dollars once a price is given: Sweep(prices={'cpu': …}), or --prices FILE" in cost_words(cost)


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({"budget": "$1", "num_samples": 40}, "--num-samples 40 --budget '$2'"),
        ({"budget": 3.0, "num_samples": 40}, "--num-samples 40 --budget 6"),
        ({"budget": "$9", "num_samples": 2}, "--num-samples 4 (within the budget of $9)"),
    ],
)
def test_the_command_for_more_raises_what_ended_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], ends: str
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "tune.py", "--budget", "1", "--num-samples", "40"])
    monkeypatch.setattr(sys, "argv", sys.orig_argv[1:])
    sweep = timed_sweep(**changes)
    line = more(sweep, carried_out(tmp_path, sweep, 1, forever).over)
    assert line.endswith(ends)


def test_the_command_for_more_goes_beyond_what_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "tune.py", "--num-samples", "24"])
    monkeypatch.setattr(sys, "argv", sys.orig_argv[1:])
    assert more(timed_sweep(num_samples=8), "", started=19).endswith("--num-samples 38")


def test_prices_may_change_and_only_a_budget_in_dollars_sees_it(tmp_path: Path) -> None:
    sweep = timed_sweep(num_samples=2)
    carried_out(tmp_path / "a", sweep, 1, forever)
    carried_out(tmp_path / "a", sweep.changed(prices={"H100": 7.2}), 1, forever)
    assert [row["change"] for row in recorded(tmp_path / "a", "sweep")] == ["", ""]
    assert cost_of(tmp_path / "a")["prices"] == {"H100": 7.2}
    dear = timed_sweep(budget="$1", prices={"H100": 7.2})
    carried_out(tmp_path / "b", dear, 1, forever)
    before = len(recorded(tmp_path / "b", "suggestion"))
    cheap = dear.changed(prices={"H100": 1.8})
    carried_out(tmp_path / "b", cheap, 1, forever)
    assert recorded(tmp_path / "b", "sweep")[-1]["change"] == "prices.H100: 7.2 → 1.8"
    assert len(recorded(tmp_path / "b", "suggestion")) > before


# Budgets of device time: the hard stop.


@pytest.mark.parametrize("seed", range(6))
def test_a_budget_in_dollars_is_exceeded_by_at_most_one_report_of_each_trial(tmp_path: Path, seed: int) -> None:
    """A fifth of the workers is killed; experiments/results/forecast.md has 50 seeds."""
    sweep, workers = timed_sweep(budget="$2", seed=seed, **KINDS[seed % 4]), 1 + seed
    driver = carried_out(tmp_path, sweep, workers, lifetimes(seed, 0.45))
    limit = sweep.device_budget
    assert limit is not None
    interval = 120 * 3.6 / 3600  # dollars for the slowest step
    assert limit.amount / 2 < limit.spent(driver.history) <= limit.amount + workers * interval
    assert cost_of(tmp_path)["usd"] == pytest.approx(limit.spent(driver.history), abs=1e-3)
    ledger = Ledger.read(tmp_path)
    assert audit(sweep, ledger).differences == ()
    ledger.close()
    before = sequence(tmp_path)
    carried_out(tmp_path, sweep, workers, forever)  # the same command: nothing is left to pay for
    assert sequence(tmp_path) == before


def test_the_audit_misses_a_stop_that_the_budget_asks_for(tmp_path: Path) -> None:
    carried_out(tmp_path, timed_sweep(budget="$2", num_samples=5), 2, forever)
    ledger = Ledger.read(tmp_path)
    found = audit(timed_sweep(budget="$0.5", num_samples=5), ledger)
    ledger.close()
    assert any("the budget of $0.50 is spent" in difference.text for difference in found.differences)


def slower(folder: Path, budget: str, **changes: Any) -> Driver:
    """The last three steps take ten times as long as the others, which no forecast could know."""

    class Late(Timed):
        def run(self, *given: Any) -> Iterator[Any]:
            for item in super().run(*given):
                late = isinstance(item, Reported) and item.step > 3
                yield replace(item, cost_seconds=600.0) if late else item

        def __repr__(self) -> str:
            return "Late()"

    return carried_out(folder, timed_sweep(workload=Late(), budget=budget, **changes), 1, forever)


def test_a_trial_that_the_budget_stops_goes_on_when_it_is_raised(tmp_path: Path) -> None:
    driver = slower(tmp_path, "$1")
    first = driver.history.trials[0]
    assert first.status is Status.STOPPED
    assert first.reason == "the budget of $1 is spent, at step 5"
    assert driver.over == "the budget of $1 is spent"
    more = slower(tmp_path, "0.6 gpu-hours")
    assert more.history.trials[0].status is Status.COMPLETED
    assert [row["step"] for row in recorded(tmp_path, "report") if row["trial"] == 0] == [1, 2, 3, 4, 5, 6]
    told = [row["evidence"] for row in recorded(tmp_path, "suggestion") if row["kind"] == "resume"]
    assert told == ["the budget has been raised"]


def test_finalists_have_their_part_of_the_budget(tmp_path: Path) -> None:
    driver = carried_out(tmp_path, timed_sweep(budget="$3", finalists=2), 2, forever)
    confirmed = [trial for trial in driver.history if trial.first_origin == "finalist"]
    assert [trial.status for trial in confirmed] == [Status.COMPLETED] * 2
    assert driver.sweep.device_budget.spent(driver.history) <= 3.0  # type: ignore[union-attr]


def test_gpu_hours_count_gpus_and_cpu_hours_cores(tmp_path: Path) -> None:
    # A budget is exceeded by one report at most: 120 s of a trial.
    two = timed_sweep(budget="1 gpu-hours", prices=None, resources={"cpu": 4, "gpu": 2})
    assert (
        1800 < 2 * sum(t.cost_seconds for t in carried_out(tmp_path / "a", two, 1, forever).history) <= 3600 + 2 * 120
    )
    cores = timed_sweep(budget="1 cpu-hour", prices=None, resources={"cpu": 4})
    assert (
        1800 < 4 * sum(t.cost_seconds for t in carried_out(tmp_path / "b", cores, 1, forever).history) <= 3600 + 4 * 120
    )


def test_the_device_of_a_trial_is_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    nvidia_smi(tmp_path / "bin", monkeypatch, "0, GPU-aa, NVIDIA H100 80GB HBM3")
    carried_out(tmp_path / "run", timed_sweep(num_samples=2), 1, forever)
    cost = cost_of(tmp_path / "run")
    assert set(cost["devices"]) == {"NVIDIA H100 80GB HBM3"}
    assert cost["usd"] == pytest.approx(cost["device_seconds"] * 3.6 / 3600, abs=1e-4)


def test_a_device_without_a_price_stops_a_sweep_with_a_budget_in_dollars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    nvidia_smi(tmp_path / "bin", monkeypatch, "0, GPU-aa, Tesla K80")
    driver = carried_out(tmp_path / "run", timed_sweep(budget="$2"), 1, forever)
    assert "'Tesla K80' has no price" in driver.stop_reason
    assert len(driver.history.trials) == 1


# Against random search.


def test_random_search_is_compared_only_with_enough_random_configurations() -> None:
    assert share_that_reached([True] * 4) is None
    none = share_that_reached([False] * 10)
    assert none is not None
    assert none.estimate is None
    assert none.at_least == pytest.approx(1 / 0.3085, rel=1e-3)  # Clopper–Pearson for 0 of 10
    some = share_that_reached([True] * 2 + [False] * 8)
    assert some is not None
    assert some.estimate == 5.0
    assert (some.at_least, some.at_most) == pytest.approx((1 / 0.5561, 1 / 0.0252), rel=1e-2)


# The section of the page.


@pytest.fixture(scope="module")
def with_losses(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("bill") / "run"
    carried_out(folder, timed_sweep(num_samples=8, scheduler=Asha(reduction_factor=2)), 2, lifetimes(3, 0.5))
    ledger = Ledger.read(folder)
    found = Recorded.of(ledger)
    ledger.close()
    return found


def test_the_page_says_what_a_step_is_that_was_held_up(tmp_path: Path) -> None:
    space = Space({"x": uniform(0, 1)})
    reports = [Report(0, step, 1.0, 50.0 if step == 5 else 1.0) for step in range(1, 9)]
    run = written(tmp_path, sweep_over(space, horizon=8), [start({"x": 0.5}), *reports, End(0, Status.COMPLETED)])
    found = bill_section.section(run)
    assert found is not None
    assert (
        "for steps that were held up. A step is held up if it takes more than 20 times the median" in found.sentences[1]
    )


def test_a_run_whose_parts_took_less_than_a_millisecond_has_a_bill(tmp_path: Path) -> None:
    space = Space({"x": uniform(0, 1)})
    records = []
    for trial, end in enumerate(
        (Status.COMPLETED, Status.STOPPED)
    ):  # 0.4 ms each: 0.001 s in all, 0.000 s of each kind
        records += [start({"x": 0.3 + trial / 5}), Report(trial, 1, 1.0, 0.0004), End(trial, end)]
    run = written(tmp_path, sweep_over(space, horizon=1), records)
    found = bill_section.section(run)
    assert found is not None
    table = found.figures[1]
    assert isinstance(table, Table)
    assert {row[-1] for row in table.rows} == {"0.0 %", "100.0 %"}


def test_the_section_adds_up(with_losses: Recorded) -> None:
    found = bill_section.section(with_losses)
    assert found is not None
    cost = with_losses.accounts["cost"]
    assert f"${cost['usd']:.2f}" in found.sentences[0]
    assert "gave no result" in found.sentences[1]
    assert any("This assumes that random search trains every configuration in full" in text for text in found.sentences)
    bars, table = found.figures
    assert isinstance(bars, Chart)
    assert isinstance(table, Table)
    assert sum(float(x) for x in bars.series[0].x if x is not None) == pytest.approx(cost["usd"], abs=1e-3)
    assert table.rows[-1][0] == "total"


def test_there_is_no_section_before_anything_is_spent(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    with ledger.transaction():
        ledger.add_sweep(timed_sweep(), "", [])
    assert bill_section.section(Recorded.of(ledger)) is None
    ledger.close()
