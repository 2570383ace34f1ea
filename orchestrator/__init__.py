"""From a Sweep to a ledger to a report. All public names are here: `from orchestrator import Sweep, launch`.

Names are loaded on first use (PEP 562), so `--help` needs neither torch nor Ray, and a training script that only
reports its metrics imports one small file.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.callbacks.lightning import LightningCallback
    from orchestrator.callbacks.transformers import TransformersCallback
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
    from orchestrator.main import launch, run
    from orchestrator.reading.result import Result
    from orchestrator.reporting import parameters, report, resumed_from
    from orchestrator.sweep import Sweep
    from search import (
        Asha,
        AshaPromote,
        AskAndTell,
        BayesSearch,
        BohbSearch,
        CmaEs,
        FromFound,
        GaussianProcess,
        Grid,
        Hyperband,
        Median,
        MultitaskSearch,
        Pb2,
        PopulationBasedTraining,
        Random,
        RunToEnd,
        SigOptSearch,
        Sobol,
        Space,
        Task,
        Tpe,
        choice,
        lograndint,
        loguniform,
        pow2,
        randint,
        uniform,
        when,
    )
    from trainables import (
        AdaptiveSync,
        AdaScale,
        AutoLrs,
        Averaged,
        BatchRamp,
        BatchSampler,
        BertClassify,
        BertMlm,
        Compose,
        Control,
        Date,
        Execution,
        Fixed,
        FromFunction,
        LargestFreeBatch,
        LightningControl,
        LrRange,
        LrSchedule,
        LstmLm,
        LstmMnist,
        MlpDigits,
        NoiseScaleBatch,
        Plateau,
        Quadratic,
        RateRace,
        ReplayedSchedule,
        ResNetFinetune,
        ResNetPretrain,
        Script,
        Sma,
        TransformersControl,
        Warmup,
        Watchdog,
        WeightAverages,
        Wsd,
    )

HOMES = {
    "BadInput": "orchestrator.errors",
    "Interrupted": "orchestrator.errors",
    "NoMetric": "orchestrator.errors",
    "OrchestratorError": "orchestrator.errors",
    "ResumeRefused": "orchestrator.errors",
    "RunInUse": "orchestrator.errors",
    "StorageError": "orchestrator.errors",
    "TrialsFailed": "orchestrator.errors",
    "LightningCallback": "orchestrator.callbacks.lightning",
    "launch": "orchestrator.main",
    "run": "orchestrator.main",
    "parameters": "orchestrator.reporting",
    "report": "orchestrator.reporting",
    "resumed_from": "orchestrator.reporting",
    "Result": "orchestrator.reading.result",
    "Sweep": "orchestrator.sweep",
    "TransformersCallback": "orchestrator.callbacks.transformers",
}  # the other names belong to `search` and `trainables`

__all__ = [
    "AdaScale",
    "AdaptiveSync",
    "Asha",
    "AshaPromote",
    "AskAndTell",
    "AutoLrs",
    "Averaged",
    "BadInput",
    "BatchRamp",
    "BatchSampler",
    "BayesSearch",
    "BertClassify",
    "BertMlm",
    "BohbSearch",
    "CmaEs",
    "Compose",
    "Control",
    "Date",
    "Execution",
    "Fixed",
    "FromFound",
    "FromFunction",
    "GaussianProcess",
    "Grid",
    "Hyperband",
    "Interrupted",
    "LargestFreeBatch",
    "LightningCallback",
    "LightningControl",
    "LrRange",
    "LrSchedule",
    "LstmLm",
    "LstmMnist",
    "Median",
    "MlpDigits",
    "MultitaskSearch",
    "NoMetric",
    "NoiseScaleBatch",
    "OrchestratorError",
    "Pb2",
    "Plateau",
    "PopulationBasedTraining",
    "Quadratic",
    "Random",
    "RateRace",
    "ReplayedSchedule",
    "ResNetFinetune",
    "ResNetPretrain",
    "Result",
    "ResumeRefused",
    "RunInUse",
    "RunToEnd",
    "Script",
    "SigOptSearch",
    "Sma",
    "Sobol",
    "Space",
    "StorageError",
    "Sweep",
    "Task",
    "Tpe",
    "TransformersCallback",
    "TransformersControl",
    "TrialsFailed",
    "Warmup",
    "Watchdog",
    "WeightAverages",
    "Wsd",
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

NAMES = frozenset(__all__)
LIGHTNING = ("LightningCallback", "LightningControl")
# Without its extra, `import *` gives the rest; asking for one of these names says what to install.
for _name in () if any(map(find_spec, ("lightning", "pytorch_lightning"))) else LIGHTNING:
    __all__.remove(_name)


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(_home(name), name)
    globals()[name] = found
    return found


def _home(name: str) -> ModuleType:
    if name in HOMES:
        return importlib.import_module(HOMES[name])
    importlib.import_module("orchestrator.definition.import_check")  # a user's own search.py must not hide ours
    search = importlib.import_module("search")
    return search if name in search.HOMES else importlib.import_module("trainables")


def __dir__() -> list[str]:
    return sorted(__all__)
