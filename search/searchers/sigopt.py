"""SigOpt's multitask rule: draw a task, cheap ones more often, then look for the best configuration for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from search.records import Suggestion, start
from search.rules.multifidelity import Decision, MultiFidelity
from search.rules.turns import full_share

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SigOptSearch(MultiFidelity):
    """Draws a task, then a configuration for it; when no new one may start, it trains the best forecasts to the end.

    Use when   there are a few tasks of known cost and you want the rule of SigOpt's service; otherwise MultitaskSearch,
               which won wherever we tried both.
    Costs      as MultitaskSearch.
    Settings   n_initial (8): random configurations before the model. full (0.4): while full trainings had a smaller
               share of the cost, the next configuration trains in full. first (1), factor (1.5): the rungs, if the sweep has
               no tasks. stop_below (None): end the search when the expected improvement of the loss for the cost of one
               full training falls below this. finalists (3): configurations to train again on fresh seeds at the end.
    Not for    sweeps without tasks: it never resumes a configuration while others may be started.
    Source     the task with P ∝ exp(−cost), then x maximises the expected improvement there: SigOpt's open-sourced service
               (libsigopt, 2022). Priors: Hvarfner et al., πBO, ICLR 2022. The model: `search.models.gp`.
    Differs    the model is a coregionalised process, not one with the cost as a coordinate; `full` keeps a share of the cost for
               full trainings; places near broken trainings count for less.

    >>> searcher = SigOptSearch(n_initial=12)
    """

    constant_liar: ClassVar[bool] = True

    def choose(self, decision: Decision) -> Suggestion | None:
        acquisition = decision.acquisition
        if not decision.history.room:
            return decision.promoted(acquisition.best_forecast(decision.resting), decision.top, "no room for more")
        chances = np.exp([-each.cost for each in decision.fidelities])
        drawn = int(decision.rng.choice(len(decision.fidelities), p=chances / chances.sum()))
        fidelity = decision.top if full_share(decision.history) < self.full else decision.fidelities[drawn]
        best = acquisition.transforms.lowest

        def score(units: Array) -> Array:
            promise = acquisition.log_improvement(units, fidelity.level, best, fidelity.index)
            return np.asarray(promise + acquisition.log_prior(units))

        for config, value, is_new in decision.candidates(score):
            if is_new:
                evidence = f"log improvement {value:.3g} at {fidelity.task}, {fidelity.steps} steps"
                return decision.begun(start(config, evidence=evidence), fidelity)
        return decision.at_random(fidelity)
