"""SIGKILL at random instants: the driver, a worker, or everything. Run the same command again: nothing is lost.

The short form (three kills of a Ray sweep with one worker, and in tests/test_forks.py three with two) is part of the
default tests; `make test-all` runs 200 more. Each kind of target is hit before one is hit again. Targets and waits are
seeded; the instants at which the machine gets there are its own.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.record.ledger import Ledger
from tests.support import ROOT, recorded, run_script, sequence

SCRIPT = ROOT / "tests" / "sweeps" / "steady.py"
TABLES = ("suggestion", "report", "ending", "verdict", "checkpoint")


@dataclass
class Harness:
    """One run that is killed until it is done; everything ever seen in the ledger must stay there."""

    folder: Path
    flags: list[str]
    trials: int  # grows if the sweep ends before it was killed often enough: "more trials" is the same command
    chance: random.Random
    environment: dict[str, str] = field(default_factory=dict)
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)

    def run_to_the_end(self, kills: int, targets: tuple[str, ...]) -> None:
        """Kill so many times, then let it finish."""
        while True:
            process = self._start()
            try:
                while process.poll() is None and self.kills.total() < kills:
                    self._wait_for_work(process)
                    target = self.chance.choice([t for t in targets if not self.kills[t]] or targets)
                    if process.poll() is None and self._kill(process, target):
                        self.kills[target] += 1
                        if target != "worker":
                            break
                if self.kills.total() >= kills and process.poll() is None:
                    process.wait(timeout=240)
                code = process.wait(timeout=60)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            self.check_nothing_lost()
            if code == 0 and self.kills.total() >= kills:
                return
            if code == 0:
                self.trials += 4
                continue
            assert code == -9, (code, (self.folder / "output.txt").read_text()[-3000:])

    def check_nothing_lost(self) -> None:
        for table in TABLES:
            with contextlib.suppress(OrchestratorError):  # killed before there was a ledger
                now = recorded(self.folder / "steady", table)
                before = self.seen.get(table, [])
                assert now[: len(before)] == before, f"{table}: records were lost or changed"
                self.seen[table] = now

    def _start(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        output = (self.folder / "output.txt").open("a")
        call = [sys.executable, str(SCRIPT), "--runs", str(self.folder), *self.flags, "--num-samples", str(self.trials)]
        return subprocess.Popen(
            call, cwd=ROOT, stdout=output, stderr=output, env=os.environ | {"PYTHONPATH": str(ROOT)} | self.environment
        )

    def _wait_for_work(self, process: subprocess.Popen[bytes]) -> None:
        """Sometimes kill during the start; mostly wait until trials run, then a random while longer."""
        if self.chance.random() < 0.15:
            time.sleep(self.chance.uniform(0.0, 3.0))
            return
        begin = self._count_reports()
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline and self._count_reports() <= begin:
            time.sleep(0.02)
        time.sleep(self.chance.uniform(0.0, 0.4))

    def _count_reports(self) -> int:
        with contextlib.suppress(OrchestratorError):
            ledger = Ledger.read(self.folder / "steady")
            count = len(ledger.rows("report"))
            ledger.close()
            return count
        return 0

    def _kill(self, process: subprocess.Popen[bytes], target: str) -> bool:
        self.check_nothing_lost()
        try:
            driver = psutil.Process(process.pid)
            family = driver.children(recursive=True)
            if target == "driver":
                driver.kill()
                assert psutil.wait_procs(family, timeout=60)[1] == [], "these outlive their driver"
            elif target == "everything":
                for member in [driver, *family]:
                    with contextlib.suppress(psutil.Error):
                        member.kill()
            else:
                workers = [p for p in family if "Trainable" in (p.cmdline() or [""])[0]]
                if not workers:
                    return False
                self.chance.choice(workers).kill()
        except psutil.Error:
            return False
        return True


def check_complete(folder: Path, trials: int, steps: int, *, all_full: bool) -> None:
    """The number of trials is exact; no step is missing or there twice; every trial has come to rest."""
    suggestions = [row for row in recorded(folder, "suggestion") if row["kind"] != "resume"]
    assert [row["trial"] for row in suggestions] == list(range(trials))
    by_trial: dict[int, list[int]] = {}
    for row in recorded(folder, "report"):
        by_trial.setdefault(row["trial"], []).append(row["step"])
    assert set(by_trial) == set(range(trials))
    for trial, reached in by_trial.items():
        assert reached == list(range(1, len(reached) + 1)), f"trial {trial}: {reached}"
        assert len(reached) == steps or not all_full
    last = {row["trial"]: row["status"] for row in recorded(folder, "ending")}
    assert set(last) == set(range(trials))
    assert set(last.values()) <= {"completed", "stopped"}
    assert not [row for row in recorded(folder, "event") if row["kind"] == "nondeterminism"]


def killed(
    folder: Path, kills: int, seed: int, *, workers: int, scheduler: str, simulate: bool, trials: int = 8
) -> Harness:
    flags = ["--max-concurrent", str(workers), *(["--simulate"] if simulate else [])]
    harness = Harness(folder, flags, trials, random.Random(seed), {"SCHEDULER": scheduler})
    targets = ("driver",) if simulate else ("driver", "worker", "worker", "everything")
    harness.run_to_the_end(kills, targets)
    check_complete(folder / "steady", harness.trials, 6, all_full=scheduler == "end")
    assert harness.kills.total() == kills
    return harness


def reference(folder: Path, *, scheduler: str, trials: int = 8) -> list[tuple[Any, ...]]:
    """The same sweep, one worker, never interrupted."""
    flags = ["--runs", str(folder), "--max-concurrent", "1", "--num-samples", str(trials), "--simulate"]
    done = run_script(SCRIPT, *flags, cwd=ROOT, PYTHONPATH=str(ROOT), SCHEDULER=scheduler)
    assert done.returncode == 0, done.stderr
    return sequence(folder / "steady")


@pytest.mark.slow
@pytest.mark.ray
def test_with_one_worker_the_killed_ray_sweep_equals_the_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    harness = killed(tmp_path / "killed", 3, seed=2, workers=1, scheduler="asha", simulate=False)
    whole = reference(tmp_path / "whole", scheduler="asha", trials=harness.trials)
    assert set(harness.kills) == {"driver", "worker", "everything"}
    assert sequence(tmp_path / "killed" / "steady") == whole


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["promote", "asha"])
def test_kills_of_a_simulated_sweep_lose_nothing_and_change_nothing(tmp_path: Path, scheduler: str) -> None:
    harness = killed(tmp_path / "killed", 3, seed=5, workers=1, scheduler=scheduler, simulate=True)
    whole = reference(tmp_path / "whole", scheduler=scheduler, trials=harness.trials)
    assert sequence(tmp_path / "killed" / "steady") == whole


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(20))
def test_two_hundred_kills(tmp_path: Path, part: int) -> None:
    scheduler = ("end", "asha", "promote")[part % 3]
    workers = 1 if part % 2 else 2
    harness = killed(
        tmp_path / "killed", 10, seed=100 + part, workers=workers, scheduler=scheduler, simulate=False, trials=12
    )
    if workers == 1:
        whole = reference(tmp_path / "whole", scheduler=scheduler, trials=harness.trials)
        assert sequence(tmp_path / "killed" / "steady") == whole
