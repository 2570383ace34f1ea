"""A lock on a file, which the system frees when its holder ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import StorageError

MISSING = (errno.ENOSYS, errno.EOPNOTSUPP)  # some network file systems have POSIX locks only


class FileLock:
    """`acquire` it once; as a context manager it is released at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._call: Callable[[int, int], None] = fcntl.flock

    @property
    def is_locked(self) -> bool:
        return self._file >= 0

    def acquire(self) -> bool:
        """Whether it is ours now: nobody else holds it. Raises StorageError if the file cannot be locked at all."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise StorageError(
                f"{self._path}: cannot be opened: {error.strerror}. Ask its owner, or choose another folder."
            ) from error
        try:
            if self._lock(file) and os.fstat(file).st_nlink:  # else the file was removed meanwhile
                self._file, file = file, -1
        except OSError as error:
            raise StorageError(
                f"{self._path}: cannot be locked: {error.strerror}. A run needs a file system with locks: choose another --runs "
                "folder, or mount this one with locks (NFS: rpc.statd must run; Lustre: -o flock)."
            ) from error
        finally:
            if file >= 0:
                os.close(file)
        return self.is_locked

    def _lock(self, file: int) -> bool:
        try:
            self._call(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            if error.errno not in MISSING or self._call is fcntl.lockf:
                raise
            self._call = fcntl.lockf
            return self._lock(file)
        return True

    def release(self) -> None:
        if self.is_locked:
            file, self._file = self._file, -1
            self._call(file, fcntl.LOCK_UN)  # closing alone would leave the lock to a child forked meanwhile
            os.close(file)

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
