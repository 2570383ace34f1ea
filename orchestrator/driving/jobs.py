"""The work around the training: `prepare` before the first trial, `test` after the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.worker.job import PREPARE, TEST, Order
from search.history import Trial
from search.work import Assignment


class Jobs:
    """Keeps track of these orders: handed out, done, or given up."""

    def __init__(self, *, is_prepared: bool, retries: int) -> None:
        self.is_prepared = is_prepared
        self.failed_tests: set[int] = set()  # of this invocation
        self._retries = retries
        self._out: set[str] = set()
        self._lost: dict[str, int] = {}

    @property
    def are_out(self) -> bool:
        return bool(self._out)

    def prepare(self) -> Order | None:
        """The order to prepare; None while a worker has it."""
        return Order(PREPARE, -1) if self._hand_out(PREPARE) else None

    def test(self, due: Sequence[Trial], assignment: Callable[[Trial], Assignment]) -> Order | None:
        """The order to test the next of the trials in `due`; None if workers have them all."""
        for trial in due:
            if trial.number not in self.failed_tests and self._hand_out(f"{TEST} {trial.number}"):
                return Order(TEST, trial.number, assignment(trial))
        return None

    def come_back(self, order: Order) -> None:
        self._out.discard(job_key(order))

    def lose(self, order: Order) -> bool:
        """The worker of `order` is gone; the order may be handed out again. True: it was lost too often."""
        key = job_key(order)
        self._lost[key] = self._lost.get(key, 0) + 1
        self._out.discard(key)
        return self._lost[key] > self._retries

    def forget(self) -> None:
        """All workers are gone at once."""
        self._out.clear()

    def _hand_out(self, key: str) -> bool:
        is_new = key not in self._out
        self._out.add(key)
        return is_new


def job_key(order: Order) -> str:
    return order.kind if order.kind == PREPARE else f"{TEST} {order.trial}"
