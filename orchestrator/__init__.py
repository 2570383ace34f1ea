"""From a Sweep to a ledger to a report. Whatever a script uses is here: `from orchestrator import Sweep, launch`.

Names are loaded when they are first asked for (PEP 562), so `--help` needs neither torch nor Ray, and a training
script that only reports its metrics imports one small file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.errors import (
        BadInput,
        Interrupted,
        NoMetric,
        OrchestratorError,
        ResumeRefused,
        RunInUse,
        StorageError,
        TrialsFailed,
    )
    from orchestrator.lightning_callback import LightningCallback
    from orchestrator.main import launch, run
    from orchestrator.reporting import parameters, report, resumed_from
    from orchestrator.result import Result
    from orchestrator.sweep import Sweep
    from orchestrator.transformers_callback import TransformersCallback
    from search.ask_and_tell import AskAndTell
    from search.schedulers.asha import Asha, AshaPromote
    from search.schedulers.hyperband import Hyperband
    from search.schedulers.median import Median
    from search.schedulers.run_to_end import RunToEnd
    from search.searchers.bayes import BayesSearch
    from search.searchers.bohb import BohbSearch
    from search.searchers.cmaes import CmaEs
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
    from trainables.policies.adaptive_sync import AdaptiveSync
    from trainables.policies.adascale import AdaScale
    from trainables.policies.autolrs import AutoLrs
    from trainables.policies.batch_ramp import BatchRamp
    from trainables.policies.date import Date
    from trainables.policies.lr_range import LrRange
    from trainables.policies.noise_scale import NoiseScaleBatch
    from trainables.policies.plateau import Plateau
    from trainables.policies.schedule import Schedule
    from trainables.policies.scheduled import Scheduled
    from trainables.policies.sma import Sma
    from trainables.policies.together import Together
    from trainables.policies.warmup import Warmup
    from trainables.policies.watchdog import Watchdog
    from trainables.workloads.bert_classify import BertClassify
    from trainables.workloads.bert_mlm import BertMlm
    from trainables.workloads.callable import FromFunction
    from trainables.workloads.lstm_lm import LstmLm
    from trainables.workloads.lstm_mnist import LstmMnist
    from trainables.workloads.quadratic import Quadratic
    from trainables.workloads.resnet_finetune import ResNetFinetune
    from trainables.workloads.resnet_pretrain import ResNetPretrain
    from trainables.workloads.script import Script

HOMES = {
    "launch": "orchestrator.main",
    "run": "orchestrator.main",
    "parameters": "orchestrator.reporting",
    "report": "orchestrator.reporting",
    "resumed_from": "orchestrator.reporting",
    "BadInput": "orchestrator.errors",
    "Interrupted": "orchestrator.errors",
    "NoMetric": "orchestrator.errors",
    "OrchestratorError": "orchestrator.errors",
    "LightningCallback": "orchestrator.lightning_callback",
    "TransformersCallback": "orchestrator.transformers_callback",
    "ResumeRefused": "orchestrator.errors",
    "RunInUse": "orchestrator.errors",
    "StorageError": "orchestrator.errors",
    "TrialsFailed": "orchestrator.errors",
    "Result": "orchestrator.result",
    "Sweep": "orchestrator.sweep",
    "AskAndTell": "search.ask_and_tell",
    "Asha": "search.schedulers.asha",
    "AshaPromote": "search.schedulers.asha",
    "Hyperband": "search.schedulers.hyperband",
    "Median": "search.schedulers.median",
    "RunToEnd": "search.schedulers.run_to_end",
    "BayesSearch": "search.searchers.bayes",
    "BohbSearch": "search.searchers.bohb",
    "CmaEs": "search.searchers.cmaes",
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
    "AdaptiveSync": "trainables.policies.adaptive_sync",
    "AdaScale": "trainables.policies.adascale",
    "AutoLrs": "trainables.policies.autolrs",
    "BatchRamp": "trainables.policies.batch_ramp",
    "Date": "trainables.policies.date",
    "LrRange": "trainables.policies.lr_range",
    "NoiseScaleBatch": "trainables.policies.noise_scale",
    "Plateau": "trainables.policies.plateau",
    "Schedule": "trainables.policies.schedule",
    "Scheduled": "trainables.policies.scheduled",
    "Sma": "trainables.policies.sma",
    "Together": "trainables.policies.together",
    "Warmup": "trainables.policies.warmup",
    "Watchdog": "trainables.policies.watchdog",
    "BertClassify": "trainables.workloads.bert_classify",
    "BertMlm": "trainables.workloads.bert_mlm",
    "FromFunction": "trainables.workloads.callable",
    "LstmLm": "trainables.workloads.lstm_lm",
    "LstmMnist": "trainables.workloads.lstm_mnist",
    "Quadratic": "trainables.workloads.quadratic",
    "ResNetFinetune": "trainables.workloads.resnet_finetune",
    "ResNetPretrain": "trainables.workloads.resnet_pretrain",
    "Script": "trainables.workloads.script",
}

__all__ = [
    "AdaScale",
    "AdaptiveSync",
    "Asha",
    "AshaPromote",
    "AskAndTell",
    "AutoLrs",
    "BadInput",
    "BatchRamp",
    "BayesSearch",
    "BertClassify",
    "BertMlm",
    "BohbSearch",
    "CmaEs",
    "Date",
    "FromFunction",
    "GaussianProcess",
    "Grid",
    "Hyperband",
    "Interrupted",
    "LightningCallback",
    "LrRange",
    "LstmLm",
    "LstmMnist",
    "Median",
    "MultitaskSearch",
    "NoMetric",
    "NoiseScaleBatch",
    "OrchestratorError",
    "Pb2",
    "Plateau",
    "PopulationBasedTraining",
    "Quadratic",
    "Random",
    "ResNetFinetune",
    "ResNetPretrain",
    "Result",
    "ResumeRefused",
    "RunInUse",
    "RunToEnd",
    "Schedule",
    "Scheduled",
    "Script",
    "SigOptSearch",
    "Sma",
    "Sobol",
    "Space",
    "StorageError",
    "Sweep",
    "Task",
    "Together",
    "Tpe",
    "TransformersCallback",
    "TrialsFailed",
    "Warmup",
    "Watchdog",
    "choice",
    "launch",
    "lograndint",
    "loguniform",
    "parameters",
    "pow2",
    "randint",
    "report",
    "resumed_from",
    "run",
    "uniform",
    "when",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not HOMES[name].startswith("orchestrator."):
        importlib.import_module("orchestrator.packages")  # a user's own search.py must not hide ours
    found = getattr(importlib.import_module(HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
