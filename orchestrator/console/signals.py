"""Ctrl-C and SIGTERM while a sweep runs."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from orchestrator.console.terminal import erase_block
from orchestrator.worker.limits import to_screen

if TYPE_CHECKING:
    from orchestrator.driver import Driver

ONE_REQUEST_SECONDS = 0.4  # timeout(1) signals the process and then its group: count both as one request


class Signals:
    """The first Ctrl-C or SIGTERM lets the trials save and stop; a second one ends the process at once."""

    def __init__(self, driver: Driver, is_script: bool) -> None:
        self._driver = driver
        self._is_script = is_script
        self._received: list[int] = []
        self._at = 0.0  # time of the last signal
        self._before: dict[int, Any] = {}

    def __enter__(self) -> list[int]:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._on_signal)
            except ValueError:  # not in the main thread (a notebook's server): leave signals alone
                break
        return self._received

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._received and now - self._at < ONE_REQUEST_SECONDS:
            return
        self._at = now
        self._received.append(number)
        if len(self._received) > 1 and not self._is_script:
            raise KeyboardInterrupt
        if len(self._received) > 1:
            self._say("exiting at once; everything recorded is safe\n")
            os._exit(128 + number)  # everything that this process has started ends with it
        once_more = " (a second signal exits at once)" if self._is_script else ""
        self._say(f"\nstopping: trials save their checkpoints{once_more}\n")
        self._driver.stop("a signal asked for it")

    def _say(self, text: str) -> None:
        to_screen(erase_block() + text.encode())
