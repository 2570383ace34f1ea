"""Decide what to try next from what has happened: a space, searchers, schedulers, and `AskAndTell` to use them alone.

    from search import AskAndTell, Asha, Space, Tpe, loguniform

Each name is loaded at its first use (PEP 562). Nothing here uses files, clocks or Ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.ask_and_tell import AskAndTell as AskAndTell
    from search.contract import Scheduler as Scheduler
    from search.contract import Searcher as Searcher
    from search.contract import Verdict as Verdict
    from search.history import History as History
    from search.history import Trial as Trial
    from search.records import Goal as Goal
    from search.records import Status as Status
    from search.records import Suggestion as Suggestion
    from search.schedulers.asha import Asha as Asha
    from search.schedulers.asha import AshaPromote as AshaPromote
    from search.schedulers.hyperband import Hyperband as Hyperband
    from search.schedulers.median import Median as Median
    from search.schedulers.run_to_end import RunToEnd as RunToEnd
    from search.searchers.bayes import BayesSearch as BayesSearch
    from search.searchers.bohb import BohbSearch as BohbSearch
    from search.searchers.cmaes import CmaEs as CmaEs
    from search.searchers.found import FromFound as FromFound
    from search.searchers.grid import Grid as Grid
    from search.searchers.multitask import MultitaskSearch as MultitaskSearch
    from search.searchers.optuna import GaussianProcess as GaussianProcess
    from search.searchers.optuna import Tpe as Tpe
    from search.searchers.pb2 import Pb2 as Pb2
    from search.searchers.pbt import PopulationBasedTraining as PopulationBasedTraining
    from search.searchers.random import Random as Random
    from search.searchers.sigopt import SigOptSearch as SigOptSearch
    from search.searchers.sobol import Sobol as Sobol
    from search.space import Space as Space
    from search.space import choice as choice
    from search.space import lograndint as lograndint
    from search.space import loguniform as loguniform
    from search.space import pow2 as pow2
    from search.space import randint as randint
    from search.space import uniform as uniform
    from search.space import when as when
    from search.task import Task as Task

HOMES = {
    "AskAndTell": "search.ask_and_tell",
    "Scheduler": "search.contract",
    "Searcher": "search.contract",
    "Verdict": "search.contract",
    "Asha": "search.schedulers.asha",
    "AshaPromote": "search.schedulers.asha",
    "Hyperband": "search.schedulers.hyperband",
    "Median": "search.schedulers.median",
    "RunToEnd": "search.schedulers.run_to_end",
    "BayesSearch": "search.searchers.bayes",
    "BohbSearch": "search.searchers.bohb",
    "CmaEs": "search.searchers.cmaes",
    "FromFound": "search.searchers.found",
    "Grid": "search.searchers.grid",
    "MultitaskSearch": "search.searchers.multitask",
    "GaussianProcess": "search.searchers.optuna",
    "Tpe": "search.searchers.optuna",
    "Pb2": "search.searchers.pb2",
    "PopulationBasedTraining": "search.searchers.pbt",
    "Random": "search.searchers.random",
    "SigOptSearch": "search.searchers.sigopt",
    "Sobol": "search.searchers.sobol",
    "Space": "search.space",
    "choice": "search.space",
    "lograndint": "search.space",
    "loguniform": "search.space",
    "pow2": "search.space",
    "randint": "search.space",
    "uniform": "search.space",
    "when": "search.space",
    "Task": "search.task",
    "Goal": "search.records",
    "History": "search.history",
    "Status": "search.records",
    "Suggestion": "search.records",
    "Trial": "search.history",
}


def __getattr__(name: str) -> Any:
    if name == "__all__":  # type checkers read the imports above
        return sorted(HOMES)
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(HOMES)
