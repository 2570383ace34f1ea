"""When a script saves: watch the files in its trial's folder, so that it is not ended in the middle of its checkpoint.

Most scripts print the metrics of a step and save after that, some save first, some save nothing. The first reports of each
start show which; a trial asks the memories of the others, too. If a script is known to save before its report, or at once
after it, a moment without a change shows that it has saved; else the next change is awaited, or the next step. A save is
over once nothing changes and no file is being written. Nobody tells what is a checkpoint: every file counts that is no log
by its name.
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
LOOK, CLOSE = 0.05, 0.02  # seconds between two looks at the files; while a script is waited for
RARE = 1.0  # … at most, in a long step
SHARE = 20  # … or so many times what a look takes: a folder may hold thousands of files
FEW = 5  # intervals between reports that are looked at in each start; so many in a sweep without a save: none comes
CLEAR, CLOSELY = 0.5, 4  # seconds of an interval that shows to which report a save belongs, and looks in it
SAVES, UNSAVED, WHOLE = "saves", "unsaved", "whole"  # in the memory of a trial
LATE, PROMPT = "late", "prompt"  # a script begins to save some time after its report; before it, or at once

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
        self._asked: tuple[float, str | None] = math.inf, None  # since when it should save and end, and its habit
        self._is_new = False  # whether a change was seen since the output was read last: before or after a report in it
        self._is_seen = False  # the same, when the last report was heard
        self._is_whole = False  # whether the files were whole at the last look
        self.cut_off = ""  # what to tell if it had to be ended while it wrote its files

    @property
    def newest(self) -> str:
        """The name of the file that changed last; empty if there is none."""
        return max(self._when, key=lambda path: self._when[path]).name if self._when else ""

    @property
    def is_learning(self) -> bool:
        """Whether it is worth a look between two reports."""
        return self._reports <= FEW and self._memory.get(SAVES) != LATE

    def look(self, spacing: float) -> bool:
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
        """Look between two reports: less often in a long step, and only while there is something to learn."""
        since = time.monotonic() - self._reported
        self._is_new = self.is_learning and self.look(max(LOOK, SHARE * self._took, min(RARE, since / SHARE)))

    def note_report(self) -> None:
        """Note that the script has told a step, and learn from the first ones when it saves."""
        last = self._changed
        self._is_new = self.look(0.0 if self.is_learning else SHARE * self._took) or self._is_new
        self._is_seen = self._is_new
        now = time.monotonic()
        if self.is_learning and self._reports:
            self._learn(self._reported, last, now)
        self._reports += 1
        self._reported, self._blind = now, 0.0
        if self._reports == 1:
            self._began = now

    def ask(self) -> None:
        """The script should end once it has saved."""
        self._asked = time.monotonic(), self._habit()

    def are_over(self, process: ScriptProcess, later: int, *, is_finishing: bool) -> bool:
        """Whether the script that was asked may be ended now; call it again until then.

        `later`: the steps that it has told since, LATER at most. `is_finishing`: wait only for the end of a save that has begun.
        """
        self.look(CLOSE)
        since, _ = self._asked
        waited = time.monotonic() - since
        is_late = waited >= (AT_PAUSE if is_finishing else LAST_WORDS)
        if self._is_due() and not later and not is_finishing and not is_late:
            return False
        self._is_whole = self._is_quiet(process, later)
        if is_late and not self._is_whole and self._changed >= since:
            self.cut_off = f"the script was ended while it wrote {self.newest}: it had {waited:.0f} s to finish"
        return self._is_whole or is_late or (later >= LATER and waited >= ENOUGH)

    def end(self, code: int | None) -> None:
        """The script has ended, by itself with `code`, or it was ended: remember whether its files are whole."""
        is_changed = self.look(0.0)
        is_unchanged = self.were_whole and self._changed == -math.inf
        self._memory[WHOLE] = code == 0 or is_unchanged or (self._is_whole and not is_changed)

    def _learn(self, earlier: float, last: float, now: float) -> None:
        """Learn from two reports, heard `earlier` and `now`; `last`: when a change was seen before the second was heard.
        A change that is seen with a report may be from right before or right after it."""
        seconds = now - earlier
        if seconds < max(CLEAR, CLOSELY * self._blind):  # in a simulation others train meanwhile
            return
        if self._first < earlier:
            self._memory[UNSAVED] = self._memory.get(UNSAVED, 0) + 1
            return
        after, before = self._first - earlier, now - last if last > earlier else 0.0
        if after <= min(QUIET, seconds / PART) / 2 or 2 * before < after:
            self._memory[SAVES] = PROMPT
        elif 2 * after < before:
            self._memory[SAVES] = LATE

    def _habit(self) -> str | None:
        """When the script saves (LATE, PROMPT, or unknown), as far as this trial or another knows; one that seems to save nothing need not be awaited."""
        others = list(self._folder.memories_of_others(COMPARED))
        told = [memory[SAVES] for memory in (self._memory, *others) if SAVES in memory]
        if told:
            return LATE if LATE in told else PROMPT
        return None if sum(memory.get(UNSAVED, 0) for memory in (self._memory, *others)) < FEW else PROMPT

    def _is_due(self) -> bool:
        """Whether the script is still to begin with the save of its last report."""
        _, habit = self._asked
        is_seen = self._is_seen and habit is None
        return habit != PROMPT and not is_seen and self._changed <= self._reported

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


def keeps(folder: TrialFolder, metrics: Collection[Path]) -> bool:
    """Whether the trial's folder has a file to go on from, beside its logs and its files with `metrics`."""
    return not all(is_log(path.relative_to(folder.path)) for path in folder.files.difference(metrics))


def is_log(path: Path) -> bool:
    """Whether a file in a trial's folder is none to go on from, as far as its name tells.

    >>> [is_log(Path(name)) for name in ("last.pt", "train.log", "tb/events.out.tfevents.17", "wandb/run-1/state.json")]
    [False, True, True, True]
    """
    return path.suffix in _LOGS or "tfevents" in path.name or not _OF_LOGGERS.isdisjoint(path.parts)
