"""What was edited while the sweep runs: each trial starts a script anew, and so trains with the files of that moment."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from orchestrator.definition.sources import EDITED, Source, edited, sources_of
from orchestrator.driving.recorder import Recorder
from orchestrator.record.ledger import Ledger
from orchestrator.reporting import PARAMETERS, PLACE
from trainables.contract import CommandLine, Trainable


class Edits:
    """Compares a script's files at each start of a trial with those at the start of this invocation. A function or a class
    is imported once, so an edit has no effect on it."""

    def __init__(self, workload: Trainable) -> None:
        self._workload = workload
        self._first = sources_of(workload) if isinstance(workload, CommandLine) else {}
        self._stamps = _stamps(self._first)
        self._changed: dict[str, Source] = {}  # the files that differ now
        self._noted: set[int] = set()  # trials of which the record says that they started with others
        self._starting: set[int] = set()  # trials whose worker has not answered

    def note_start(self, trial: int, ledger: Ledger, recorder: Recorder) -> None:
        """Record the files with which a trial starts if they are not those of the invocation; tells each edit once."""
        self._starting.add(trial)
        if (stamps := _stamps(self._first)) != self._stamps:
            with contextlib.suppress(OSError):  # a file is being replaced: the next start looks again
                changed = {name: new for name, (_, new) in edited(self._first, sources_of(self._workload)).items()}
                is_new, self._changed, self._stamps = changed != self._changed, changed, stamps
                if is_new:
                    self._tell(trial, ledger, recorder)
        if self._changed or trial in self._noted:
            self._noted.add(trial)
            with ledger.transaction():
                ledger.add_event(EDITED, json.dumps(self._changed), trial)

    def note_answer(self, trial: int, checkpoints: Path, ledger: Ledger, recorder: Recorder) -> None:
        """The same for an edit between the order to a worker and the start of the script, which may take it a while."""
        if trial not in self._starting:
            return
        self._starting.remove(trial)
        with contextlib.suppress(OSError):  # no script has been started here
            if (now := _stamps(self._first)) != self._stamps:
                begun = (checkpoints / "script" / PLACE / PARAMETERS).stat().st_mtime_ns  # written at each start
                edits = [self._first[name]["path"] for name in now if now[name] != self._stamps.get(name)]
                if all(os.stat(path).st_ctime_ns <= begun for path in edits):
                    self.note_start(trial, ledger, recorder)
                    self._starting.remove(trial)

    def _tell(self, trial: int, ledger: Ledger, recorder: Recorder) -> None:
        text = (
            f"{', '.join(self._changed)} {'was' if len(self._changed) == 1 else 'were'} edited: trial {trial} and those that start "
            "after it train with the new code. If the edit changes results, run it under another name"
            if self._changed
            else f"the files of the training are again as they were: trial {trial} and those that start after it train with them"
        )
        with ledger.transaction():
            recorder.tell("notice", text, trial)


def _stamps(files: dict[str, Source]) -> dict[str, tuple[int, int]]:
    """Name → time and size of each file, which tell that it may have changed."""
    found = {}
    for name, source in files.items():
        with contextlib.suppress(OSError):
            stat = os.stat(source["path"])
            found[name] = (stat.st_mtime_ns, stat.st_size)
    return found
