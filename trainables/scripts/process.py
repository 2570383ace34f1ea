"""A script as our child process: it has its own process group, which ends with us, however we end.

A command may be a wrapper (`bash run.sh`, torchrun, conda run) whose children are the training. So all signals go to
the group, and to descendants that have left it. A guard, which is a shell that waits on a pipe, ends the group when the
worker is gone. If the guard was killed as well, the next start of the trial kills every process that has the trial's
folder in its environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

GRACE = 10.0  # seconds from SIGTERM to SIGKILL
LAST_WORDS = 60.0  # seconds for a finished script to save its model
_GUARD = """
read -r group || exit
read -r over && exit
kill -s TERM -- "-$group" 2>/dev/null
i=0
while [ $i -lt 100 ] && kill -s 0 -- "-$group" 2>/dev/null; do sleep 0.1; i=$((i + 1)); done
kill -s KILL -- "-$group" 2>/dev/null
"""


class ScriptProcess:
    """The running command `words`; its output is appended to two files."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], output: Path, errors: Path) -> None:
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            with open(output, "ab") as out, open(errors, "ab") as err:
                self._process = subprocess.Popen(
                    words, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                    start_new_session=True,
                )  # fmt: skip
        except BaseException:
            self._dismiss()
            raise
        self._family: dict[int, psutil.Process] = {}
        self._tell_guard(f"{self._process.pid}\n")

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def written(self) -> set[Path]:
        """The files that it and its descendants have open for writing, where the system tells (Linux)."""
        self._note_family()
        found = set()
        for pid in (self._process.pid, *self._family):
            with contextlib.suppress(psutil.Error, OSError):
                files = psutil.Process(pid).open_files()
                found |= {Path(file.path) for file in files if getattr(file, "mode", "r") != "r"}
        return found

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for it to end; returns whether it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.code is not None

    def end(self, grace: float = GRACE) -> None:
        """Ask the whole group to end, then kill the rest of it; returns when nothing is left."""
        self._note_family()
        if self._alive():
            self._signal(signal.SIGTERM)
            deadline = time.monotonic() + grace
            while self._alive() and time.monotonic() < deadline:
                time.sleep(0.02)
            self._signal(signal.SIGKILL)
        self._process.wait()
        self._dismiss()

    def _alive(self) -> bool:
        self._process.poll()  # an ended child belongs to the group until we wait for it
        return _group_lives(self._process.pid) or any(_runs(member) for member in self._family.values())

    def _note_family(self) -> None:
        with contextlib.suppress(psutil.Error):
            for member in psutil.Process(self._process.pid).children(recursive=True):
                self._family.setdefault(member.pid, member)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
        for member in self._family.values():
            with contextlib.suppress(psutil.Error):  # psutil compares start times, so a reused pid is safe
                member.send_signal(number)

    def _tell_guard(self, text: str) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):
            self._guard.stdin.write(text.encode())
            self._guard.stdin.flush()

    def _dismiss(self) -> None:
        self._tell_guard("over\n")
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):
            self._guard.stdin.close()
        self._guard.wait()


def end_leftovers(environment: Mapping[str, str], runner: str) -> int:
    """Kill the leftovers of an earlier start: processes with this `environment` that also have `runner` in theirs."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            found_there = process.environ()
            if runner in found_there and all(found_there.get(name) == value for name, value in environment.items()):
                process.kill()
                found.append(process)
    psutil.wait_procs(found, timeout=GRACE)
    return len(found)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return any(_runs_in(group, pid) for pid in psutil.pids())  # zombies that nobody waits for stay in the group


def _runs_in(group: int, pid: int) -> bool:
    with contextlib.suppress(OSError, psutil.Error):
        return os.getpgid(pid) == group and _runs(psutil.Process(pid))
    return False


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
