"""Notice the death of Ray itself within seconds: by default Ray waits for a minute, then ends this process from C++."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable

from orchestrator.errors import EngineLost

LAST_SECONDS = 25.0  # after a loss; if the main thread has not left by then, it hangs in a call to Ray
POLL_SECONDS = 2.0
REFUSED = 4  # times in a row, by a head that had answered: its server is gone. (Silence may be the network's.)


class Loss:
    """Whether Ray has died, and why. `record` is called once: by the main thread, or for it if that hangs."""

    def __init__(self, record: Callable[[], None] = lambda: None) -> None:
        self.why = ""
        self._record = record
        self._is_recorded = threading.Lock()
        self._closed = threading.Event()

    def happened(self, why: str) -> None:
        if self.why or self._closed.is_set():
            return
        self.why = why
        threading.Thread(target=self._leave_at_last, daemon=True).start()

    def record(self) -> None:
        if self._is_recorded.acquire(blocking=False):
            self._record()

    def close(self) -> None:
        """From now on, a death is not a loss."""
        self._closed.set()

    def watch(self, address: str) -> None:
        """Check from time to time whether the head at `address` (host:port) answers."""
        threading.Thread(target=self._watch, args=(address,), daemon=True).start()

    def _watch(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        refused = 0
        while refused < REFUSED and not self._closed.wait(POLL_SECONDS):
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=POLL_SECONDS).close()
                refused = 0
            except ConnectionRefusedError:
                refused += 1
            except OSError:
                refused = 0
        self.happened(f"the head of the Ray cluster at {address} has ended")

    def _leave_at_last(self) -> None:
        if self._closed.wait(LAST_SECONDS):
            return
        with contextlib.suppress(Exception):
            self.record()
        with contextlib.suppress(OSError):
            os.write(2, f"{words(self.why)}\n".encode())
        os._exit(EngineLost.exit_code)


def words(why: str) -> str:
    """The message for the user."""
    return f"{why}. What is recorded is safe; to go on, run the same command."
