"""Multitask Bayesian optimisation: a little training of many configurations teaches a model about full trainings.

Use when   trainings are long, and a part of one (its first epochs, some of the data, a smaller input) says
           something about all of it. With or without `tasks` on the sweep: without them, trials rest at every
           rung (1, 2, 3, 5, 8, … steps) and at each free worker a new one or any resting one goes on.
Costs      processor time for a suggestion: `experiments/benchmarks/deciding.py`. The model is fitted again (about a
           second) whenever there are 30 % more trials, while results are awaited if a driver lets it, and the fits
           are kept with the suggestion. Of more than 300 observations it takes the latest of the best trials, a
           spread of the others, then the rungs of the best, so that memory and time stay bounded.
Settings   n_initial (8): random configurations before the model. greedy (0.1): share of the turns that take the trial
           with the best forecast on, whatever else looks promising. full_every (5): for the cost of so many full
           trainings at least one goes to the horizon. halving (None): while nothing improves, this share of the cost
           goes to successive halving of random configurations, see `search.rules.halving`; None: half, but nothing if the
           sweep has tasks. cost_power (0.5): 0 ignores how the cost of a step depends on the configuration, 1 is
           improvement per second. first (1), factor (1.5): the rungs, if the sweep has no tasks.
           stop_below (None): end the search when the expected improvement of the loss for the cost of one full
           training falls under this. finalists (3): configurations trained again on fresh seeds at the end.
Not for    schedules that depend on the length of the training, unless tasks are given: a promoted trial goes on
           from its checkpoint. Thousands of cheap trials: Tpe with Asha.
Source     Rakotoarison et al., In-Context Freeze-Thaw Bayesian Optimization, ICML 2024 (a random horizon for each
           decision), on the model of Swersky et al., 2013 and 2014, see `search.models.gp`. Priors: Hvarfner et al., πBO,
           ICLR 2022.
Differs    expected improvement takes the place of the probability of a random improvement; costs count; a random
           share of greedy turns and the bound of `full_every` keep it from camping on cheap tasks, and successive
           halving takes over half of the cost while nothing improves. Failed and
           diverged trials are shown with the worst value where they broke, and places near them count for less.
           Losses are put on a logarithmic scale from the best one, so units, sign and a few enormous losses do
           not matter. Each turn goes by one of three fits to different parts of the data, see `search.models.fits`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search.contract import generator
from search.history import History
from search.models.fidelities import Configuration, level
from search.records import Suggestion, start
from search.rules.halving import halved, overdue
from search.rules.multifidelity import Decision, MultiFidelity
from search.rules.proposals import DRAWS, propose_random
from search.settings import share

Array = NDArray[np.float64]

HALVING = 0.5  # of the cost, while nothing improves
MARGIN = (-3.0, -0.3)  # powers of ten, on the scale of the losses: by how much a new configuration must be better


@dataclass(frozen=True)
class MultitaskSearch(MultiFidelity):
    """Chooses between new configurations and the continuation of known ones by what a full training promises.

    >>> searcher = MultitaskSearch(n_initial=12)
    """

    greedy: float = 0.1
    halving: float | None = None
    cost_power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        share("MultitaskSearch", "[0, 1]", greedy=self.greedy, cost_power=self.cost_power)
        if self.halving is not None:
            share("MultitaskSearch", "[0, 1]", halving=self.halving)

    def choose(self, decision: Decision) -> Suggestion | None:
        history, acquisition, resting = decision.history, decision.acquisition, decision.resting
        if resting and decision.owes_full(self.full_every):
            evidence = f"one for every {self.full_every:g} full trainings' cost goes to the horizon"
            return decision.promoted(acquisition.best_forecast(resting), decision.top, evidence)
        if why := overdue(history, decision.known, acquisition.transforms, self._halving(history)):
            if halving := halved(history, decision.known, resting, decision.fidelities):
                return decision.promoted(*halving, f"one of the best third of the random ones, {why}")
            if history.room:
                return _random_where_feasible(decision, why)
        if resting and (not history.room or decision.rng.random() < self.greedy):
            best = acquisition.best_forecast(resting)
            if not history.room or acquisition.may_gain(best):
                return decision.promoted(best, decision.next_fidelity(best), "best forecast of a full training")
        return self._random_horizon(decision)

    def _halving(self, history: History) -> float:
        """With a few tasks every turn costs so much that it came dearer than what it saved from."""
        if self.halving is not None:
            return self.halving
        return 0.0 if history.tasks else HALVING

    def _random_horizon(self, decision: Decision) -> Suggestion | None:
        """Expected improvement so many steps from now on what was the best after as many, for the cost of getting there.

        Sooner and later count alike, as the number of steps is drawn on a log scale. A new configuration has to be
        better by a margin, drawn too: a resting one was worth its start already.
        """
        horizon, acquisition = decision.history.horizon, decision.acquisition
        ahead = horizon
        if all(fidelity.is_full for fidelity in decision.fidelities):
            ahead = round(math.exp(decision.rng.uniform(0.0, math.log(horizon)))) if horizon > 1 else 1
        incumbents = acquisition.incumbents(horizon)
        best = float(incumbents[min(horizon, ahead)]) - 10 ** decision.rng.uniform(*MARGIN)

        def new(units: Array) -> Array:
            promise = acquisition.log_improvement(units, level(ahead, horizon), best)
            promise = promise - self.cost_power * acquisition.log_step_cost(units)
            return np.asarray(promise + acquisition.log_prior(units))

        rest, rest_score = self._best_resting(decision, ahead, incumbents)
        for config, score, is_new in decision.candidates(new):
            if rest is not None and rest_score >= score:
                evidence = f"log improvement {rest_score:.3g} {ahead} steps from now"
                return decision.promoted(rest, decision.next_fidelity(rest), evidence)
            if is_new:
                evidence = f"log improvement {score:.3g} {ahead} steps from now"
                return decision.begun(start(config, evidence=evidence), decision.fidelities[0])
        return decision.at_random(decision.fidelities[0])

    def _best_resting(self, decision: Decision, ahead: int, incumbents: Array) -> tuple[Configuration | None, float]:
        """The resting configuration that promises most `ahead` steps from now for its cost, and how much."""
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


def _random_where_feasible(decision: Decision, why: str) -> Suggestion:
    """A random configuration; where trainings nearby broke, as much more rarely."""
    history, rng = decision.history, generator(decision.history, "sound")
    space = history.space
    suggestion = propose_random(history, evidence=why)
    for _ in range(DRAWS):
        unit = space.to_unit(suggestion.config)[None]
        if rng.random() <= math.exp(decision.acquisition.log_feasibility(unit)[0]):
            break
        config = space.sample(rng)
        if not space.is_finite or history.known(config) is None:
            suggestion = replace(suggestion, config=config)
    return decision.begun(suggestion, decision.fidelities[0])
