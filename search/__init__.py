"""Decide what to try next from what has happened: a space, searchers, schedulers, and `AskAndTell` to use them alone.

    from search import AskAndTell, Asha, Space, Tpe, loguniform

Each name is loaded at its first use (PEP 562). Nothing here uses files, clocks or Ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.ask_and_tell import AskAndTell
    from search.contract import Scheduler, Searcher, Verdict
    from search.history import History, Trial
    from search.records import Status, Suggestion
    from search.schedulers.asha import Asha, AshaPromote
    from search.schedulers.hyperband import Hyperband
    from search.schedulers.median import Median
    from search.schedulers.run_to_end import RunToEnd
    from search.searchers.bayes import BayesSearch
    from search.searchers.bohb import BohbSearch
    from search.searchers.cmaes import CmaEs
    from search.searchers.found import FromFound
    from search.searchers.grid import Grid
    from search.searchers.multitask import MultitaskSearch
    from search.searchers.optuna import GaussianProcess, Tpe
    from search.searchers.pb2 import Pb2
    from search.searchers.pbt import PopulationBasedTraining
    from search.searchers.random import Random
    from search.searchers.sigopt import SigOptSearch
    from search.searchers.sobol import Sobol
    from search.space import Space, choice, lograndint, loguniform, pow2, randint, uniform, when
    from search.task import Task

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
    "History": "search.history",
    "Status": "search.records",
    "Suggestion": "search.records",
    "Trial": "search.history",
}

__all__ = [
    "Asha",
    "AshaPromote",
    "AskAndTell",
    "BayesSearch",
    "BohbSearch",
    "CmaEs",
    "FromFound",
    "GaussianProcess",
    "Grid",
    "History",
    "Hyperband",
    "Median",
    "MultitaskSearch",
    "Pb2",
    "PopulationBasedTraining",
    "Random",
    "RunToEnd",
    "Scheduler",
    "Searcher",
    "SigOptSearch",
    "Sobol",
    "Space",
    "Status",
    "Suggestion",
    "Task",
    "Tpe",
    "Trial",
    "Verdict",
    "choice",
    "lograndint",
    "loguniform",
    "pow2",
    "randint",
    "uniform",
    "when",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
