"""Whether a node can write: a full or read-only disk is no fault of the trial's."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

LEAST_FREE = 2**22  # bytes: with less free space, a failure is blamed on the disk
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # full, a quota used up, read-only


def disk_trouble(folder: Path) -> str:
    """Why nothing can be written in this folder, in a sentence without its subject; empty if something can."""
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    try:
        free = shutil.disk_usage(there).free
        if free < LEAST_FREE:
            return f"its disk is full ({free} bytes are free in {there})"
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
    except OSError as error:
        if error.errno in UNWRITABLE:
            return f"it cannot write in {there}: {error.strerror}"
    return ""


def names_disk(text: str) -> bool:
    """Whether an error says that a disk is full or read-only, or a quota is used up."""
    return any(os.strerror(number) in text for number in UNWRITABLE)
