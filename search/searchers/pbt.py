"""Population based training: trailing members take over the state of the leaders, and their settings with changes."""

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
    """Truncation selection; perturbs the children's settings or draws them afresh.

    Use when   the best setting changes during a training, and members can train side by side: it finds a schedule.
    Costs      only the members' own trainings, which are full ones: `population` of them. Disk: a checkpoint
               for each member and each boundary between the slowest member and the fastest.
    Settings   population (8): members; num_samples limits their starts, and a baseline takes one of them.
               interval (5): steps between two decisions; a tenth of the horizon or less. quantile (0.2): the share at
               the top and at the bottom. resample (0.25): probability of drawing a setting afresh; otherwise it is
               multiplied by 1.2 or 0.8 and kept inside its bounds. quorum (0.75): the share of the living members
               that must have reached a boundary before any is judged there; 1 waits for all (synchronous), 0 for
               nobody, so that the first to arrive always continues.
    Not for    one schedule for all time: it is greedy, and prefers what helps within an interval. Settings that
               change the model's shape, because a child could not load the weights. Schedulers that stop trials: use
               RunToEnd.
    Source     Jaderberg et al., Population Based Training of Neural Networks, 2017: truncation selection.
               Quantiles rounded as in Ray Tune.
    Differs    compares members only at the same step, and a fork begins at that step, even if its parent has gone
               further. A fork of a leader replaces a member that died. A power of two, or a choice of numbers in order,
               moves by one place, an integer by at least one; other choices are kept or redrawn.

    >>> searcher = PopulationBasedTraining(population=8, interval=5)
    """

    resample: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        share("PopulationBasedTraining", "[0, 1]", resample=self.resample)

    def explore(self, parent: Trial, step: int, history: History, rng: np.random.Generator) -> tuple[Config, str, str]:
        config = perturbed(parent.config, history.space, rng, resample=self.resample)
        return config, "explored", f"trial {parent.number} is at the top"
