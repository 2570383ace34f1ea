"""Reads what is new in a ledger and gives it to a mirror; knows no tool.

The ledger only grows, so all records up to one `seq` are a consistent state: no transaction stays open while a slow tool
writes, and the run's driver never waits for us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.mirrors import position as positions
from orchestrator.mirrors.contract import Ending, Mirror, MirroredRun, MirroredTrial, Step
from orchestrator.mirrors.position import Position
from orchestrator.reading.state import state
from orchestrator.reading.summary import description, glance
from orchestrator.record.encoding import goal_of, number
from orchestrator.record.ledger import FILE, Ledger
from orchestrator.record.remarks import Remarks
from search.records import Status

TOUCHING = ("suggestion", "report", "ending", "test")  # tables whose records change a trial's mirror
AT_ONCE = 500  # trials between two notes of the position: a kill repeats no more


def mirror_run(folder: Path, mirror: Mirror, *, wait: Callable[[], bool] | None = None) -> Feed:
    """Bring the mirror of a run up to date.

    `wait`: waits and returns whether to look again; we look until it says no, or no driver works on the run any more.
    None: look once. Raises BadInput if the run's folder goes away meanwhile.
    """
    ledger = Ledger.read(folder, check=False)
    try:
        with positions.lock(mirror.output, positions.run_id(ledger) or _not_begun(folder)):
            feed = Feed(mirror, positions.load(mirror.output, ledger))
            while True:
                goes_on = wait is not None and state(ledger) == "running"  # ask before reading: the end is read too
                feed.send(ledger, is_last=not goes_on)
                if wait is None or not goes_on or not wait():
                    return feed
                ledger.close()
                if not (folder / FILE).exists():
                    raise BadInput(f"{folder}: the run was removed or renamed while it was mirrored; the mirror stays.")
                ledger = Ledger.read(folder, check=False)
                positions.check(mirror.output, ledger, feed.position)  # it may have been repaired or replaced
    finally:
        ledger.close()


class Feed:
    """One process's work for one mirror."""

    def __init__(self, mirror: Mirror, position: Position) -> None:
        self.mirror = mirror
        self.position = position
        self.sent: set[int] = set()  # trials
        self._is_started = False

    def send(self, ledger: Ledger, *, is_last: bool) -> None:
        """Send everything recorded since the last time. `is_last`: trials that still run are sent as they are."""
        last = ledger.last
        if self._is_started and last == self.position.seq and not is_last:
            return
        run = read_run(ledger, self.position)
        if not self._is_started:
            self._is_started = True
            self.mirror.start(run)
        again = set(self.position.waiting)
        changed = sorted({*self._touched(ledger, last), *again})
        waiting = set(changed)
        for place, trial in enumerate(changed, start=1):
            since = 0 if trial in again or self.mirror.whole else self.position.seq
            if self._send_trial(ledger, trial, since, last, is_last=is_last):
                waiting.discard(trial)
            if place % AT_ONCE == 0:
                self._save(last, ledger, waiting)
        self.mirror.finish(run)
        self._save(last, ledger, waiting)

    def _save(self, seq: int, ledger: Ledger, waiting: set[int]) -> None:
        there = replace(self.position, seq=seq, hash=positions.hash_of(ledger, seq), waiting=tuple(sorted(waiting)))
        if there != self.position:
            positions.save(self.mirror.output, there)
            self.position = there

    def _touched(self, ledger: Ledger, last: int) -> Iterator[int]:
        for table in TOUCHING:
            rows = ledger.query(
                f"SELECT DISTINCT trial FROM {table} WHERE seq > :seq AND seq <= :last",
                seq=self.position.seq,
                last=last,
            )
            yield from (row[0] for row in rows)

    def _send_trial(self, ledger: Ledger, number: int, since: int, last: int, *, is_last: bool) -> bool:
        """Send a trial's news; returns whether nothing of it is left to send."""
        trial, steps = read_trial(ledger, number, last)
        rests = trial.ending is not None
        if self.mirror.whole and not rests and not is_last:
            return False
        if self.mirror.whole or number not in self.sent:
            self.mirror.begin(trial)
        self.mirror.log(trial, [step for seq, step in steps if seq > since])
        self.mirror.end(trial)
        self.sent.add(number)
        return rests or not self.mirror.whole


def read_run(ledger: Ledger, position: Position) -> MirroredRun:
    """The run as it stands."""
    about, goal = description(ledger), goal_of(description(ledger))
    remarks = Remarks.of(ledger.folder)
    first = ledger.query("SELECT time FROM lease ORDER BY seq LIMIT 1")
    return MirroredRun(
        position.run, position.name, goal.metric, goal.mode, about, seconds(first[0][0]), state(ledger), remarks.tags,
        remarks.note, glance(ledger)["best"],
    )  # fmt: skip


def read_trial(ledger: Ledger, trial: int, last: int) -> tuple[MirroredTrial, list[tuple[int, Step]]]:
    """A trial as it stood at the record `last`, and its steps, each with the `seq` of its report."""

    def rows(table: str) -> list[dict[str, Any]]:
        return ledger.rows(table, "WHERE trial = :trial AND seq <= :last ORDER BY seq", trial=trial, last=last)

    suggestions, endings, tests = rows("suggestion"), rows("ending"), rows("test")
    metric = description(ledger)["metric"]
    steps = [(row["seq"], _step(row, metric)) for row in rows("report")]
    first = suggestions[0]
    ending = endings[-1] if endings and endings[-1]["seq"] > suggestions[-1]["seq"] else None
    return MirroredTrial(
        trial, first["config"], first["task"], first["origin"], first["seed"], seconds(first["time"]),
        first["parent"], first["parent_step"], steps[-1][1] if steps else None, tests[-1]["metrics"] if tests else None,
        None if ending is None else Ending(Status(ending["status"]), ending["reason"], seconds(ending["time"])),
    ), steps  # fmt: skip


def _step(row: dict[str, Any], metric: str) -> Step:
    own = {metric: number(row["value"], row["kind"]), "cost_seconds": row["cost_seconds"]}
    return Step(row["step"], seconds(row["time"]), own | row["metrics"])


def seconds(time: str) -> float:
    """A time of the ledger in seconds since 1970."""
    return datetime.strptime(time, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=timezone.utc).timestamp()


def _not_begun(folder: Path) -> str:
    raise BadInput(f"{folder}: nothing is recorded yet; look again in a moment.")
