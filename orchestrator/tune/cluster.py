"""The Ray cluster under a sweep: connect to it, or start a small one."""

from __future__ import annotations

import contextlib
import importlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tune import settings  # isort: skip  # before Ray
import ray
from ray import _raylet
from ray._private import ray_constants
from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._private.services import canonicalize_bootstrap_address, find_node_ids
from ray.exceptions import AuthenticationError, RpcError

from orchestrator.driving.shown import DOING
from orchestrator.errors import BadInput, EngineLost, StorageError
from orchestrator.record.schema import STATE
from orchestrator.tune.keeper import LOOPBACK
from orchestrator.tune.local import LocalRay
from orchestrator.tune.loss import Loss

if TYPE_CHECKING:
    from orchestrator.driver import Driver


LOG = "ray.log"  # in the run's folder: what Ray's loggers say in this process
ON_NODE = "run the script on a node of the cluster (`ray exec`), with --address auto."
NODE_SECONDS = 5.0  # for a node that is starting on this machine
STOP_SECONDS = 0.1  # how long a signal may wait to be heard while Ray starts


def run(driver: Driver, *, address: str | None, refresh: Callable[[], None] = lambda: None) -> None:
    """Run the sweep until it ends or is stopped, on a local Ray or on the cluster at `address`."""
    driver.listen(DOING, "starting")
    first = driver.next()
    if first is None and driver.finished:
        return  # nothing to do: do not start Ray for it
    driver.listen(DOING, _beginning(address))
    with connected(driver, address, refresh) as loss:
        if driver.stop_reason:
            return  # while Ray started: what has been suggested is the first to run next time
        driver.listen(DOING, "starting the workers")
        from orchestrator.tune.engine import rounds

        try:
            rounds(driver, first, refresh, lost=lambda: loss.why)
        except EngineLost:
            loss.record()
            raise


def _beginning(address: str | None) -> str:
    if ray.is_initialized():
        return "starting the workers"
    return "starting Ray on this machine" if address in (None, "local") else f"joining the Ray cluster {address}"


@contextlib.contextmanager
def connected(driver: Driver, address: str | None, refresh: Callable[[], None] = lambda: None) -> Iterator[Loss]:
    """Ray for the duration of a sweep, of which a process runs one at a time (`console/turns.py`).

    A small local Ray ends with it; a Ray that the caller started stays up.
    """
    loss = Loss(lambda: _record_loss(driver))
    with contextlib.ExitStack() as stack:
        stack.enter_context(settings.environment(settings.unless_set(settings.ENVIRONMENT)))
        stack.enter_context(_logged_to(driver.places.folder / LOG))
        stack.callback(loss.close)  # after Ray's shutdown, which may hang too
        if not ray.is_initialized():
            if address in (None, "local"):
                _open_local(loss, driver, stack, refresh)
            else:
                assert address is not None
                _check_address(address)
                stack.callback(ray.shutdown)
                _join(address)
        if ray.is_initialized() and not driver.stop_reason:
            loss.watch(ray.get_runtime_context().gcs_address)
        yield loss


def _open_local(loss: Loss, driver: Driver, stack: contextlib.ExitStack, refresh: Callable[[], None]) -> None:
    # Ray would kill a worker's scripts with it at once; their guard and the keeper send SIGTERM first.
    ours = {"RAY_kill_child_processes_on_worker_exit": "0"}
    if driver.sweep.memory_bytes is not None:
        # Each trial has its own limit; Ray's monitor would kill the neighbours of the one that is too big.
        ours["RAY_memory_monitor_refresh_ms"] = "0"
    environment = settings.unless_set(ours)
    local = LocalRay(driver.places.folder, environment, loss)
    stack.callback(local.end)
    importlib.import_module("orchestrator.tune.engine")  # Tune is loaded while Ray's servers start
    while not local.is_up(STOP_SECONDS):
        refresh()
        if driver.stop_reason:
            return
    stack.enter_context(_token(local.token))
    stack.callback(ray.shutdown)
    in_thread(lambda: _init(local.address, _node_ip_address=LOOPBACK), on_loopback=True)


def _record_loss(driver: Driver) -> None:
    driver.close()
    with driver.ledger.transaction():
        driver.ledger.add_event(STATE, "interrupted")


def _join(address: str) -> None:
    """Connect to the user's cluster; only the user can fix what fails there."""
    try:
        in_thread(lambda: _init(address))
    except ConnectionError as error:
        if address != "auto":  # its port has answered
            raise BadInput(f"--address {address}: Ray cannot join a cluster there ({error}); {ON_NODE}") from error
        raise BadInput(f"--address {address}: no Ray cluster answers there ({error}).") from error
    except OSError as error:
        raise StorageError(f"--address {address}: Ray cannot write on this machine: {error}.") from error
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        raise BadInput(f"--address {address}: Ray cannot join this cluster: {text.splitlines()[0]}") from error


def _init(address: str, **more: Any) -> None:
    ray.init(address=address, logging_level="ERROR", log_to_driver=False, **more)


def in_thread(connect: Callable[[], None], *, on_loopback: bool = False) -> None:
    """Not in the main thread: there Ray would replace our SIGTERM handler with its own, which loses running work."""
    failure: list[BaseException] = []

    def guarded() -> None:
        try:
            connect()
        except BaseException as error:
            failure.append(error)

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not on_loopback  # else Ray takes another address than the loopback's
    try:
        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(STOP_SECONDS)  # signals are heard in between
            _take_sigterm_back()
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
    if failure:
        raise failure[0]


def _take_sigterm_back() -> None:
    """Ray's C++ puts a handler of its own before ours: it prints a stack, calls ours, and sets an alarm."""
    if threading.current_thread() is threading.main_thread() and (handler := signal.getsignal(signal.SIGTERM)):
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _token(token: Mapping[str, str]) -> Iterator[None]:
    """The token of our own Ray in this process; the user's token for another Ray is restored afterwards."""
    try:
        with settings.environment(token):
            _read_token()
            yield
    finally:
        _read_token()


def _read_token() -> None:
    _raylet.Config.initialize("")  # type: ignore[attr-defined]
    _raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]


class _RayLog(logging.FileHandler):
    """Ray's own messages of this process; a full disk loses them."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextlib.contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Within this block, the errors of Ray's loggers go to this file, and nothing to the screen."""
    logger = logging.getLogger("ray")
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    log = _RayLog(path, delay=True)
    log.setFormatter(logging.Formatter(ray_constants.LOGGER_FORMAT))
    logger.handlers[:], logger.propagate = [log], False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
        log.close()


def _check_address(address: str) -> None:
    """Check the address first: Ray waits for minutes at a wrong one."""
    if address.startswith("ray://"):
        raise BadInput(f"--address {address}: {ON_NODE}")
    host, colon, port = address.rpartition(":")
    if address != "auto":
        if not colon or not port.isdigit():
            raise BadInput(f"--address {address}: write auto, or host:port of the head node (6379).")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise BadInput(f"--address {address}: no Ray cluster answers there ({error.strerror or error}).") from error
    try:
        ensure_token_if_auth_enabled(None, create_token_if_missing=False)
        _check_membership(address)
    except AuthenticationError as error:
        raise BadInput(
            f"--address {address}: the cluster asks for a token, and this machine has none or another one. Copy the head's "
            "~/.ray/auth_token here, or name its copy: RAY_AUTH_TOKEN_PATH=FILE."
        ) from error


def _check_membership(address: str) -> None:
    """Raise BadInput if this machine is no node of the cluster: Ray would look for a minute, and not say what it lacks."""
    try:
        head = canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError):  # there is no cluster: Ray says so at once
        return
    end = time.monotonic() + NODE_SECONDS
    while not _is_node(head):
        if time.monotonic() > end:
            raise BadInput(f"--address {address}: this machine is no node of that Ray cluster; {ON_NODE}")
        time.sleep(STOP_SECONDS)


def _is_node(head: str) -> bool:
    """Whether a process of Ray's on this machine belongs to the cluster; True if the cluster does not say."""
    here = set(find_node_ids())
    if not here:
        return False
    answers: list[set[str] | AuthenticationError] = []

    def ask() -> None:
        with contextlib.suppress(RpcError):
            try:
                nodes = _raylet.GcsClient(address=head).get_all_node_info()  # type: ignore[attr-defined]
                answers.append({node.hex() for node in nodes})
            except AuthenticationError as error:
                answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)  # who listens there may be silent for ever
    thread.start()
    thread.join(NODE_SECONDS)
    if answers and isinstance(answers[0], AuthenticationError):
        raise answers[0]
    return not answers or not here.isdisjoint(answers[0])
