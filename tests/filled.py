"""Ledgers with records in them."""

from __future__ import annotations

import shutil
from pathlib import Path

from orchestrator.record.ledger import Ledger
from search.records import start
from tests.support import small_sweep


def fill(ledger: Ledger, reports: int) -> None:
    """One transaction for each report, as the driver does it."""
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        ledger.add_suggestion(0, start({"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}), seed=1)
    for step in range(1, reports + 1):
        with ledger.transaction():
            ledger.add_report(0, step, 1.0 / step, 0.1, {"loss": 1.0 / step})


def copy_without_closing(folder: Path, target: Path) -> Path:
    """What a SIGKILL at this instant leaves: the file and its write-ahead log, no shared memory, no copy."""
    target.mkdir(parents=True)
    for name in ("ledger.db", "ledger.db-wal", "ledger.head"):
        shutil.copy(folder / name, target / name)
    return target
