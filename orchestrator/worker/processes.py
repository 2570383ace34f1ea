"""No process is left behind: what a driver starts carries the run's mark, and whatever still carries it is ended by the next start.

The mark is in the environment, so children inherit it. Nobody else's process has it: it is a digest of a secret in the
run's folder and of that folder's path, so a forged, copied or moved file names no process at all.
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
LONGEST_TEMPORARY = 14  # characters; Ray puts sockets below, whose paths may have 107


def mark_processes(folder: Path) -> str:
    """A new mark for what is started now, noted in the run's folder."""
    secret = secrets.token_hex(16)
    (folder / PROCESSES).unlink(missing_ok=True)
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL  # does not follow a link
    with open(os.open(folder / PROCESSES, how, 0o600), "w") as file:
        file.write(secret)
    return _mark(folder, secret)


def temporary_folder(mark: str) -> Path:
    """Where marked processes keep their sockets and logs: of this user only, and short enough for a socket's path."""
    usual = Path(tempfile.gettempdir())
    return (usual if len(str(usual)) <= LONGEST_TEMPORARY else Path("/tmp")) / f"orchestrator-{mark[:12]}"


def forget_processes(folder: Path) -> None:
    """They have ended."""
    with contextlib.suppress(OSError):
        (folder / PROCESSES).unlink()


def end_left_over_processes(folder: Path) -> int:
    """End what an earlier driver of this run left running, and delete its temporary folder."""
    try:
        with open(os.open(folder / PROCESSES, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            secret = file.read(33)
    except (OSError, ValueError):
        return 0
    forget_processes(folder)
    if not re.fullmatch("[0-9a-f]{32}", secret):
        return 0  # of an older release, which noted processes that were not its own
    mark = _mark(folder, secret)
    ended = end_marked(mark)
    temporary = temporary_folder(mark)
    with contextlib.suppress(OSError):
        found = temporary.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            shutil.rmtree(temporary, ignore_errors=True)
    return ended


def end_marked(mark: str) -> int:
    """Kill every process that carries this mark; answers how many there were.

    Some of Ray's write their title over their environment: those have a log in the mark's own folder open.
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
