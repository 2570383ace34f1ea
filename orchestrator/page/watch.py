"""Serve the page of a run on this machine, and keep it up to date while the sweep runs.

The page asks for news every second; then the record is looked at, and only if it has grown is the page made again.
After each making, and for a part that takes long after each making of its own, there is a pause that is many times as
long. Nothing is made while nobody looks. Only the ledger is read, and that never blocks its writer.
"""

from __future__ import annotations

import errno
import json
import math
import os
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from orchestrator.errors import BadInput, OrchestratorError
from orchestrator.page.charts import Section
from orchestrator.page.document import Document, document
from orchestrator.page.html import live_html, plotly_code, state, to_json
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections import Maker, makers
from orchestrator.reading.state import state as state_of
from orchestrator.record.ledger import FILE, Ledger

LOOPBACK = "127.0.0.1"
PAUSE = 1.0  # seconds between two makings of the page, at least
SHARE = 0.1  # of the time, at most, that the making of one part takes
TEXT = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "json": "application/json"}


class Gone(OrchestratorError):
    """The run is not there any more."""


class Part:
    """A part of the page that is made again after a pause that suits its length; until then the last one stands."""

    def __init__(self, maker: Maker, clock: Callable[[], float]) -> None:
        self._maker = maker
        self._clock = clock
        self._last: Section | None = None
        self._of = -1  # `len(history)` at the last making
        self._not_before = -math.inf
        self._is_old = False

    @property
    def is_due(self) -> bool:
        """Whether it shows an older record, and may be made again."""
        return self._is_old and self._clock() >= self._not_before

    def __call__(self, run: Recorded) -> Section | None:
        if self._clock() < self._not_before:
            self._is_old = self._is_old or len(run.history) != self._of
            return self._last
        began = self._clock()
        self._not_before = math.inf  # should it fail, it is not tried again at once
        try:
            self._last = self._maker(run)
        finally:
            self._of, self._is_old = len(run.history), False
            self._not_before = self._clock() + (self._clock() - began) / SHARE
        return self._last


class Newest:
    """The newest page of a run. Several requests may ask at the same time; one of them makes it."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.made = 0  # how many pages were made
        self._clock = clock
        self._lock = threading.Lock()
        self._ledger: Ledger | None = None
        self._inode = (0, 0)
        self._seen: tuple[Any, ...] = ()  # the record at the last making
        self._not_before = -math.inf
        self._document: Document | None = None
        self._parts = [(name, Part(maker, clock)) for name, maker in makers()]

    def document(self) -> Document:
        """The newest page, or the last one if it is too early to make it again. Raises Gone, or StorageError."""
        with self._lock:
            ledger = self._opened()
            seen = (self._inode, ledger.last, state_of(ledger))
            has_news = seen != self._seen or any(part.is_due for _, part in self._parts)
            if self._document is None or (has_news and self._clock() >= self._not_before):
                began = self._clock()
                self._document = document(ledger, parts=self._parts)
                self._seen, took = seen, self._clock() - began
                self._not_before = self._clock() + max(PAUSE, took)
                self.made += 1
            return self._document

    @property
    def last_read(self) -> Document | None:
        """The last page that was made; None before the first."""
        return self._document

    def close(self) -> None:
        """Close the ledger."""
        with self._lock:
            self._close()

    def _opened(self) -> Ledger:
        """The ledger at the run's place: opened again if another file is there now."""
        try:
            status = os.stat(self.folder / FILE)
        except OSError as error:
            self._close()
            raise Gone(f"{self.folder} is not there any more; the page shows what was last read of it.") from error
        if self._ledger is None or (status.st_dev, status.st_ino) != self._inode:
            self._close()
            self._ledger, self._inode = Ledger.read(self.folder, check=False), (status.st_dev, status.st_ino)
        return self._ledger

    def _close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None


class Server(ThreadingHTTPServer):
    """Answers requests for one run, from this machine only."""

    daemon_threads = True

    def __init__(self, newest: Newest, port: int, say: Callable[[str], None]) -> None:
        try:
            super().__init__((LOOPBACK, port), Answer)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "another program uses it" if error.errno == errno.EADDRINUSE else "it needs more rights"
            raise BadInput(
                f"watch --port {port}: {why}; try --port {port + 1}, or --port 0 for any free one."
            ) from error
        self.newest = newest
        self.hosts = {f"{name}:{self.server_address[1]}" for name in (LOOPBACK, "localhost")}
        self._say = say
        self._said = ""

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"

    def say(self, text: str) -> None:
        """Tell a problem once, and again only after it has changed; "": there is none any more."""
        if text != self._said:
            self._said = text
            if text:
                self._say(text)


class Answer(BaseHTTPRequestHandler):
    """The answer to one request: the page, its state as JSON, or plotly's code."""

    server: Server

    def do_GET(self) -> None:
        if self.headers.get("Host", "") not in self.server.hosts:  # a foreign name that was made to point here
            return self._send(HTTPStatus.FORBIDDEN, "html", "This page answers only to 127.0.0.1 and localhost.")
        asked = urlsplit(self.path)
        try:
            if asked.path == "/":
                self._send(HTTPStatus.OK, "html", live_html(self.server.newest.document()))
            elif asked.path == "/state":
                self._state({name: values[-1] for name, values in parse_qs(asked.query).items()})
            elif asked.path == "/plotly.js":
                self._send(HTTPStatus.OK, "js", plotly_code(), cache="max-age=3600")
            else:
                self._send(HTTPStatus.NOT_FOUND, "html", "There is only one page here.")
        except OrchestratorError as error:
            self.server.say(str(error))
            if asked.path == "/state":
                self._send(HTTPStatus.OK, "json", json.dumps({"problem": str(error)}))
            else:
                last = self.server.newest.last_read
                status = HTTPStatus.SERVICE_UNAVAILABLE if last is None else HTTPStatus.OK
                self._send(status, "html", str(error) if last is None else live_html(last, str(error)))
        return None

    def log_message(self, format: str, *arguments: Any) -> None:
        """A line for every request would bury what matters."""

    def _state(self, known: dict[str, str]) -> None:
        newest = self.server.newest.document()
        self.server.say("")
        if (known.get("last"), known.get("made")) == (str(newest.last), newest.made):
            return self._send(HTTPStatus.NO_CONTENT, "json", "")
        return self._send(HTTPStatus.OK, "json", to_json(state(newest)))

    def _send(self, status: HTTPStatus, kind: str, text: str, cache: str = "no-store") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", TEXT[kind])
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", cache)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.end_headers()
        if status != HTTPStatus.NO_CONTENT:
            self.wfile.write(body)


def serve(folder: Path, port: int, started: Callable[[str], None], say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C. `started` is told the address, `say` every problem. Raises BadInput if the port is taken."""
    newest = Newest(folder)
    try:
        with Server(newest, port, say) as server:
            started(server.address)
            try:
                server.serve_forever(poll_interval=0.2)
            except KeyboardInterrupt:
                say("Stopped watching; the sweep is not affected.")
    finally:
        newest.close()
