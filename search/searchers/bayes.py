"""Bayesian optimisation on full trainings: a Gaussian process and its noisy expected improvement.

The simplest searcher with a model of our own: it learns only from results of full trainings, nothing on the way.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from search.contract import Searcher, derived_seed, generator
from search.history import History, Trial
from search.models.candidates import Encoding, best_configurations, is_apart
from search.models.feasibility import ProcessFeasibility
from search.models.outcome_transform import OutcomeTransform
from search.records import Status, Suggestion, start
from search.rules.proposals import NUMERICAL, propose_random, refuse_for_model
from search.settings import whole
from search.space import Space
from search.task import FULL

if TYPE_CHECKING:
    from search.models.noisy_ei import NoisyImprovement

Array = NDArray[np.float64]

MOST = 300  # results that condition the model
FITTED = 160  # of them, results to fit its hyper-parameters to
GROWTH = 1.3  # fit again when the number of results has grown by this factor
WATCHED = 30  # latest trials without a result, which candidates keep away from
CENTRES = 10  # best results around which to draw candidates
APART = 1e-3  # of the range: nearer to a running trial there is nothing to learn
PRIOR_RESULTS = 10.0  # πBO's β: priors weigh as much as this many results


@dataclass(frozen=True)
class BayesSearch(Searcher):
    """Takes the configuration with the largest noisy expected improvement; any space, any number of workers.

    Use when   trials are expensive, few (up to some hundreds) and noisy, and nothing cheaper can be learned from.
    Costs      for a suggestion 0.05 s at 200 results; it fits the model again (0.3 s) whenever there are
               30 % more. Of more than 300 results it takes the better ones and a spread of the others, so
               that time and memory stay bounded.
    Settings   n_initial (8): random configurations before the model, three in four of them from the middle of the
               logarithmic ranges (`search.domain.prior.towards_middle`).
    Not for    early stopping and tasks: it learns only from full results, MultitaskSearch from all.
    Source     Letham et al., Constrained Bayesian Optimization with Noisy Experiments, Bayesian Analysis 2019;
               qLogNoisyExpectedImprovement of BoTorch (Ament et al., NeurIPS 2023). Priors: Hvarfner et al.,
               πBO, ICLR 2022. Broken trials: Gelbart et al., see `search.models.feasibility`.
    Differs    it compares the criterion at random and nearby candidates instead of climbing gradients, so conditions,
               choices and constraints need no special case. Failed and diverged trials get the worst result of the
               others, and the probability of a failure there counts against a place; stopped trials count as running.

    >>> searcher = BayesSearch(n_initial=8)
    """

    why_full: ClassVar[str | None] = "BayesSearch learns from full trainings only"
    n_initial: int = 8

    def __post_init__(self) -> None:
        whole("BayesSearch", 2, n_initial=self.n_initial)

    def check(self, space: Space) -> None:
        refuse_for_model("BayesSearch", space)

    def suggest(self, history: History) -> Suggestion:
        if not history.space.coordinates:
            return propose_random(history, origin="fallback", evidence="no parameter to search")
        shown = [trial for trial in history.trials if trial.in_space and trial.task == FULL and not trial.began]
        results = [trial for trial in shown if _is_result(trial)]
        if len(shown) < self.n_initial or len(results) < self.n_initial // 2:
            evidence = f"random: BayesSearch has {len(results)} of the {self.n_initial} results it starts with"
            return propose_random(history, origin="initial", evidence=evidence, bracketed=True)
        from threadpoolctl import threadpool_limits

        try:
            with threadpool_limits(limits=1):  # the other cores belong to the trials; with busy cores more are slower
                return _model_based(history, results, [trial for trial in shown if not _is_result(trial)][-WATCHED:])
        except NUMERICAL as error:
            evidence = f"random, because the model failed with {type(error).__name__}: {error}"
            return propose_random(history, origin="fallback", evidence=evidence)


@dataclass(frozen=True)
class Fit:
    """The model's hyper-parameters as recorded in the history, and the data that they were fitted to."""

    dimension: int  # columns of an encoded place
    results: int
    hyperparameters: list[float]

    @staticmethod
    def latest(history: History) -> Fit | None:
        """The latest recorded fit; None if there is none, or if the note has another form."""
        match history.note("bayes"):
            case {"dimension": int(dimension), "results": int(results), "hyperparameters": list(found)}:
                return Fit(dimension, results, found)
        return None

    @property
    def memo(self) -> str:
        """The note, for `Suggestion.memo`."""
        return json.dumps({"bayes": asdict(self)})


def _model_based(history: History, results: list[Trial], pending: list[Trial]) -> Suggestion:
    space, encode = history.space, Encoding(history.space)
    values = _values(results)
    order = np.argsort(values, kind="stable")
    kept = _kept(order)
    units = np.array([space.to_unit(results[index].config) for index in kept])
    places = encode(units)
    model, memo = _model(history, places, values[kept], len(results))
    feasibility = ProcessFeasibility(places, np.array([not _is_sound(results[index]) for index in kept]))
    awaited = np.reshape([space.to_unit(trial.config) for trial in pending], (len(pending), space.dimension))
    model.watch(
        encode(awaited),
        derived_seed(history.seed, len(history), "improvement"),
    )
    weight = PRIOR_RESULTS / len(results) if space.has_priors else 0.0

    def promise(points: Array) -> Array:
        at = encode(points)
        score = model(at) + feasibility(at)
        return score + weight * space.log_prior(points) if weight else score

    for config, unit, score in best_configurations(promise, units[:CENTRES], space, generator(history, "bayes")):
        if history.known(config) is None and is_apart(unit, awaited, APART):
            evidence = f"log improvement {score:.3g}, from {len(results)} results with {len(pending)} pending"
            return start(config, evidence=evidence, memo=memo)
    evidence = "random, because every candidate of the model is known or breaks a constraint"
    return propose_random(history, origin="fallback", evidence=evidence)


def _is_result(trial: Trial) -> bool:
    return trial.status in (Status.COMPLETED, Status.FAILED, Status.DIVERGED)


def _is_sound(trial: Trial) -> bool:
    return trial.status is Status.COMPLETED and math.isfinite(trial.loss)


def _values(results: list[Trial]) -> Array:
    """A standardised value for each result, lower is better; broken trials get the worst of the others."""
    sound = np.array([_is_sound(trial) for trial in results])
    scale = OutcomeTransform.of(trial for trial in results if _is_sound(trial))
    values = np.zeros(len(results))
    values[sound] = scale(np.array([trial.loss for trial in results if _is_sound(trial)]))
    values[~sound] = values.max()
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-6))


def _kept(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices of the better results and a spread of the others, best first."""
    if len(order) <= MOST:
        return order
    spread = np.linspace(MOST // 2, len(order) - 1, MOST - MOST // 2).astype(int)
    return np.concatenate([order[: MOST // 2], order[spread]])


def _model(history: History, places: Array, values: Array, results: int) -> tuple[NoisyImprovement, str]:
    """The model, and the memo of its fit if it was fitted now; "" if the history has one."""
    from search.models.noisy_ei import NoisyImprovement

    model = NoisyImprovement(places, values)
    latest = Fit.latest(history)
    if latest is not None and latest.dimension == places.shape[1] and results < GROWTH * latest.results:
        model.hyperparameters = latest.hyperparameters
        return model, ""
    chosen = np.random.default_rng(len(values)).permutation(len(values))[:FITTED]
    teacher = NoisyImprovement(places[chosen], values[chosen])
    teacher.fit()
    model.hyperparameters = teacher.hyperparameters
    return model, Fit(places.shape[1], results, model.hyperparameters).memo
