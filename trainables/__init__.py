"""Train models: workloads, and policies that set the learning rate and batch size while a model trains.

    from trainables import Quadratic, LrSchedule, Warmup

Each name is loaded at its first use (PEP 562), and torch only when something trains.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.callbacks.lightning import LightningControl
    from trainables.callbacks.transformers import TransformersControl
    from trainables.contract import OwnTraining, Policy, Workload
    from trainables.policies.adaptive_sync import AdaptiveSync
    from trainables.policies.adascale import AdaScale
    from trainables.policies.autolrs import AutoLrs
    from trainables.policies.averaged import Averaged
    from trainables.policies.batch_ramp import BatchRamp
    from trainables.policies.compose import Compose
    from trainables.policies.date import Date
    from trainables.policies.fixed import Fixed
    from trainables.policies.largest_free_batch import LargestFreeBatch
    from trainables.policies.lr_range import LrRange
    from trainables.policies.lr_schedule import LrSchedule
    from trainables.policies.noise_scale import NoiseScaleBatch
    from trainables.policies.plateau import Plateau
    from trainables.policies.rate_race import RateRace
    from trainables.policies.replayed_schedule import ReplayedSchedule
    from trainables.policies.sma import Sma
    from trainables.policies.warmup import Warmup
    from trainables.policies.watchdog import Watchdog
    from trainables.policies.wsd import Wsd
    from trainables.training.batch_sampler import BatchSampler
    from trainables.training.control import Control
    from trainables.training.weight_averages import WeightAverages
    from trainables.values import Action, Averaging, Execution, Knobs, Predictions, Signals
    from trainables.workloads.bert_classify import BertClassify
    from trainables.workloads.bert_mlm import BertMlm
    from trainables.workloads.callable import FromFunction
    from trainables.workloads.lstm_lm import LstmLm
    from trainables.workloads.lstm_mnist import LstmMnist
    from trainables.workloads.mlp_digits import MlpDigits
    from trainables.workloads.quadratic import Quadratic
    from trainables.workloads.resnet_finetune import ResNetFinetune
    from trainables.workloads.resnet_pretrain import ResNetPretrain
    from trainables.workloads.script import Script

HOMES = {
    "LightningControl": "trainables.callbacks.lightning",
    "TransformersControl": "trainables.callbacks.transformers",
    "OwnTraining": "trainables.contract",
    "Policy": "trainables.contract",
    "Workload": "trainables.contract",
    "AdaptiveSync": "trainables.policies.adaptive_sync",
    "AdaScale": "trainables.policies.adascale",
    "AutoLrs": "trainables.policies.autolrs",
    "Averaged": "trainables.policies.averaged",
    "BatchRamp": "trainables.policies.batch_ramp",
    "Compose": "trainables.policies.compose",
    "Date": "trainables.policies.date",
    "Fixed": "trainables.policies.fixed",
    "LargestFreeBatch": "trainables.policies.largest_free_batch",
    "LrRange": "trainables.policies.lr_range",
    "LrSchedule": "trainables.policies.lr_schedule",
    "NoiseScaleBatch": "trainables.policies.noise_scale",
    "Plateau": "trainables.policies.plateau",
    "RateRace": "trainables.policies.rate_race",
    "ReplayedSchedule": "trainables.policies.replayed_schedule",
    "Sma": "trainables.policies.sma",
    "Warmup": "trainables.policies.warmup",
    "Watchdog": "trainables.policies.watchdog",
    "Wsd": "trainables.policies.wsd",
    "BatchSampler": "trainables.training.batch_sampler",
    "Control": "trainables.training.control",
    "WeightAverages": "trainables.training.weight_averages",
    "Action": "trainables.values",
    "Averaging": "trainables.values",
    "Execution": "trainables.values",
    "Knobs": "trainables.values",
    "Predictions": "trainables.values",
    "Signals": "trainables.values",
    "BertClassify": "trainables.workloads.bert_classify",
    "BertMlm": "trainables.workloads.bert_mlm",
    "FromFunction": "trainables.workloads.callable",
    "LstmLm": "trainables.workloads.lstm_lm",
    "LstmMnist": "trainables.workloads.lstm_mnist",
    "MlpDigits": "trainables.workloads.mlp_digits",
    "Quadratic": "trainables.workloads.quadratic",
    "ResNetFinetune": "trainables.workloads.resnet_finetune",
    "ResNetPretrain": "trainables.workloads.resnet_pretrain",
    "Script": "trainables.workloads.script",
}

__all__ = [
    "Action",
    "AdaScale",
    "AdaptiveSync",
    "AutoLrs",
    "Averaged",
    "Averaging",
    "BatchRamp",
    "BatchSampler",
    "BertClassify",
    "BertMlm",
    "Compose",
    "Control",
    "Date",
    "Execution",
    "Fixed",
    "FromFunction",
    "Knobs",
    "LargestFreeBatch",
    "LightningControl",
    "LrRange",
    "LrSchedule",
    "LstmLm",
    "LstmMnist",
    "MlpDigits",
    "NoiseScaleBatch",
    "OwnTraining",
    "Plateau",
    "Policy",
    "Predictions",
    "Quadratic",
    "RateRace",
    "ReplayedSchedule",
    "ResNetFinetune",
    "ResNetPretrain",
    "Script",
    "Signals",
    "Sma",
    "TransformersControl",
    "Warmup",
    "Watchdog",
    "WeightAverages",
    "Workload",
    "Wsd",
]

LIGHTNING = ("LightningControl",)
# Without its extra, `import *` gives the rest; asking for one of these names says what to install.
for _name in () if any(map(find_spec, ("lightning", "pytorch_lightning"))) else LIGHTNING:
    __all__.remove(_name)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
