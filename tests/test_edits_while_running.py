"""A script that is edited while its sweep runs: the trials that start then train with the new code, and the record knows it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator.definition.sources import EDITED
from orchestrator.driver import Driver
from orchestrator.page.health.edited import edited
from orchestrator.page.recorded import Recorded
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock
from orchestrator.sweep import Sweep
from search.work import Reported
from tests.scripting import script
from tests.support import ROOT, simulated, small_sweep

EDITS = """
import os, pathlib
old, trial, epochs = {old}, int(os.environ["TRIAL_ID"].split("-")[1]), 6
if old and trial == {at}:
    here = pathlib.Path(__file__)
    here.write_text(here.read_text().replace("= True", "= False").replace("1 - False", "0"))
for epoch in range(1, epochs + 1):
    {line}
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def sweep_of(
    folder: Path, at: int, line: str = "print(f'epoch {epoch}: distance={1 / epoch}')", trials: int = 5
) -> Sweep:
    """A sweep whose trial `at` edits the script, beginning with itself at its next start."""
    text = EDITS.replace("{at}", str(at)).replace("{line}", line).replace("{old}", "True")
    return small_sweep(workload=script(folder / "code", text, flag="--{name}={value}"), num_samples=trials)


def run_of(folder: Path) -> tuple[Recorded, list[str]]:
    ledger = Ledger.write(folder / "run")
    notices = [row["text"] for row in ledger.rows("event") if row["kind"] == "notice"]
    run = Recorded.of(ledger)
    ledger.close()
    return run, notices


def test_trials_that_start_after_an_edit_have_trained_after_it(tmp_path: Path) -> None:
    """Trial 1 made the edit when it had already started. A later start of the command changes nothing."""
    sweep = sweep_of(tmp_path, at=1)
    simulated(tmp_path / "run", sweep)
    for _ in range(2):
        run, notices = run_of(tmp_path)
        (finding,) = edited(run)
        assert finding.sentence == "train.py was edited while the sweep was under way."
        assert finding.evidence.startswith("2 trials trained only before, the best among them, 3 after;")
        assert [text for text in notices if "edited" in text] == [
            "train.py was edited: trial 2 and those that start after it train with the new code. If the edit changes results, "
            "run it under another name"
        ]
        simulated(tmp_path / "run", sweep)


def test_a_repair_after_trials_that_reported_nothing_mixes_no_results(tmp_path: Path) -> None:
    line = "assert not 1 - False\n    print(f'epoch {epoch}: distance={1 / epoch}')"
    sweep = sweep_of(tmp_path, at=1, line=line, trials=4)
    driver = simulated(tmp_path / "run", sweep)
    assert [trial.status.value for trial in driver.history] == ["failed", "failed", "completed", "completed"]
    assert edited(run_of(tmp_path)[0]) == []
    driver = simulated(tmp_path / "run", sweep, retry_failed=True)
    assert {trial.status.value for trial in driver.history} == {"completed"}
    assert edited(run_of(tmp_path)[0]) == []


def test_an_edit_that_is_taken_back_is_told_too(tmp_path: Path) -> None:
    line = "print(f'epoch {epoch}: distance={1 / epoch}')"
    first = EDITS.replace("{old}", "True").replace("{at}", "1").replace("{line}", line)
    back = "\nif trial == 2: pathlib.Path(__file__).write_text(pathlib.Path(__file__).with_name('first').read_text())\n"
    workload = script(tmp_path / "code", first + back, flag="--{name}={value}")
    (tmp_path / "code" / "first").write_text(first + back)
    simulated(tmp_path / "run", small_sweep(workload=workload, num_samples=4))
    run, notices = run_of(tmp_path)
    (finding,) = edited(run)
    assert finding.evidence.startswith(
        "train.py was edited 2 times. Code 1 trained 3 trials, code 2 trained 1 trial; the best is of code 1; "
        "the present code is code 1;"
    )
    assert sum("again as they were: trial 3" in text for text in notices) == 1


@pytest.mark.parametrize(("first", "before"), [("edit", 0), ("start", 1)])
def test_an_edit_while_a_worker_prepares_a_start_counts_for_it(first: str, before: int, tmp_path: Path) -> None:
    """The worker has its order, and asks the script for its flags or loads its libraries before it starts it."""
    sweep = small_sweep(workload=script(tmp_path / "code", "pass"), num_samples=2)
    ledger = Ledger.write(tmp_path / "run")
    driver = Driver(sweep, ledger, clock=SimulatedClock())
    while (order := driver.next()) is not None and order.kind == "prepare":
        driver.finish_job(order)
    assert order is not None
    assert order.assignment is not None
    own = order.assignment.folder / "script" / ".reports"
    own.mkdir(parents=True)

    def edit() -> None:
        (tmp_path / "code" / "train.py").write_text("pass; pass")

    for act in [edit, (own / "parameters.json").touch] if first == "edit" else [(own / "parameters.json").touch, edit]:
        act()
        time.sleep(0.05)
    driver.receive(order.trial, [Reported(1, {"distance": 0.5}, 1.0)])
    rows = [row["trial"] for row in ledger.rows("event") if row["kind"] == EDITED]
    ledger.close()
    assert rows == [order.trial] * (1 - before)
