"""Multitask Bayesian optimisation: a model learns about full trainings from a little training of many configurations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search.contract import generator
from search.history import History
from search.models.fidelities import Configuration, level
from search.origins import COVERING
from search.records import Status, Suggestion, resume, start
from search.rules.halving import halved
from search.rules.multifidelity import Decision, MultiFidelity
from search.rules.proposals import DRAWS, is_bracketed, propose_random
from search.rules.turns import full_share, is_full, model_share
from search.settings import share

Array = NDArray[np.float64]

AUDIT = 3  # one in so many full trainings is a random one: the best forecasts alone never show what starts late
EARLY = 0.5  # full trainings' cost after which the first one is due, even without a model
NOTHING = -8.0  # log of an improvement, on the scale of the losses, that counts as none
MARGIN = (-3.0, -0.3)  # powers of ten, on the scale of the losses: how much better a new configuration must be


@dataclass(frozen=True)
class MultitaskSearch(MultiFidelity):
    """Starts a new configuration or resumes a paused trial, whichever has the better expected result of a full training.

    Use when   trainings are long, and a part of one (its first epochs, some of the data, a smaller input) tells
               something about the whole. With or without `tasks` on the sweep: without them, trials pause at every
               rung (1, 2, 3, 5, 8, … steps), and for each free worker a new one starts or any paused one resumes.
    Costs      processor time for a suggestion: `experiments/benchmarks/deciding.py`. The model is fitted again (about a
               second) whenever there are 30 % more results, during the wait for results if the driver allows it, and the
               fits are kept with the suggestion. Of more than 300 observations it takes the latest of the best trials, a
               spread of the others, then the rungs of the best, so that memory and time stay bounded.
    Settings   n_initial (8): random configurations before the model, three in four of them from the middle of the logarithmic
               ranges (`search.domain.prior.towards_middle`). full (0.4): share of the cost that goes to trainings
               up to the horizon, the best forecasts for their cost. cost_power (0.5): 0 ignores how the cost of a step
               depends on the configuration, 1 is improvement per second. first (1), factor (1.5): the rungs, if the sweep
               has no tasks. stop_below (None): end the search when the expected improvement of the loss for the cost of
               one full training falls below this. finalists (3): configurations to train again on fresh seeds at the end.
    Not for    schedules that depend on the length of the training, unless tasks are given: a promoted trial resumes
               from its checkpoint. Thousands of cheap trials: Tpe with Asha.
    Source     Rakotoarison et al., In-Context Freeze-Thaw Bayesian Optimization, ICML 2024 (a random horizon for each
               decision), with the model of Swersky et al., 2013 and 2014, see `search.models.gp`. Priors: Hvarfner et al.,
               πBO, ICLR 2022.
    Differs    uses expected improvement, not the probability of a random improvement; costs count. The model shares its turns
               with successive halving of random configurations: its share follows its skill, the rank correlation of its
               forecasts with the results on this sweep (`search.rules.turns`), and each suggestion says so. Halving gets
               the turn, too, where the model expects no gain. One in three full trainings is a random configuration,
               because the best forecasts never include configurations that start slowly. Rungs whose order does not last are skipped
               (`search.rules.first_rung`), and so are cheap tasks that say little about full trainings. A configuration that
               trains exactly as another did is not trained further (`search.models.copies`). Failed and diverged trials get
               the worst value where they broke, and places near them count for less. Losses are put on a logarithmic scale
               relative to the best one, so units, sign and a few enormous losses do not matter.
               Each turn uses one of three fits, see `search.models.fits`.

    >>> searcher = MultitaskSearch(n_initial=12)
    """

    cost_power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        share("MultitaskSearch", "[0, 1]", cost_power=self.cost_power)

    def choose_early(self, history: History, known: Sequence[Configuration]) -> Suggestion | None:
        """Take the best of the first results to the horizon, once they have cost something; None: too early."""
        resting = [(each.full, each) for each in known if each.full is not None and each.reached >= 0]
        likely = [
            trial
            for trial, each in resting
            if not each.running and not each.broken and each.step < history.horizon and trial.status is Status.STOPPED
        ]
        if len(likely) < 2 or history.spent < EARLY or full_share(history) >= self.full:
            return None
        best = min(likely, key=lambda trial: (trial.loss, trial.number))
        return resume(best, evidence=f"the best of the first {len(likely)} results goes to the horizon")

    def choose(self, decision: Decision) -> Suggestion | None:
        history, acquisition, resting = decision.history, decision.acquisition, decision.resting
        if not history.room:
            best = acquisition.best_forecast(resting)
            return decision.promoted(best, decision.next_fidelity(best), "best forecast of a full training")
        if (due := self._due(decision)) is not None:
            return due
        models = model_share(acquisition.skill)
        words = f"its forecasts rank with ρ = {acquisition.skill:.2f}"
        if decision.rng.random() >= models:
            return _halving(decision, f"halving has {1 - models:.0%} of the turns: the model has {models:.0%}, {words}")
        return self._random_horizon(decision, f"the model has {models:.0%} of the turns: {words}")

    def _due(self, decision: Decision) -> Suggestion | None:
        """The training to take to the horizon while full ones had less than their share of the cost; None: none is due."""
        history = decision.history
        if not decision.resting or full_share(history) >= self.full:
            return None
        likely = [each for each in decision.resting if not _rises(each)]
        if not likely:
            return None
        drawn = [each for each in likely if each.trials[0].first_origin in COVERING]
        full = sum(each.full is not None and is_full(history, each.full) for each in decision.known)
        if drawn and full % AUDIT == AUDIT - 1:
            chosen = drawn[int(generator(history, "audit").integers(len(drawn)))]
            return decision.promoted(chosen, decision.top, f"one in {AUDIT} full trainings is drawn, for late starters")
        units = np.array([each.unit for each in likely])
        gains = decision.acquisition.log_improvement(units, 1.0, decision.best_full)
        if gains.max() < NOTHING:
            return None
        left = np.log([1 - each.step / history.horizon for each in likely])
        costs = left + decision.acquisition.log_step_cost(units)
        chosen = likely[int(np.argmax(gains - costs))]
        return decision.promoted(chosen, decision.top, f"a share of {self.full:.0%} of the cost goes to full trainings")

    def _random_horizon(self, decision: Decision, why: str) -> Suggestion | None:
        """Choose by the expected improvement, per cost, over the best result after a random number of steps.

        The number of steps, at least the first rung's, is drawn on a log scale, so soon and late count alike. A new
        configuration must be better by a margin, also drawn: a resting one has already proved worth its start.
        """
        horizon, acquisition = decision.history.horizon, decision.acquisition
        ahead = horizon
        if all(fidelity.is_full for fidelity in decision.fidelities):
            soonest = decision.fidelities[decision.first].steps
            ahead = round(math.exp(decision.rng.uniform(math.log(soonest), math.log(horizon)))) if horizon > 1 else 1
        incumbents = acquisition.incumbents(horizon)
        best = float(incumbents[min(horizon, ahead)]) - 10 ** decision.rng.uniform(*MARGIN)

        def new(units: Array) -> Array:
            promise = acquisition.log_improvement(units, level(ahead, horizon), best)
            promise = promise - self.cost_power * acquisition.log_step_cost(units)
            return np.asarray(promise + acquisition.log_prior(units))

        rest, rest_score = self._best_resting(decision, ahead, incumbents)
        for config, score, is_new in decision.candidates(new):
            if max(rest_score, score) < NOTHING:
                return _halving(decision, "the model expects no gain anywhere")
            if rest is not None and rest_score >= score:
                evidence = f"log improvement {rest_score:.3g} {ahead} steps from now; {why}"
                return decision.promoted(rest, decision.next_fidelity(rest), evidence)
            if is_new:
                evidence = f"log improvement {score:.3g} {ahead} steps from now; {why}"
                return decision.begun(start(config, evidence=evidence), decision.fidelities[decision.first])
        return decision.at_random(decision.fidelities[decision.first])

    def _best_resting(self, decision: Decision, ahead: int, incumbents: Array) -> tuple[Configuration | None, float]:
        """The resting configuration with the best improvement per cost `ahead` steps from now, and its score."""
        resting, horizon = decision.resting, decision.history.horizon
        if not resting:
            return None, -math.inf
        units = np.array([each.unit for each in resting])
        goals = np.array([min(horizon, each.step + ahead) for each in resting])
        levels = np.array([level(goal, horizon) for goal in goals])
        scores = decision.acquisition.log_improvement(units, levels, incumbents[goals])
        scores = scores - self.cost_power * decision.acquisition.log_step_cost(units)
        scores -= np.log([(goal - each.step) / ahead for goal, each in zip(goals, resting, strict=True)])
        return resting[int(np.argmax(scores))], float(scores.max())


def _halving(decision: Decision, why: str) -> Suggestion | None:
    """The next promotion by successive halving of the random configurations, or another random one."""
    found = halved(decision.history, decision.known, decision.resting, decision.fidelities, decision.first)
    if found is not None:
        return decision.promoted(*found, f"one of the best third of the random ones; {why}")
    return _random_where_feasible(decision, why)


def _rises(configuration: Configuration) -> bool:
    """Whether its curve rose over the last two thirds of its training, in two steps."""
    trial = configuration.full
    if trial is None or len(trial.losses) < 3:
        return False
    last = len(trial.losses) - 1
    return trial.losses[last // 3] < trial.losses[2 * last // 3] < trial.losses[last]


def _random_where_feasible(decision: Decision, why: str) -> Suggestion:
    """A random configuration; rarer where trainings nearby broke, by their probability of failure."""
    history, rng = decision.history, generator(decision.history, "sound")
    space = history.space
    suggestion = propose_random(history, evidence=why, bracketed=True)
    for _ in range(DRAWS):
        unit = space.to_unit(suggestion.config)[None]
        if rng.random() <= math.exp(decision.acquisition.log_feasibility(unit)[0]):
            break
        config = space.sample(rng, bracketed=is_bracketed(len(history.trials)))
        if not space.is_finite or history.known(config) is None:
            suggestion = replace(suggestion, config=config)
    return decision.begun(suggestion, decision.fidelities[decision.first])
