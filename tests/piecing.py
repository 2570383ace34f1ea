"""The page on own training, and runs that are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from orchestrator import OrchestratorError
from tests.support import ROOT, recorded, run_script, sequence

OWN_TRAINING = (ROOT / "docs" / "own_training.md").read_text()


def section(title: str) -> list[str]:
    """The Python of a section of docs/own_training.md."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", OWN_TRAINING, re.DOTALL | re.MULTILINE)
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def compare_with_a_killed_one(folder: Path, files: dict[str, str], name: str, kill_after: int) -> None:
    """SIGKILL of the driver after so many reports, the same command again: the record of one that was left in peace."""
    command = [sys.executable, "tune.py", "--simulate", "--max-concurrent", "1"]
    for place in ("whole", "parts"):
        for file, text in files.items():
            path = folder / place / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # the page says `python`
    done = run_script("tune.py", *command[2:], cwd=folder / "whole", timeout=280, **environment)
    assert done.returncode == 0, done.stderr
    run = folder / "parts" / "runs" / name
    driver = subprocess.Popen(
        command,
        cwd=folder / "parts",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | environment,
    )
    while reports_on_record(run) < kill_after:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = run_script("tune.py", *command[2:], cwd=folder / "parts", timeout=280, **environment)
    assert done.returncode == 0, done.stderr
    assert "Continuing" in done.stderr
    assert sequence(run) == sequence(folder / "whole" / "runs" / name)


def reports_on_record(run: Path) -> int:
    try:
        return len(recorded(run, "report"))
    except OrchestratorError:  # it is only being made
        return 0
