"""How a model is trained: workloads, and policies that set the learning rate and batch size while one trains.

    from trainables import Quadratic, Schedule, Warmup

Names are loaded when they are first asked for (PEP 562), and torch only when something trains.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.contract import Policy, Workload
    from trainables.policies.adaptive_sync import AdaptiveSync
    from trainables.policies.adascale import AdaScale
    from trainables.policies.autolrs import AutoLrs
    from trainables.policies.batch_ramp import BatchRamp
    from trainables.policies.date import Date
    from trainables.policies.fixed import Fixed
    from trainables.policies.lr_range import LrRange
    from trainables.policies.noise_scale import NoiseScaleBatch
    from trainables.policies.plateau import Plateau
    from trainables.policies.schedule import Schedule
    from trainables.policies.scheduled import Scheduled
    from trainables.policies.sma import Sma
    from trainables.policies.together import Together
    from trainables.policies.warmup import Warmup
    from trainables.policies.watchdog import Watchdog
    from trainables.values import Action, Averaging, Execution, Knobs, Signals
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
    "Action": "trainables.values",
    "Averaging": "trainables.values",
    "Execution": "trainables.values",
    "Knobs": "trainables.values",
    "Policy": "trainables.contract",
    "Signals": "trainables.values",
    "Workload": "trainables.contract",
    "AdaptiveSync": "trainables.policies.adaptive_sync",
    "AdaScale": "trainables.policies.adascale",
    "AutoLrs": "trainables.policies.autolrs",
    "BatchRamp": "trainables.policies.batch_ramp",
    "Date": "trainables.policies.date",
    "Fixed": "trainables.policies.fixed",
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
    "Averaging",
    "BatchRamp",
    "BertClassify",
    "BertMlm",
    "Date",
    "Execution",
    "Fixed",
    "FromFunction",
    "Knobs",
    "LrRange",
    "LstmLm",
    "LstmMnist",
    "MlpDigits",
    "NoiseScaleBatch",
    "Plateau",
    "Policy",
    "Quadratic",
    "ResNetFinetune",
    "ResNetPretrain",
    "Schedule",
    "Scheduled",
    "Script",
    "Signals",
    "Sma",
    "Together",
    "Warmup",
    "Watchdog",
    "Workload",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
