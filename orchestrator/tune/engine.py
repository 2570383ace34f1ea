"""One Tune experiment per round: seats, and the dispatcher that gives them their orders."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from orchestrator.definition.concurrency import RAYS_NAMES, seat_resources
from orchestrator.driving.shown import DOING, WAITING
from orchestrator.driving.waiting import Waiting, written
from orchestrator.errors import BadInput, EngineLost, OrchestratorError, StorageError
from orchestrator.tune.autoscaler import can_grow
from orchestrator.tune.capacity import room, seats
from orchestrator.tune.held import Held
from orchestrator.tune.home import Home, at_home
from orchestrator.tune.local import STORAGE
from orchestrator.tune.loss import words
from orchestrator.tune.module_path import not_found
from orchestrator.tune.nodes import name_of, unfit_nodes, why_lost_on
from orchestrator.tune.same_code import Code
from orchestrator.tune.seat import Seat
from orchestrator.tune.suspects import Suspects
from orchestrator.tune.waiting_seats import WaitingSeats, shortage
from orchestrator.worker.job import NOTHING_LEFT, Answer, Order
from trainables.cached import store_by_value

if TYPE_CHECKING:
    from orchestrator.driver import Driver
    from orchestrator.sweep import Sweep

store_by_value(ray.cloudpickle.Pickler)
FAILED_STARTS = 3  # in a row of one seat, while no other answers: the workers cannot even start
MOST_OF_ERROR = 3000  # characters
SAVING_SECONDS = 10.0  # for the trials to save and answer when a server of Ray has died
ROUNDS_WITHOUT_PROGRESS = 3


class Dispatcher(FIFOScheduler):  # type: ignore[misc]
    """Between Tune and the driver: receives every result of a seat and returns the seat's next order."""

    def __init__(
        self,
        driver: Driver,
        home: Home,
        first: Order | None,
        refresh: Callable[[], None],
        lost: Callable[[], str] = lambda: "",
        refused: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.driver = driver
        self._home = home
        self.failure: BaseException | None = None
        self.unfit: dict[str, str] = {}  # nodes that were found to be unable to run a seat, and why
        self._lost = lost
        self._lost_at: float | None = None
        self._answering: set[str] = set()  # seats that have answered since their last start
        self._failed_starts: Counter[str] = Counter()
        self._first = first
        self._refresh = refresh
        self._orders: dict[str, Order] = {}  # Tune's id of a seat → what it is doing
        self._leaving: dict[str, int] = {}  # … → the trial that it leaves first
        self._nodes: dict[str, str] = {}  # … → its node, if the cluster may have several
        self._suspects = Suspects()
        self._held = Held(partial(_tell, driver))
        self._refused = refused
        self._used: dict[str, None] = {}  # nodes on which seats were, in order
        self._seats = WaitingSeats(partial(shortage, driver.sweep, refused, self._used), partial(_tell_waiting, driver))
        self._heard = True  # a result came since Tune asked last whether all is finished

    def __reduce__(self) -> Any:  # Tune pickles schedulers into its snapshots; nobody ever reads ours
        return (FIFOScheduler, ())

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        super().on_trial_add(controller, trial)
        self._seats.add(trial)

    def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        self._heard = True
        try:
            return self._on_result(trial, trial_result(result))
        except BaseException as error:  # Tune would bury it in a TuneError
            self.failure = error
            return str(TrialScheduler.STOP)
        finally:
            self._refresh()

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        """The seat is gone; Tune starts a new one."""
        order, node = self._orders.pop(trial.trial_id, None), self._nodes.pop(trial.trial_id, "")
        leaving = self._leaving.pop(trial.trial_id, None)
        self._held.release(trial.trial_id)
        try:
            if leaving is not None:
                self.driver.receive(leaving, [], done=True)
            if trial.trial_id in self._answering:  # a loss; with a node, all of its seats are lost at once
                self._answering.discard(trial.trial_id)
            else:
                self._failed_start(trial)
            if order is not None and order.assignment is not None and order.kind == "train":
                self.driver.lose(order.trial, why_lost_on(node, self._home, order.assignment.folder.parent))
            elif order is not None:
                self.driver.lose_job(order, "the process or its node died")
        except BaseException as error:
            self.failure = error

    def _failed_start(self, trial: Any) -> None:
        self._failed_starts[trial.trial_id] += 1
        self.unfit |= unfit_nodes(self.driver.sweep, self._home, known=self.unfit)
        if self.unfit:
            return
        error = _error_of(trial)
        if why := not_found(error):
            raise BadInput(why)
        if self._failed_starts[trial.trial_id] >= FAILED_STARTS:
            raise OrchestratorError(
                f"a worker could not be started, {FAILED_STARTS} times in a row. Last error:\n{error}"
            )

    def finished(self) -> bool:
        self._leave_if_ray_died()
        self.driver.check_budget()  # Tune asks ten times a second, also while the trials are silent
        self._seats.look()
        self._refresh()
        if not self.is_over and (error := self._held.error(self._answering)) is not None:
            self.failure = error
        quiet, self._heard = not self._heard, False
        if quiet and self._first is None:
            self.driver.think()
        if self.unfit:
            self._seats.close()
        return self.failure is not None or bool(self.unfit) or self.is_over

    @property
    def is_over(self) -> bool:
        """Nothing runs and nothing will start: a first order that no seat has taken waits for the next round."""
        if self._first is None:
            return self.driver.finished
        return bool(self.driver.stop_reason) and not self._orders

    def _leave_if_ray_died(self) -> None:
        """Without its servers, Ray waits for a minute and then ends this process; results still arrive for a while."""
        why = self._lost()
        if not why:
            return
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            self.driver.stop(why)
        if self.driver.finished or time.monotonic() - self._lost_at > SAVING_SECONDS:
            raise RayDied(why)

    def _on_result(self, trial: Any, result: Mapping[str, Any]) -> str:
        if not self._answering:
            self.driver.listen(DOING, "")
        self._answering.add(trial.trial_id)
        if "node" in result:
            self._nodes[trial.trial_id] = result["node"]
            self._used[result["node"]] = None
        self._failed_starts.clear()
        self._hold(trial.trial_id, result)
        left, answer, job = result.get("left"), result.get("answer"), result.get("job")
        if left is not None:
            self._leaving.pop(trial.trial_id, None)
            self.driver.receive(left.trial, left.progress, done=True)
        go_on = False
        order = self._orders.get(trial.trial_id)
        if answer is not None:
            go_on = self.driver.receive(answer.trial, answer.progress, done=answer.done) and not answer.done
            if self._goes_elsewhere(answer, result):
                self.driver.lose(answer.trial, "" if answer.failure is None else answer.failure[1], counts=False)
            elif answer.lost:
                self.driver.lose(answer.trial, answer.lost)
            elif answer.failure is not None:
                self.driver.fail(answer.trial, *answer.failure)
                self._suspect(result.get("node", ""), answer.trial)
            elif answer.done and answer.trial in self.driver.running:
                self.driver.lose(answer.trial, NOTHING_LEFT)
            if any(item.kind == "report" for item in answer.progress):
                self._suspects.report(result.get("node", ""))
        elif job is not None and order is not None:
            self.driver.finish_job(order, *job)
        elif order is not None and order.kind != "train" and trial.trial_id in self._held:
            self.driver.lose_job(order, result["unable"][1])
        if (
            answer is None and job is None and order is not None and trial.trial_id not in self._held
        ):  # it has left a trial, and has its next order
            return str(TrialScheduler.CONTINUE)
        if not go_on:
            following = None if trial.trial_id in self._held else self._next()
            save = answer is not None and not answer.done and self.driver.keeps(answer.trial)
            self._orders.pop(trial.trial_id, None)
            if following is not None:
                self._orders[trial.trial_id] = following
            if answer is not None and not answer.done:
                self._leaving[trial.trial_id] = answer.trial
            if following is not None or answer is not None:
                # Calls from one process to an actor run in order: this one is there before Tune's next `train`.
                trial.temporary_state.ray_actor.assign.remote(following, save)
        return str(TrialScheduler.CONTINUE)

    def _hold(self, seat: str, result: Mapping[str, Any]) -> None:
        """Give this seat no work while its node cannot train; its place moves if there is room on others."""
        trouble, node = result.get("unable"), result.get("node", "")
        if trouble is None:
            self._held.release(seat)
        elif seat not in self._held:
            name = name_of(node)
            moves = can_grow() or room(self.driver.sweep, [*self._refused, node]) >= self.driver.workers
            if moves:
                self.unfit[node] = f"node {name} is not used any more: {trouble[1]}"
            self._held.add(seat, name, trouble, is_told=moves)

    def _goes_elsewhere(self, answer: Answer, result: Mapping[str, Any]) -> bool:
        step = self.driver.history.trials[answer.trial].step
        return answer.unable and (answer.failure is None or self._held.is_first(answer.trial, step, result["node"]))

    def _suspect(self, node: str, trial: int) -> None:
        text, is_unfit = self._suspects.failure(node, trial, self.driver.history.trials[trial].step)
        if is_unfit:
            self.unfit[node] = text
        elif text:
            _tell(self.driver, text)

    def _next(self) -> Order | None:
        first, self._first = self._first, None
        if first is None:
            return self.driver.next()
        return self.driver.devices.begin(first)  # it was taken before Ray was there


class RayDied(BaseException):
    """Leaves Tune's experiment past its own clean-up, which would wait for an answer."""


class Silent(tune.ProgressReporter):  # type: ignore[misc]
    """Shows nothing: Tune's own reporter would clear the cell of a notebook, and with it our display."""

    def should_report(self, trials: Any, done: bool = False) -> bool:
        return False

    def report(self, trials: Any, done: bool, *sys_info: str) -> None:
        """Never called."""


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


def rounds(
    driver: Driver, first: Order | None, refresh: Callable[[], None], lost: Callable[[], str] = lambda: ""
) -> None:
    """Tune experiments until the sweep is finished or stopped; one, if nothing breaks. Ray is up.

    `first` is an order that was already taken from the driver. `lost` says that Ray has died, and why.
    """
    with at_home(driver.places, partial(Code, driver.sweep)) as home:
        _rounds(driver, home, first, refresh, lost)


def _rounds(
    driver: Driver, home: Home, first: Order | None, refresh: Callable[[], None], lost: Callable[[], str]
) -> None:
    progress, idle, unfit = -1, 0, unfit_nodes(driver.sweep, home)
    for why in unfit.values():
        _tell(driver, why)
    while True:
        dispatcher = Dispatcher(driver, home, first, refresh, lost, unfit)
        first = None
        try:
            _round(driver, dispatcher, home, unfit)
        except OrchestratorError:
            raise
        except RayDied as died:
            raise EngineLost(words(str(died))) from None
        except Exception as error:
            if isinstance(error, OSError) and error.errno in STORAGE:
                raise StorageError(
                    f"Ray cannot write: {error}. Make room there; to go on, run the same command."
                ) from error
            if dispatcher.failure is None:
                _interrupted(driver, error)
        if dispatcher.failure is not None:
            raise dispatcher.failure
        if dispatcher.is_over:
            return
        driver.lose_all("Ray Tune's experiment was interrupted")
        for why in dispatcher.unfit.values():
            _tell(driver, why)
        unfit |= dispatcher.unfit
        idle = idle + 1 if len(driver.history) == progress and not dispatcher.unfit else 0
        progress = len(driver.history)
        if idle >= ROUNDS_WITHOUT_PROGRESS:
            raise OrchestratorError(f"Ray Tune ended {idle} times without any progress; see the events in the ledger.")


def _round(driver: Driver, dispatcher: Dispatcher, home: Home, unfit: Collection[str]) -> None:
    """One Tune experiment: one seat for each concurrent trial."""
    sweep = driver.sweep
    driver.workers = seats(sweep, unfit)
    storage = driver.places.folder / "ray"
    shutil.rmtree(storage, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(Seat, _request(sweep, unfit)),
        param_space={"sweep": [ray.put(sweep)], "home": home},
        tune_config=tune.TuneConfig(num_samples=driver.workers, scheduler=dispatcher, reuse_actors=False),
        run_config=tune.RunConfig(
            name="seats",
            storage_path=str(storage.absolute()),
            stop=WhenFinished(dispatcher),
            failure_config=tune.FailureConfig(max_failures=-1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            verbose=0,
            progress_reporter=Silent(),
        ),
    )
    tuner.fit()


def _request(sweep: Sweep, unfit: Collection[str]) -> dict[str, float] | tune.PlacementGroupFactory:
    """The resources that Tune requests from Ray for each seat."""
    asked = seat_resources(sweep)
    if not unfit:
        return asked
    bundle = {RAYS_NAMES[name]: amount for name, amount in asked.items()}
    elsewhere = {"ray.io/node-id": f"!in({','.join(unfit)})"}
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[elsewhere])


def _tell(driver: Driver, text: str, kind: str = "notice", *, shown: str | None = None) -> None:
    """Record an event and show it, in other words if `shown` has them."""
    with driver.ledger.transaction():
        driver.ledger.add_event(kind, text)
    driver.listen(kind, text if shown is None else shown)


def _tell_waiting(driver: Driver, waiting: Waiting | None) -> None:
    _tell(driver, written(waiting), WAITING, shown="" if waiting is None else waiting.words)


def trial_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """Our own entries of a Tune result."""
    return {key: result[key] for key in ("left", "answer", "job", "node", "unable") if key in result}


def _interrupted(driver: Driver, error: Exception) -> None:
    kind, last = type(error).__name__, str(error).splitlines()[-1] if str(error) else ""
    shown = f"Ray Tune stopped ({kind}: {last}); starting it again"
    _tell(driver, f"Ray Tune: {kind}: {error}", "interruption", shown=shown)


def _error_of(trial: Any) -> str:
    """The last lines of Tune's record of a seat's last error."""
    try:
        text = Path(trial.error_file).read_text().strip()
    except (OSError, TypeError):
        return "unknown; see Ray's logs"
    return text if len(text) <= MOST_OF_ERROR else text[-MOST_OF_ERROR:].partition("\n")[2]
