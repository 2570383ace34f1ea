"""All runs of a folder at a glance: state, age, size, tags. One look at each ledger, and none at its steps."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orchestrator.reading.state import state
from orchestrator.reading.summary import glance
from orchestrator.record.encoding import now, seconds_between
from orchestrator.record.ledger import COPY, FILE, Ledger
from orchestrator.record.remarks import Remarks
from orchestrator.record.storage import full_path


@dataclass(frozen=True)
class Glance:
    """A run as `list` shows it."""

    folder: Path
    state: str  # the word of `reading/state.py`, or unreadable
    began: str = ""  # UTC; empty if unreadable
    last: str = ""  # time of the last record
    bytes: int = 0  # of all its files
    tags: tuple[str, ...] = ()
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)  # those of `glance`; none if unreadable
    problem: str = ""  # why it cannot be read

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last record."""
        return seconds_between(self.last, now()) if self.last else 0.0

    def as_json(self) -> dict[str, Any]:
        best, gain = self.facts.get("best"), self.facts.get("gain")
        return {
            "name": self.folder.name,
            "folder": str(full_path(self.folder)),
            "state": self.state,
            "began": _with_zone(self.began),
            "last": _with_zone(self.last),
            "bytes": self.bytes,
            "tags": list(self.tags),
            "note": self.note,
            "trials": self.facts.get("trials", {}),
            "metric": self.facts.get("metric"),
            "best": None if best is None or best["value"] is None else best,
            "baseline": None if gain is None else gain.baseline,
            "gain": None if gain is None else gain.value,
            "certainty": "" if gain is None else gain.certainty,
            "full_equivalents": round(self.facts["spent"], 3) if self.facts else None,
            "failures": self.facts.get("failures", []),
            "problem": self.problem,
        }


def _with_zone(time: str) -> str:
    """A time of the record in the form of ISO 8601, such as 2026-11-30T20:56:08.712479+00:00; empty if it is unknown."""
    return datetime.fromisoformat(time).replace(tzinfo=timezone.utc).isoformat() if time else ""


def run_folders(folder: Path) -> list[Path]:
    """The folders of runs below `folder`; of those that lost their ledger, too, and any that one may not look into."""
    try:
        below = [path for path in folder.expanduser().iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    found = [
        path for path in below if not os.access(path, os.X_OK) or any((path / name).exists() for name in (FILE, COPY))
    ]
    return sorted(path for path in found if not path.name.startswith("."))  # with a dot: one that is being removed


def glances(folder: Path, tag: str = "") -> list[Glance]:
    """All runs below `folder` (with the tag), the one with the newest record first; unreadable ones last."""
    found = [look(path) for path in run_folders(folder)]
    return sorted(
        (each for each in found if not tag or tag in each.tags), key=lambda each: (each.last, each.began), reverse=True
    )


def look(folder: Path) -> Glance:
    """One run; also one that cannot be read."""
    remarks = Remarks.of(folder)
    size = bytes_in(folder)
    try:
        ledger = Ledger.read(folder, check=False)
        try:
            facts = glance(ledger)
            (began,) = ledger.query("SELECT time FROM lease ORDER BY seq LIMIT 1")[0]
            return Glance(folder, state(ledger), began, ledger.last_heard(), size, remarks.tags, remarks.note, facts)
        finally:
            ledger.close()
    except Exception as error:  # whatever is wrong with one run, the others are listed
        return Glance(folder, "unreadable", bytes=size, tags=remarks.tags, note=remarks.note, problem=str(error))


def bytes_in(folder: Path) -> int:
    """The bytes of all files below `folder`; links count as nothing and are not followed."""
    total, waiting = 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:  # gone meanwhile, or not ours to read
            continue
    return total
