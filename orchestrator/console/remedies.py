"""Remedies for errors caused by the way trainings run here, whose messages do not say so."""

from __future__ import annotations

import re

_MODULE = "define it at the top level of a module that the script imports: a new process cannot find what the script or a function defines"
_REMEDIES = {
    # Spawned processes (DataLoader workers) unpickle by name, and __main__ is another program there.
    r"Can't pickle .*__main__|Can't get attribute .* on <module '__(main|mp_main)__'|attribute lookup .* on __main__": _MODULE,
    r"Can't (pickle|get) local object|Can't pickle .*<locals>|Can't pickle .*<lambda>": _MODULE,
    r"Cannot re-initialize CUDA in forked subprocess": 'DataLoader(multiprocessing_context="spawn"), with the data set in an imported module',
    r"bus error.*shared memory|unable to (allocate|open) shared memory|No space left on device.*/dev/shm": "/dev/shm is full: make it larger (docker run --shm-size=8g), or DataLoader(num_workers=0)",
    r"Too many open files": 'raise the limit (ulimit -n 65536), or torch.multiprocessing.set_sharing_strategy("file_system")',
    r"daemonic processes are not allowed to have children": "DataLoader(num_workers=0) inside a process pool",
}  # fmt: skip


def remedy_for(error: str) -> str:
    """A remedy for this error, which is a message or a traceback; empty if none is known."""
    return next((remedy for pattern, remedy in _REMEDIES.items() if re.search(pattern, error, re.IGNORECASE)), "")
