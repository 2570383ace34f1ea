"""Engine 2: Ray Tune, on this machine or a cluster. The only file that imports Ray.

Tune starts, places, watches and restarts *seats*: one long-lived worker for each trial that may run at once. Our
trials pass through the seats; Tune sees only the seats. This is why: handing a trial to a warm seat takes about a
millisecond, a Tune trial of its own 20 ms to 5 s; what Tune keeps per trial, and writes again at every snapshot,
does not grow with the sweep; and nothing that Tune stores is needed to go on (we never restore from it).

Trouble is ordinary: a seat that dies is started again by Tune and its trial goes on from its last checkpoint; an
exception out of `fit()` (the memory monitor can abort a whole experiment) is one more interruption, after which a
new round begins.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

for _name, _value in {  # read by Ray when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a workload's relative paths mean what they mean in the script
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger replaces Tune's files for each trial
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # the driver checks metrics; one bad trial must not end the sweep
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # no snapshots: they are never read
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # waiting seats are normal, and told in our own words
}.items():
    os.environ.setdefault(_name, _value)

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from orchestrator import worker
from orchestrator.driver import PREPARE, Order
from orchestrator.errors import BadInput, OrchestratorError
from orchestrator.guards import data_bytes, limited, log_to, watched, why_lost
from orchestrator.processes import remember_processes

if TYPE_CHECKING:
    from orchestrator.driver import Driver
    from orchestrator.sweep import Sweep

PATIENCE = 0.1  # seconds: reports that come faster than this travel together
START_SECONDS = 60.0
IDLE = 0.1  # seconds: how long a seat without work waits before it asks again
LOST_IN_A_ROW = 6  # seats lost without any answer in between: the workers cannot even start
ROUNDS_WITHOUT_PROGRESS = 3


class Seat(tune.Trainable):  # type: ignore[misc]
    """A worker process: carries out the orders it is given, one `step` for each answer."""

    def setup(self, config: dict[str, Any]) -> None:
        self._sweep: Sweep = ray.get(config["sweep"][0])
        self._shared: Path = config["shared"]
        self._pause: Path = config["pause"]
        self._order: Order | None = None
        self._job: worker.Job | None = None
        self._next: Order | None = None
        self._leave = self._save = False
        self._is_new = True
        self._memory_limit: int | None = None

    def assign(self, order: Order | None, save: bool) -> None:
        """Called by the driver before the next `step`: leave the present trial (saving it or not), take on `order`."""
        self._next, self._leave, self._save = order, True, save

    def step(self) -> dict[str, Any]:
        """Work until there is something to tell."""
        result: dict[str, Any] = {"pid": os.getpid()}
        if self._leave:
            if self._save and self._job is not None:
                result["left"] = self._job.save()
            self._order, self._job = self._next, None
            self._leave = False
        if self._order is None:
            if "left" not in result:
                time.sleep(IDLE)
            return result
        order = self._order
        if order.kind == "train":
            result["answer"] = self._train(order)
        else:
            result["job"] = self._other(order)
        return result

    def _train(self, order: Order) -> worker.Answer:
        assignment = order.assignment
        assert assignment is not None
        if self._job is None:
            self._job = worker.Job(self._sweep, assignment, self._pause.exists)
            budget = self._sweep.memory_bytes
            self._memory_limit = None if budget is None else data_bytes() + budget
        silence, patience = self._sweep.silence_seconds, PATIENCE
        if self._is_new:  # what is imported and loaded before a process's first report is no silence
            silence, patience = silence and silence + START_SECONDS, 0.0
        with (
            log_to(assignment.folder.parent),
            watched(assignment.folder.parent, silence),
            limited(self._memory_limit),
        ):
            answer = self._job.advance(patience)
        self._is_new = False
        if answer.done:
            self._job = self._order = None
        return answer

    def _other(self, order: Order) -> tuple[dict[str, float], str]:
        self._order = None
        try:
            if order.kind == PREPARE:
                worker.prepare(self._sweep, self._shared)
                return {}, ""
            assert order.assignment is not None
            return dict(self._sweep.workload.test(order.assignment)), ""
        except Exception:
            return {}, traceback.format_exc()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # a seat has nothing that must survive

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


class Dispatcher(FIFOScheduler):  # type: ignore[misc]
    """Between Tune and the driver: every result of a seat comes by here, and takes the next order back with it."""

    def __init__(self, driver: Driver, first: Order | None, refresh: Callable[[], None]) -> None:
        super().__init__()
        self.driver = driver
        self.failure: BaseException | None = None
        self.lost_in_a_row = 0
        self._first = first
        self._refresh = refresh
        self._orders: dict[str, Order] = {}  # Tune's id of a seat → what it is doing

    def __reduce__(self) -> Any:  # Tune pickles schedulers into its snapshots; nobody ever reads ours
        return (FIFOScheduler, ())

    def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        try:
            return self._on_result(trial, trial_result(result))
        except BaseException as error:  # Tune would bury it in a TuneError
            self.failure = error
            return str(TrialScheduler.STOP)
        finally:
            self._refresh()

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        """The seat is gone; Tune starts a new one."""
        order = self._orders.pop(trial.trial_id, None)
        self.lost_in_a_row += 1
        try:
            if order is not None and order.assignment is not None and order.kind == "train":
                self.driver.lose(order.trial, why_lost(order.assignment.folder.parent))
            elif order is not None:
                self.driver.lose_job(order, "the process or its node died")
            if self.lost_in_a_row >= LOST_IN_A_ROW:
                raise OrchestratorError(
                    f"{self.lost_in_a_row} workers in a row were lost before they answered. Last error:\n{_error_of(trial)}"
                )
        except BaseException as error:
            self.failure = error

    def finished(self) -> bool:
        return self.failure is not None or (self._first is None and self.driver.finished)

    def _on_result(self, trial: Any, result: Mapping[str, Any]) -> str:
        self.lost_in_a_row = 0
        left, answer, job = result.get("left"), result.get("answer"), result.get("job")
        if left is not None:
            self.driver.receive(left.trial, left.progress)
        go_on = False
        order = self._orders.get(trial.trial_id)
        if answer is not None:
            go_on = self.driver.receive(answer.trial, answer.progress) and not answer.done
            if answer.failure is not None:
                self.driver.fail(answer.trial, *answer.failure)
        elif job is not None and order is not None:
            self.driver.finish_job(order, *job)
        if not go_on:
            following = self._next()
            save = answer is not None and not answer.done and self.driver.keeps(answer.trial)
            self._orders.pop(trial.trial_id, None)
            if following is not None:
                self._orders[trial.trial_id] = following
            if following is not None or answer is not None:
                # Calls from one process to an actor run in order: this one is there before Tune's next `train`.
                trial.temporary_state.ray_actor.assign.remote(following, save)
        return str(TrialScheduler.CONTINUE)

    def _next(self) -> Order | None:
        first, self._first = self._first, None
        return first or self.driver.next()


class WhenFinished(tune.Stopper):  # type: ignore[misc]
    """Ends Tune's experiment when the driver has no more work."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._dispatcher.finished()

    def __reduce__(self) -> Any:
        return (tune.stopper.NoopStopper, ())


def run(driver: Driver, *, address: str | None, refresh: Callable[[], None] = lambda: None) -> None:
    """Run the sweep to its end (or until it is stopped) on a local Ray or on the cluster at `address`."""
    first = driver.next()
    if first is None and driver.finished:
        return  # nothing to do: do not start Ray for it
    with _ray(driver, address):
        progress, rounds = -1, 0
        while True:
            dispatcher = Dispatcher(driver, first, refresh)
            first = None
            try:
                _round(driver, dispatcher)
            except OrchestratorError:
                raise
            except Exception as error:
                if dispatcher.failure is None:
                    _interrupted(driver, error)
            if dispatcher.failure is not None:
                raise dispatcher.failure
            if driver.finished:
                return
            for number in sorted(driver.running):
                driver.lose(number, "Ray Tune's experiment was interrupted")
            rounds = rounds + 1 if len(driver.history) == progress else 0
            progress = len(driver.history)
            if rounds >= ROUNDS_WITHOUT_PROGRESS:
                raise OrchestratorError(
                    f"Ray Tune ended {rounds} times without any progress; see the events in the ledger."
                )


def _round(driver: Driver, dispatcher: Dispatcher) -> None:
    """One Tune experiment: as many seats as there may be trials at once."""
    sweep = driver.sweep
    storage = driver.folder / "ray"
    shutil.rmtree(storage, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(Seat, seat_resources(sweep)),
        param_space={"sweep": [ray.put(sweep)], "shared": driver.shared_folder, "pause": driver.pause_file},
        tune_config=tune.TuneConfig(num_samples=seats(sweep), scheduler=dispatcher, reuse_actors=False),
        run_config=tune.RunConfig(
            name="seats",
            storage_path=str(storage.absolute()),
            stop=WhenFinished(dispatcher),
            failure_config=tune.FailureConfig(max_failures=-1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            verbose=0,
        ),
    )
    tuner.fit()


def seat_resources(sweep: Sweep) -> dict[str, float]:
    return {name: float(amount) for name, amount in sweep.resources.items() if name in ("cpu", "gpu") and amount}


def seats(sweep: Sweep) -> int:
    """How many trials may run at once: what the cluster holds, up to `max_concurrent`.

    A cluster that can grow is asked for `max_concurrent` seats; those that do not fit yet wait for their node.
    """
    fits = capacity(sweep, ray.cluster_resources())
    wanted = min(sweep.max_concurrent or max(fits, 1), sweep.num_samples)
    if fits == 0 and not _can_grow():
        have = {name: ray.cluster_resources().get(name.upper(), 0) for name in sweep.resources if name != "memory"}
        raise BadInput(
            f"Sweep(resources={dict(sweep.resources)!r}): one trial asks for more than the cluster has ({have})."
        )
    return wanted if _can_grow() else max(1, min(wanted, fits))


def capacity(sweep: Sweep, available: Mapping[str, float]) -> int:
    """How many trials of this sweep fit into these resources (whole cluster, not node by node)."""
    fits = [int(available.get(name.upper(), 0.0) / amount + 1e-9) for name, amount in seat_resources(sweep).items()]
    return min(fits, default=os.cpu_count() or 1)


def _can_grow() -> bool:
    """Whether an autoscaler stands behind this cluster."""
    return bool(os.environ.get("RAY_HEAD_IP")) or Path("~/ray_bootstrap_config.yaml").expanduser().exists()


@contextlib.contextmanager
def _ray(driver: Driver, address: str | None) -> Iterator[None]:
    """Ray for the length of a sweep; a local one is started small and taken down again."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    logging.getLogger("ray").setLevel(logging.ERROR)
    if ray.is_initialized():  # the caller's own Ray (a notebook, a test): use it, leave it
        yield
        return
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address is None:
        if driver.sweep.memory_bytes is not None:
            # Each trial has its own limit; Ray's monitor would kill the neighbours of the one that is too big.
            os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
        options |= {"include_dashboard": False, "object_store_memory": 256 * 2**20, "num_cpus": _cpus()}
    else:
        _check_address(address)
    handler = signal.getsignal(signal.SIGTERM)
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


def trial_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """Our own entries of a Tune result."""
    return {key: result[key] for key in ("left", "answer", "job") if key in result}


def _interrupted(driver: Driver, error: Exception) -> None:
    with driver.ledger.transaction():
        driver.ledger.add_event("interruption", f"Ray Tune: {type(error).__name__}: {error}")
    driver.listen(
        "interruption",
        f"Ray Tune stopped ({type(error).__name__}: {str(error).splitlines()[-1] if str(error) else ''}); starting it again",
    )


def _error_of(trial: Any) -> str:
    try:
        return str(trial.get_error())
    except Exception:
        return "unknown"
