"""A project that was moved or copied with its runs: its own code is used, not that of the place where it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import orchestrator, run_script

TRAIN = """
import argparse
from lab import FACTOR
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
rate = parser.parse_args().rate
for epoch in (1, 2):
    print(f"epoch {epoch}: loss={FACTOR * rate / epoch}", flush=True)
"""
TUNE = """
from orchestrator import Script, Space, Sweep, launch, uniform
script = Script("python train.py", metric="loss", mode="min", horizon=2)
launch(Sweep("mine", script, Space({"rate": uniform(0, 1)}), num_samples=1))
"""


def project(folder: Path) -> Path:
    folder.mkdir()
    for name, text in {"train.py": TRAIN, "tune.py": TUNE, "lab.py": "FACTOR = 1\n"}.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.slow
def test_a_copied_or_moved_project_trains_with_its_own_code(tmp_path: Path) -> None:
    first, second = project(tmp_path / "first"), tmp_path / "second"
    done = run_script("tune.py", "--simulate", cwd=first)
    assert done.returncode == 0, done.stderr
    shutil.copytree(first, second, symlinks=True)
    (first / "lab.py").write_text("FACTOR = 2\n")
    told = f"The project was recorded in {first}; this uses the one beside the run, {second}."
    again = orchestrator("replay", "mine", "0", cwd=second)
    assert "all 2 steps equal the record" in again.stdout, again.stdout + again.stderr
    assert told in again.stderr
    assert told not in orchestrator("audit", "mine", cwd=first).stderr
    shutil.rmtree(first)
    assert orchestrator("audit", "mine", cwd=second).returncode == 0
    exported = orchestrator("export", "mine", cwd=second).stdout
    assert f"cd {second} && " in exported
    assert f"It was recorded in {first}." in exported
    shutil.move(second / "runs" / "mine", tmp_path / "mine")  # the run alone
    again = orchestrator("replay", str(tmp_path / "mine"), "0", cwd=tmp_path)
    assert f"the script that made this run ({first}/tune.py) is not there; put it back" in again.stderr
