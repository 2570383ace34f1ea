"""When a script saves: watch the files in its trial's folder, so that it is not ended in the middle of its checkpoint.

Most scripts print the metrics of a step and save after that, some save first, some save nothing. The first reports of each
start show which; a trial asks the memories of the others, too. A save is over once nothing has changed for a moment, and
no file is being written. Nobody tells what is a checkpoint: every file counts that is no log by its name.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from trainables.scripts.process import LAST_WORDS, ScriptProcess
from trainables.scripts.shared_files import first_files
from trainables.scripts.trial_folder import COMPARED, PLACE, TrialFolder

QUIET, PART = 0.5, 10  # seconds without a change, or a part of a step, after which a save is over …
STALL = 5.0  # … but for a file that is open for writing: a slow disk may stall
AT_PAUSE = 15.0  # seconds for a save at a pause: with GRACE they stay below the 30 that Slurm and Kubernetes give
LATER, ENOUGH = 3, 1.0  # steps, and seconds, that a script may go on which changes its files without a rest
LOOK, SHARE = (
    0.05,
    20,
)  # seconds between two looks; or so many times what one takes, as a folder may hold thousands of files
FEW = (
    5  # intervals between two reports of a start that are looked at; so many in all without a save tell that none comes
)
CLEAR, CLOSELY = 0.5, 4  # seconds of an interval that shows to which report a save belongs, and looks in it
SAVES, UNSAVED, WHOLE = "saves", "unsaved", "whole"  # in the memory of a trial
AFTER, BEFORE = "after", "before"  # its report, a script saves

_LOGS = {
    ".log", ".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".out", ".err", ".wandb", ".db", ".sqlite", ".md", ".html",
    ".png", ".jpg", ".jpeg", ".svg", ".gif", ".pdf", ".lock",
}  # fmt: skip
_OF_LOGGERS = {"wandb", "mlruns", "__pycache__"}  # folders


class Saves:
    """The files that one start of a script changes in its trial's folder. `metrics`: gives those that hold its metrics."""

    def __init__(self, folder: TrialFolder, memory: dict[str, Any], metrics: Callable[[], Collection[Path]]) -> None:
        self._folder, self._memory, self._metrics = folder, memory, metrics
        self.were_whole = bool(memory.pop(WHOLE, False))  # its files, when its last start ended
        now = time.monotonic()
        self._stamps = self._look_at_files()
        self._when = dict.fromkeys(self._stamps, now)  # when each file was seen to change
        self._changed = self._first = -math.inf  # the last change, the first one since the last report
        self._reports, self._began, self._reported = 0, now, now
        self._looked, self._took, self._blind = now, 0.0, 0.0  # the longest time without a look since the last report
        self._asked = math.inf  # since when the script should save and end
        self._expects = self._is_whole = False
        self.cut_off = ""  # what to tell if it had to be ended while it wrote its files

    @property
    def newest(self) -> str:
        """The name of the file that changed last; empty if there is none."""
        return max(self._when, key=lambda path: self._when[path]).name if self._when else ""

    @property
    def is_learning(self) -> bool:
        """Whether it is worth a look between two reports."""
        return 0 < self._reports <= FEW and self._memory.get(SAVES) != AFTER

    def look(self, spacing: float = LOOK) -> bool:
        """Note what has changed; returns whether anything has. Does nothing if the last look was less than `spacing` ago."""
        begun = time.monotonic()
        if begun - self._looked < max(spacing, self._took):
            return False
        before, self._stamps = self._stamps, self._look_at_files()
        self._blind = max(self._blind, begun - self._looked)
        self._looked = time.monotonic()
        self._took = self._looked - begun
        new = [path for path, stamp in self._stamps.items() if before.get(path) != stamp]
        self._when = {path: self._when.get(path, begun) for path in self._stamps} | dict.fromkeys(new, begun)
        if not new and len(before) == len(self._stamps):
            return False
        self._changed = begun
        self._first = begun if self._first < self._reported else self._first
        return True

    def look_between(self) -> None:
        """Look between two reports: less often in a long step."""
        self.look(max(LOOK, SHARE * self._took, (time.monotonic() - self._reported) / SHARE))

    def note_report(self) -> None:
        """Note that the script has told a step, and learn from the first ones when it saves."""
        last = self._changed
        self.look(0.0 if self.is_learning else SHARE * self._took)
        now = time.monotonic()
        if self.is_learning:
            self._learn(self._reported, last, now)
        self._reports += 1
        self._reported, self._blind = now, 0.0
        if self._reports == 1:
            self._began = now

    def ask(self) -> None:
        """The script should end once it has saved."""
        self._asked = time.monotonic()
        self._expects = self._comes_after()

    def are_over(self, process: ScriptProcess, later: int, *, is_finishing: bool) -> bool:
        """Whether the script that was asked may be ended now; call it again until then.

        `later`: the steps that it has told since, LATER at most. `is_finishing`: wait only for the end of a save that has begun.
        """
        self.look()
        waited = time.monotonic() - self._asked
        is_late = waited >= (AT_PAUSE if is_finishing else LAST_WORDS)
        is_due = self._expects and not is_finishing and not later and self._changed <= self._reported
        if is_due and not is_late:
            return False
        self._is_whole = self._is_quiet(process, later)
        if is_late and not self._is_whole and self._changed >= self._asked:
            self.cut_off = f"the script was ended while it wrote {self.newest}: it had {waited:.0f} s to finish"
        return self._is_whole or is_late or (later >= LATER and waited >= ENOUGH)

    def end(self, code: int | None) -> None:
        """The script has ended, by itself with `code`, or it was ended: remember whether its files are whole."""
        is_changed = self.look(0.0)
        is_unchanged = self.were_whole and self._changed == -math.inf
        self._memory[WHOLE] = code == 0 or is_unchanged or (self._is_whole and not is_changed)

    def _learn(self, earlier: float, last: float, now: float) -> None:
        """Learn from two reports, heard `earlier` and `now`; `last`: when a change was seen before the script told the second.
        A change that is seen with a report may come right before it or after it: to wait until all is quiet is enough."""
        if now - earlier < max(CLEAR, CLOSELY * self._blind):  # in a simulation others train meanwhile
            return
        if self._first < earlier:
            self._memory[UNSAVED] = self._memory.get(UNSAVED, 0) + 1
        else:
            self._memory[SAVES] = AFTER if self._first - earlier < now - last < now - earlier else BEFORE

    def _comes_after(self) -> bool:
        """Whether a save may follow the last report, as far as anyone knows."""
        if SAVES in self._memory:
            return bool(self._memory[SAVES] == AFTER)
        others = list(self._folder.memories_of_others(COMPARED))
        if any(SAVES in memory for memory in others):
            return any(memory.get(SAVES) == AFTER for memory in others)
        return bool(sum(memory.get(UNSAVED, 0) for memory in (self._memory, *others)) < FEW)

    def _is_quiet(self, process: ScriptProcess, later: int) -> bool:
        step = (self._reported - self._began) / (self._reports - 1) if self._reports > 1 else math.inf
        if self._looked - max(self._changed, self._reported) < min(QUIET, step / PART) / (1 + later):
            return False
        if self._looked - self._changed >= STALL:
            return True
        root = Path(os.path.realpath(self._folder.path))  # as the system names open files
        opened = [self._folder.path / path.relative_to(root) for path in process.written if root in path.parents]
        return not any(
            self._counts(path) and self._looked - self._when.get(path, self._looked) < STALL for path in opened
        )

    def _look_at_files(self) -> dict[Path, tuple[int, int]]:
        found, self._apart = {}, set(self._metrics())
        for path in filter(self._counts, first_files(self._folder.path)):
            with contextlib.suppress(OSError):  # replaced meanwhile
                stat = path.stat()
                found[path] = stat.st_mtime_ns, stat.st_size
        return found

    def _counts(self, path: Path) -> bool:
        inside = path.relative_to(self._folder.path)
        return inside.parts[0] != PLACE and path not in self._apart and not is_log(inside)


def is_log(path: Path) -> bool:
    """Whether a file in a trial's folder is none to go on from, as far as its name tells.

    >>> [is_log(Path(name)) for name in ("last.pt", "train.log", "tb/events.out.tfevents.17", "wandb/run-1/state.json")]
    [False, True, True, True]
    """
    return path.suffix in _LOGS or "tfevents" in path.name or not _OF_LOGGERS.isdisjoint(path.parts)
