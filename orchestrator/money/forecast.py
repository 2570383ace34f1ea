"""Forecast what a sweep will still cost and when it ends, as a distribution.

How far  a trial gets before it is stopped: the survival of the trials so far (Kaplan–Meier: running ones count as far
         as they got), and, with the weight of `PRIOR` trials, of a sweep whose results come in random order (order.py).
How fast a step is: that of a running trial stays; a new trial has the speed of a random earlier one, and a start.
Then     the workers of the sweep carry out the rest, in the order and within the limits that its rules set: the baseline
         in full, the search, the finalists; a time budget cuts what is under way.

Every one of the `SAMPLES` futures weights the trials anew (a Bayesian bootstrap), so the spread covers what few trials
leave unknown. Not foreseen: that the target is reached, that the searcher has enough, that the workers change in number.
A searcher that learns makes later trials slower, faster or longer than the earlier ones: the forecast follows late.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from orchestrator.money.order import lengths_in_random_order
from orchestrator.money.pace import Pace
from search.contract import Scheduler, Searcher, derived_seed
from search.history import History, Trial
from search.records import BASELINE, FINALIST, Status
from search.rules.baseline import awaits_baseline
from search.rules.conduct import Rules
from search.rules.finalists import finalists
from search.rules.population import members, population_of
from search.rules.to_start import repetitions_to_start, to_start

SAMPLES = 200
MOST_STARTS = (
    10_000  # in all futures together: a fifth of a second, so that a running sweep can afford one each half a minute
)
PRIOR = 2.0  # trials, for speeds
ORDERED = 30.0  # trials, for how far they get
SPREAD = 0.9  # of log speeds that is expected before any is measured
DRIFT = 0.6  # in spreads: by how much the trials to come may be faster or slower together, as the searcher learns
LATEST = 8.0  # trials: half-life of the weight of earlier speeds, or a third of all
LOW, HIGH = 0.1, 0.9  # the ends of the interval

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """A forecast number: its median, and the interval that holds it with a probability of 80 %."""

    middle: float
    low: float
    high: float

    def __add__(self, known: float) -> Range:
        return Range(self.middle + known, self.low + known, self.high + known)

    def __mul__(self, factor: float) -> Range:
        return Range(self.middle * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Forecast:
    """What is left of a sweep: seconds on the clock, device-seconds, and full trainings; and so far."""

    wall_seconds: Range
    device_seconds: Range
    full_trainings: Range
    spent_device_seconds: float
    spent_full_trainings: float
    device: str  # the one that was used last


def forecast(
    history: History,
    searcher: Searcher,
    scheduler: Scheduler,
    rules: Rules,
    *,
    workers: int,
    seconds: float = math.inf,
    own_process: bool = False,
) -> Forecast | None:
    """The rest of the sweep with so many workers; None while only starts have been measured, or nothing limits it.

    `seconds`: what is left of a time budget, which cuts what is under way at its end. `own_process`: each training starts
    a process of its own, so the first starts tell what all later ones take.
    """
    rest = _Rest(history, searcher, scheduler, rules, workers, seconds, own_process)
    if not (rest.is_measured and rest.is_limited):
        return None
    futures = [rest.future(np.random.default_rng(derived_seed(history.seed, "forecast", 0)))]
    many = int(np.clip(MOST_STARTS / max(1, futures[0].starts), 30, SAMPLES))
    futures += [rest.future(np.random.default_rng(derived_seed(history.seed, "forecast", n))) for n in range(1, many)]
    time = history.device_time
    return Forecast(
        _range([future.wall for future in futures]), _range([future.device_seconds for future in futures]),
        _range([future.shares for future in futures]), sum(time.by_device.values()), history.spent, time.latest,
    )  # fmt: skip


def _range(values: Sequence[float]) -> Range:
    middle, low, high = np.quantile(values, [0.5, LOW, HIGH])
    return Range(float(middle), float(low), float(high))


@dataclass(frozen=True)
class _Future:
    wall: float
    device_seconds: float
    shares: float
    starts: int


class _Rest:
    """The facts of a history that all futures share."""

    def __init__(
        self,
        history: History,
        searcher: Searcher,
        scheduler: Scheduler,
        rules: Rules,
        workers: int,
        seconds: float,
        own_process: bool,
    ) -> None:
        self._history, self._rules, self._workers, self._searcher = history, rules, max(1, workers), searcher
        self._seconds, self._to_start = seconds, to_start(history, searcher, rules)
        searched = [t for t in history if t.first_origin not in (BASELINE, FINALIST)]
        self._trials = [t for t in searched if t.steps or t.status is not Status.RUNNING]
        self._shares = np.array([self._share(t) for t in self._trials])
        self._ended = np.array([t.status is not Status.RUNNING for t in self._trials], dtype=bool)
        self._pace = Pace(history, self._share, 0 if own_process else self._workers)
        self._speeds = np.array([*self._pace.of_trial.values()])  # seconds of a full training
        self._cut = np.array(lengths_in_random_order(scheduler, history.horizon)) / history.horizon
        self._cheap = bool(history.tasks)
        self._beside = 1 + self._pace.beside

    @property
    def is_measured(self) -> bool:
        return self._pace.is_known

    @property
    def is_limited(self) -> bool:
        limits = (self._rules.budget, self._rules.device_budget, self._to_start)
        return any(limit is not None for limit in limits)

    def future(self, rng: np.random.Generator) -> _Future:
        """One way in which the rest may go."""
        history, work, survival = self._history, _Workers(self._workers, self._seconds), self._survival(rng)
        speeds = self._speeds_to_come(rng)
        for trial in history.having(Status.RUNNING):
            goal = (history.goal(trial) - max(trial.step, trial.began)) * self._rate(trial)
            is_judged = trial.first_origin != BASELINE and trial.suggestion.origin != FINALIST
            left = min(goal, survival.further(rng, self._share(trial)) if is_judged and not self._cheap else goal)
            pace = self._own_speed(trial) or next(speeds)
            into = rng.random() * self._rate(trial) if trial.steps else 0.0  # of the step under way
            work.begin(left, goal, left * pace, max(0.0, left - into) * pace)
        started, budget = 0, self._budget()
        for share, goal in self._to_come(rng, survival):
            while work.is_full or (work.is_busy and history.spent + work.counted >= budget - goal * self._whole):
                work.end()
            if work.is_over or history.spent + work.counted >= budget - goal * self._whole:
                break
            pace = next(speeds)
            work.begin(share, goal, share * pace + self._pace.start, share * pace + self._pace.start)
            started += 1
        work.wait()
        for pace in self._finalists_to_come(rng, speeds):
            work.begin(1.0, 1.0, pace + self._pace.start, pace + self._pace.start)
        work.wait()
        return _Future(work.now, work.seconds * history.device_time.devices, work.shares, started + 1)

    def _speeds_to_come(self, rng: np.random.Generator) -> Iterator[float]:
        """Seconds of a full training of each trial to come: earlier ones', the latest most, all shifted together."""
        weights = 0.5 ** (np.arange(len(self._speeds))[::-1] / max(LATEST, len(self._speeds) / 3))
        logs = np.log(self._speeds)
        spread = float(np.sqrt((logs.var() * len(logs) + PRIOR * SPREAD**2) / (len(logs) + PRIOR)))
        effective = weights.sum() ** 2 / (weights**2).sum()
        shift = spread * rng.standard_t(len(logs) + PRIOR) * np.sqrt(1 / effective + DRIFT**2)
        likely = np.cumsum(weights / weights.sum())
        while True:
            for place in np.searchsorted(likely, rng.random(64)):
                yield float(self._speeds[min(place, len(logs) - 1)] * np.exp(shift)) * self._beside

    def _to_come(self, rng: np.random.Generator, survival: _Survival) -> Iterator[tuple[float, float]]:
        """The share of each training to come, and its goal; without end, if only a budget ends the search."""
        history = self._history
        baseline = int(awaits_baseline(history, self._rules))
        if baseline:
            yield 1.0, 1.0  # no scheduler stops it
        if history.run.over:
            return
        if (population := population_of(self._searcher)) is not None:
            yield from ((left, left) for left in _of_members(population.population, history))
            return
        for _ in count() if self._to_start is None else range(self._to_start - baseline):
            if self._cheap and len(self._shares):
                share = float(rng.choice(self._shares))
                yield share, share
            else:
                yield (1.0 if self._cheap else survival.further(rng, 0.0)), 1.0

    def _finalists_to_come(self, rng: np.random.Generator, speeds: Iterator[float]) -> Iterator[float]:
        """The seconds of each repetition to come: those of the best so far, if some have been completed."""
        wanted = repetitions_to_start(self._history, self._rules, self._to_start)
        best = [self._own_speed(each.trial) for each in finalists(self._history, 2 * self._rules.finalists)]
        for _ in range(wanted):
            yield float(rng.choice(best)) if best and all(best) else next(speeds)

    def _budget(self) -> float:
        """The search's part of the budget, in full trainings."""
        device, history = self._rules.device_budget, self._history
        if device is None:
            budget = self._rules.search_budget
            return math.inf if budget is None else budget - 1e-9
        of_full = device.of_full_trainings(1.0, history)
        if not of_full:
            return math.inf
        kept = self._rules.finalists * self._rules.confirmations
        return history.spent + (device.amount - device.spent(history)) / of_full - kept + 1e-9

    @property
    def _whole(self) -> float:
        """1: a budget must cover a training to its end before it starts; 0: it may be the last one to begin."""
        return 0.0 if self._rules.device_budget is None else 1.0

    def _survival(self, rng: np.random.Generator) -> _Survival:
        shares = np.concatenate([self._shares, self._cut])
        ended = np.concatenate([self._ended, np.ones(len(self._cut), dtype=bool)])
        own = rng.exponential(size=len(self._shares))
        weights = np.concatenate([own, rng.gamma(ORDERED / len(self._cut), size=len(self._cut))])
        return _Survival(shares, ended, weights)

    def _share(self, trial: Trial) -> float:
        """What the trial has trained, in full trainings."""
        return max(0, trial.step - trial.began) * self._rate(trial)

    def _rate(self, trial: Trial) -> float:
        return self._history.costs.rate(trial.task, len(self._history))

    def _own_speed(self, trial: Trial) -> float:
        return self._pace.of_trial.get(trial.number, 0.0) * self._beside


class _Survival:
    """How far trials get: the Kaplan–Meier estimate over weighted trials, some of them still running."""

    def __init__(self, shares: Vector, ended: NDArray[np.bool_], weights: Vector) -> None:
        order = np.argsort(shares, kind="stable")
        shares, ended, weights = shares[order], ended[order], weights[order]
        at_risk = np.cumsum(weights[::-1])[::-1]
        self._places, first = np.unique(np.round(shares, 9), return_index=True)
        deaths = np.add.reduceat(weights * ended, first)
        self._left = np.cumprod(1 - np.clip(deaths / at_risk[first], 0.0, 1.0))  # the share that gets beyond each place

    def further(self, rng: np.random.Generator, reached: float) -> float:
        """How much further a trial gets that has reached this share of a full training."""
        here = int(np.searchsorted(self._places, reached + 1e-9))
        before = self._left[here - 1] if here else 1.0
        if before <= 0:
            return max(0.0, 1.0 - reached)
        place = int(np.searchsorted(-self._left, -float(rng.random()) * before, side="left"))
        end = self._places[min(max(place, here), len(self._places) - 1)] if place < len(self._places) else 1.0
        return max(0.0, float(end) - reached)


class _Workers:
    """Workers that carry out one job after the other, each the next one when it is free; after `until` seconds no more."""

    def __init__(self, workers: int, until: float) -> None:
        self.now = self.seconds = self.shares = 0.0
        self.counted = 0.0  # shares, those under way with their whole goal: as a budget counts
        self._workers, self._until = workers, until
        self._busy: list[tuple[float, float, float]] = []  # heap: end, share, goal

    @property
    def is_full(self) -> bool:
        return len(self._busy) >= self._workers

    @property
    def is_busy(self) -> bool:
        return bool(self._busy)

    @property
    def is_over(self) -> bool:
        return self.now >= self._until

    def begin(self, share: float, goal: float, seconds: float, wall: float) -> None:
        if self.is_full:
            self.end()
        if self.is_over:
            return
        part = min(1.0, (self._until - self.now) / wall) if wall else 1.0
        self.seconds += seconds * part
        self.shares += share * part
        self.counted += goal
        heapq.heappush(self._busy, (self.now + wall * part, share, goal))

    def end(self) -> None:
        """Wait for the next job to end."""
        end, share, goal = heapq.heappop(self._busy)
        self.now = max(self.now, end)
        self.counted += share - goal

    def wait(self) -> None:
        while self._busy:
            self.end()


def _of_members(population: int, history: History) -> Iterator[float]:
    """What each member of a population has still to train, beside the segment under way."""
    there = members(history)
    for member in there:
        if member.trial.status in (Status.STOPPED, Status.RUNNING):
            reached = history.goal(member.trial) if member.trial.status is Status.RUNNING else member.step
            yield max(0.0, 1.0 - reached / history.horizon)
    yield from [1.0] * max(0, population - len(there))
