"""Leave no process behind: every process that a driver starts carries the run's mark, and the next start ends the rest.

The mark is in the environment, so children inherit it. No other process has it: it is a digest of a secret in the
run's folder and of that folder's path, so a forged, copied or moved file matches no process.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from hashlib import sha256
from pathlib import Path

import psutil

PROCESSES = "processes.txt"
VARIABLE = "ORCHESTRATOR_MARK"
LONGEST_TEMPORARY = 10  # characters; Ray puts sockets below, whose paths may have at most 107, on macOS 103


def mark_processes(folder: Path) -> str:
    """Make a new mark for the processes of this start, and note its secret in the run's folder."""
    secret = secrets.token_hex(16)
    (folder / PROCESSES).unlink(missing_ok=True)
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL  # does not follow a link
    with open(os.open(folder / PROCESSES, how, 0o600), "w") as file:
        file.write(secret)
    return _mark(folder, secret)


def temporary_folder(mark: str) -> Path:
    """The folder for the sockets and logs of marked processes: private to this user, short enough for a socket's path."""
    usual = Path(tempfile.gettempdir())
    return (usual if len(str(usual)) <= LONGEST_TEMPORARY else Path("/tmp")) / f"orchestrator-{mark[:12]}"


def forget_processes(folder: Path) -> None:
    """Delete the note: the marked processes have ended."""
    with contextlib.suppress(OSError):
        (folder / PROCESSES).unlink()


def end_left_over_processes(folder: Path) -> int:
    """End the processes that an earlier driver of this run left, and delete its temporary folder; returns their number."""
    try:
        with open(os.open(folder / PROCESSES, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            secret = file.read(33)
    except (OSError, ValueError):
        return 0
    forget_processes(folder)
    if not re.fullmatch("[0-9a-f]{32}", secret):
        return 0  # not a secret of ours
    mark = _mark(folder, secret)
    ended = end_marked(mark)
    temporary = temporary_folder(mark)
    with contextlib.suppress(OSError):
        found = temporary.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            shutil.rmtree(temporary, ignore_errors=True)
    return ended


def end_marked(mark: str) -> int:
    """Kill every process that carries this mark; returns their number.

    Some of Ray's processes overwrite their environment with their title; an open log in the mark's folder shows them.
    """
    ended, logs = 0, f"{temporary_folder(mark)}{os.sep}"
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid():
                continue
            is_marked = process.environ().get(VARIABLE) == mark
            if is_marked or any(file.path.startswith(logs) for file in process.open_files()):
                process.kill()
                ended += 1
    return ended


def _mark(folder: Path, secret: str) -> str:
    return sha256(f"{secret} {folder.resolve()}".encode()).hexdigest()
