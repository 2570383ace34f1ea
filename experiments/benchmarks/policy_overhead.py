"""What averages of the weights, a race of rates and watching the noise scale take beside the bare training.

    python experiments/benchmarks/policy_overhead.py                              # 20 minutes on one core
    python experiments/benchmarks/policy_overhead.py --parts race --data FOLDER   # whole trainings on real data

averaging    an update with averages by one without: `Averaged()` in our loop, `WeightAverages` in a hand-written one.
noise scale  an update with a policy that watches the gradient (and never acts) by one without, both in so many passes; one
             pass is split in two for the watching.
race         whole trainings of 2,500 updates or more with `RateRace()`, through `Control` in a hand-written loop: the share
             of everything but the updates. With --data the trainings of weight_averages.py, which says what FOLDER holds.

In the first two parts, two trainings in one process take turns, a few updates each; of each such pair the ratio, and of
the ratios the median with its 95 % interval (from the order statistics) and the middle half. Shares of the race are of
processor time.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from training import Seconds, block, by_hand, now, ours
from weight_averages import EXPERIMENTS, Experiment

from search.records import Config
from trainables.contract import Policy, Workload
from trainables.policies.averaged import Averaged
from trainables.policies.noise_scale import NoiseScaleBatch
from trainables.training.batch_sampler import BatchSampler
from trainables.training.control import Control
from trainables.training.device import autocast, measure, placed, probe
from trainables.training.weight_averages import WeightAverages
from trainables.values import Action, Execution
from trainables.workloads.bert_mlm import BertMlm
from trainables.workloads.lstm_lm import LstmLm
from trainables.workloads.lstm_mnist import LstmMnist
from trainables.workloads.resnet_pretrain import ResNetPretrain

GAMMAS = Averaged().gammas


@dataclass(frozen=True)
class Model:
    workload: Workload
    batch_size: int
    updates: int  # of a block: a multiple of 4, the updates between two passes over the averages of a large model

    @property
    def config(self) -> Config:
        return {**(self.workload.baseline or {}), "batch_size": self.batch_size}


MODELS = {
    "lstm_mnist, hidden=32": Model(LstmMnist(hidden=32), 16, 8),
    "lstm_lm, 1 x 64": Model(LstmLm(hidden=64, layers=1, vocabulary_size=2000), 20, 4),
    "resnet_pretrain": Model(ResNetPretrain(), 64, 4),
    "bert_mlm, 2 x 128": Model(BertMlm(), 32, 4),
    "bert_mlm, 4 x 256": Model(BertMlm(layers=4, hidden=256, heads=4), 32, 4),
    "bert_mlm, 12 x 768": Model(BertMlm(layers=12, hidden=768, heads=12), 8, 4),  # of the size that GPUs train
}


# Pairs


@dataclass(frozen=True)
class Pairs:
    """The bare loop, and of each pair of blocks how much more the other one took."""

    update: Seconds  # of the bare loop, median of the blocks
    more: list[Seconds]  # a share of the bare loop's time


def pairs(bare: Iterator[Seconds], other: Iterator[Seconds], updates: int, seconds: float) -> Pairs:
    """As many pairs as take so many seconds of processor time, but three at least."""
    loops, blocks, spent = (bare, other), [], 0.0
    for loop in loops:
        block(loop, 4)
    while spent < seconds or len(blocks) < 3:
        order = (0, 1) if len(blocks) % 2 else (1, 0)
        took = {which: block(loops[which], updates) for which in order}
        blocks.append((took[0], took[1]))
        spent += took[0].processor + took[1].processor
    return Pairs(
        Seconds(
            statistics.median(base.wall for base, _ in blocks) / updates,
            statistics.median(base.processor for base, _ in blocks) / updates,
        ),
        [Seconds(each.wall / base.wall - 1, each.processor / base.processor - 1) for base, each in blocks],
    )


def spread(shares: list[float]) -> str:
    """The median, the 95 % interval of the median, and the middle half."""
    ordered, n = sorted(shares), len(shares)
    away = math.ceil(0.98 * math.sqrt(n))  # 1.96 standard deviations of the median's rank
    low, high = ordered[max(0, n // 2 - away)], ordered[min(n - 1, n // 2 + away)]
    return (
        f"{statistics.median(shares):+.1%} ({low:+.1%} to {high:+.1%}) "
        f"| {ordered[n // 4]:+.1%} to {ordered[-1 - n // 4]:+.1%}"
    )


def line(name: str, found: Pairs) -> str:
    processor, wall = ([getattr(more, clock) for more in found.more] for clock in ("processor", "wall"))
    update, walls = 1e3 * found.update.processor, f"{statistics.median(wall):+.1%}"
    return f"| {name} | {update:.3g} ms | {spread(processor)} | {walls} | {len(wall)} |"


def alone(model: Model, prepared: Path, updates: int) -> float:
    """Processor seconds of the averages' share of an update, called in a row without any training."""
    averages = WeightAverages(model.workload.model(model.config, prepared), GAMMAS)
    begun = now()
    for _ in range(updates):
        averages.update(model.batch_size)
    return (now() - begun).processor / updates


def print_averaging(models: dict[str, Model], seconds: float, folder: Path) -> None:
    print("| model | weights | loop | update, bare | more processor time | middle half | wall | n | averages alone |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, model in models.items():
        workload, config, prepared = model.workload, model.config, folder / name
        weights = sum(tensor.numel() for tensor in workload.model(config, prepared).parameters())
        took = alone(model, prepared, 100)
        loops = {
            "`Averaged()`": [ours(workload, config, prepared, policy) for policy in (None, Averaged())],
            "`WeightAverages`": [by_hand(workload, config, prepared, gammas=gammas) for gammas in ((), GAMMAS)],
        }
        for loop, both in loops.items():
            found = pairs(*both, model.updates, seconds)
            share = took / found.update.processor
            print(f"{line(f'{name} | {weights:,} | {loop}', found)} {share:.1%} |", flush=True)


def print_noise_scale(models: dict[str, Model], seconds: float, folder: Path) -> None:
    print("| model | passes | update, bare | more processor time | middle half | wall | n |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, model in models.items():
        policy = NoiseScaleBatch(most=model.batch_size)  # watches as ever, and has no room to grow
        for passes in (4, 2, 1):
            split: Workload = replace(model.workload, execution=Execution(micro_batch=-(-model.batch_size // passes)))  # type: ignore[type-var]
            loops = (ours(split, model.config, folder / name, each) for each in (None, policy))
            print(line(f"{name} | {passes}", pairs(*loops, model.updates, seconds)), flush=True)


# The race


@dataclass
class Shares:
    """Where the processor time of a whole training went, in seconds."""

    updates: int = 0
    updating: float = 0.0  # forward, backward, optimizer
    acting: float = 0.0  # snapshots and roll-backs
    measuring: float = 0.0  # of the race
    controlling: float = 0.0  # what else `control.update` takes: averages, the policy's decisions
    reporting: float = 0.0  # at the epochs' ends: the last weights and each average
    won: str = ""

    @property
    def whole(self) -> float:
        return self.updating + self.controlling + self.acting + self.measuring + self.reporting


class Watched(Control):
    """Adds up the time of snapshots and roll-backs."""

    acting = 0.0

    def do(self, action: Action, cost_seconds: float) -> None:
        begun = now()
        super().do(action, cost_seconds)
        if action.snapshot or action.explore or action.roll_back or action.mark:
            self.acting += (now() - begun).processor


def raced(workload: Workload, policy: Policy[Any], config: Config, folder: Path) -> Shares:
    """Train to the end in a hand-written loop, with the policy in a `Control`."""
    torch.manual_seed(0)
    device = torch.device("cpu")
    model = placed(workload.model(config, folder), workload.execution, device)
    optimizer, limit, found = workload.optimizer(model, config), workload.clip_norm(config), Shares()

    def probed() -> dict[str, float]:
        begun = now()
        metrics = dict(probe(workload, model))
        found.measuring += (now() - begun).processor
        return metrics

    sampler = BatchSampler(workload.samples(), seed=0)
    control = Watched(
        policy, model, optimizer, batch_size=workload.knobs(config).batch_size, samples=workload.samples(),
        epochs=workload.horizon, measure=lambda: measure(workload, model, "valid"), probe=probed, metric=workload.metric, mode=workload.mode, sampler=sampler,
    )  # fmt: skip
    while not control.done:
        model.train()
        for indices in sampler:
            begun = now()
            optimizer.zero_grad()
            with autocast(workload.execution, device):
                loss = workload.loss(model, torch.tensor(indices))
            loss.backward()
            if limit is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
            updated = now()
            control.update(loss, len(indices))
            found.updates += 1
            found.updating += (updated - begun).processor
            found.controlling += (now() - updated).processor
        begun, measured = now(), found.measuring
        control.end_epoch()
        asked = found.measuring - measured
        found.reporting += (now() - begun).processor - asked
        found.controlling += asked
    found.acting = control.acting
    found.controlling -= found.acting + found.measuring
    found.won = next((each.text for each in control.decisions.take() if "race" in each.text), "")
    return found


def lasting(model: Model, updates: int) -> Experiment:
    """The model trained for so many updates, to the end of the epoch."""
    horizon = -(-updates // -(-model.workload.samples() // model.batch_size))
    return Experiment(replace(model.workload, horizon=horizon), model.config, (), 0.0)  # type: ignore[type-var]


def print_race(experiments: dict[str, Experiment], folder: Path) -> None:
    print("| training | updates | an update | snapshots, roll-backs | measurements | averages, questions | reports |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    said = []
    for name, experiment in experiments.items():
        experiment.workload.prepare(folder / name)
        found = raced(experiment.workload, experiment.policy("race"), experiment.config, folder / name)
        parts = (found.acting, found.measuring, found.controlling, found.reporting)
        shares = " | ".join(f"{part / found.whole:.1%}" for part in parts)
        print(f"| {name} | {found.updates:,} | {1e3 * found.updating / found.updates:.3g} ms | {shares} |", flush=True)
        said.append(f"{name}: {found.won}")
    print("\n" + "\n".join(said))


PARTS = ("averaging", "noise scale", "race")
RACED = ("lstm_mnist, hidden=32", "lstm_lm, 1 x 64")  # the others have too few data to be trained so long


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seconds", type=float, default=30, help="of processor time, for each comparison of pairs")
    parser.add_argument("--updates", type=int, default=2500, help="of a race, at least")
    parser.add_argument("--data", type=Path, help="the race's real data; without it, what packages bring")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    models = {name: MODELS[name] for name in given.models}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for name, model in models.items():
            model.workload.prepare(folder / name)
        if "averaging" in given.parts:
            print_averaging(models, given.seconds, folder)
        if "noise scale" in given.parts:
            print_noise_scale(models, given.seconds, folder)
        if "race" in given.parts:
            small = {name: lasting(models[name], given.updates) for name in RACED if name in models}
            real = {name: made(given.data.absolute()) for name, made in EXPERIMENTS.items()} if given.data else {}
            print_race(real or small, folder)


if __name__ == "__main__":
    main()
