"""Train models: workloads, and policies that set the learning rate and batch size while a model trains.

    from trainables import Quadratic, LrSchedule, Warmup

Each name is loaded at its first use (PEP 562), and torch only when something trains.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.callbacks.lightning import LightningControl as LightningControl
    from trainables.callbacks.transformers import TransformersControl as TransformersControl
    from trainables.contract import OwnTraining as OwnTraining
    from trainables.contract import Policy as Policy
    from trainables.contract import Workload as Workload
    from trainables.policies.adaptive_sync import AdaptiveSync as AdaptiveSync
    from trainables.policies.adascale import AdaScale as AdaScale
    from trainables.policies.autolrs import AutoLrs as AutoLrs
    from trainables.policies.averaged import Averaged as Averaged
    from trainables.policies.batch_ramp import BatchRamp as BatchRamp
    from trainables.policies.compose import Compose as Compose
    from trainables.policies.date import Date as Date
    from trainables.policies.fixed import Fixed as Fixed
    from trainables.policies.largest_free_batch import LargestFreeBatch as LargestFreeBatch
    from trainables.policies.lr_range import LrRange as LrRange
    from trainables.policies.lr_schedule import LrSchedule as LrSchedule
    from trainables.policies.noise_scale import NoiseScaleBatch as NoiseScaleBatch
    from trainables.policies.plateau import Plateau as Plateau
    from trainables.policies.rate_race import RateRace as RateRace
    from trainables.policies.replayed_schedule import ReplayedSchedule as ReplayedSchedule
    from trainables.policies.sma import Sma as Sma
    from trainables.policies.warmup import Warmup as Warmup
    from trainables.policies.watchdog import Watchdog as Watchdog
    from trainables.policies.wsd import Wsd as Wsd
    from trainables.training.batch_sampler import BatchSampler as BatchSampler
    from trainables.training.control import Control as Control
    from trainables.training.weight_averages import WeightAverages as WeightAverages
    from trainables.values import Action as Action
    from trainables.values import Averaging as Averaging
    from trainables.values import Execution as Execution
    from trainables.values import Knobs as Knobs
    from trainables.values import Predictions as Predictions
    from trainables.values import Signals as Signals
    from trainables.workloads.bert_classify import BertClassify as BertClassify
    from trainables.workloads.bert_mlm import BertMlm as BertMlm
    from trainables.workloads.callable import FromFunction as FromFunction
    from trainables.workloads.lstm_lm import LstmLm as LstmLm
    from trainables.workloads.lstm_mnist import LstmMnist as LstmMnist
    from trainables.workloads.mlp_digits import MlpDigits as MlpDigits
    from trainables.workloads.quadratic import Quadratic as Quadratic
    from trainables.workloads.resnet_finetune import ResNetFinetune as ResNetFinetune
    from trainables.workloads.resnet_pretrain import ResNetPretrain as ResNetPretrain
    from trainables.workloads.script import Script as Script

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


LIGHTNING = ("LightningControl",)  # without its extra, `import *` gives the rest; asking for it says what to install


def __getattr__(name: str) -> Any:
    if name == "__all__":  # type checkers read the imports above
        has_lightning = any(map(find_spec, ("lightning", "pytorch_lightning")))
        return sorted(HOMES if has_lightning else HOMES.keys() - LIGHTNING)
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __getattr__("__all__")  # type: ignore[no-any-return]
