"""Remove and rename runs. A kill at any moment leaves the old state or the new one, and what is left over is removed by
the next removal."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from orchestrator.definition import validation
from orchestrator.errors import BadInput, LedgerDamaged, OrchestratorError, RunInUse, StorageError
from orchestrator.reading.state import state
from orchestrator.record.ledger import FILE, Ledger
from orchestrator.record.opening import lock_run
from orchestrator.record.remarks import add_renaming
from orchestrator.record.storage import find_run, host, refuse_links, storage_errors

REMOVED = ".removed-"  # beginning of a folder's name between its removal and the end of it


def run_to_change(run: str, runs: Path) -> Path:
    """The folder of a run, by name or path. Raises BadInput for a link, and for what is no run."""
    folder = find_run(run, runs)
    if folder.is_symlink():
        raise BadInput(f"{folder} is a link to {os.readlink(folder)}. Name that folder, or remove the link itself.")
    with contextlib.suppress(LedgerDamaged):  # a damaged run is one, too
        Ledger.read(folder, check=False).close()
    return folder


@contextlib.contextmanager
def at_rest(folder: Path, doing: str) -> Iterator[None]:
    """Keep drivers out of the run. Raises RunInUse if one works on it."""
    refuse_links(folder / FILE, folder / "driver.lock")
    try:
        lock = lock_run(folder)
    except RunInUse:
        raise RunInUse(f"{folder}: a driver works on it. Stop it first (Ctrl-C), then {doing} the run.") from None
    try:
        _refuse_elsewhere(folder, doing)
        yield
    finally:
        lock.release()


def remove(folder: Path) -> None:
    """Remove a run with everything in it; links in it are removed and not followed. Raises RunInUse or StorageError.

    First the folder gets a hidden name, at once; then it is emptied.
    """
    hidden = folder.with_name(f"{REMOVED}{folder.name}-{os.getpid()}")
    with at_rest(folder, "remove"), storage_errors(folder):
        os.rename(folder, hidden)
        _sync(folder.parent)
    for left in folder.parent.glob(f"{REMOVED}*"):  # also what a kill has left
        if not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
    if hidden.exists():
        raise StorageError(
            f"{hidden}: the run is removed, but not all of its files can be. Remove that folder by hand."
        )


def rename(folder: Path, name: str) -> Path:
    """Give a run another name, in the same place; returns its new folder. Raises BadInput, RunInUse or StorageError."""
    validation.name(name)
    target = folder.with_name(name)
    if target.exists() or target.is_symlink():
        raise BadInput(f"{target} exists already; choose another name, or remove it first.")
    with at_rest(folder, "rename"), storage_errors(folder):
        add_renaming(folder, folder.name, name)
        os.rename(folder, target)
        _sync(folder.parent)
    return target


def _refuse_elsewhere(folder: Path, doing: str) -> None:
    """A lock shows only the drivers of this machine."""
    try:
        ledger = Ledger.read(folder, check=False)
    except OrchestratorError:
        return
    try:
        lease = ledger.lease()
        if lease is not None and lease.host != host() and state(ledger) == "running":
            raise RunInUse(
                f"{folder}: a driver on {lease.host} works on it, last heard {ledger.last_heard()[:19]} UTC. Stop it first; "
                f"if that machine is gone, {doing} the folder by hand."
            )
    finally:
        ledger.close()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
