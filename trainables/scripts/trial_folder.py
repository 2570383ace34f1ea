"""TRIAL_FOLDER: a trial's own folder, and the files in its `.reports` that outlive one start of the script.

parameters.json, reports.jsonl, answer.json    the protocol of `report()`
steps.jsonl                                    every reported step, written at once, as the ledger may not have it yet
memory.json                                    the training's word for its steps, where it counts from, how far
                                               each channel has been read
stdout.txt, stderr.txt                         the output of one start, until it has been read
in_log.json                                    how many bytes of these are in the trial's log
logged.jsonl                                   what one start logs to W&B, MLflow or TensorBoard
returned.txt                                   what to tell of the value that a function returned after its reports
parent.json                                    of a fork: its own parameters, and those of the trial that it continues
parents_values.txt                             why its optimizer trains with values of that trial, empty if it does not
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import IO, Any

FOLDER, RUNNER = (
    "TRIAL_FOLDER",
    "TRIAL_RUNNER",
)  # environment; these and the next four are orchestrator/reporting.py's words
ID, METRICS = "TRIAL_ID", "TRIAL_METRICS"
PLACE, PARAMETERS, REPORTS, ANSWER = ".reports", "parameters.json", "reports.jsonl", "answer.json"
LOG = "log.txt"
RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "LOCAL_RANK")
STEPS, MEMORY, OUTPUT, ERRORS = "steps.jsonl", "memory.json", "stdout.txt", "stderr.txt"
LOGGED, IN_LOG = "logged.jsonl", "in_log.json"
RETURNED = "returned.txt"
PARENT, PARENTS_VALUES = "parent.json", "parents_values.txt"
TAIL = 200_000  # bytes at the end of an output file in which to look for an error
COMPARED = 20  # other trials that tell enough of a script
TOLD = ".told-"  # beside the trials' folders, with a kind of news: one of the trials has told it


class TrialFolder:
    """The folder at `path`, created if necessary."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.place = self.path / PLACE
        self.place.mkdir(parents=True, exist_ok=True)

    @property
    def was_started(self) -> bool:
        """Whether a script has run here."""
        return (self.place / OUTPUT).exists()

    @property
    def files(self) -> set[Path]:
        """The files that the script has put here."""
        return {path for path in self.path.rglob("*") if path.is_file() and self.place not in path.parents}

    @property
    def is_empty(self) -> bool:
        """Whether the script has put nothing here, not even a folder."""
        return all(path == self.place for path in self.path.iterdir())

    def set_aside(self) -> str:
        """Move what the script has put here into a folder beside this one, whose name is returned: `script.old`."""
        names = (f"{self.path.name}.old{'' if number == 1 else f'-{number}'}" for number in count(1))
        old = next(path for name in names if not (path := self.path.with_name(name)).exists())
        old.mkdir()
        for path in [path for path in self.path.iterdir() if path != self.place]:
            path.rename(old / path.name)
        return old.name

    def put_back(self, name: str) -> None:
        """Move what was set aside under this name back, in place of what is here now."""
        for path in [path for path in self.path.iterdir() if path != self.place]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        old = self.path.with_name(name)
        for path in [*old.iterdir()]:
            path.rename(self.path / path.name)
        old.rmdir()

    def delete_aside(self) -> None:
        """Delete what was set aside."""
        for old in self.path.parent.glob(f"{self.path.name}.old*"):
            shutil.rmtree(old, ignore_errors=True)

    @property
    def trial(self) -> Path:
        """The trial's place in the run, which outlives its checkpoints."""
        return self.path.parent.parent

    def write_log(self, data: bytes) -> None:
        """Append to the trial's log, which is for people; the worker keeps it short."""
        if data:
            with open(self.trial / LOG, "ab", buffering=0) as log:
                _lock(log, fcntl.LOCK_EX)  # keeps the worker from shortening it now
                while data:
                    data = data[log.write(data) :]
                _lock(log, fcntl.LOCK_UN)

    def clear(self) -> None:
        """Delete the files that belong to one start only."""
        for name in (OUTPUT, ERRORS, IN_LOG, LOGGED, ANSWER, RETURNED, PARENTS_VALUES):
            (self.place / name).unlink(missing_ok=True)

    def memories_of_others(self, most: int | None = None) -> Iterator[dict[str, Any]]:
        """The memories of other trials of the sweep, which run the same script, one by one: with thousands, all take long.
        Of the first `most` trials, if given."""
        rest = self.place.relative_to(self.trial)
        for other in sorted(self.trial.parent.iterdir())[:most]:
            if other != self.trial:
                with contextlib.suppress(OSError, ValueError):
                    yield json.loads((other / rest / MEMORY).read_text())

    def is_first_with(self, news: str) -> bool:
        """Whether no other trial of the sweep has asked this, on this disk: of trials in step, exactly one is the first."""
        try:
            open(self.trial.parent / f"{TOLD}{news}", "x").close()
        except FileExistsError:
            return False
        return True

    def steps_of_others(self, most: int) -> list[list[int]]:
        """The reported steps of other trials of the sweep, of so many."""
        trial, rest = self.trial, self.path.relative_to(self.trial)
        others = [path for path in sorted(trial.parent.glob(f"*/{rest}")) if path != self.path]
        return [[row["step"] for row in TrialFolder(path).read_steps()] for path in others[:most]]

    def read_memory(self) -> dict[str, Any]:
        """The trial's memory; empty at the first start."""
        return self.read(MEMORY)

    def read(self, name: str) -> dict[str, Any]:
        """A file of `.reports`; empty if it is not there or is no JSON."""
        try:
            found: dict[str, Any] = json.loads((self.place / name).read_text())
            return found
        except (OSError, ValueError):
            return {}

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file of `.reports` atomically."""
        unfinished = self.place / f"{name}.tmp"
        unfinished.write_text(json.dumps(content))
        unfinished.replace(self.place / name)

    def checkpoint(self, recorded: int) -> Path:
        """The checkpoint reported for the latest recorded step that still has one. Raises FileNotFoundError if none."""
        path, shift = self.place / REPORTS, self.read_memory().get("shift") or 0
        for line in reversed(path.read_bytes().splitlines() if path.exists() else []):
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if told["step"] + shift <= recorded and told["checkpoint"] is not None:
                path = self.path / str(told["checkpoint"])
                if path.exists():
                    return path
        raise FileNotFoundError(f"{path} names no checkpoint up to step {recorded} that is still there")

    def read_steps(self) -> list[dict[str, Any]]:
        """The reported steps, in order: `step`, `text` of the tuned metric, `metrics`, `line`."""
        path, rows = self.place / STEPS, []
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                row = json.loads(line)
            except ValueError:  # written by a worker that was killed halfway
                continue
            row["metrics"] = {name: float(value) for name, value in row["metrics"].items()}
            rows.append(row)
        return rows

    def add_step(self, row: Mapping[str, Any]) -> None:
        """Append a step; JSON has no NaN, so values that are not finite are written as text."""
        metrics = {name: value if math.isfinite(value) else repr(value) for name, value in row["metrics"].items()}
        with open(self.place / STEPS, "ab+") as file:
            size = file.tell()
            file.seek(max(0, size - 1))
            torn = size and file.read(1) != b"\n"
            file.write((b"\n" if torn else b"") + json.dumps({**row, "metrics": metrics}).encode() + b"\n")

    def size(self, name: str) -> int:
        """The size of a file of `.reports`, in bytes."""
        path = self.place / name
        return path.stat().st_size if path.exists() else 0

    def tail(self, name: str, limit: int = TAIL) -> str:
        """The end of an output file."""
        if not self.size(name):
            return ""
        with open(self.place / name, "rb") as file:
            file.seek(max(0, self.size(name) - limit))
            return file.read().lstrip(b"\0").decode(errors="replace")


def _lock(file: IO[bytes], how: int) -> None:
    with contextlib.suppress(OSError):  # the file system has no locks
        fcntl.flock(file, how)
