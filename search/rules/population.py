"""A population: members train in segments and take over each other's state.

A *member* is a place in the population, held by a chain of trials. The chain begins with a start; whenever a fork
`replaces` the trial that holds the place, the fork continues the chain. After every `interval` steps (at a *boundary*)
a member pauses. Then it resumes, or, if it is behind, a fork of a leading member at the same step replaces it. The
starts are random, three in four of them from the middle of the logarithmic ranges (`search.domain.prior.towards_middle`).
All of this is read from the history. When a worker is free, the population decides about one member; the decision
depends on the reports, never on the order of their arrival.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from search.contract import Around, Searcher, derived_seed
from search.history import History, Trial
from search.records import Config, Status, Suggestion, fork, resume
from search.rules.proposals import propose_random
from search.settings import share, whole
from search.task import FULL

DEATHS = 3  # give a member up after this many trials in a row that end without finishing a segment


@dataclass(frozen=True)
class Population(Searcher):
    """The rules of a population; a concrete searcher defines how children explore."""

    population: int = 8
    interval: int = 5
    quantile: float = 0.2
    quorum: float = 0.75

    continues: ClassVar[bool] = True
    schedules: ClassVar[bool] = True

    def __post_init__(self) -> None:
        title = type(self).__name__
        whole(title, 2, population=self.population)
        whole(title, 1, interval=self.interval)
        share(title, "(0, 0.5]", quantile=self.quantile)
        share(title, "[0, 1]", quorum=self.quorum)  # 0: never wait; 1: wait for all members

    def suggest(self, history: History) -> Suggestion | None:
        """The population's next need: a new member, a fork to replace one that died or is behind, or a resumption."""
        population = members(history)
        if len(population) < self.population and history.room:
            return replace(
                propose_random(history, origin="initial", bracketed=True), until=min(self.interval, history.horizon)
            )
        living = [member for member in population if member.is_alive]
        for member in population:
            if not member.is_alive and not member.is_lost(self.interval):
                suggestion = _replaced(member, living, history, self)
                if suggestion is not None:
                    return suggestion
        resting = [member for member in living if member.trial.status is Status.STOPPED]
        for member in sorted(resting, key=lambda member: (member.step, member.trial.number)):
            if _share_at(member.step, living) >= self.quorum:
                return _judged(member, history, self)
        return None

    def forkable(self, history: History) -> Collection[tuple[int, int]]:
        """The checkpoints from the slowest living member's boundary on: no member is replaced at an earlier step."""
        living = [member for member in members(history) if member.is_alive]
        if not living:
            return ()
        last = min(member.step for member in living) // self.interval * self.interval
        return {
            (number, step)
            for step in range(max(last, self.interval), history.horizon, self.interval)
            for number in _rung(step, history)
            if _has_state(step, history.trials[number])
        }

    def places_left(self, history: History) -> int:
        """How many members it will still start."""
        return max(0, self.population - len(members(history)))

    @abstractmethod
    def explore(self, parent: Trial, step: int, history: History, rng: np.random.Generator) -> tuple[Config, str, str]:
        """The configuration, origin and evidence of the child, for a fork of `parent` at `step`."""


def population_of(searcher: Searcher) -> Population | None:
    """The population that `searcher` is, or that it asks; None: it is no population."""
    while isinstance(searcher, Around):
        searcher = searcher.inner
    return searcher if isinstance(searcher, Population) else None


@dataclass(frozen=True)
class Member:
    """One place in the population; `chain`: the trials that have held it, the present one last."""

    chain: tuple[Trial, ...]

    @property
    def trial(self) -> Trial:
        return self.chain[-1]

    @property
    def step(self) -> int:
        """The member's last step; the step at which it is to rest counts only once it rests."""
        return max(self.trial.reach, self.trial.began) - (1 if _is_arriving(self.trial) else 0)

    @property
    def is_alive(self) -> bool:
        return is_sound(self.trial)

    def is_lost(self, interval: int) -> bool:
        """Whether it is given up: its last `DEATHS` trials all ended without finishing a segment."""
        last = self.chain[-DEATHS:]
        return len(last) == DEATHS and not any(is_sound(t) or t.step - t.began >= interval for t in last)


def _has_state(step: int, trial: Trial) -> bool:
    return is_sound(trial) and trial.step >= step


def is_sound(trial: Trial) -> bool:
    """Whether the trial's state is usable: it has neither failed nor diverged, and it is in the space."""
    return trial.in_space and not trial.status.is_failure


def members(history: History) -> list[Member]:
    """The members, ordered by their first trials."""
    chains: dict[int, list[Trial]] = {}
    place: dict[int, int] = {}  # trial → the first of its chain
    for trial in history.trials:
        if not is_member(trial):
            continue
        replaced = trial.replaces
        first = place[replaced] if replaced is not None and replaced in place else trial.number
        place[trial.number] = first
        chains.setdefault(first, []).append(trial)
    return [Member(tuple(chain)) for chain in chains.values()]


def quantiles(step: int, history: History, quantile: float) -> tuple[list[int], list[int]]:
    """The top and the bottom of the trials that reported this step, best first.

    Both are empty while there is only one trial; a trial as good as the last of the top is not at the bottom.
    """
    rung = _rung(step, history)
    order = sorted(rung, key=lambda number: (rung[number], number))
    count = min(math.ceil(quantile * len(order) - 1e-9), len(order) // 2)
    if count == 0:
        return [], []
    top = order[:count]
    return top, [number for number in order[-count:] if rung[number] > rung[top[-1]]]


def _judged(member: Member, history: History, rules: Population) -> Suggestion:
    """Resume a resting member, or replace it by a fork of one at the top."""
    trial, step = member.trial, member.step
    until = min((step // rules.interval + 1) * rules.interval, history.horizon)
    top, bottom = quantiles(step, history, rules.quantile)
    if trial.number in bottom and step % rules.interval == 0:
        parents = _parents(step, history, len(top), below=trial.loss)
        if parents:
            return _forked(member, parents, step, until, history, rules)
    evidence = f"one of {len(_rung(step, history))} at step {step}"
    return resume(trial, until=until, origin="resumed", evidence=evidence)


def _replaced(member: Member, living: list[Member], history: History, rules: Population) -> Suggestion | None:
    """A fork to replace a member that died, at the last boundary that enough of the others have reached."""
    for step in range((history.horizon - 1) // rules.interval * rules.interval, 0, -rules.interval):
        if not living or _share_at(step, living) < max(rules.quorum, 1e-9):
            continue
        top, _ = quantiles(step, history, rules.quantile)
        parents = _parents(step, history, max(len(top), 1))
        if parents:
            until = min(step + rules.interval, history.horizon)
            return _forked(member, parents, step, until, history, rules)
    if not living and history.room:
        fresh = propose_random(
            history, origin="initial", evidence=f"in place of trial {member.trial.number}", bracketed=True
        )
        return replace(fresh, until=min(rules.interval, history.horizon), replaces=member.trial.number)
    return None


def _forked(
    member: Member, parents: list[int], step: int, until: int, history: History, rules: Population
) -> Suggestion:
    # The seed does not depend on the history's length, so the order of the others' arrival does not matter.
    rng = np.random.default_rng(derived_seed(history.seed, "fork", member.trial.number, step))
    parent = history.trials[parents[int(rng.integers(len(parents)))]]
    config, origin, evidence = rules.explore(parent, step, history, rng)
    why = f"in place of trial {member.trial.number}; {evidence}"
    return fork(parent, step, config, until=until, origin=origin, evidence=why, replaces=member.trial.number)


def _parents(step: int, history: History, count: int, below: float = math.inf) -> list[int]:
    """The best trials at this step whose loss is below `below` and whose state can be taken over.

    A trial that ended by itself before has no state at this step.
    """
    rung = _rung(step, history)
    sound = [number for number, loss in rung.items() if loss < below and _has_state(step, history.trials[number])]
    return sorted(sound, key=lambda number: (rung[number], number))[:count]


def _rung(step: int, history: History) -> dict[int, float]:
    def counts(number: int, loss: float) -> bool:
        trial = history.trials[number]
        return math.isfinite(loss) and is_member(trial) and not (trial.step == step and _is_arriving(trial))

    return {number: loss for number, loss in sorted(history.at(step).items()) if counts(number, loss)}


def is_member(trial: Trial) -> bool:
    """Whether the trial belongs to the population: its suggestion set a step at which it rests."""
    return trial.suggestion.until is not None and trial.task == FULL


def _is_arriving(trial: Trial) -> bool:
    """Whether it has reported the step at which it rests, while its checkpoint may not be written yet."""
    return trial.status is Status.RUNNING and trial.step >= (trial.suggestion.until or math.inf)


def _share_at(step: int, living: list[Member]) -> float:
    """The share of the living members that have reached this step."""
    return sum(member.step >= step for member in living) / max(len(living), 1)
