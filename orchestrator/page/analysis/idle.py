"""When trials had workers, and how much of that time they trained, from the times of the records.

A trial has a worker from a suggestion to the ending that follows; a driver that dies or stops ends all of them, and a
trial without an ending goes on when the next driver starts. Trials that a driver suggests or takes up before anything runs
wait for Ray, too: they have a worker from when their recorded start and steps must have begun. Training is the sum of the
reported costs. What is left of the time is start-up, checkpoints and waiting. Times are those of the wall clock: a
simulated run, in which one process trains for all workers, has none worth showing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from orchestrator.driving.time_spent import SPENT, WAITED
from orchestrator.page.recorded import Recorded
from orchestrator.record.encoding import USED, used_of

SAME = 0.2  # share by which the driver's clock and the times of its records may differ


@dataclass(frozen=True)
class Stretch:
    """A trial had a worker from `begin` to `end`, in seconds since the first record of a trial."""

    trial: int
    begin: float
    end: float


@dataclass(frozen=True)
class Idle:
    """The time of the workers. All in seconds; `waited` is None while no driver has noted it."""

    stretches: tuple[Stretch, ...]
    held: float  # by trials
    trained: float
    waited: float | None  # of workers without a trial, for decisions
    downtime: float  # from the last record of a driver to the first of the next
    span: float  # from the first record to the last

    @property
    def is_wall_clock(self) -> bool:
        """Whether the recorded times are those of the training: it cannot take longer than trials had workers."""
        return self.held > 0 and self.trained <= 1.05 * self.held + 0.05 * len(self.stretches)

    @property
    def overhead(self) -> float:
        """Seconds in which a trial had a worker and did not train."""
        return max(0.0, self.held - self.trained)


def idle(run: Recorded) -> Idle | None:
    """None before the first trial."""
    marks = _marks(run)
    if not any(kind == "begin" for _, kind, _, _ in marks):
        return None
    zero = next(time for time, kind, _, _ in marks if kind == "begin")
    open_: dict[int, float] = {}
    resting: set[int] = set()  # running when a driver stopped
    stretches: list[Stretch] = []
    downtime, latest, epoch, up_at, is_up = 0.0, zero, None, zero, False
    begins = _begins(run)
    for time, kind, trial, of in marks:
        if epoch is not None and of != epoch:
            downtime += max(0.0, time - latest)
            stretches += [Stretch(number, begin - zero, latest - zero) for number, begin in open_.items()]
            resting |= set(open_)
            open_.clear()
            up_at, is_up = time, False
        is_up = is_up or kind in ("report", "end")
        epoch, latest = of, max(latest, time)
        if trial in resting and kind != "end":  # it has a worker again, since what it reports has begun
            resting.discard(trial)
            open_.setdefault(trial, max(up_at, min(time, begins.get((of, trial), time))))
        if kind == "begin":
            open_.setdefault(trial, time if is_up else max(time, begins.get((of, trial), time)))
        elif kind == "end" and trial in open_:
            stretches.append(Stretch(trial, open_.pop(trial) - zero, time - zero))
    stretches += [Stretch(number, begin - zero, latest - zero) for number, begin in open_.items()]
    told = [float(row["text"]) for row in run.rows["event"] if row["kind"] == WAITED]
    return Idle(
        tuple(stretches), sum(each.end - each.begin for each in stretches),
        sum(trial.cost_seconds for trial in run.history), sum(told) if told else None, downtime, latest - zero,
    )  # fmt: skip


def simulated_seconds(run: Recorded) -> float | None:
    """The time that passed on the drivers' clock, if it was simulated: no worker started, and records took another time."""
    if any(row["kind"] == USED and used_of(row).what == "start" for row in run.rows["event"]):
        return None
    began = {row["epoch"]: _seconds(row["time"]) for row in reversed(run.rows["sweep"])}
    notes = {row["epoch"]: row for row in run.rows["event"] if row["kind"] == SPENT and row["epoch"] in began}
    clock = sum(float(row["text"]) for row in notes.values())
    passed = sum(_seconds(row["time"]) - began[epoch] for epoch, row in notes.items())
    return clock if abs(clock - passed) > SAME * passed else None


def _begins(run: Recorded) -> dict[tuple[Any, int], float]:
    """(driver, trial) → when its start began at the latest, from the times and costs of its records."""
    found: dict[tuple[Any, int], float] = {}
    starts: dict[tuple[Any, int], float] = {}
    for row in run.rows["event"]:
        if row["kind"] == USED and (used := used_of(row)).what == "start":
            starts.setdefault((row["epoch"], row["trial"]), used.seconds)
    trained: dict[tuple[Any, int], float] = {}
    for row in run.rows["report"]:
        who = (row["epoch"], row["trial"])
        if who in starts:
            trained[who] = trained.get(who, starts[who]) + row["cost_seconds"]
            found[who] = min(found.get(who, math.inf), _seconds(row["time"]) - trained[who])
    return found


def at_once(stretches: tuple[Stretch, ...]) -> tuple[list[float], list[int]]:
    """Times at which the number of trials with a worker changes, and the number from there on."""
    changes: dict[float, int] = {}
    for each in stretches:
        changes[each.begin] = changes.get(each.begin, 0) + 1
        changes[each.end] = changes.get(each.end, 0) - 1
    times: list[float] = []
    counts: list[int] = []
    count = 0
    for time in sorted(changes):
        count += changes[time]
        if not counts or counts[-1] != count:
            times.append(time)
            counts.append(count)
    return times, counts


def _marks(run: Recorded) -> list[tuple[float, str, int, Any]]:
    """(time, begin | report | end | other, trial, epoch) in the order of the records."""
    kinds = {
        "suggestion": "begin",
        "report": "report",
        "ending": "end",
        "lost": "report",
        "lease": "other",
        "event": "other",
    }
    rows = [
        (row["seq"], row["time"], kind, row.get("trial"), row["epoch"])
        for table, kind in kinds.items()
        for row in run.rows[table]
    ]
    rows.sort(key=lambda row: row[0])
    return [(_seconds(time), kind, -1 if trial is None else trial, epoch) for _, time, kind, trial, epoch in rows]


def _seconds(time: str) -> float:
    """Seconds of a recorded time, which is in UTC; `fromisoformat` is ten times faster than `strptime`."""
    return datetime.fromisoformat(time).replace(tzinfo=timezone.utc).timestamp()
