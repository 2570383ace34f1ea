"""The Ray cluster under a sweep: connect to it or start a small one, and what fits into it."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray

from orchestrator.errors import BadInput
from orchestrator.processes import remember_processes

if TYPE_CHECKING:
    from orchestrator.driver import Driver
    from orchestrator.sweep import Sweep


RAYS_NAMES = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}


def run(driver: Driver, *, address: str | None, refresh: Callable[[], None] = lambda: None) -> None:
    """Run the sweep to its end (or until it is stopped) on a local Ray or on the cluster at `address`."""
    first = driver.next()
    if first is None and driver.finished:
        return  # nothing to do: do not start Ray for it
    with connected(driver, address):
        from orchestrator.tune.engine import rounds

        rounds(driver, first, refresh)


@contextlib.contextmanager
def connected(driver: Driver, address: str | None) -> Iterator[None]:
    """Ray for the length of a sweep; a local one is started small and taken down again."""
    if ray.is_initialized():  # the caller's own Ray (a notebook, a test): use it, leave it
        yield
        return
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address is None:
        if driver.sweep.memory_bytes is not None:
            # Each trial has its own limit; Ray's monitor would kill the neighbours of the one that is too big.
            os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
        options |= {"include_dashboard": False, "object_store_memory": 256 * 2**20, "num_cpus": _cpus()}
    else:
        _check_address(address)
    handler = signal.getsignal(signal.SIGTERM)
    # Tune is loaded while Ray's servers start. (Not the other way round: they end with the thread that starts them.)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(importlib.import_module, "orchestrator.tune.engine")
        try:
            ray.init(address=address, **options)
        except ConnectionError as error:
            raise BadInput(f"--address {address}: no Ray cluster answers there ({error}).") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray puts its own there, which loses what runs
    remember_processes(driver.folder)
    try:
        yield
    finally:
        ray.shutdown()


def seat_resources(sweep: Sweep) -> dict[str, float]:
    """What a trial needs to be started: by their memory, too, no more trials share a node than fit there."""
    asked = {name: float(amount) for name, amount in sweep.resources.items() if name in ("cpu", "gpu") and amount}
    return asked if sweep.memory_bytes is None else {**asked, "memory": float(sweep.memory_bytes)}


def seats(sweep: Sweep) -> int:
    """How many trials may run at once: what the cluster holds, up to `max_concurrent`.

    A cluster that can grow is asked for `max_concurrent` seats; those that do not fit yet wait for their node.
    """
    fits, grows = capacity(sweep, ray.cluster_resources()), can_grow()
    if fits == 0 and not grows:
        have = {name: ray.cluster_resources().get(RAYS_NAMES[name], 0) for name in sweep.resources}
        if "memory" in have:
            have["memory"] = f"{have['memory'] / 2**30:.1f} GiB for trials"
        raise BadInput(
            f"Sweep(resources={dict(sweep.resources)!r}): one trial asks for more than the cluster has ({have})."
        )
    wanted = _wanted(sweep)
    return wanted if grows else min(wanted, fits)


def _wanted(sweep: Sweep) -> int:
    """More trials at once than this could never be used."""
    cheapest = min((task.cost for task in sweep.tasks), default=1.0)
    by_budget = None if sweep.budget is None else ceil(sweep.budget / cheapest)
    return min(wanted for wanted in (sweep.max_concurrent, sweep.limit, by_budget) if wanted is not None)


def capacity(sweep: Sweep, available: Mapping[str, float]) -> int:
    """How many trials of this sweep fit into these resources (whole cluster, not node by node)."""
    fits = [int(available.get(RAYS_NAMES[name], 0.0) / amount + 1e-9) for name, amount in seat_resources(sweep).items()]
    return min(fits, default=os.cpu_count() or 1)


def can_grow() -> bool:
    """Whether an autoscaler stands behind this cluster."""
    return bool(os.environ.get("RAY_HEAD_IP")) or Path("~/ray_bootstrap_config.yaml").expanduser().exists()


def _check_address(address: str) -> None:
    """Ray waits for minutes at a wrong address; ask first."""
    if address.startswith("ray://"):
        raise BadInput(
            f"--address {address}: run the script on a node of the cluster (`ray exec`), with --address auto."
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        if address not in ("auto", "local"):
            raise BadInput(f"--address {address}: write auto, or host:port of the head node (6379).")
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise BadInput(f"--address {address}: no Ray cluster answers there ({error.strerror or error}).") from error


def _cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
