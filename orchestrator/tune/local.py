"""A small Ray of our own on this machine, which ends with this process (see keeper.py)."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.definition.machine import cpus
from orchestrator.errors import EngineLost, OrchestratorError, StorageError
from orchestrator.tune.loss import Loss
from orchestrator.tune.settings import ENVIRONMENT, unless_set
from orchestrator.worker.processes import VARIABLE, end_marked, forget_processes, mark_processes, temporary_folder
from trainables.killed import exit_in_words

SERVERS_MEMORY = 256 * 2**20  # bytes of the object store: what passes between our processes is small
PATIENCE = 20.0  # seconds for the keeper to end everything
STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1])\nfrom orchestrator.tune import keeper\nkeeper.main(json.loads(sys.argv[2]))"


class LocalRay:
    """Starts at once; `address` is set when `is_up`. `loss` is told which part has died."""

    def __init__(self, folder: Path, environment: Mapping[str, str], loss: Loss) -> None:
        self.folder = folder
        self._loss = loss
        self.address = ""
        # A token of this Ray's own: it needs no file, so no home that can be written, and is not the user's.
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._failure: dict[str, Any] | None = None
        self._answered = threading.Event()
        self._mark = mark_processes(folder)
        self._temporary = temporary_folder(self._mark)
        self._logs = folder / "ray-logs"
        try:
            self._temporary.mkdir(mode=0o700)
            log = (self._temporary / "keeper.log").open("w")
        except OSError as error:
            raise self._storage_error(str(error)) from error
        # Ray opens its folder to all users; the one above it stays ours.
        options = {
            "num_cpus": cpus(), "object_store_memory": SERVERS_MEMORY, "temp_dir": str(self._temporary / "r"),
            "logs": str(self._logs),
        }  # fmt: skip
        variables = {**os.environ, **unless_set(ENVIRONMENT), **environment, **self.token, VARIABLE: self._mark}
        with log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-c", BEGIN, json.dumps(sys.path), json.dumps(options)], env=variables,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def is_up(self, seconds: float) -> bool:
        """Wait up to this long; raises if Ray cannot be started."""
        if not self._answered.wait(seconds):
            return False
        if self._failure is not None:
            raise self._why_not(self._failure)
        return True

    def end(self) -> None:
        """End all of it. If Ray was lost, its logs stay in the run's folder."""
        assert self._keeper.stdin is not None
        self._loss.close()
        with contextlib.suppress(OSError):
            self._keeper.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._keeper.wait(PATIENCE) == 0:
                forget_processes(self.folder)
        if self._loss.why:  # perhaps the keeper itself has been killed
            end_marked(self._mark)

    def _listen(self) -> None:
        assert self._keeper.stdout is not None
        for line in self._keeper.stdout:
            said = json.loads(line)
            if "lost" in said:
                self._lose(said["lost"])
            elif "address" in said:
                self.address = said["address"]
            else:
                self._failure = said
            self._answered.set()
        if not self._answered.is_set():
            self._failure = {"error": f"its process ended ({exit_in_words(self._keeper.wait())})", "errno": None}
        self._lose("Ray's parent process has ended")
        self._answered.set()

    def _lose(self, why: str) -> None:
        self._loss.happened(f"{why}; Ray's logs are in {self._logs}")

    def _why_not(self, failure: Mapping[str, Any]) -> OrchestratorError:
        if failure["errno"] in STORAGE:
            return self._storage_error(failure["error"])
        return EngineLost(f"Ray could not be started: {failure['error']}. Its logs are in {self._logs}.")

    def _storage_error(self, why: str) -> StorageError:
        return StorageError(
            f"Ray could not be started in {self._temporary}: {why}. Make room there, or name another folder with a short "
            "path: TMPDIR=/var/tmp."
        )
