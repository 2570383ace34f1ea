"""Ctrl-C and SIGTERM while a sweep runs, or the file `pause` in the run's folder, where no signal arrives."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from orchestrator.console.slow_decision import decision
from orchestrator.console.terminal import erase_block
from orchestrator.errors import LeftAtOnce
from orchestrator.worker.limits import to_screen

if TYPE_CHECKING:
    from orchestrator.driver import Driver

SIGNALLED = "a signal asked for it"  # why the driver stops
ONE_REQUEST_SECONDS = 0.4  # timeout(1) signals the process and then its group: count both as one request


class Signals:
    """The first Ctrl-C or SIGTERM lets the trials save and stop; a second one ends a script's process at once.

    Another process lives on, as a notebook's kernel does: there the second one raises LeftAtOnce, but never while the
    ledger is written; then `check` does, which the engine calls several times a second.
    """

    def __init__(self, driver: Driver, is_script: bool) -> None:
        self._driver = driver
        self._is_script = is_script
        self.received: list[int] = []
        self._leaves = False  # a second signal asked for it
        self._is_over = False  # the engine has ended: nothing is left to stop
        self._at = 0.0  # time of the last signal
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._on_signal)
            except ValueError:  # not in the main thread (a notebook's server): leave signals alone
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Stop if somebody made the file `pause`; raise LeftAtOnce if a second signal came and the engine has not left yet."""
        if not self._driver.stop_reason and self._driver.places.pause_file.exists():
            self.received.append(signal.SIGINT)
            self._driver.stop(SIGNALLED)
        if self._leaves and not self._is_over:
            raise LeftAtOnce

    def engine_ended(self) -> None:
        """From here on what is left to record is recorded, whatever signals come."""
        self._is_over = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        signal.alarm(0)  # while it starts, Ray's handler may hear SIGTERM first: its alarm would abort the process
        now = time.monotonic()
        if self._leaves or (self.received and now - self._at < ONE_REQUEST_SECONDS):
            return
        if self._is_over and not (self._is_script and self.received):
            return
        self._at = now
        self.received.append(number)
        if len(self.received) > 1 and not self._is_script:
            self._say("leaving at once; everything recorded is safe\n")
            self._leaves = True
            if not self._driver.ledger.is_writing:
                self.check()
            return
        if len(self.received) > 1:
            self._say("exiting at once; everything recorded is safe\n")
            os._exit(128 + number)  # everything that this process has started ends with it
        once_more = f" (a second signal {'exits' if self._is_script else 'leaves'} at once)"
        deciding = decision(frame, self._driver.sweep)
        waits = f"{deciding.method} is deciding{deciding.place}, and the sweep waits for it; then " if deciding else ""
        self._say(f"\nstopping: {waits}trials save their checkpoints{once_more}\n")
        self._driver.stop(SIGNALLED)

    def _say(self, text: str) -> None:
        to_screen(erase_block() + text.encode())
