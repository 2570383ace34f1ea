"""Engine 1: this process, n workers on a simulated clock. No Ray.

Each worker's time advances by the reported cost of its steps; answers arrive in the order in which steps end. The
trainings are real (or recorded, as the workload has it); only the waiting is simulated.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.worker.inherited import Inherited
from orchestrator.worker.job import NOTHING_LEFT, Answer, Job, Order, other
from search.work import Decision, Reported

if TYPE_CHECKING:
    from orchestrator.driver import Driver


class SimulatedClock:
    """Seconds since the start of the simulation."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def simulate(
    driver: Driver,
    clock: SimulatedClock,
    *,
    workers: int,
    refresh: Callable[[], None] = lambda: None,
    lifetime: Callable[[Order], float] = lambda order: math.inf,
) -> None:
    """Run the sweep until it ends or is stopped. `lifetime`: seconds after which the worker of an order dies."""
    driver.workers = workers
    free = list(range(workers))
    jobs: dict[int, tuple[Order, Job]] = {}
    answers: list[tuple[float, int, Answer | None]] = []  # heap: time of arrival, worker, answer; None: it is dead
    dies: dict[int, float] = {}  # worker → when
    inherited = Inherited(driver.sweep.workload)

    def step(number: int) -> None:
        answer = jobs[number][1].advance(patience=0.0)
        cost = sum(item.cost_seconds for item in answer.progress if isinstance(item, (Reported, Decision)))
        comes = clock.seconds + cost
        heapq.heappush(answers, (comes, number, answer) if comes < dies[number] else (dies[number], number, None))

    try:
        while True:
            while free:
                order = driver.next()
                if order is None:
                    break
                if order.assignment is None or order.kind != "train":
                    driver.finish_job(order, *other(driver.sweep, order, driver.places.shared))
                    continue
                number = free.pop(0)
                dies[number] = clock.seconds + lifetime(order)
                job = Job(driver.sweep, order.assignment, driver.places.pause_file.exists, inherited)
                jobs[number] = (order, job)
                step(number)
            if not answers:
                return  # nothing runs, and there is nothing left to do
            clock.seconds, number, answer = heapq.heappop(answers)
            order, job = jobs[number]
            if answer is None:
                job.leave()
                driver.lose(order.trial, "the worker died")
                answer, go_on = Answer(order.trial, done=True), False
            else:
                go_on = driver.receive(order.trial, answer.progress, done=answer.done)
            if answer.lost:
                driver.lose(order.trial, answer.lost)
            elif answer.failure:
                driver.fail(order.trial, *answer.failure)
            elif answer.done and order.trial in driver.running:
                driver.lose(order.trial, NOTHING_LEFT)
            if go_on and not answer.done:
                step(number)
            else:
                if not answer.done:
                    left = job.save() if driver.keeps(order.trial) else job.leave()
                    driver.receive(order.trial, left.progress, done=True)
                del jobs[number]
                free.append(number)
                free.sort()
            refresh()
    finally:  # if stopped from outside, end what the trials have started too
        for _, job in jobs.values():
            job.leave()
