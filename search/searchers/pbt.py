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

from dataclasses import dataclass

import numpy as np

from search.history import History, Trial
from search.records import Config
from search.rules.perturb import perturbed
from search.rules.population import Population
from search.settings import share


@dataclass(frozen=True)
class PopulationBasedTraining(Population):
    """Truncation selection; the children's settings are perturbed or drawn afresh.

    >>> searcher = PopulationBasedTraining(population=8, interval=5)
    """

    resample: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        share("PopulationBasedTraining", "[0, 1]", resample=self.resample)

    def explore(self, parent: Trial, step: int, history: History, rng: np.random.Generator) -> tuple[Config, str, str]:
        config = perturbed(parent.config, history.space, rng, resample=self.resample)
        return config, "explored", f"trial {parent.number} is at the top"
