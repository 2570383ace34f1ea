"""A sweep in a Slurm job: signals to every process, CPUs that are granted, tasks that srun has started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator.console.signals import SIGNALLED
from orchestrator.definition import machine
from orchestrator.driver import Driver
from orchestrator.errors import OrchestratorError, RunInUse
from orchestrator.record.ledger import Ledger
from search.records import Status
from search.work import Ended, Reported
from tests.support import ROOT, recorded, run_script, small_sweep


@pytest.mark.parametrize("how", ["failed", "killed", "ended"])
def test_a_trial_that_ends_at_the_signal_is_resumed_and_nothing_counts_against_it(tmp_path: Path, how: str) -> None:
    ledger = Ledger.write(tmp_path)
    driver = Driver(small_sweep(num_samples=1, retries=0), ledger)
    while (order := driver.next()) is None or order.kind != "train":
        assert order is not None
        driver.finish_job(order)
    driver.receive(0, [Reported(step=1, metrics={"loss": 1.0})])
    driver.stop(SIGNALLED)
    if how == "failed":
        driver.fail(0, "SystemExit", "1")
    elif how == "killed":
        driver.lose(0, "its process was ended from outside by SIGTERM")
    else:  # it has a handler, which saves and exits with code 0
        driver.receive(0, [Ended(step=1, text="the script ended with exit code 0")], done=True)
    assert driver.finished
    driver.close()
    ledger.close()
    again = Ledger.write(tmp_path)
    driver = Driver(small_sweep(num_samples=1, retries=0), again)
    assert driver.waiting == [0]
    assert driver.history.trials[0].status is Status.RUNNING
    assert recorded(tmp_path, "lost") == []
    again.close()


def test_a_trial_that_fails_without_a_signal_has_failed(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    driver = Driver(small_sweep(num_samples=1), ledger)
    while (order := driver.next()) is None or order.kind != "train":
        assert order is not None
        driver.finish_job(order)
    driver.stop("the time budget of 6h is used up")
    driver.fail(0, "SystemExit", "1")
    assert driver.history.trials[0].status is Status.FAILED
    ledger.close()


@pytest.mark.slow
@pytest.mark.ray
def test_a_signal_to_every_process_lets_the_trials_save(tmp_path: Path) -> None:
    script = ROOT / "tests" / "sweeps" / "steady.py"
    process = subprocess.Popen(
        [sys.executable, str(script), "--runs", str(tmp_path)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": str(ROOT), "SLEEP": "0.05", "STEPS": "400"},
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OrchestratorError):  # not there yet
            if len(recorded(tmp_path / "steady", "report")) >= 3:
                break
        time.sleep(0.05)
    for member in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        member.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "interrupted after a clean save" in output
    assert "ended at the signal" not in output  # each has saved, and then paused
    assert recorded(tmp_path / "steady", "ending") == []
    reached = {row["trial"]: row["step"] for row in recorded(tmp_path / "steady", "report")}
    saved = {row["trial"]: row["step"] for row in recorded(tmp_path / "steady", "checkpoint")}
    assert saved.items() >= reached.items()  # not one step has to be trained again


def test_the_handler_of_rays_own_is_taken_away_while_ray_starts() -> None:
    from orchestrator.tune.cluster import in_thread

    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))

    def connect() -> None:  # as Ray does, behind Python's back
        ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.c_void_p(signal.SIG_IGN))
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)

    try:
        in_thread(connect)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


SEAT_AND_FORK = """
import multiprocessing, os, signal, time
from functools import partial
from orchestrator.tune.seat import end_if_forked

signal.signal(signal.SIGTERM, partial(end_if_forked, os.getpid()))
os.kill(os.getpid(), signal.SIGTERM)
fork = multiprocessing.get_context("fork")
ready = fork.Event()
child = fork.Process(target=lambda: (ready.set(), time.sleep(300)))
child.start()
ready.wait()
child.terminate()
child.join()
print(child.exitcode)
"""


def test_a_seat_outlives_sigterm_and_what_it_has_forked_does_not() -> None:
    """In a process of its own: a fork of one with threads may come without the lock that it needs."""
    done = subprocess.run(
        [sys.executable, "-c", SEAT_AND_FORK], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(-signal.SIGTERM)), done.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_a_training_in_a_worker_does_not_see_the_tasks_of_srun(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import os\nfrom orchestrator import Space, Sweep, launch, uniform\n"
        "def train(config, state):\n"
        "    while True:\n"
        "        assert os.environ['SLURM_JOB_ID'] == '7'\n"
        "        yield {'loss': float('SLURM_NTASKS' in os.environ)}, 0\n"
        "launch(Sweep('mine', train, Space({'x': uniform(0, 1)}), minimize='loss', steps=1, num_samples=1))\n"
    )
    tasks = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "2"}
    done = run_script(tmp_path / "mine.py", cwd=tmp_path, PYTHONPATH=str(ROOT), **tasks)
    assert done.returncode == 0, done.stderr
    assert [row["metrics"] for row in recorded(tmp_path / "runs" / "mine", "report")] == [{"loss": 0.0}]


@pytest.mark.parametrize(("granted", "cpus"), [("1", 1), ("100000", None), ("", None)])
def test_a_sweep_takes_the_cpus_that_slurm_grants(
    granted: str, cpus: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    seen = machine.cpus()
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", granted)
    assert machine.cpus() == (cpus or seen)


def test_of_several_copies_that_srun_starts_one_runs_and_the_others_say_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.write(tmp_path)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(RunInUse, match=r"srun has started this command 4 times.*srun --ntasks=1"):
        Ledger.write(tmp_path)
    ledger.close()


def scripts() -> list[str]:
    """Those of the page: for one node, and for several."""
    return re.findall(r"```sh\n(#!/bin/bash\n.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.S)


def test_the_pages_scripts_are_bash_and_use_options_that_ray_has() -> None:
    from ray.scripts.scripts import start

    one, several = scripts()
    for script in (one, several):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    known = {option for parameter in start.params for option in parameter.opts}
    used = {word for line in re.findall(r"ray start .*|\$start .*", several) for word in re.findall(r"--[a-z-]+", line)}
    assert used - {"--nodes", "--ntasks", "--exclude"} <= known


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_that_slurm_cancels_ends_after_a_clean_save(tmp_path: Path) -> None:
    if shutil.which("sbatch") is None or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("needs a Slurm cluster that sees this folder (--basetemp)")
    (tmp_path / "tune.py").write_text(
        "import time\nfrom orchestrator import Space, Sweep, launch, uniform\n"
        "def train(config, state):\n"
        "    for step in range(state or 0, 1000):\n"
        "        time.sleep(0.2)\n"
        "        yield {'loss': 1 / (step + 1)}, step + 1\n"
        "launch(Sweep('mine', train, Space({'x': uniform(0, 1)}), minimize='loss', steps=1000))\n"
    )
    (tmp_path / "job.sh").write_text(scripts()[0])
    limits = ["--time=5", "--array=1", "--cpus-per-task=1", "--output=out.txt"]
    places = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    job = subprocess.run(
        ["sbatch", "--parsable", *limits, "job.sh"], cwd=tmp_path, env=os.environ | places, text=True, check=True,
        stdout=subprocess.PIPE,
    ).stdout.strip()  # fmt: skip
    out = tmp_path / "out.txt"
    assert within(120, lambda: out.exists() and "first report" in out.read_text())
    subprocess.run(["scancel", job], check=True)
    assert within(60, lambda: "To go on, run the same command" in out.read_text()), out.read_text()
    assert recorded(tmp_path / "runs" / "mine", "ending") == []


def within(seconds: float, is_so: Callable[[], bool]) -> bool:
    """Whether it is so in this time."""
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.2)
    return is_so()
