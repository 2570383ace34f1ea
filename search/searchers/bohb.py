"""BOHB: kernel densities of good and bad configurations, learned at the longest training length with enough results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.contract import Searcher, derived_seed
from search.domain.parameters import Choice
from search.history import History, Trial
from search.records import Config, Status, Suggestion
from search.rules.proposals import propose, propose_random
from search.settings import number, share, whole
from search.space import Space, Vector
from search.task import FULL

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class BohbSearch(Searcher):
    """Draws where the good results are denser than the bad ones.

    Use when   a scheduler cuts trials at rungs (Hyperband, ASHA): early results steer the search from the first rung on.
    Costs      milliseconds per suggestion.
    Settings   good_share (0.15): the share of the results that counts as good. samples (64): draws from the good density;
               the one with the highest ratio is suggested. widening (3): multiplies the bandwidths when drawing.
               random_share (1/3): the share of random suggestions, of which, as of the first ones, three in four are from the
               middle of the logarithmic ranges (`search.domain.prior.towards_middle`). min_bandwidth (0.03): in the unit cube.
    Not for    fewer than 2 (d + 1) results at one step, with d parameters: until then it draws at random.
    Source     Falkner, Klein and Hutter, BOHB, ICML 2018, and HpBandSter; with Hyperband as the scheduler it is BOHB.
               Kernels: Gaussian, and Aitchison and Aitken's for choices; bandwidths by the normal reference rule.
    Differs    min_bandwidth is 1e-3 there: without noise the good results then collapse onto one point (best loss of the
               valley in tests/test_search_beats_random.py at the cost of 60 full trainings, mean of 20 seeds: 0.25,
               with 0.03 0.12, random 0.28). The weight of one point is spread evenly, so that a ratio of two tails
               means nothing. A parameter that a result lacks (a condition) counts as uniform, where HpBandSter imputes a
               random value. Diverged and failed trials count as bad at every step.

    >>> searcher, scheduler = BohbSearch(), Hyperband()
    """

    good_share: float = 0.15
    samples: int = 64
    widening: float = 3.0
    random_share: float = 1 / 3
    min_bandwidth: float = 0.03

    def __post_init__(self) -> None:
        share("BohbSearch", "[0, 1)", good_share=self.good_share, random_share=self.random_share)
        whole("BohbSearch", 1, samples=self.samples)
        number("BohbSearch", "(0, inf)", widening=self.widening, min_bandwidth=self.min_bandwidth)

    def suggest(self, history: History) -> Suggestion | None:
        found = _results(history)
        if found is None:
            fewest = 2 * _enough(history.space)
            evidence = f"random: no step with {fewest} results yet"
            return propose_random(history, origin="initial", evidence=evidence, bracketed=True)
        rng = np.random.default_rng(derived_seed(history.seed, len(history), "bohb"))
        if rng.random() < self.random_share:
            return propose_random(history, bracketed=True)
        step, ranked = found
        count = max(_enough(history.space), math.floor(self.good_share * len(ranked)))
        good = _density(ranked[:count], history.space, self.min_bandwidth)
        bad = _density(ranked[count:], history.space, self.min_bandwidth)
        return propose(
            history,
            lambda seed: self._best_ratio(good, bad, history.space, np.random.default_rng(seed)),
            evidence=f"densities of {count} good and {len(ranked) - count} bad results at step {step}",
        )

    def _best_ratio(self, good: Density, bad: Density, space: Space, rng: np.random.Generator) -> dict[str, Any]:
        drawn = [space.from_unit(good.draw(self.widening, rng)) for _ in range(self.samples)]
        x, active = _units(drawn, space)
        return drawn[int(np.argmax(good.log(x, active) - bad.log(x, active)))]


class Density(NamedTuple):
    """A product kernel density on the unit cube. n points, d coordinates."""

    x: Matrix  # (n, d)
    active: NDArray[np.bool_]  # (n, d): whether the point has the parameter
    width: Vector  # (d,): standard deviation; for a choice, the probability of another option
    options: NDArray[np.int64]  # (d,): number of options of a choice; 0 for a number

    def log(self, x: Matrix, active: NDArray[np.bool_]) -> Vector:
        """Log density at m points, (m, d); a coordinate that a point lacks counts as 1."""
        factors = np.ones((len(x), len(self.x)))
        for d, options in enumerate(self.options):
            kernel = self._kernel(x[:, d][:, None], self.x[:, d][None, :], self.width[d], int(options))
            kernel = np.where(self.active[:, d][None, :], kernel, 1.0 / max(int(options), 1))
            factors *= np.where(active[:, d][:, None], kernel, 1.0)
        uniform = 1.0 / np.maximum(self.options, 1)[None, :]
        even = np.where(active, uniform, 1.0).prod(axis=1)
        logs: Vector = np.log((factors.sum(axis=1) + even) / (len(self.x) + 1))
        return logs

    def draw(self, widening: float, rng: np.random.Generator) -> Vector:
        """A point near one of the density's points."""
        index = int(rng.integers(len(self.x)))
        point = rng.random(len(self.width))
        for d, options in enumerate(self.options):
            if not self.active[index, d]:
                continue
            if options:
                stays = rng.random() >= self.width[d]
                point[d] = self.x[index, d] if stays else (rng.integers(options) + 0.5) / options
            else:
                point[d] = _truncated(self.x[index, d], widening * self.width[d], rng)
        return point

    @staticmethod
    def _kernel(x: Matrix, centre: Matrix, width: float, options: int) -> Matrix:
        if options:
            same = np.abs(x - centre) < 0.5 / options
            return np.where(same, 1 - width, width / max(options - 1, 1))
        kernel: Matrix = np.exp(-0.5 * ((x - centre) / width) ** 2) / (width * math.sqrt(2 * math.pi))
        return kernel


def _results(history: History) -> tuple[int, list[Trial]] | None:
    """The last step with enough results, and the trials with a result there, best first; broken trials come last."""
    dead = [*history.having(Status.DIVERGED), *history.having(Status.FAILED)]
    broken = [trial for trial in dead if trial.in_space and trial.task == FULL]
    for step in range(history.horizon, 0, -1):
        losses = {
            number: loss
            for number, loss in history.at(step).items()
            if math.isfinite(loss) and history.trials[number].in_space and history.trials[number].task == FULL
        }
        sound = [n for n in losses if not history.trials[n].status.is_failure]
        if len(sound) >= 2 * _enough(history.space):
            order = sorted(sound, key=lambda number: (losses[number], number))
            return step, [*(history.trials[number] for number in order), *broken]
    return None


def _enough(space: Space) -> int:
    """The number of points that a density needs."""
    return space.dimension + 1


def _density(trials: list[Trial], space: Space, least: float) -> Density:
    x, active = _units([trial.config for trial in trials], space)
    options = np.zeros(space.dimension, dtype=np.int64)
    width = np.full(space.dimension, least)
    shrink = 1.06 * len(x) ** (-1 / (4 + max(space.dimension, 1)))
    for name, d in space.coordinates.items():
        parameter = space.parameters[name]
        values = x[active[:, d], d]
        if isinstance(parameter, Choice):
            options[d] = len(parameter.options)
            shares = np.unique(values, return_counts=True)[1] / max(len(values), 1)
            spread = math.sqrt(max(0.0, 1.0 - float((shares**2).sum())))
            width[d] = min(max(shrink * spread, least), 1 - 1 / len(parameter.options))
        else:
            width[d] = max(shrink * float(np.std(values)) if len(values) else 1.0, least)
    return Density(x, active, width, options)


def _units(configs: list[Config] | list[dict[str, Any]], space: Space) -> tuple[Matrix, NDArray[np.bool_]]:
    """Places in the unit cube, (n, d), and which parameters each configuration has."""
    names = list(space.coordinates)
    x = np.array([space.to_unit(config) for config in configs]).reshape(len(configs), space.dimension)
    active = np.array([[name in config for name in names] for config in configs], dtype=bool)
    return x, active.reshape(len(configs), space.dimension)


def _truncated(mean: float, width: float, rng: np.random.Generator) -> float:
    """A normal draw inside the unit interval."""
    from scipy.special import ndtr, ndtri

    low, high = ndtr(-mean / width), ndtr((1 - mean) / width)
    return float(np.clip(mean + width * ndtri(low + rng.random() * (high - low)), 0.0, 1.0))
