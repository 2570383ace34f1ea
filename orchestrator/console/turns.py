"""One sweep at a time in a process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.sweep import Sweep

_turn = threading.Lock()
_at_work: tuple[int, str] | None = None  # the thread that drives a sweep in this process, and the sweep's name


@contextlib.contextmanager
def alone(sweep: Sweep, console: Console) -> Iterator[None]:
    """Sweeps share Ray, signals and random streams of their process, so one runs at a time."""
    global _at_work
    if not _turn.acquire(blocking=False):
        thread, name = _at_work or (0, "another one")
        if thread == threading.get_ident():
            raise BadInput(
                f"run(sweep) of {sweep.name!r} was called from a training of the sweep {name!r}, in the same process; run "
                "it before or after, or in its own process."
            )
        console.print(
            f"{sweep.name}: waiting for the sweep {name!r}, which another thread of this process runs; to run sweeps at "
            "the same time, give each its own process.",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        _turn.acquire()
    _at_work = (threading.get_ident(), sweep.name)
    try:
        yield
    finally:
        _at_work = None
        _turn.release()
