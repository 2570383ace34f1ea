"""The command lines: what they print, how they exit, and how quickly they answer."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from rich.console import Console

from orchestrator import (
    Quadratic,
)
from orchestrator.console.plurals import plural
from orchestrator.driving.shown import WAITING
from orchestrator.driving.waiting import Waiting, written
from orchestrator.reading.export import records
from orchestrator.reading.printed_summary import print_summary
from orchestrator.reading.result import Result
from orchestrator.reading.state import state, state_words
from orchestrator.reading.summary import glance, summary
from orchestrator.reading.trial_counts import latest_events
from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import STATE
from search.records import BASELINE, Status, start
from search.rules.finalists import score, winner
from search.schedulers.asha import Asha, AshaPromote
from search.task import Task
from search.work import Decision
from tests.stepping import SCRIPT, steady
from tests.support import ROOT, recorded, sequence, simulated, small_sweep
from tests.warm import orchestrator, run_script

pytestmark = [pytest.mark.usefixtures("warm_parent"), pytest.mark.xdist_group("commands")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the sweep has been run once."""
    place = tmp_path_factory.mktemp("place")
    done = steady(place, SCHEDULER="asha")
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize(
    "program",
    [
        ["-m", "orchestrator", "--help"],
        [str(SCRIPT), "--help"],
        [str(ROOT / "experiments" / "quickstart.py"), "--help"],
    ],
)
def test_help_loads_neither_torch_nor_ray_nor_other_heavy_things(program: list[str]) -> None:
    call = [sys.executable, "-X", "importtime", *program]
    done = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0
    assert "--help" in done.stdout
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    heavy = {"torch", "ray", "pandas", "sklearn", "scipy", "optuna", "sqlalchemy", "matplotlib", "botorch", "plotly"}
    assert loaded & heavy == set()


def test_every_flag_of_the_interface_is_there() -> None:
    flags = ("--name", "--runs", "--num-samples", "--max-concurrent", "--time-budget", "--seed", "--simulate", "--smoke", "--address", "--dry-run", "--retry-failed", "--help")  # fmt: skip
    text = run_script(ROOT / "experiments" / "quickstart.py", "--help", cwd=ROOT).stdout
    assert [flag for flag in flags if flag not in text] == []


def test_show_json_has_the_promised_keys(place: Path) -> None:
    facts = json.loads(orchestrator("show", "steady", "--json", cwd=place).stdout)
    assert list(facts) == [
        "name",
        "state",
        "metric",
        "mode",
        "trials",
        "best",
        "baseline",
        "unfair",
        "untried",
        "outside",
        "ahead",
        "cost",
        "resumes",
        "failures",
        "retried",
        "suggestions",
        "fallbacks",
        "tasks",
        "promotions",
        "turns",
        "finalists",
        "depends_on_seed",
        "waited_seconds",
        "over",
        "out_of_time",
        "forecast",
        "health",
    ]
    assert facts["state"] == "finished"
    assert sum(facts["trials"].values()) == 8
    assert set(facts["trials"]) == {"running", "stopped", "completed", "diverged", "failed"}
    assert {"trial", "config", "value", "task", "step", "checkpoint"} <= set(facts["best"])
    assert Path(facts["best"]["checkpoint"]).is_dir()
    assert facts["cost"]["usd"] is None
    assert facts["cost"]["full_equivalents"] == pytest.approx(
        len(recorded(place / "runs" / "steady", "report")) / 6, abs=1e-3
    )
    assert facts["suggestions"] == {"random": 8}
    best = min(row["value"] for row in recorded(place / "runs" / "steady", "report") if row["step"] == 6)
    assert facts["best"]["value"] == best


def test_list_status_show_and_report_say_what_there_is(place: Path) -> None:
    assert "steady" in orchestrator("list", cwd=place).stdout
    assert orchestrator("status", "steady", cwd=place).stdout.startswith("steady: finished; ")
    shown = orchestrator("show", "runs/steady", cwd=place).stdout
    assert "Best configuration" in shown
    assert "learning_rate:" in shown
    reported = orchestrator("report", "steady", cwd=place)
    page = place / "runs" / "steady" / "report" / "report.html"
    assert re.search(r"^What won +Trial \d", reported.stdout, flags=re.MULTILINE)
    assert reported.stdout.splitlines()[-1] == f"Report            {page}"
    assert page.read_text().startswith("<!doctype html>")


def test_a_run_that_is_not_there_gets_a_hint(place: Path) -> None:
    missing = orchestrator("show", "stead", cwd=place)
    assert missing.returncode == 2
    assert "Did you mean 'steady'?" in missing.stderr
    assert orchestrator("list", cwd=place / "runs").stdout.strip().startswith("no runs in")


def test_export_gives_the_best_configuration_as_yaml_that_reads_back(place: Path) -> None:
    from ruamel.yaml import YAML

    facts = json.loads(orchestrator("show", "steady", "--json", cwd=place).stdout)
    exported = YAML(typ="safe").load(orchestrator("export", "steady", cwd=place).stdout)
    assert exported["config"] == facts["best"]["config"]
    assert exported["checkpoint"] == facts["best"]["checkpoint"]
    assert exported["train_on"].startswith("orchestrator replay")


@pytest.mark.slow
def test_the_exported_command_trains_on_from_the_checkpoint(place: Path) -> None:
    from ruamel.yaml import YAML

    exported = YAML(typ="safe").load(orchestrator("export", "steady", cwd=place).stdout)
    command = exported["train_on"].split()[1:]
    done = orchestrator(*command, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "step    7" in done.stdout
    assert "step   12" in done.stdout
    assert "step    6" not in done.stdout


def test_replay_reproduces_a_trial(place: Path) -> None:
    before = sequence(place / "runs" / "steady")
    done = orchestrator("replay", "steady", "3", cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal the record" in done.stdout
    assert sequence(place / "runs" / "steady") == before
    missing = orchestrator("replay", "steady", "99", cwd=place)
    assert missing.returncode == 2
    assert "no trial 99; there are 0 to 7" in missing.stderr


def test_the_record_is_written_as_jsonl_csv_and_parquet(place: Path) -> None:
    lines = [json.loads(line) for line in orchestrator("export", "steady", "--jsonl", cwd=place).stdout.splitlines()]
    assert {"suggestion", "report", "verdict", "ending", "checkpoint", "event"} <= {line["kind"] for line in lines}
    reports = [line for line in lines if line["kind"] == "report"]
    assert len(reports) == len(recorded(place / "runs" / "steady", "report"))
    assert all({"kind", "trial", "step", "value", "time"} <= set(line) for line in lines)
    assert [line["seq"] for line in lines] == sorted(line["seq"] for line in lines)
    table = place / "record.csv"
    assert orchestrator("export", "steady", "--csv", "--output", str(table), cwd=place).returncode == 0
    import pandas as pd

    frame = pd.read_csv(table)
    assert len(frame) == len(lines)
    assert "config.learning_rate" in frame.columns
    parquet = orchestrator("export", "steady", "--parquet", cwd=place)
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        assert parquet.returncode == 2
        assert "pip install pyarrow" in parquet.stderr
    else:
        assert len(pd.read_parquet(parquet.stdout.strip())) == len(lines)
    assert orchestrator("export", "steady", "--csv", "--jsonl", cwd=place).returncode == 2


CONFIG = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}


def shown(folder: Path) -> str:
    """What `show` prints."""
    out = Console(file=io.StringIO(), width=200)
    ledger = Ledger.read(folder)
    print_summary(ledger, out)
    ledger.close()
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_every_kind_of_record_is_exported_under_its_own_name(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        ledger.add_suggestion(0, start(CONFIG), seed=0)
        ledger.add_report(0, 1, 0.5, 0.1, {"loss": 0.5})
        turned = Decision(
            1, metrics={"noise": 2.5}, samples=64, position=64, text="the loss stalls", before={"learning_rate": 0.1},
            after={"learning_rate": 0.05},
        )  # fmt: skip
        ledger.add_decision(0, turned)
        ledger.add_checkpoint(0, 1, "p", "s", 1)
        ledger.add_verdict(0, 1, "stop", "Asha()")
        ledger.add_ending(0, Status.STOPPED, 1, "Asha at step 1")
        ledger.add_test(0, 1, {"loss": 0.6})
        ledger.add_event("notice", "text")
    found = list(records(ledger))
    ledger.close()
    assert [record["kind"] for record in found] == [
        "lease", "sweep", "suggestion", "report", "decision", "checkpoint", "verdict", "ending", "test", "event",
    ]  # fmt: skip
    decision = found[4]
    assert (decision["why"], decision["before"], decision["after"]) == (
        "the loss stalls", {"learning_rate": 0.1}, {"learning_rate": 0.05},
    )  # fmt: skip
    done = orchestrator("export", str(tmp_path), "--csv", cwd=tmp_path)
    assert "after.learning_rate" in done.stdout.splitlines()[0]


def test_the_table_of_trials_has_a_row_for_each_with_its_configuration_and_cost(tmp_path: Path) -> None:
    driver = simulated(tmp_path / "run", small_sweep(num_samples=8, scheduler=Asha(grace_period=1, reduction_factor=2)))
    done = orchestrator("export", "run", "--runs", ".", "--trials", cwd=tmp_path)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert list(rows[0]) == [
        "trial", "config.batch_size", "config.learning_rate", "config.momentum", "value", "metric.train_loss", "status", "step",
        "reason", "seconds",
        "task", "origin", "repeats", "seed", "full_trainings",
    ]  # fmt: skip
    for row, trial in zip(rows, driver.history, strict=True):
        shown = (int(row["trial"]), float(row["config.momentum"]), float(row["value"]), row["status"], int(row["step"]))
        assert shown == (trial.number, trial.config["momentum"], trial.loss, trial.status.value, trial.step)
        assert float(row["full_trainings"]) == trial.step / 4
    assert sum(float(row["full_trainings"]) for row in rows) == driver.history.spent
    assert orchestrator("export", "run", "--runs", ".", "--trials", "--csv", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(("mode", "first", "second"), [("min", 0.5, 0.25), ("max", 0.25, 0.5), ("min", 0.25, 0.5)])
def test_a_gain_is_told_in_words(tmp_path: Path, mode: str, first: float, second: float) -> None:
    ledger = Ledger.write(tmp_path)
    with ledger.transaction():
        ledger.add_sweep(small_sweep(mode=mode, baseline=CONFIG), "", [])
        for trial, value in enumerate((first, second)):
            ledger.add_suggestion(trial, start(CONFIG, origin="random" if trial else BASELINE), seed=0)
            ledger.add_report(trial, 4, value, 0.1, {"loss": value})
            ledger.add_ending(trial, Status.COMPLETED, 4, "reached the horizon")
    ledger.close()
    better = (second > first) == (mode == "max")
    assert ("better by 0.25" if better else "the baseline is the best") in shown(tmp_path)


def test_a_trial_that_waits_for_the_next_driver_is_not_called_running(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        ledger.add_suggestion(0, start(CONFIG), seed=0)
        ledger.add_report(0, 3, 0.5, 0.1, {"loss": 0.5})
        ledger.add_event(STATE, "interrupted")
    ledger.close()
    told = shown(tmp_path)
    assert "Best configuration (trial 0, step 3, to resume)" in told
    assert "best so far (trial 0, to resume at step 3)" in told
    assert "running" not in told


@pytest.mark.parametrize(
    "changes",
    [
        {"scheduler": Asha(), "num_samples": 12},
        {"scheduler": AshaPromote(), "num_samples": 12},
        {"tasks": Task.epochs(0.25, 0.5, 1.0), "scheduler": AshaPromote(), "workload": Quadratic(horizon=8), "num_samples": 9},
        {"tasks": Task.data(0.25, 1.0), "num_samples": 6},
        {"finalists": 2, "confirmations": 2, "num_samples": 5},
    ],
    ids=["asha", "promoting", "tasks on the way", "tasks of their own", "finalists"],
)  # fmt: skip
def test_a_glance_and_the_summary_say_what_the_whole_history_says(tmp_path: Path, changes: dict[str, Any]) -> None:
    sweep = small_sweep(**changes)
    history = simulated(tmp_path, sweep, workers=2).history
    best = winner(history)
    assert best is not None
    ledger = Ledger.read(tmp_path)
    short, whole = glance(ledger), summary(ledger)
    ledger.close()
    assert short["best"] == {name: whole["best"][name] for name in ("trial", "value", "first", "confirmed")}
    assert (whole["best"]["trial"], whole["best"]["first"]) == (best.number, best.loss)
    assert whole["best"]["value"] == pytest.approx(score(history, best))
    assert short["spent"] == pytest.approx(history.spent)
    assert whole["cost"]["full_equivalents"] == pytest.approx(history.spent, abs=1e-3)
    assert whole["cost"]["seconds"] == pytest.approx(sum(trial.cost_seconds for trial in history), abs=1e-3)
    assert whole["trials"] == {status.value: history.count(status) for status in Status}
    assert short["trials"] == {name: count for name, count in whole["trials"].items() if count}
    went_on = sum(row["kind"] == "resume" for row in recorded(tmp_path, "suggestion"))
    assert whole["promotions"].get("went on", 0) == went_on


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 trials were lost"), (1, "1 trial was lost"), (2000, "2,000 trials were lost")]
)
def test_a_count_agrees_with_its_noun_and_verb(count: int, said: str) -> None:
    assert plural(count, "trial", "were lost") == said


def test_a_run_on_another_machine_is_not_called_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "node7")
        ledger = Ledger.write(tmp_path)
        with ledger.transaction():
            ledger.add_sweep(small_sweep(), "", [])
        ledger.close()
    ledger = Ledger.read(tmp_path)
    assert state(ledger) == "running"
    assert re.fullmatch(
        r"running on node7, last heard \d+ s ago \(....-..-.. ..:..:.. UTC\)", state_words(ledger, state(ledger))
    )
    ledger.close()
    assert ": running on node7, last heard" in orchestrator("status", str(tmp_path), cwd=tmp_path).stdout


def test_a_run_whose_trials_wait_for_a_node_says_so_and_since_when(ledger: Ledger) -> None:
    since, why = "2026-11-28 12:03:10.000000", "each asks for cpu: 1; the cluster has cpu: 0 (0 free); gone: worker-3"
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])

    def told(waiting: Waiting | None) -> list[str]:
        with ledger.transaction():
            ledger.add_event(WAITING, written(waiting))
        return orchestrator("status", str(ledger.folder), cwd=ledger.folder).stdout.splitlines()

    first, second = told(Waiting(since, 2, 2, why))
    assert first.startswith("run: waiting for a node with room since 2026-11-28 12:03:10 UTC;")
    assert second == f"  2 of 2 places for trials wait since 12:03:10 UTC: {why}"
    first, second = told(Waiting(since, 1, 2, why))  # the other one trains
    assert first.startswith("run: running;")
    assert second == f"  1 of 2 places for trials wait since 12:03:10 UTC: {why}"
    assert told(None)[0].startswith("run: running;")
    assert len(told(None)) == 1


def test_status_shows_a_notice_that_each_start_repeats_once(ledger: Ledger) -> None:
    missing, other = "node worker-3 is not used: it cannot run the sweep: there is no file 'train.py'", "another notice"
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        for text in (missing, other, missing):
            ledger.add_event("notice", text)
    assert [text for _, _, text in latest_events(ledger)] == [other, missing]
    assert [row["text"] for row in ledger.rows("event")] == [missing, other, missing]


def test_status_and_show_say_what_is_spent_of_the_budget(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep(num_samples=None, budget=2.5), workers=2)
    for command, told in (
        ("status", "; 3.0 of 2.5 full trainings\n"),
        ("show", "Cost         3.0 of 2.5 full trainings, "),
    ):
        assert told in orchestrator(command, str(tmp_path), cwd=tmp_path).stdout


def test_a_run_is_known_by_its_folder_after_a_move(tmp_path: Path) -> None:
    simulated(tmp_path / "runs" / "before", small_sweep(num_samples=1))
    (tmp_path / "runs" / "before").rename(tmp_path / "runs" / "after")
    listed = orchestrator("list", cwd=tmp_path).stdout.splitlines()[1].split()[0]
    assert listed == "after"
    assert orchestrator("status", listed, cwd=tmp_path).stdout.startswith("after: ")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    simulated(tmp_path / "runs" / "small", small_sweep(num_samples=1))
    assert "small" in orchestrator("list", "--runs", "~/runs", cwd=tmp_path).stdout
    assert orchestrator("status", "~/runs/small", cwd=tmp_path).returncode == 0


def test_the_schedule_of_the_best_of_nothing_is_refused_in_words(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        ledger.add_suggestion(0, start(CONFIG), seed=0)
    ledger.close()
    done = orchestrator("export", str(tmp_path), "--schedule", cwd=tmp_path)
    assert done.returncode == 2
    assert "no trial has reported yet" in done.stderr


@pytest.mark.parametrize("flags", [["--csv"], [], ["--jsonl"], ["--trials"]])
def test_an_export_that_cannot_be_written_is_refused_in_words(place: Path, flags: list[str]) -> None:
    done = orchestrator("export", "steady", *flags, "--output", "/no/such/folder/x", cwd=place)
    assert done.returncode == 7
    assert "/no/such/folder/x: cannot be written: No such file or directory. Name another file" in done.stderr


def test_a_dry_run_of_a_run_on_record_shows_what_comes_next(place: Path) -> None:
    before = (place / "runs" / "steady" / "ledger.db").stat().st_mtime_ns
    plan = steady(place, "--dry-run", "--num-samples", "9", SCHEDULER="asha").stdout
    assert "on record  8 trials" in plan
    assert "the next 1 training" in plan
    assert plan.count("learning_rate=") == 1
    assert "nothing is left to do" in steady(place, "--dry-run", SCHEDULER="asha").stdout
    assert (place / "runs" / "steady" / "ledger.db").stat().st_mtime_ns == before


def test_a_changed_metric_direction_exits_with_6_and_names_the_field(place: Path, tmp_path: Path) -> None:
    script = tmp_path / "other.py"
    script.write_text(SCRIPT.read_text().replace('name="steady",', 'name="steady", mode="max",'))
    done = run_script(script, "--simulate", "--runs", str(place / "runs"), cwd=place, PYTHONPATH=str(ROOT), SLEEP="0")
    assert done.returncode == 6
    assert "mode = min, now max" in done.stderr


def test_the_output_without_a_terminal_is_plain_lines(place: Path) -> None:
    done = steady(place, "--num-samples", "10", SCHEDULER="asha")
    assert done.returncode == 0
    assert "\x1b[" not in done.stdout + done.stderr
    assert "Continuing steady: 8 trials" in done.stderr


def test_a_result_reads_the_sweep_once_for_each_question_not_once_for_each_start(tmp_path: Path) -> None:
    """It computed the summary twice, and decoded every start's description to look at the last one."""
    for count in range(1, 6):
        simulated(tmp_path / "small", small_sweep(num_samples=count))
    calls: dict[str, int] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code in (summary.__code__, Ledger.sweeps.__code__, Ledger.query.__code__):
            calls[frame.f_code.co_name] = calls.get(frame.f_code.co_name, 0) + 1

    sys.setprofile(note)
    try:
        result = Result(tmp_path / "small")
    finally:
        sys.setprofile(None)
    assert "Best configuration" in result.report()
    assert calls["summary"] == 1
    assert calls.get("sweeps", 0) <= 1  # the bill is of all of them
    assert calls["query"] < 60
