"""CMA-ES: a normal distribution that moves, stretches and shrinks towards the better half of its draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from search.contract import Searcher, derived_seed
from search.history import History, Trial
from search.records import Status, Suggestion
from search.rules.proposals import propose, propose_random
from search.settings import share, whole
from search.space import Space, Vector, numeric_coordinates

if TYPE_CHECKING:
    from cmaes import CMA


@dataclass(frozen=True)
class CmaEs(Searcher):
    """Draws from a normal distribution fitted to the better trials that are not running.

    Use when   there are five to fifty interacting numbers, and hundreds of trials.
    Costs      replays the history for each suggestion: 0.05 ms for each trial that is not running.
    Settings   sigma (1/6): first standard deviation, in units of the ranges. population (None): draws for one
               update, 4 + 3 ln(dimension) by default; the model gains nothing from more workers than that.
    Not for    choices and conditional parameters (drawn at random here), small integers, fewer than 50 trials.
    Source     Hansen, The CMA Evolution Strategy: A Tutorial, 2016, through the library cmaes, as in Optuna.
               External points: Hansen, Injecting External Solutions Into CMA-ES, 2011.
               Restarts with twice the population: Auger and Hansen, CEC 2005.
    Differs    keeps no state: it passes the library the trials that are not running, in order of their number, one
               population after the other, whatever their origin, and pulls a distant one in as an injected solution. It
               tells ranks: first full results by loss, then stopped trials by step and loss, then diverged and failed ones.

    >>> searcher = CmaEs(sigma=0.2)
    """

    why_full: ClassVar[str | None] = "CmaEs expects full trainings"
    sigma: float = 1 / 6
    population: int | None = None

    def __post_init__(self) -> None:
        share("CmaEs", "(0, 1]", sigma=self.sigma)  # of the ranges
        if self.population is not None:
            whole("CmaEs", 4, population=self.population)

    def check(self, space: Space) -> None:
        if not numeric_coordinates(space):
            raise ValueError(f"CmaEs(): none of {', '.join(space.names)} is a number that is always active; use Tpe().")

    def suggest(self, history: History) -> Suggestion | None:
        space = history.space
        numeric = numeric_coordinates(space)
        if not numeric:  # the space lost its numbers after `check`
            return propose_random(history, origin="fallback", evidence="no number to search")
        optimizer, generation = self._replay(history, numeric)

        def draw(seed: int) -> dict[str, Any]:
            optimizer.reseed_rng(seed)
            unit = np.random.default_rng(seed).random(space.dimension)
            unit[numeric] = optimizer.ask()
            return space.from_unit(unit)

        origin = "model" if generation else "initial"
        return propose(history, draw, origin=origin, evidence=f"CMA-ES, generation {generation}")

    def _replay(self, history: History, numeric: list[int]) -> tuple[CMA, int]:
        """The optimizer after all trials that are not running, and the number of its updates."""
        optimizer, generation, restarts = self._fresh(history, len(numeric), 0), 0, 0
        waiting: list[tuple[Vector, tuple[float, ...]]] = []
        for trial in _at_rest(history):
            waiting.append((history.space.to_unit(trial.config)[numeric], _rank_key(trial)))
            if len(waiting) < optimizer.population_size:
                continue
            waiting.sort(key=lambda solution: solution[1])
            optimizer.tell([(_pulled_in(x, optimizer), float(rank)) for rank, (x, _) in enumerate(waiting)])
            waiting, generation = [], generation + 1
            if optimizer.should_stop():
                restarts += 1
                optimizer = self._fresh(history, len(numeric), restarts)
        return optimizer, generation

    def _fresh(self, history: History, dimension: int, restarts: int) -> CMA:
        """An optimizer that starts in the middle; a restart begins anywhere, with twice the population."""
        from cmaes import CMA

        seed = derived_seed(history.seed, "cmaes", restarts)
        population = self.population or 4 + math.floor(3 * math.log(dimension))
        return CMA(
            mean=np.random.default_rng(seed).random(dimension) if restarts else np.full(dimension, 0.5),
            sigma=self.sigma,
            bounds=np.tile([0.0, 1.0], (dimension, 1)),
            seed=seed,
            population_size=population * 2**restarts,
        )


def _at_rest(history: History) -> Iterator[Trial]:
    return (
        trial
        for trial in history.trials
        if trial.in_space and trial.task == "full" and trial.status is not Status.RUNNING
    )


def _rank_key(trial: Trial) -> tuple[float, ...]:
    """Smaller is better: full results, then stopped trials (the longer first), then those that went wrong."""
    if trial.status.is_failure or not math.isfinite(trial.loss):
        return (2.0, 0.0, 0.0)
    return (0.0, 0.0, trial.loss) if trial.status is Status.COMPLETED else (1.0, -trial.step, trial.loss)


def _pulled_in(x: Vector, optimizer: CMA) -> Vector:
    """`x`, moved to within a draw's distance from the mean; a distant point would blow up the step size."""
    axes, lengths = optimizer._eigen_decomposition()
    step = (x - optimizer.mean) / optimizer._sigma
    distance = float(np.linalg.norm(axes.T @ step / lengths))
    farthest = math.sqrt(optimizer.dim) + 2 * optimizer.dim / (optimizer.dim + 2)
    return np.asarray(optimizer.mean + optimizer._sigma * step * min(1.0, farthest / max(distance, 1e-12)))
