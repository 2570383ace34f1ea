"""The state of a run in one word, the same for all readers, from its record and the process table."""

from __future__ import annotations

from pathlib import Path

from orchestrator.driving.shown import WAITING
from orchestrator.driving.waiting import Waiting, read
from orchestrator.reading.out_of_time import out_of_time
from orchestrator.record.encoding import now, seconds_between
from orchestrator.record.ledger import FILE, Ledger
from orchestrator.record.schema import STATE
from orchestrator.record.storage import host, is_alive


def state(ledger: Ledger) -> str:
    """running | interrupted | finished | out of time | failed; for a run on another machine, the last recorded state.

    A run with results that its time budget ended is out of time.
    """
    lease = ledger.lease()
    if lease is None:
        return "interrupted"
    told = ledger.rows(
        "event", "WHERE kind = :kind AND epoch = :epoch ORDER BY seq DESC LIMIT 1", kind=STATE, epoch=lease.epoch
    )
    if told:
        word = str(told[0]["text"])
        return "out of time" if word == "finished" and out_of_time(ledger, 0) else word
    if lease.host != host():
        return "running"
    return "running" if is_alive(lease.pid, lease.started) else "interrupted"


def state_before(folder: Path) -> str:
    """The state of the run before an invocation begins; a new run counts as failed until it gets further."""
    if not (folder / FILE).exists():
        return "failed"
    ledger = Ledger.read(folder)
    try:
        return state(ledger) if ledger.sweeps() else "failed"
    finally:
        ledger.close()


def waiting(ledger: Ledger) -> Waiting | None:
    """What trials of a running sweep wait for; None if no place waits."""
    lease = ledger.lease()
    where = "WHERE kind = :kind AND epoch = :epoch ORDER BY seq DESC LIMIT 1"
    rows = ledger.rows("event", where, kind=WAITING, epoch=lease.epoch) if lease else []
    return read(rows[0]["text"]) if rows and state(ledger) == "running" else None


def state_words(ledger: Ledger, word: str) -> str:
    """The state `word` for people; for a run on another machine with the time of its last record, as it may be dead."""
    lease = ledger.lease() if word == "running" else None
    if lease is None:
        return word
    if lease.host == host():
        found = waiting(ledger)
        return f"waiting for a node with room since {found.since[:19]} UTC" if found and found.is_all else word
    heard = ledger.last_heard()
    return f"running on {lease.host}, last heard {ago(seconds_between(heard, now()))} ago ({heard[:19]} UTC)"


def ago(seconds: float) -> str:
    """A length of time in words, in one unit."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
