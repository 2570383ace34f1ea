"""optuna-dashboard on a run's ledger, which it can only read: requests that would write get a sentence in answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from orchestrator.errors import BadInput

try:
    from optuna_dashboard import wsgi
except ImportError as error:
    raise BadInput("dashboard needs optuna-dashboard: pip install optuna-dashboard.") from error

from orchestrator.mirrors.study import STUDY, LedgerStudy

READING = ("GET", "HEAD")


@contextmanager
def served(folder: Path, port: int) -> Iterator[str]:
    """Serve the dashboard of the run in `folder` on this machine alone; yields its address. `port` 0: any free one.

    Raises BadInput if the port is in use.
    """
    app = _refusing_writes(wsgi(LedgerStudy(folder)))
    try:
        server = make_server("127.0.0.1", port, app, server_class=_Threaded, handler_class=_Silent)
    except OSError as error:
        raise BadInput(f"--port {port}: {error.strerror}; name another one, or 0 for any free one.") from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dashboard/studies/{STUDY}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _refusing_writes(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in READING:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [json.dumps({"reason": "Only the driver writes the ledger; this page cannot change it."}).encode()]

    return answer


class _Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass
