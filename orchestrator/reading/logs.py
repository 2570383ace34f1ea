"""Print the output of trials: one log, the ends of the failed trials' logs, or a log that still grows."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from orchestrator.console.plurals import plural
from orchestrator.errors import BadInput
from orchestrator.reading.state import state
from orchestrator.reading.summary import trial_log
from orchestrator.reading.trial_counts import Stand, causes, stands
from orchestrator.record.ledger import Ledger
from search.records import Status

TAIL_LINES = 20  # of a failed trial's log
TAIL_BYTES = 65_536  # at the end of the log, in which to look for them
LOOK_SECONDS = 0.2  # between two looks at a followed log
FAILED, RUNNING = Status.FAILED.value, Status.RUNNING.value


def print_log(ledger: Ledger, trial: int | None, out: IO[str], *, follow: bool = False) -> None:
    """Print a trial's whole log; `follow`: also what is added, until the trial ends or no driver runs."""
    stand = _chosen(ledger, trial)
    log = trial_log(ledger.folder, stand.trial)
    _print_head(stand, log, out)
    if follow:
        for text in _followed(ledger, stand.trial, log):
            out.write(text)
            out.flush()
    elif log.exists():
        out.write(log.read_bytes().decode(errors="replace"))
    if not log.exists() or not log.stat().st_size:
        out.write(_without_log(ledger, stand))


def print_failed(ledger: Ledger, out: IO[str]) -> None:
    """For every cause of failures, print its reason, its number of trials, and the end of the first one's log."""
    found = stands(ledger)
    by_number = {stand.trial: stand for stand in found}
    dead = causes(found)
    if not dead:
        out.write(f"{ledger.folder.name}: none of {plural(len(found), 'trial')} has failed\n")
    for position, cause in enumerate(dead):
        log = trial_log(ledger.folder, cause.trial)
        if position:
            out.write("\n")
        others = f", and {cause.times - 1} more like it" if cause.times > 1 else ""
        _print_head(by_number[cause.trial], log, out, others)
        lines = _end(log)
        out.write("".join(f"{line}\n" for line in lines) or _without_log(ledger, by_number[cause.trial]))


def _chosen(ledger: Ledger, trial: int | None) -> Stand:
    """The named trial; else the first failed, else the last running, else the last one."""
    found = stands(ledger)
    if not found:
        raise BadInput(f"{ledger.folder}: no trials yet.")
    if trial is None:
        failed = [stand for stand in found if stand.status == FAILED]
        running = [stand for stand in found if stand.status == RUNNING]
        return failed[0] if failed else running[-1] if running else found[-1]
    if not 0 <= trial < len(found):
        raise BadInput(f"{ledger.folder}: no trial {trial}; there are 0 to {len(found) - 1}.")
    return found[trial]


def _print_head(stand: Stand, log: Path, out: IO[str], others: str = "") -> None:
    reason = f": {stand.reason}" if stand.reason else ""
    out.write(f"== trial {stand.trial}, {stand.status} at step {stand.step}{others}{reason}\n== {log}\n")


def _end(log: Path) -> list[str]:
    """The last lines; of a progress bar only its last state."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n") if text else []
    return [line.rpartition("\r")[2] for line in lines[-TAIL_LINES:]]


def _without_log(ledger: Ledger, stand: Stand) -> str:
    """The traceback on record of a trial that has printed nothing."""
    endings = ledger.rows("ending", "WHERE trial = :trial ORDER BY seq DESC LIMIT 1", trial=stand.trial)
    detail = endings[0]["detail"].strip() if endings else ""
    return f"(it has printed nothing)\n{detail}\n" if detail else "(it has printed nothing)\n"


def _followed(ledger: Ledger, trial: int, log: Path) -> Iterator[str]:
    """The log and what is added to it, until the trial rests. If the log is cut in its middle, continue at its end."""
    position, decoder = 0, codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        over = not _goes_on(ledger, trial)  # ask before reading, so that everything printed until then is read
        size = log.stat().st_size if log.exists() else 0
        if size < position:
            yield "\n== the log was cut in its middle; it goes on here\n"
            position = size
        if size > position:
            with log.open("rb") as file:
                file.seek(position)
                data = file.read(size - position)
            position = size
            yield decoder.decode(data)
        elif over:
            return
        else:
            time.sleep(LOOK_SECONDS)


def _goes_on(ledger: Ledger, trial: int) -> bool:
    ended = ledger.query(
        "SELECT COALESCE((SELECT MAX(seq) FROM ending WHERE trial = :trial), 0) > "
        "(SELECT MAX(seq) FROM suggestion WHERE trial = :trial)",
        trial=trial,
    )
    return not ended[0][0] and state(ledger) == "running"
