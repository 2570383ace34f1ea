"""What the gradient noise scale is good for: the policies that use it, and its growth. policy_overhead.py has its cost.

    python experiments/benchmarks/noise_scale.py                    # both parts, some minutes on one core

policies    digits: updates, test accuracy and seconds with the noise-scale policies, the tuned base batch and the
            largest batch (its learning rate by the same rule), `--seeds` each.
growth      digits: the noise scale where the training loss is about 1, and where it is about 0.1, with an LSTM and a ResNet.

`Date` is our own controller on top of LEGW and the noise scale; not the algorithm of the paper "DATE", which gives none.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from search.records import Config
from trainables.contract import Policy, Workload
from trainables.estimates.noise_scale import UNKNOWN, Smoothed, smoothed, value
from trainables.policies.adascale import AdaScale
from trainables.policies.date import Date
from trainables.policies.fixed import Fixed
from trainables.policies.noise_scale import NoiseScaleBatch
from trainables.training.device import measure
from trainables.training.loop import Training
from trainables.values import NOTHING, Action, Execution, Signals
from trainables.workloads.lstm_mnist import LstmMnist
from trainables.workloads.resnet_pretrain import ResNetPretrain


def baseline(workload: Workload) -> Config:
    assert workload.baseline is not None
    return workload.baseline


# Policies

BASE, MOST = 16, 512
RATES = {16: 0.2, 32: 0.4}  # the best of 0.01, 0.03, 0.1, 0.2, 0.4 on "valid", three seeds each


@dataclass(frozen=True)
class Arm:
    policy: Policy[Any]
    batch_size: int = BASE
    rate: float = RATES[BASE]


ARMS = {
    "fixed, base batch 16": Arm(Fixed()),
    "fixed, 512, same rate": Arm(Fixed(), MOST),
    "fixed, 512, rate x sqrt(32)": Arm(Fixed(), MOST, RATES[BASE] * math.sqrt(MOST / BASE)),
    "Date, sqrt": Arm(Date(base_batch=BASE, most=MOST)),
    "Date, adascale": Arm(Date(base_batch=BASE, most=MOST, rule="adascale")),
    "NoiseScaleBatch, as published": Arm(NoiseScaleBatch(most=MOST)),
    "NoiseScaleBatch, sqrt": Arm(NoiseScaleBatch(most=MOST, scaling="sqrt")),
    "fixed, 128, same rate": Arm(Fixed(), 128),
    "AdaScale, 128": Arm(AdaScale(base_batch=BASE), 128),
    "fixed, base batch 32": Arm(Fixed(), 32, RATES[32]),
    "Date, sqrt, base batch 32": Arm(Date(base_batch=32, most=MOST), 32, RATES[32]),
}


@dataclass(frozen=True)
class Outcome:
    updates: int
    accuracy: float  # on "test"
    seconds: float  # of the wall clock, and …
    processor: float  # … of the processor
    batch_size: int  # in the end
    decisions: tuple[str, ...]


def trained(arm: Arm, seed: int) -> Outcome:
    workload = LstmMnist()
    config = {**baseline(workload), "learning_rate": arm.rate, "batch_size": arm.batch_size}
    training = Training(workload, arm.policy, config, seed=seed)
    begun, processor, updates, decisions = time.perf_counter(), time.process_time(), 0, []
    for item in training:
        updates += item is None and not training.accumulated
        if item is not None and item.kind == "decision":
            decisions.append(f"{training.control.samples / workload.samples():.1f} {item.text}")
    took = time.perf_counter() - begun, time.process_time() - processor
    accuracy = measure(workload, training.model, "test")["accuracy"]
    return Outcome(updates, accuracy, *took, training.control.knobs.batch_size, tuple(decisions))


def print_policies(seeds: int) -> None:
    print("| | updates | test accuracy, mean (smallest to largest) | seconds (processor), median | batch in the end |")
    print("| --- | --- | --- | --- | --- |")
    for name, arm in ARMS.items():
        found = [trained(arm, seed) for seed in range(seeds)]
        accuracies = [100 * outcome.accuracy for outcome in found]
        updates = sorted(outcome.updates for outcome in found)
        print(
            f"| {name} | {statistics.median(updates):.0f} ({updates[0]} to {updates[-1]}) "
            f"| {statistics.mean(accuracies):.1f} ({min(accuracies):.1f} to {max(accuracies):.1f}) "
            f"| {statistics.median(outcome.seconds for outcome in found):.1f} "
            f"({statistics.median(outcome.processor for outcome in found):.1f}) "
            f"| {', '.join(str(outcome.batch_size) for outcome in found)} |",
            flush=True,
        )


# Growth


Seen = tuple[Smoothed, tuple[tuple[float, float, float], ...]]
"""The average loss; of each update that average, signal and noise."""


@dataclass(frozen=True)
class Recording(Policy[Seen]):
    """Watches, and keeps what it saw."""

    needs = frozenset({"loss", "gradient"})

    def start(self, signals: Signals) -> tuple[Seen, Action]:
        return (UNKNOWN, ()), NOTHING

    def act(self, state: Seen, signals: Signals) -> tuple[Seen, Action]:
        if signals.loss is None or signals.gradient is None:
            return state, NOTHING
        loss = smoothed(state[0], signals.loss, 0.8)
        return (loss, (*state[1], (value(loss), signals.gradient.signal, signals.gradient.noise))), NOTHING


def noise_scale_at(level: float, seen: Seen) -> float:
    """From all updates at which the average loss was within a factor sqrt(2) of `level`; NaN if no signal stood out."""
    near = [
        (signal, noise)
        for loss, signal, noise in seen[1]
        if abs(math.log(loss / level)) < math.log(2) / 2 and math.isfinite(signal)  # an epoch's rest may be one part
    ]
    signal, noise = sum(signal for signal, _ in near), sum(noise for _, noise in near)
    return noise / signal if signal > 0 else math.nan


GROWING: dict[str, tuple[Workload, int]] = {  # with their batch, of parts of 16
    "lstm_mnist": (LstmMnist(horizon=60, execution=Execution(micro_batch=16)), 128),
    "resnet_pretrain, narrow": (ResNetPretrain(horizon=25, widths=(8, 16), execution=Execution(micro_batch=16)), 64),
}


def print_growth(seeds: int) -> None:
    """At a small learning rate: each level is passed slowly and seen well."""
    print("| workload | noise scale at loss 1 | at loss 0.1 | ratio, median | ratios by seed |")
    print("| --- | --- | --- | --- | --- |")
    for name, (workload, batch_size) in GROWING.items():
        found = []
        for seed in range(seeds):
            config = {**baseline(workload), "learning_rate": 0.02, "batch_size": batch_size}
            training = Training(workload, Recording(), config, seed=seed)
            for item in training:
                if item is not None and item.metrics["train_loss"] < 0.05:
                    break
            early, late = (noise_scale_at(level, training.state()["policy"]) for level in (1.0, 0.1))
            found.append((early, late, late / early))
        early, late, ratio = (statistics.median(numbers) for numbers in zip(*found, strict=True))
        ratios = ", ".join(f"{ratio:.1f}" for *_, ratio in found)
        print(f"| {name} | {early:.0f} | {late:.0f} | {ratio:.1f} | {ratios} |", flush=True)


PARTS = ("policies", "growth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    parts = given.parts.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    if "policies" in parts:
        print_policies(given.seeds)
    if "growth" in parts:
        print_growth(given.seeds)


if __name__ == "__main__":
    main()
