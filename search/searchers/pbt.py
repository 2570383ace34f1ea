"""Population based training: what is behind takes over the state and, changed a little, the settings of what leads.

Use when   the best setting changes during a training, and members can train side by side: it finds a schedule.
Costs      nothing beyond the members' own trainings, which are full ones: `population` of them. Disk: a checkpoint
           for each member and each boundary between the slowest member and the fastest.
Settings   population (8): members; num_samples limits their starts, and a baseline takes one of them.
           interval (5): steps between two decisions; a tenth of the horizon or less. quantile (0.2): the share at
           the top and at the bottom. resample (0.25): probability that a setting is drawn afresh; otherwise it is
           multiplied by 1.2 or 0.8 and kept inside its bounds. quorum (0.75): the share of the living members
           that must have reached a boundary before anybody is judged there; 1 waits for all (synchronous), 0 for
           nobody, so that the first to arrive always goes on.
Not for    one schedule for all time: it is greedy, and prefers what helps within an interval. Settings that
           change the model's shape: its weights could not be taken over. Schedulers that stop trials: use RunToEnd.
Source     Jaderberg et al., Population Based Training of Neural Networks, 2017: truncation selection.
           Quantiles rounded as in Ray Tune.
Differs    members are compared at the same step only, and a fork begins at that step, also where its parent has
           gone on. A member that died is replaced by a fork of a leading one. A power of two, and a choice of
           numbers in order, moves by one place, an integer by one at least; other choices are kept or redrawn.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from search.base import Searcher
from search.population import Rules, decide, forkable
from search.space import Space
from search.trial import Config, History, Suggestion, Trial
from search.variation import refuse_probability, varied


@dataclass(frozen=True)
class PopulationBasedTraining(Searcher):
    """Truncation selection; the children's settings are perturbed or drawn afresh."""

    population: int = 8
    interval: int = 5
    quantile: float = 0.2
    resample: float = 0.25
    quorum: float = 0.75

    continues: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if (problem := self._rules.problem()) is not None:
            raise ValueError(f"PopulationBasedTraining({problem}")
        refuse_probability("PopulationBasedTraining", "resample", self.resample)

    def suggest(self, history: History) -> Suggestion | None:
        return decide(history, self._rules, lambda parent, step, rng: self._explored(parent, history.space, rng))

    def forkable(self, history: History) -> Collection[tuple[int, int]]:
        return forkable(history, self._rules)

    @property
    def _rules(self) -> Rules:
        return Rules(self.population, self.interval, self.quantile, self.quorum)

    def _explored(self, parent: Trial, space: Space, rng: np.random.Generator) -> tuple[Config, str, str]:
        config = varied(parent.config, space, rng, resample=self.resample)
        return config, "explored", f"trial {parent.number} is at the top"
