"""Multi-fidelity search: the common part of its searchers. After a random start a curve model decides.

A searcher that extends `MultiFidelity` chooses what to run in `choose`, given a `Decision`: the configurations tried so
far, those that rest and may continue, and the model's acquisition function.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from search.contract import Searcher, generator
from search.history import History
from search.models.acquisition import CurveAcquisition
from search.models.candidates import Encoding, Score, best_configurations, is_apart
from search.models.copies import distance_of_copies, twins_of
from search.models.fidelities import Configuration, Fidelity, configurations_of, fidelities_of
from search.models.fits import fits
from search.records import Enough, Suggestion, resume, start
from search.rules.first_rung import first_rung
from search.rules.proposals import NUMERICAL, propose_random, refuse_for_model
from search.rules.stopping import why_stop
from search.settings import number, share, whole
from search.space import Space, Vector
from search.task import FULL

Array = NDArray[Any]

APART = 0.01  # of a range: a configuration nearer than this to a known one counts as its copy
AGREES = 0.4  # correlation with full trainings: the results of a fidelity with less are not worth their cost
FEW = 2  # with at most this many dimensions places are scarce, so only a tenth of APART counts as a copy


@dataclass(frozen=True)
class MultiFidelity(Searcher):
    """Handles the random start, the stop, and failures of the model; a concrete searcher chooses."""

    n_initial: int = 8
    full: float = 0.4
    first: int = 1
    factor: float = 1.5
    stop_below: float | None = None
    finalists: int = 3

    continues: ClassVar[bool] = True
    schedules: ClassVar[bool] = True
    constant_liar: ClassVar[bool] = False
    """True: a running training counts with the worst result; False: with the expected one."""

    def __post_init__(self) -> None:
        title = type(self).__name__
        whole(title, 2, n_initial=self.n_initial)
        whole(title, 1, first=self.first)
        whole(title, 0, finalists=self.finalists)
        share(title, "[0, 1]", full=self.full)
        number(title, "[1.1, 100]", factor=self.factor)
        if self.stop_below is not None and not (isinstance(self.stop_below, (int, float)) and self.stop_below > 0):
            raise ValueError(
                f"{title}(stop_below={self.stop_below!r}): must be an improvement of the loss, more than 0; "
                "leave it out to search until the budget is used up."
            )

    def check(self, space: Space) -> None:
        refuse_for_model(type(self).__name__, space)

    def use_of_earlier(self) -> str:
        return f"once {self.n_initial} configurations have started here (n_initial)"

    def suggest(self, history: History) -> Suggestion | Enough | None:
        if not history.space.coordinates:
            return (
                propose_random(history, origin="fallback", evidence="no parameter to search") if history.room else None
            )
        fidelities = fidelities_of(history, self.first, self.factor)
        known = configurations_of(history, fidelities)
        seen = sum(each.reached >= 0 or each.broken for each in known)
        if len(known) < self.n_initial or not seen:
            if not history.room:
                return None if not seen else self._decide(history, fidelities, known)
            if (early := self.choose_early(history, known)) is not None:
                return early
            evidence = f"{seen} of the {self.n_initial} results it starts with"
            return begun(propose_random(history, origin="initial", evidence=evidence, bracketed=True), fidelities[0])
        return self._decide(history, fidelities, known)

    def prepare(self, history: History) -> None:
        if history.space.coordinates:
            import_module("search.models.gp")  # takes two seconds the first time
            fidelities = fidelities_of(history, self.first, self.factor)
            known = configurations_of(history, fidelities)
            if len(known) >= self.n_initial:
                fits(history, known, fidelities, Encoding(history.space))

    def choose_early(self, history: History, known: Sequence[Configuration]) -> Suggestion | None:
        """What to run instead of another random configuration before there is a model; None: nothing."""
        return None

    @abstractmethod
    def choose(self, decision: Decision) -> Suggestion | None:
        """What to run next; there is a resting configuration, or room for a new one."""

    def _decide(
        self, history: History, fidelities: Sequence[Fidelity], known: Sequence[Configuration]
    ) -> Suggestion | Enough | None:
        try:
            decision = Decision(history, fidelities, known, constant_liar=self.constant_liar)
            if not decision.resting and not history.room:
                return None
            if self.stop_below is not None and (
                reason := why_stop(history, decision.acquisition, decision.resting, self.stop_below)
            ):
                return Enough(reason)
            return self.choose(decision)
        except NUMERICAL as error:
            if not history.room:
                return None
            evidence = f"random, because the model failed with {type(error).__name__}: {error}"
            return begun(propose_random(history, origin="fallback", evidence=evidence), fidelities[0])


class Decision:
    """The basis of one decision; everything is computed from one history."""

    def __init__(
        self,
        history: History,
        fidelities: Sequence[Fidelity],
        known: Sequence[Configuration],
        *,
        constant_liar: bool = False,
    ) -> None:
        self.history, self.fidelities, self.known = history, fidelities, known
        self.rng = generator(history, "multitask")
        self.acquisition = CurveAcquisition(history, fidelities, known, constant_liar=constant_liar)
        copies = twins_of(known)
        self.resting = [
            each
            for number, each in enumerate(known)
            if number not in copies
            and each.reached >= 0
            and not each.running
            and not each.broken
            and self.next_fidelity(each)
        ]  # the configurations that may continue

    @cached_property
    def first(self) -> int:
        """The index of the cheapest fidelity whose results say something about full trainings.

        Measured at the rungs of the full training; by the model where there are separate tasks.
        """
        if all(each.is_full for each in self.fidelities):
            return first_rung(self.history, self.known, self.fidelities)
        levels = np.array([each.level for each in self.fidelities])
        agreement = self.acquisition.model.agreement(levels, np.array([each.index for each in self.fidelities]))
        return int(np.argmax(np.append(agreement[:-1] >= AGREES, True)))

    @property
    def top(self) -> Fidelity:
        """The full training."""
        return self.fidelities[-1]

    def next_fidelity(self, configuration: Configuration) -> Fidelity | None:
        """The first fidelity that the configuration has not reached; None if it has reached all."""
        for fidelity in self.fidelities[configuration.reached + 1 :]:
            if not fidelity.is_full or fidelity.steps > configuration.step:
                return fidelity
        return None

    @cached_property
    def best_full(self) -> float:
        """The lowest value of a training to the horizon; without one, the best forecast of all."""
        reached = self.history.reached(self.history.horizon)
        full = [each.full.number for each in self.known if each.full is not None and not each.broken]
        lowest = min((reached[number] for number in full if number in reached), default=None)
        if lowest is None:
            return float(self.acquisition.forecasts.min())
        return float(self.acquisition.transforms(FULL, np.array([lowest]))[0])

    def candidates(self, score: Score) -> Iterator[tuple[dict[str, Any], float, bool]]:
        """Configurations and their scores, best first, and whether each is new."""

        def apart(units: Array) -> Array:
            near = [not is_apart(unit, self.acquisition.units, self._apart) for unit in units]
            return np.where(near, -np.inf, score(units))

        of = apart if self._copied else score
        for config, unit, value in best_configurations(of, self.acquisition.centres, self.history.space, self.rng):
            yield config, value, self._is_new(config, unit)

    def promoted(self, configuration: Configuration, fidelity: Fidelity | None, why: str) -> Suggestion | None:
        """Take `configuration` on to `fidelity`: resume it from its checkpoint, or start a separate training."""
        if fidelity is None:
            return None
        memo, task = self.acquisition.memo, fidelity.task
        until = None if fidelity.steps >= self.history.steps(task) else fidelity.steps
        if fidelity.is_full and configuration.full is not None:
            return resume(configuration.full, until=until, evidence=why, memo=memo)
        return start(configuration.config, task=task, until=until, origin="promotion", evidence=why, memo=memo)

    def begun(self, suggestion: Suggestion, fidelity: Fidelity) -> Suggestion:
        """A start that trains up to `fidelity`."""
        return begun(suggestion, fidelity, self.acquisition.memo)

    def at_random(self, fidelity: Fidelity) -> Suggestion:
        """A random configuration, for when the model has nothing to propose."""
        evidence = "random, because every candidate of the model is known or breaks a constraint"
        return self.begun(propose_random(self.history, origin="fallback", evidence=evidence), fidelity)

    def _is_new(self, config: dict[str, Any], unit: Vector) -> bool:
        if not is_apart(unit, self.acquisition.units, self._apart):
            return False
        return all(self.history.known(config, fidelity.task) is None for fidelity in self.fidelities)

    @cached_property
    def _apart(self) -> float:
        """The distance, of a range, within which a configuration is the copy of a known one; 0 in a finite space."""
        if self.history.space.is_finite:
            return 0.0
        return max(APART if self.history.space.dimension > FEW else APART / 10, self._copied)

    @cached_property
    def _copied(self) -> float:
        """The distance within which copies were found; 0: there are none."""
        return 0.0 if self.history.space.is_finite else distance_of_copies(self.known)


def begun(suggestion: Suggestion, fidelity: Fidelity, memo: str = "") -> Suggestion:
    """A start that trains up to `fidelity`."""
    until = None if fidelity.level == 1 else fidelity.steps
    return replace(suggestion, task=fidelity.task, until=until, memo=memo)
