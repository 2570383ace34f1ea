"""NePS's bracket optimisers in our race, for other_libraries.py: `--peer neps_peer:hyperband`, `--peer neps_peer:priorband`.

Needs an environment of its own, with `pip install torch==2.13.0 neural-pipeline-search==0.17.0`.

NePS knows the names, ranges, logarithms and types of the parameters, as every peer does. Its fidelity is the number of
steps, from 1 to the horizon. It learns the loss at the end of each rung. A promoted configuration goes on from its last
step: NePS names the trial that it promotes, and a user resumes from that trial's checkpoint. Its ifBO is not here:
it loads weights from the network.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import neps  # type: ignore[import-not-found]  # in the peer's environment only
import numpy as np
import torch

STEPS = "steps_of_the_training"  # the fidelity's name; a problem may have a parameter "epochs"


def hyperband(space: Any, horizon: int, seed: int = 0) -> NepsPeer:
    """What `neps.run(optimizer="auto")` takes for a space that has a fidelity and no priors."""
    return NepsPeer(space, horizon, seed, neps.algorithms.hyperband)


def priorband(space: Any, horizon: int, seed: int = 0) -> NepsPeer:
    """Hyperband that also draws around its incumbent; a parameter without a prior has a uniform one."""
    return NepsPeer(space, horizon, seed, neps.algorithms.priorband)


class NepsPeer:
    """One of NePS's bracket optimisers, by its own ask-and-tell; `space` is other_libraries.View."""

    def __init__(self, space: Any, horizon: int, seed: int, optimiser: Callable[[Any], Any]) -> None:
        random.seed(seed)  # NePS draws from the global generators
        np.random.seed(seed)
        torch.manual_seed(seed)
        self._names = space.names
        self._tuning = neps.AskAndTell(optimiser(space_of(space.params, horizon)))
        self._started: dict[str, int] = {}  # NePS's configuration → the race's trial
        self._under_way: dict[int, Any] = {}  # the race's trial → NePS's trial, which ends at a rung
        self._asked: Any = None  # handed out, its number in the race not known yet

    def suggest(self, now: float) -> tuple[str, Any]:
        trial = self._tuning.ask()
        number = self._started.get(configuration_of(trial))
        if number is None:
            self._asked = trial
            return "start", {name: trial.config[name] for name in self._names}
        if number in self._under_way:
            raise RuntimeError(f"NePS promotes {trial.id}, whose lower rung still trains; the race cannot follow.")
        self._under_way[number] = trial
        return "resume", number

    def started(self, number: int, config: Mapping[str, Any]) -> None:
        self._started[configuration_of(self._asked)] = number
        self._under_way[number] = self._asked

    def report(self, number: int, step: int, loss: float, now: float) -> str:
        trial = self._under_way[number]
        if step < trial.config[STEPS]:
            return "continue"
        del self._under_way[number]
        self._tuning.tell(trial, loss)
        return "pause"

    def finished(self, number: int, step: int, loss: float) -> None:
        """The last rung is the horizon, and `report` has told it."""


def configuration_of(trial: Any) -> str:
    """NePS numbers the trials of one configuration 7_rung_0, 7_rung_1, …"""
    return str(trial.id).partition("_rung_")[0]


def space_of(params: list[Mapping[str, Any]], horizon: int) -> Any:
    kinds = {"int": neps.Integer, "float": neps.Float}
    attributes = {
        given["name"]: kinds[given["type"]](lower=given["low"], upper=given["high"], log=given["log"])
        for given in params
    }
    return neps.PipelineSpace().from_attrs({**attributes, STEPS: neps.IntegerFidelity(lower=1, upper=horizon)})
