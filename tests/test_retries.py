"""Failed trials that are tried again once the cause is mended: --retry-failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver import Driver
from orchestrator.errors import TrialsFailed
from orchestrator.main import run
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections.failures import section
from orchestrator.page.sections.health import checks
from orchestrator.reading.summary import summary
from orchestrator.record.ledger import Ledger
from search.records import Config
from tests.failing import kept, sweep_of
from tests.support import interrupted_after, orchestrator, recorded, run_script, sequence, simulated
from tests.test_audit import SWEEPS, differences
from trainables.workloads.quadratic import Quadratic

BROKEN = {"is": True}  # the cause of the failures, which the tests mend


@pytest.fixture(autouse=True)
def broken() -> Iterator[None]:
    BROKEN["is"] = True
    yield
    BROKEN["is"] = True


@dataclass(frozen=True)
class Breaks(Quadratic):
    """Cannot do with momentum, until that is mended."""

    def model(self, config: Config, prepared: Path | None) -> Any:
        if config["momentum"] > 0.35 and BROKEN["is"]:
            raise ValueError(f"momentum of {config['momentum']}")
        return super().model(config, prepared)


def late(config: Config, state: dict[str, float] | None) -> Iterator[tuple[dict[str, float], dict[str, float]]]:
    """Counts its steps; fails after the second for large x."""
    step = 0 if state is None else state["step"]
    while True:
        if step == 2 and config["x"] > 0.5 and BROKEN["is"]:
            raise RuntimeError("out of memory")
        step += 1
        yield {"loss": config["x"] / step, "trained": 1.0}, {"step": step}


FEW = ("a bandit", "a budget")  # with two workers none of their trials fails


def dead(driver: Driver) -> list[int]:
    return [trial.number for trial in driver.history if trial.status.value == "failed"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("random", "asha", "promotions", "a population") else pytest.mark.slow)
        for name in SWEEPS
        if name not in ("failures", "only failures", "divergence")
    ],
)
def test_every_search_takes_trials_back_that_had_failed_and_an_audit_agrees(name: str, tmp_path: Path) -> None:
    sweep = replace(SWEEPS[name], workload=Breaks(horizon=4, declared_cost=1.0), first_alone=False)
    for workers, answers in ((1, 0), (2, 3)):
        BROKEN["is"], folder = True, tmp_path / f"{workers}"
        failed = dead(simulated(folder, sweep, workers))
        before = recorded(folder, "ending")
        BROKEN["is"] = False
        interrupted_after(
            folder, sweep, answers, workers, retry_failed=True
        )  # a kill, before and after the first answers
        driver = simulated(folder, sweep, workers)  # … which the same command without the flag survives
        again = {row["trial"] for row in recorded(folder, "event") if row["kind"] == "another try"}
        waiting = set(driver.history.run.to_retry)
        assert failed or name in FEW
        assert again <= set(failed)
        assert differences(folder, sweep) == []
        assert set(dead(driver)) == (set(failed) - again) | waiting  # what is left has lost its place, or its budget
        assert recorded(folder, "ending")[: len(before)] == before  # nothing recorded is lost
        assert not waiting or driver.over or driver.is_out_of_time


def test_a_trial_goes_on_from_its_checkpoint_and_each_step_is_trained_once(tmp_path: Path) -> None:
    sweep = sweep_of(late, num_samples=6, checkpoint_seconds=0.0)
    first = simulated(tmp_path, sweep)
    failed = dead(first)
    assert failed
    assert set(failed) <= kept(first)
    BROKEN["is"] = False
    driver = simulated(tmp_path, sweep, retry_failed=True)
    assert not dead(driver)
    assert len(driver.history.trials) == 6
    assert all(driver.history.trials[number].steps == [1, 2, 3, 4] for number in failed)
    resumed = [row for row in recorded(tmp_path, "suggestion") if row["kind"] == "resume"]
    assert [row["trial"] for row in resumed] == failed
    assert all("failed at step 2: RuntimeError: out of memory" in row["evidence"] for row in resumed)
    assert not [row for row in recorded(tmp_path, "event") if row["kind"] == "nondeterminism"]


def test_another_try_of_a_trial_is_no_suggestion(tmp_path: Path) -> None:
    sweep = sweep_of(late, num_samples=6, checkpoint_seconds=0.0)
    assert dead(simulated(tmp_path, sweep))
    BROKEN["is"] = False
    driver = simulated(tmp_path, sweep, retry_failed=True)
    ledger = Ledger.read(tmp_path)
    facts, asked = summary(ledger), len(recorded(tmp_path, "suggestion"))
    ledger.close()
    assert sum(facts["suggestions"].values()) == len(driver.history.trials) < asked


def test_wherever_a_retry_is_killed_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    sweep = sweep_of(late, num_samples=4, checkpoint_seconds=0.0)
    records = []
    for answers in (None, 0, 1, 3, 5):
        BROKEN["is"], folder = True, tmp_path / str(answers)
        simulated(folder, sweep)
        BROKEN["is"] = False
        if answers is not None:
            interrupted_after(folder, sweep, answers, 1, retry_failed=True)
        assert not dead(simulated(folder, sweep, retry_failed=answers is None))
        records.append(sequence(folder))
    assert records.count(records[0]) == len(records)


def test_without_the_flag_a_failed_trial_stays_failed(tmp_path: Path) -> None:
    sweep = sweep_of(late)
    failed = dead(simulated(tmp_path, sweep))
    BROKEN["is"] = False
    assert failed
    assert dead(simulated(tmp_path, sweep)) == failed


def test_a_trial_that_fails_again_may_be_tried_again(tmp_path: Path) -> None:
    sweep = sweep_of(late)
    failed = dead(simulated(tmp_path, sweep))
    assert dead(simulated(tmp_path, sweep, retry_failed=True)) == failed
    BROKEN["is"] = False
    assert not dead(simulated(tmp_path, sweep, retry_failed=True))
    assert differences(tmp_path, sweep) == []


def test_a_trial_that_had_lost_all_its_workers_gets_them_anew(tmp_path: Path) -> None:
    sweep = sweep_of(late, num_samples=1, retries=1)
    ledger = Ledger.write(tmp_path)
    driver = Driver(sweep, ledger)
    for _ in range(2):
        while (order := driver.next()) is not None and order.kind != "train":
            driver.finish_job(order)
        driver.lose(0, "its process was killed")
    driver.close()
    assert dead(driver) == [0]
    again = Driver(sweep, ledger, retry_failed=True)
    while (order := again.next()) is not None and order.kind != "train":
        again.finish_job(order)
    again.lose(0, "its process was killed")
    assert not dead(again)
    ledger.close()


def test_of_many_failed_trials_the_last_few_keep_large_checkpoints(tmp_path: Path) -> None:
    def large(config: Config, state: Any) -> Iterator[tuple[dict[str, float], bytes]]:
        yield {"loss": config["x"]}, bytes(2**24 + 1)
        raise RuntimeError(f"error {'abcdefghijklmnop'[int(config['x'] * 15)]}")

    driver = simulated(tmp_path, sweep_of(large, num_samples=5, keep_checkpoints=2, checkpoint_seconds=0.0))
    assert len(dead(driver)) > 2
    assert kept(driver) == set(dead(driver)[-2:])


def test_what_is_told_of_a_run_counts_them_as_they_are_now(tmp_path: Path) -> None:
    sweep = sweep_of(late, num_samples=6)
    failed = dead(simulated(tmp_path, sweep))
    BROKEN["is"] = False
    simulated(tmp_path, sweep, retry_failed=True)
    ledger = Ledger.read(tmp_path)
    try:
        facts, page = summary(ledger), Recorded.of(ledger)
    finally:
        ledger.close()
    assert (facts["trials"]["failed"], facts["trials"]["completed"], facts["retried"]) == (0, 6, failed)
    told = section(page)
    assert told is not None
    assert f"{len(failed)} trials failed and were tried again; now: {len(failed)} completed." in str(told)
    assert "failures" not in [finding.key for finding in checks(page)]


def test_a_program_is_told_how_and_can(tmp_path: Path) -> None:
    sweep = sweep_of(late, num_samples=4)
    with pytest.raises(TrialsFailed, match=r"run\(sweep, retry_failed=True\) tries them again"):
        run(sweep, tmp_path / "own", simulate=True, quiet=True)
    BROKEN["is"] = False
    run(sweep, tmp_path / "own", simulate=True, quiet=True, retry_failed=True)
    assert not dead(simulated(tmp_path / "own", sweep))


TRAIN = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
x = parser.parse_args().x
for epoch in range(1, 5):
    if epoch == 3 and x > 0.5 and not os.path.exists("mended"):
        raise MemoryError("CUDA out of memory")
    print(f"epoch {epoch}: loss={x / epoch}", flush=True)
"""
TUNE = """
from orchestrator import Random, RunToEnd, Space, Sweep, launch, uniform
launch(Sweep("own", "python train.py", Space({"x": uniform(0, 1)}), minimize="loss", steps=4, searcher=Random(),
             scheduler=RunToEnd(), num_samples=4, allow_failed=4))
"""


@pytest.mark.slow
def test_the_command_names_the_flag_once_and_takes_it(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "tune.py").write_text(TUNE)

    def tune(*flags: str) -> str:
        done = run_script("tune.py", "--simulate", *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert tune().count("--retry-failed") == 1
    assert tune().count("--retry-failed") == 1
    (tmp_path / "mended").touch()
    plan = tune("--dry-run", "--retry-failed")
    assert "goes on" in plan
    assert "Nothing was started." in plan
    told = tune("--retry-failed")
    assert "Trying again" in told
    assert told.count("--retry-failed") == 0
    shown = json.loads(orchestrator("show", "own", "--json", cwd=tmp_path).stdout)
    assert shown["trials"]["failed"] == 0
    assert shown["trials"]["completed"] == 4
    assert "Retried" in orchestrator("status", "own", cwd=tmp_path).stdout
    assert "No failed trial is left" in tune("--retry-failed")
    assert orchestrator("audit", "own", cwd=tmp_path).returncode == 0
