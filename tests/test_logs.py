"""`orchestrator logs`: what trials have printed, and why they failed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.record.ledger import Ledger
from search.records import Status, start
from tests.support import ROOT, orchestrator, small_sweep

CONFIG = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A run of six trials: one completed, three that failed in the same way, one in another, one that runs."""
    ledger = Ledger.write(tmp_path / "mixed")
    reasons = {
        1: "ValueError: 0.3 is too much",
        2: "KeyError: 'label'",
        3: "ValueError: 7 is too much",
        4: "ValueError: 1e-05 is too much",
    }
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        for trial in range(6):
            ledger.add_suggestion(trial, start(CONFIG), seed=trial)
        ledger.add_report(0, 1, 0.5, 0.1, {"loss": 0.5})
        ledger.add_ending(0, Status.COMPLETED, 1, "reached the horizon")
        for trial, reason in reasons.items():
            ledger.add_ending(trial, Status.FAILED, 0, reason, f"Traceback …\n{reason}")
    for trial in (0, 1, 5):
        print_in(tmp_path / "mixed", trial, "".join(f"line {line} of trial {trial}\n" for line in range(40)))
    print_in(tmp_path / "mixed", 1, "  0%|    | 0/9\r 50%|██  | 5/9\rthe last words\n")
    ledger.close()
    return tmp_path


def print_in(folder: Path, trial: int, text: str) -> None:
    place = folder / "trials" / f"{trial:05d}"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "log.txt").open("a") as log:
        log.write(text)


def logs(runs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return orchestrator("logs", "mixed", *arguments, "--runs", str(runs), cwd=runs)


def test_a_trials_log_is_printed_whole_under_a_line_that_says_what_it_is(runs: Path) -> None:
    done = logs(runs, "0")
    assert done.stdout.splitlines()[:2] == [
        "== trial 0, completed at step 1: reached the horizon",
        f"== {runs / 'mixed' / 'trials' / '00000' / 'log.txt'}",
    ]
    assert done.stdout.splitlines()[2:] == [f"line {line} of trial 0" for line in range(40)]


def test_without_a_number_the_first_failed_trial_comes_first(runs: Path) -> None:
    assert logs(runs).stdout.startswith("== trial 1, failed at step 0: ValueError: 0.3 is too much")


def test_a_trial_that_printed_nothing_shows_what_the_record_knows(runs: Path) -> None:
    told = logs(runs, "2").stdout
    assert "(it has printed nothing)" in told
    assert "Traceback …\nKeyError: 'label'" in told


def test_failed_shows_each_cause_with_its_count_and_how_the_log_of_the_first_ends(runs: Path) -> None:
    told = logs(runs, "--failed").stdout
    heads = [line for line in told.splitlines() if line.startswith("== trial")]
    assert heads == [
        "== trial 1, failed at step 0, and 2 more like it: ValueError: 0.3 is too much",
        "== trial 2, failed at step 0: KeyError: 'label'",
    ]
    assert "the last words" in told
    assert "line 39 of trial 1" in told
    assert "line 5 of trial 1\n" not in told


@pytest.mark.parametrize(
    ("arguments", "words"), [(["9"], "no trial 9; there are 0 to 5"), (["1", "--failed"], "omit the trial")]
)
def test_a_wrong_call_is_refused_in_words(runs: Path, arguments: list[str], words: str) -> None:
    done = logs(runs, *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_status_list_and_show_say_why_trials_failed_and_where_to_read_on(runs: Path) -> None:
    for command in ("status", "show"):
        told = orchestrator(command, "mixed", "--runs", str(runs), cwd=runs).stdout
        assert "failed, 3 ×, first trial 1: ValueError: 0.3 is too much" in told
        assert "failed, trial 2: KeyError: 'label'" in told
        assert f"log: {runs / 'mixed' / 'trials' / '00001' / 'log.txt'}" in told
        command_line = re.search(r"read more: orchestrator (.*)", told)
        assert command_line is not None
        assert "and 2 more like it" in orchestrator(*command_line[1].split(), cwd=runs).stdout
    listed = orchestrator("list", "--runs", str(runs), cwd=runs).stdout
    assert "mixed: failed 3 ×: ValueError: 0.3 is too much" in listed


DRIVER = """
import sys
from pathlib import Path
from orchestrator.record.ledger import Ledger
from search.records import Status, start
from tests.support import small_sweep
from tests.test_logs import CONFIG, print_in
folder = Path(sys.argv[1])
ledger = Ledger.write(folder)
with ledger.transaction():
    ledger.add_sweep(small_sweep(), "", [])
    ledger.add_suggestion(0, start(CONFIG), seed=0)
for line in sys.stdin:
    if line.startswith("end"):
        with ledger.transaction():
            ledger.add_ending(0, Status.COMPLETED, 0, "over")
    elif line.startswith("kill"):
        import os
        os.kill(os.getpid(), 9)
    else:
        print_in(folder, 0, line)
    print("done", flush=True)
"""


@pytest.mark.parametrize("end", ["end", "kill"])
def test_a_log_is_followed_until_the_trial_ends_or_its_driver_is_gone(tmp_path: Path, end: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    assert driver.stdin is not None
    assert driver.stdout is not None

    def tell(line: str) -> None:
        assert driver.stdin is not None
        assert driver.stdout is not None
        driver.stdin.write(line + "\n")
        driver.stdin.flush()
        driver.stdout.readline()

    tell("first: ä")
    follower = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "logs", str(tmp_path / "run"), "--follow"], stdout=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    assert follower.stdout is not None
    assert follower.stdout.readline() == "== trial 0, running at step 0\n"
    follower.stdout.readline()
    assert follower.stdout.readline() == "first: ä\n"
    tell("second")
    assert follower.stdout.readline() == "second\n"
    tell("third")
    tell(end)
    if end == "kill":
        driver.wait()
    assert follower.stdout.read() == "third\n"
    assert follower.wait() == 0
    driver.stdin.close()
    driver.wait()
