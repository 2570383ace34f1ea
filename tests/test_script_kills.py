"""SIGKILL of a sweep over a script, at random instants: every value on record is the true one, or its trial is refused.

The value at a step is known (tests/sweeps/scripted.py). Scripts with and without a checkpoint of their own print their
steps, print lines without steps, or call report(). Waits are seeded; where the script is then, is the machine's affair.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.errors import OrchestratorError
from tests.support import ROOT, recorded
from tests.sweeps.scripted import HORIZON, TRIALS, true_value

SWEEP = ROOT / "tests" / "sweeps" / "scripted.py"
KINDS = [(kind, tells) for kind in ("resumes", "starts_over") for tells in ("steps", "lines", "report")]


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    with contextlib.suppress(OrchestratorError):  # killed before there was a record
        return recorded(folder / "runs" / "scripted", table)
    return []


def started(folder: Path, kind: str, tells: str, *flags: str) -> subprocess.Popen[bytes]:
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, str(SWEEP), kind, tells, *flags], cwd=folder, stdout=output, stderr=output,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def kill(process: subprocess.Popen[bytes], *, everything: bool) -> None:
    """The sweep alone, whose scripts must then end by themselves; or all at once."""
    family = psutil.Process(process.pid).children(recursive=True) if everything else []
    process.kill()
    process.wait()
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()


def trainings(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cwd", "cmdline", "status"]):
        if (
            process.info["cwd"] == str(folder)
            and "train.py" in (process.info["cmdline"] or [])
            and process.info["status"] != "zombie"
        ):
            yield process


def killed_again_and_again(folder: Path, kind: str, tells: str, kills: int, chance: random.Random, *flags: str) -> int:
    """Run the sweep, kill it so many times at random instants, let it finish. How many kills hit a run with trials."""
    done = hits = 0
    while True:
        process = started(folder, kind, tells, *flags)
        before = len(rows(folder, "report"))
        at_work = chance.random() > 0.1  # else it is killed while it starts
        while done < kills and at_work and process.poll() is None and len(rows(folder, "report")) <= before:
            time.sleep(0.02)
        if done < kills:
            time.sleep(chance.uniform(0.0, 0.5))
        if done < kills and process.poll() is None:
            kill(process, everything=chance.random() < 0.3)
            done += 1
            hits += bool(rows(folder, "suggestion"))
            check(folder, kind, tells)
            continue
        code = process.wait(240)
        assert code in (0, 3), (folder / "output.txt").read_text()[-3000:]  # 3: more failed than may
        return hits


def check(folder: Path, kind: str, tells: str) -> dict[str, int]:
    """Every value on record is true; what failed was refused, and only where nobody could tell the step."""
    x = {row["trial"]: row["config"]["x"] for row in rows(folder, "suggestion") if row["kind"] == "start"}
    for row in rows(folder, "report"):
        assert row["value"] == pytest.approx(true_value(x[row["trial"]], row["step"]), abs=1e-12), dict(row)
    endings = {row["trial"]: row for row in rows(folder, "ending")}
    for row in endings.values():
        if row["status"] == "failed":
            assert (kind, tells) == ("resumes", "lines"), row["reason"]
            assert "Print the step in each line (epoch=3), or call report()" in row["reason"]
        else:
            assert row["status"] == "completed"
            if row["step"] < HORIZON:  # only what the script had saved, and not yet told, when the kill came
                own = (
                    folder
                    / "runs"
                    / "scripted"
                    / "trials"
                    / f"{row['trial']:05d}"
                    / "checkpoints"
                    / "script"
                    / "mine.json"
                )
                assert (kind, row["step"], own.read_text()) == ("resumes", HORIZON - 1, str(HORIZON))
    return {status: sum(row["status"] == status for row in endings.values()) for status in ("completed", "failed")}


@pytest.mark.parametrize(
    ("kind", "tells"), [pytest.param("resumes", "lines", marks=pytest.mark.slow), ("resumes", "report")]
)  # all kinds: below
def test_three_kills_of_a_scripts_sweep_put_no_wrong_value_on_record(kind: str, tells: str, tmp_path: Path) -> None:
    hits = killed_again_and_again(tmp_path, kind, tells, 3, random.Random(f"{kind} {tells}"), "--simulate")
    ended = check(tmp_path, kind, tells)
    assert hits >= 1
    assert sum(ended.values()) == TRIALS
    assert not list(trainings(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "tells"), KINDS)
def test_thirty_kills_of_a_scripts_sweep_put_no_wrong_value_on_record(kind: str, tells: str, tmp_path: Path) -> None:
    """Sweeps that are killed six times each, until thirty kills have hit one that had trials."""
    hits, part, total = 0, 0, {"completed": 0, "failed": 0}
    while hits < 30 and part < 20:
        folder = tmp_path / str(part)
        folder.mkdir()
        hits += killed_again_and_again(folder, kind, tells, 6, random.Random(f"{kind} {tells} {part}"), "--simulate")
        ended = check(folder, kind, tells)
        assert sum(ended.values()) == TRIALS
        total = {status: total[status] + count for status, count in ended.items()}
        assert not list(trainings(folder))
        part += 1
    print(f"{kind}, {tells}: {hits} kills hit a sweep with trials, of {6 * part}; {total}")
    assert hits >= 30


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "tells"), [("resumes", "steps"), ("resumes", "report")])
def test_kills_of_a_scripts_sweep_on_ray_put_no_wrong_value_on_record(kind: str, tells: str, tmp_path: Path) -> None:
    hits = killed_again_and_again(tmp_path, kind, tells, 3, random.Random(7), "--max-concurrent", "1")
    assert sum(check(tmp_path, kind, tells).values()) == TRIALS
    assert hits >= 1


CLIENT = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(os.environ["TRIAL_FOLDER"])
def ended(*_):
    time.sleep(0.5)  # `docker stop` takes its time
    (folder / "ended").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, ended)
(folder / "runs").touch()
time.sleep(600)
"""
ITS_SWEEP = """
from orchestrator import Script, Space, Sweep, launch, uniform
launch(Sweep("client", Script("python client.py", metric="loss", mode="min", horizon=2), Space({"x": uniform(0, 1)}),
             num_samples=1, max_concurrent=1))
"""


@pytest.mark.slow
@pytest.mark.ray
def test_a_client_hears_sigterm_when_the_sweep_is_killed(tmp_path: Path) -> None:
    """Killed at once, `docker run` would leave its container running."""
    (tmp_path / "client.py").write_text(CLIENT)
    (tmp_path / "tune.py").write_text(ITS_SWEEP)
    driver = subprocess.Popen(
        [sys.executable, "tune.py"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        while not list(tmp_path.rglob("runs/client/trials/*/checkpoints/script/runs")):
            assert driver.poll() is None
            time.sleep(0.1)
    finally:
        driver.kill()
        driver.wait()
    while not list(tmp_path.rglob("ended")):
        time.sleep(0.1)


ENDS = """
import os, psutil, subprocess, sys
from orchestrator.tune.keeper import end_descendants
from trainables.scripts.trial_folder import RUNNER
hears = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('heard'))); print(flush=True); time.sleep(600)"
training = subprocess.Popen([sys.executable, "-c", hears], stdout=subprocess.PIPE, env=os.environ | {RUNNER: "here:1"})
training.stdout.readline()
other = subprocess.Popen(["sleep", "600"])
end_descendants()
print(training.stdout.read().decode().strip(), psutil.pid_exists(training.pid), psutil.pid_exists(other.pid))
"""


def test_the_keeper_ends_a_training_with_sigterm_and_kills_the_rest() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.split() == ["heard", "False", "False"], done.stderr
