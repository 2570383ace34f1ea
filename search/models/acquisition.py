"""The acquisition function of the multi-fidelity searchers, from the curve model of one history.

Source     log expected improvement: Ament et al., NeurIPS 2023. Priors: Hvarfner et al., πBO, ICLR 2022.
Differs    running trainings count as if they ended as expected ("kriging believer"), or at the worst known value
           ("constant liar"). Each turn uses one of several fits, see `search.models.fits`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search.contract import generator
from search.history import History
from search.models.candidates import Encoding
from search.models.cost_model import StepCostModel
from search.models.feasibility import NeighbourFeasibility
from search.models.fidelities import Configuration, Fidelity
from search.models.fits import fits
from search.models.outcome_transform import OutcomeTransforms
from search.models.training_data import training_data
from search.task import FULL

if TYPE_CHECKING:
    from search.models.gp import CurveModel

Array = NDArray[np.float64]

PRIOR_RESULTS = 10.0  # πBO's β: priors weigh as much as this many trials
HOPELESS = -15.0  # log of an improvement that counts as none
CENTRES = 10  # best forecasts around which to draw candidates


class CurveAcquisition:
    """Scores configurations by the curve model of a history.

    `units`: (n, dimension) points of the unit cube; losses are transformed, see `search.models.outcome_transform`.
    `known`: the configurations tried so far, at least one. `memo` belongs to the next suggestion.
    """

    def __init__(
        self,
        history: History,
        fidelities: Sequence[Fidelity],
        known: Sequence[Configuration],
        *,
        constant_liar: bool = False,
    ) -> None:
        self._history, self._known = history, known
        self._encode = Encoding(history.space)
        self.transforms = OutcomeTransforms(history.trials, [each.task for each in fidelities])
        found, self.memo = fits(history, known, fidelities, self._encode)
        self.skill = found.skill
        self.model = self._conditioned(
            found.fits[int(generator(history, "opinion").integers(len(found.fits)))], fidelities, constant_liar
        )

    def _conditioned(self, fit: list[float], fidelities: Sequence[Fidelity], constant_liar: bool) -> CurveModel:
        from search.models.gp import CurveModel

        data = training_data(self._history, self._known, fidelities, self.transforms, self._encode)
        tasks, earlier = len({each.task for each in fidelities}), len(self._history.earlier)
        model = CurveModel(self._encode.dimension, tasks=tasks + earlier, earlier=earlier)
        model.hyperparameters = fit
        model.condition(data.places, data.fidelities, data.tasks, data.values)
        running = [(each.unit, each.running) for each in self._known if each.running]
        if running:
            goals = [goal for _, goal in running]
            model.believe(
                self._encode(np.array([unit for unit, _ in running])),
                np.array([goal.level for goal in goals]),
                np.array([goal.index for goal in goals]),
                np.full(len(goals), data.values.max()) if constant_liar else None,
            )
        return model

    def log_improvement(self, units: Array, levels: Any, best: Any, task: int = 0) -> Array:
        """Log of the expected improvement on `best`, (n,), after a training to `levels` (one, or one for each unit).

        Where the improvement is next to nothing, the lower confidence bound takes its place: improvements of e^-50 are
        largest where the model knows least, not where it expects most.
        """
        from search.models.gp import log_expected_improvement

        mean, deviation = self.model.predict(
            self._encode(units), np.broadcast_to(levels, len(units)), np.full(len(units), task)
        )
        bound = HOPELESS - (mean - 2 * deviation)
        return np.asarray(np.logaddexp(log_expected_improvement(mean, deviation, best), bound))

    def log_step_cost(self, units: Array) -> Array:
        """Log of the cost of a step, relative to the mean, (n,)."""
        return self._step_cost(self._encode(units))

    def log_prior(self, units: Array) -> Array:
        """Log of the evidence beside the model, (n,): feasibility, and the space's priors."""
        total = self.log_feasibility(units)
        if self._history.space.has_priors:
            total = total + PRIOR_RESULTS / max(1, len(self._known)) * self._history.space.log_prior(units)
        return total

    def log_feasibility(self, units: Array) -> Array:
        """Log of the probability that a training neither fails nor diverges, (n,)."""
        return self._feasibility(self._encode(units))

    @cached_property
    def forecasts(self) -> Array:
        """Expected value of a full training for each known configuration."""
        places = self._encode(self.units)
        return self.model.predict(places, np.ones(len(places)), np.zeros(len(places)))[0]

    def best_forecast(self, among: Sequence[Configuration]) -> Configuration:
        """The known configuration among `among` with the best forecast."""
        of = {id(each): value for each, value in zip(self._known, self.forecasts, strict=True)}
        return min(among, key=lambda each: of[id(each)])

    @cached_property
    def units(self) -> Array:
        """The unit points of the known configurations."""
        return np.array([each.unit for each in self._known])

    @property
    def centres(self) -> Array:
        """The unit points of the best forecasts, best first."""
        return self.units[np.argsort(self.forecasts, kind="stable")[:CENTRES]]

    def incumbents(self, horizon: int) -> Array:
        """The value to improve on at each step, (horizon + 1,): the best one at that step or before."""
        counting = {each.full.number for each in self._known if each.full is not None and not each.broken}
        lowest = np.full(horizon + 1, math.inf)
        for step in range(1, horizon + 1):
            losses = self._history.at(step).items()
            lowest[step] = min((loss for number, loss in losses if number in counting), default=math.inf)
        lowest = np.minimum.accumulate(lowest)
        seen = np.isfinite(lowest)
        values = np.full(horizon + 1, float(self.forecasts.min()) if not seen.all() else 0.0)
        values[seen] = self.transforms(FULL, lowest[seen])
        return values

    @cached_property
    def _step_cost(self) -> StepCostModel:
        return StepCostModel(self._known, self._encode)

    @cached_property
    def _feasibility(self) -> NeighbourFeasibility:
        return NeighbourFeasibility(self._encode(self.units), np.array([each.broken for each in self._known]))
