"""Scripts that train, and what is seen of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from search.work import Assignment, Ended, Notice, Progress
from trainables.carry_out import carry_out
from trainables.workloads.script import Script

HORIZON = 6
RESUMES = """
import json, os, pathlib
place = pathlib.Path(os.environ["TRIAL_FOLDER"], "mine.json")
done = json.loads(place.read_text()) if place.exists() else 0
for epoch in range(done + 1, 7):
    {line}
    place.with_suffix(".tmp").write_text(json.dumps(epoch))
    place.with_suffix(".tmp").replace(place)  # a script that is ended while it writes keeps the last one
"""
STARTS_OVER = """
for epoch in range(1, 7):
    {line}
"""
LINE = 'print(f"epoch {epoch}: distance={1 / epoch:.4f}", flush=True)'
COUNTED = 'print(f"distance={1 / epoch:.4f}", flush=True)'


def script(folder: Path, text: str, **more: Any) -> Script:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(text)
    fields: dict[str, Any] = {"metric": "distance", "mode": "min", "horizon": HORIZON}
    return Script(f"{sys.executable} {folder / 'train.py'}", **(fields | more))


def assigned(folder: Path, until: int = HORIZON, recorded: int = 0, **more: Any) -> Assignment:
    config = more.pop("config", {"rate": 0.1})
    return Assignment(0, config, 7, until=until, folder=folder / "trial" / "checkpoints", recorded=recorded, **more)


def trained(workload: Script, assignment: Assignment) -> list[Progress]:
    return [item for item in carry_out(workload, None, assignment) if item is not None]


def curve(items: list[Progress]) -> dict[int, float]:
    return {item.step: round(item.metrics["distance"], 4) for item in items if item.kind == "report"}


def texts(items: list[Progress], kind: str = "notice") -> list[str]:
    return [item.text for item in items if isinstance(item, (Notice, Ended)) and item.kind == kind]


def truth(*steps: int) -> dict[int, float]:
    return {step: round(1 / step, 4) for step in steps}


def log(folder: Path) -> str:
    return (folder / "trial" / "log.txt").read_text()


def killed_after(folder: Path, text: str, step: int, recorded: int = 0, **more: Any) -> dict[int, float]:
    """Train in a process of its own, which dies by SIGKILL as soon as it has told `step`; what it told."""
    workload = script(folder, text, **more)
    code = (
        "import sys; from pathlib import Path; from search.work import Assignment\n"
        "from trainables.workloads.script import Script\n"
        f"workload = {workload!r}\n"
        f"assignment = {assigned(folder, recorded=recorded)!r}\n".replace("PosixPath", "Path")
        + "for item in workload.run(None, assignment):\n"
        "    if item.kind == 'report': print(item.step, item.metrics['distance'], flush=True)\n"
    )
    told: dict[int, float] = {}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as worker:
        assert worker.stdout is not None
        for row in worker.stdout:
            told[int(row.split()[0])] = round(float(row.split()[1]), 4)
            if int(row.split()[0]) >= step:
                worker.send_signal(signal.SIGKILL)
                break
    return told


def scripts_of(folder: Path, patience: float = 15.0) -> list[psutil.Process]:
    """The processes whose command names the script in this folder, once they have had the time to end."""
    deadline = time.monotonic() + patience
    while True:
        alive = []
        for process in psutil.process_iter(["cmdline", "status"]):
            if str(folder / "train.py") in (process.info["cmdline"] or []) and process.info["status"] != "zombie":
                alive.append(process)
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.05)
