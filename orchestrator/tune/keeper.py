"""The keeper: a process that starts a small Ray for one driver, and ends all of it with that driver.

As children of the driver Ray's processes share too much of its fate and too little. A signal to the driver's whole group
(timeout, Slurm, a shell) ended them before the trials could save; some lived on after a driver that was killed. The keeper
leads a session of its own, adopts what its descendants leave behind, and ends them, and nothing else, when the driver
is gone. It talks in lines of JSON: {"address": …} once Ray is up, {"error": …} if it does not come up, {"lost": …} when
one of Ray's servers has died.

Every server listens on the loopback address only.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import select
import shutil
import signal
import sys
import threading
import time
from typing import IO, Any

import psutil

from trainables.killed import exit_in_words

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.2
BURIAL_SECONDS = 10.0  # to look for dead orphans, all processes of the machine are gone through
GRACE_SECONDS = 10.0  # from SIGTERM to SIGKILL
CLEANING_SECONDS = 2.0  # for what cleans up after a training
RAY = os.path.dirname(getattr(importlib.util.find_spec("ray"), "origin", None) or "ray")
RUNNER = "TRIAL_RUNNER"  # the variable in a script's environment by which its leftovers are found
SERVERS = ("gcs_server", "raylet")  # without one of these nothing goes on
PR_SET_CHILD_SUBREAPER = 36


def main(options: dict[str, Any]) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Blocked, and inherited so by Ray's servers: Slurm and systemd signal every process of a job, whatever its session.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    driver = os.fdopen(os.dup(1), "w")  # what Ray prints goes elsewhere
    os.dup2(2, 1)
    trouble: list[str] = []
    arguments = (os.getppid(), trouble, options["temp_dir"], options.pop("logs"))
    threading.Thread(target=_end_with_driver, args=arguments, daemon=True).start()
    try:
        node = _start(options)
    except BaseException as error:
        trouble.append("start")
        _tell(driver, error=f"{type(error).__name__}: {error}", errno=getattr(error, "errno", None))
        threading.Event().wait()
    _tell(driver, address=node.gcs_address)
    servers = {name: node.all_processes[name][0].process for name in SERVERS}
    own = {info.process.pid for infos in node.all_processes.values() for info in infos}
    buried = time.monotonic()
    while True:
        time.sleep(POLL_SECONDS)
        for name in [name for name, process in servers.items() if process.poll() is not None]:
            trouble.append(name)
            _tell(driver, lost=f"Ray's {name} has ended ({exit_in_words(servers.pop(name).returncode)})")
        if time.monotonic() - buried > BURIAL_SECONDS:
            _bury(own)
            buried = time.monotonic()


def _start(options: dict[str, Any]) -> Any:
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    parameters = RayParams(
        node_ip_address=LOOPBACK, dashboard_host=LOOPBACK, include_dashboard=False, include_log_monitor=False,
        no_monitor=True, min_worker_port=0, max_worker_port=0, **options,
    )  # fmt: skip
    # Spawn_reaper: gcs_server and raylet die with this process (PDEATHSIG), should it be killed itself.
    return Node(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True)


def _tell(driver: IO[str], **message: Any) -> None:
    with contextlib.suppress(OSError):  # it is gone
        print(json.dumps(message), file=driver, flush=True)


def _end_with_driver(driver: int, trouble: list[str], temporary: str, logs: str) -> None:
    """Wait for the end of the pipe, or for another parent: a fork of the driver may hold the pipe open.

    After trouble Ray's logs are left in `logs`.
    """
    while os.getppid() == driver:
        if select.select([0], [], [], POLL_SECONDS)[0] and not os.read(0, 1):
            break
    is_well = not trouble  # what comes now is of the end itself
    try:
        end_descendants()
        if not is_well:
            shutil.rmtree(logs, ignore_errors=True)
            with contextlib.suppress(OSError, shutil.Error):
                shutil.copytree(os.path.join(temporary, "session_latest", "logs"), logs)
        shutil.rmtree(os.path.dirname(temporary), ignore_errors=True)
    finally:
        os._exit(0)


def end_descendants() -> None:
    """End all descendants of this process, including those that start meanwhile; the users' trainings with SIGTERM first.

    A client that trains elsewhere, such as `docker run`, hands SIGTERM on. Killed at once, it would leave its container
    running.
    """
    me = psutil.Process()
    for process in filter(_is_rays, _alive(me)):
        with contextlib.suppress(psutil.Error):
            process.kill()
    trainings = list(filter(_is_training, _alive(me)))
    for process in trainings:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(trainings, timeout=GRACE_SECONDS)
    if trainings:  # Podman's monitor removes its container then
        psutil.wait_procs(_alive(me), timeout=CLEANING_SECONDS)
    deadline = time.monotonic() + 10
    while (alive := _alive(me)) and time.monotonic() < deadline:
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=POLL_SECONDS)


def _is_rays(process: psutil.Process) -> bool:
    """Whether it is a server of Ray, or a worker."""
    with contextlib.suppress(psutil.Error, OSError):
        words = process.cmdline()
        return bool(words) and (words[0].startswith("ray::") or any(word.startswith(RAY) for word in words[:2]))
    return False


def _is_training(process: psutil.Process) -> bool:
    """Whether it belongs to a script that a trial has started."""
    with contextlib.suppress(psutil.Error, OSError):
        return RUNNER in process.environ()
    return False


def _alive(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


def _bury(own: set[int]) -> None:
    """Reap adopted processes; Ray's own Popen objects reap theirs."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, ChildProcessError):
            if child.pid not in own and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
