"""Population based bandits: as population based training, but a model chooses the settings of the children."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.domain.parameters import Parameter
from search.history import History, Trial
from search.models.exact_gp import Posterior, whitened
from search.records import Config, Status
from search.rules.perturb import perturbed
from search.rules.population import Population, is_member
from search.space import Space, Vector, numeric_coordinates

FEWEST = 4  # changes to learn from; with fewer, children are varied at random
MOST = 200  # latest changes: the kernel forgets older ones anyway, and the cost is cubic
NEARBY = 0.5  # weight of the changes of one segment in the level and spread of the next
JITTER = 1e-8  # keeps equal points apart in the factorisation
CANDIDATES = 1000
RESAMPLE = 0.25  # probability of drawing a setting afresh, if the model does not cover it

Matrix = NDArray[np.float64]


class Changes(NamedTuple):
    """The changes over n segments with d numbers."""

    x: Matrix  # (n, d), unit cube
    t: Vector  # (n,), in segments since the start
    y: Vector  # (n,), fall of the loss over the segment: higher is better


@dataclass(frozen=True)
class Pb2(Population):
    """Truncation selection; the children's settings maximise an upper confidence bound of the improvement.

    Use when   the population is small (four to eight): random perturbations would take too long to find the way.
    Costs      besides the members' trainings, a small model for each fork: 0.1 s at 100 segments.
    Settings   population (4), interval (5), quantile (0.25), quorum (0.75) as for PopulationBasedTraining.
    Not for    spaces of choices: it models the numbers that are always active and varies everything else at random.
    Source     Parker-Holder et al., Provably Efficient Online Hyperparameter Optimization with Population-Based
               Bandits, NeurIPS 2020: GP-UCB with the time-varying kernel SE(x, x') * (1 - eps)^(|t - t'| / 2), on
               the change of the metric over a segment; running segments shrink the variance; kappa as in their code.
    Differs    the bound adds kappa standard deviations (their code: variances); time counts in segments; each change is
               standardised by the level and spread of the changes at about the same time; a diverged segment counts as the
               worst change so far. Length, noise and eps maximise the likelihood, the variance has its closed form. The
               algebra runs in one thread: more threads, on two busy cores, made it 500 times slower.

    >>> searcher = Pb2(population=4, interval=5)
    """

    population: int = 4
    quantile: float = 0.25

    def check(self, space: Space) -> None:
        if not numeric_coordinates(space):
            raise ValueError(
                f"Pb2(): none of {', '.join(space.names)} is a number that is always active; "
                "use PopulationBasedTraining()."
            )

    def explore(self, parent: Trial, step: int, history: History, rng: np.random.Generator) -> tuple[Config, str, str]:
        space = history.space
        modelled = set(numeric_coordinates(space))
        numbers = {name: d for name, d in space.coordinates.items() if d in modelled}
        others = perturbed(parent.config, space, rng, resample=RESAMPLE, keep=numbers)
        changes = _changes(history, list(numbers.values()), self.interval)
        if len(changes.y) < FEWEST or not numbers:
            config = perturbed(parent.config, space, rng, resample=RESAMPLE)
            return config, "explored", f"varied at random: only {len(changes.y)} segments to learn from"
        from threadpoolctl import threadpool_limits

        pending = _pending(history, list(numbers.values()), self.interval)
        try:
            with threadpool_limits(limits=1):
                ranked = _ranked(changes, pending, step / self.interval, rng)
        except (ArithmeticError, ValueError) as error:  # LinAlgError is a ValueError
            config = perturbed(parent.config, space, rng, resample=RESAMPLE)
            return config, "fallback", f"varied at random: the model failed with {type(error).__name__}: {error}"
        for point in ranked:
            config = _with_numbers(others, dict(zip(numbers, point, strict=True)), space, rng)
            if space.contains(config):
                return config, "model", f"best bound, from {len(changes.y)} segments and {len(pending.y)} running"
        return others, "fallback", "no candidate meets the constraints: numbers of the parent"


def _with_numbers(others: Config, units: dict[str, float], space: Space, rng: np.random.Generator) -> dict[str, object]:
    def pick(name: str, parameter: Parameter) -> object:
        if name in units:
            return parameter.from_unit(units[name])
        return others[name] if name in others else parameter.from_unit(rng.random())

    return space.walk(pick)


def _changes(history: History, coordinates: list[int], interval: int) -> Changes:
    """Every finished segment whose first loss is known, standardised."""
    rows = sorted(
        (end // interval - 1, trial.number, change)
        for trial in history.trials
        if is_member(trial) and trial.in_space
        for end, change in _segments(trial, history, interval)
    )[-MOST:]
    if not rows:
        return Changes(np.empty((0, len(coordinates))), np.empty(0), np.empty(0))
    t = np.array([row[0] for row in rows], dtype=float)
    x = np.array([history.space.to_unit(history.trials[number].config)[coordinates] for _, number, _ in rows])
    return Changes(x, t, _standardised(np.array([row[2] for row in rows]), t))


def _segments(trial: Trial, history: History, interval: int) -> list[tuple[int, float]]:
    """(end of the segment, fall of the loss); NaN where the trial diverged."""
    parent = None if trial.parent is None else history.trials[trial.parent]
    found = []
    for begin in range(trial.began // interval * interval, max(trial.step, trial.began + 1), interval):
        end = min(begin + interval, history.horizon)
        holder = parent if begin == trial.began and parent is not None else trial
        before, after = holder.loss_at(begin), trial.loss_at(end)
        if before is not None and after is not None and math.isfinite(before):
            found.append((begin + interval, before - after if math.isfinite(after) else math.nan))
        elif before is not None and trial.status is Status.DIVERGED and trial.step < end:
            found.append((begin + interval, math.nan))
    return found


def _standardised(y: Vector, t: Vector) -> Vector:
    """The changes relative to the level, and in units of the spread, of changes at about the same time.

    Early in a training everything improves, by orders of magnitude more than later; on that scale, good changes later
    on would not show.
    """
    finite = np.isfinite(y)
    if not finite.any():
        return np.zeros_like(y)
    near = NEARBY ** np.abs(t[:, None] - t[None, finite])
    near /= near.sum(axis=1, keepdims=True)
    level = near @ y[finite]
    spread = np.sqrt(near @ (y - level)[finite] ** 2)
    scaled = np.where(spread > 0, (y - level) / np.where(spread > 0, spread, 1.0), 0.0)
    return np.where(finite, scaled, min(0.0, float(scaled[finite].min())))


def _pending(history: History, coordinates: list[int], interval: int) -> Changes:
    running = [trial for trial in history.having(Status.RUNNING) if is_member(trial) and trial.in_space]
    x = [history.space.to_unit(trial.config)[coordinates] for trial in running]
    t = [max(trial.step, trial.began) // interval for trial in running]
    shape = (len(running), len(coordinates))
    return Changes(np.array(x).reshape(shape), np.array(t, dtype=float), np.zeros(len(running)))


def _ranked(changes: Changes, pending: Changes, t: float, rng: np.random.Generator) -> Matrix:
    """Points of the unit cube, sorted by their bound for a segment at time `t`, highest first."""
    length, noise, epsilon, variance = _fitted(changes)
    x, times = np.vstack([changes.x, pending.x]), np.append(changes.t, pending.t)
    kappa = math.sqrt(0.2 + max(0.0, math.log(0.4 * len(changes.y))))
    posterior = Posterior(_noisy(_distances(x, times, x, times), length, noise, epsilon), changes.y)

    def bound(points: Matrix) -> Vector:
        between = _kernel(*_distances(x, times, points, np.full(len(points), t)), length, epsilon)
        mean, explained = posterior(between)  # running segments also explain variance
        bounds: Vector = mean + kappa * np.sqrt(variance * np.clip(1.0 - explained, 0.0, None))
        return bounds

    points = rng.random((CANDIDATES, changes.x.shape[1]))
    for width in (0.1, 0.03, 0.01):
        best = points[np.argsort(-bound(points), kind="stable")[:10]]
        near = np.repeat(best, CANDIDATES // 40, axis=0)
        near = near + width * rng.standard_normal(near.shape)
        points = np.vstack([points, np.clip(near, 0.0, 1.0)])
    ranked: Matrix = points[np.argsort(-bound(points), kind="stable")]
    return ranked


def _fitted(changes: Changes) -> tuple[float, float, float, float]:
    """Length, noise over variance, eps and variance that maximise the marginal likelihood."""
    from scipy.optimize import minimize

    apart = _distances(changes.x, changes.t, changes.x, changes.t)
    n = len(changes.y)

    def loss(place: Vector) -> float:
        covariance = _noisy(apart, math.exp(place[0]), math.exp(place[1]), float(place[2]))
        half, log_root = whitened(covariance, changes.y)
        misfit = 0.5 * n * math.log(max(float(half @ half) / n, 1e-12)) + log_root
        # A weak prior keeps the length sensible with few segments.
        return misfit + 0.5 * float(place[0] - math.log(0.3)) ** 2

    limits = [(math.log(0.05), math.log(2.0)), (math.log(1e-3), math.log(10.0)), (0.0, 0.5)]
    starts = [(math.log(0.3), math.log(0.1), 0.1), (math.log(0.3), math.log(1.0), 0.3)]
    fits = [
        minimize(loss, np.array(start), method="L-BFGS-B", bounds=limits, options={"maxiter": 30}) for start in starts
    ]
    best = min(fits, key=lambda fit: float(fit.fun)).x
    length, noise, epsilon = math.exp(best[0]), math.exp(best[1]), float(best[2])
    half, _ = whitened(_noisy(apart, length, noise, epsilon), changes.y)
    return length, noise, epsilon, max(float(half @ half) / n, 1e-12)


def _noisy(apart: tuple[Matrix, Matrix], length: float, noise: float, epsilon: float) -> Matrix:
    """The covariance of changes at the distances `apart`, divided by the variance."""
    return _kernel(*apart, length, epsilon) + (noise + JITTER) * np.eye(len(apart[0]))


def _distances(x: Matrix, t: Vector, x2: Matrix, t2: Vector) -> tuple[Matrix, Matrix]:
    """Squared distances between settings, and distances in time."""
    squares = sum((np.subtract.outer(x[:, d], x2[:, d]) ** 2 for d in range(x.shape[1])), np.zeros((len(x), len(x2))))
    return squares, np.abs(np.subtract.outer(t, t2))


def _kernel(squares: Matrix, gaps: Matrix, length: float, epsilon: float) -> Matrix:
    kernel: Matrix = np.exp(-0.5 * squares / length**2 + 0.5 * math.log(1 - epsilon) * gaps)
    return kernel
