"""Updates to a target on real data: the best constant rate, the original recipe, a tuned cosine, and AutoLRS.

    python experiments/benchmarks/rates.py resnet --data FOLDER     # ResNet-8 on CIFAR-10
    python experiments/benchmarks/rates.py bert --data FOLDER       # BERT-tiny, masked words of novels

FOLDER, the choice of an arm's rate (seed 0, validation part, the same number of rates for each arm that has any) and the
kept rows are those of trained.py. The target is the best constant rate's final value on the validation part, averaged
over the seeds. AutoLRS has no rate to choose; it is trained for the same number of updates as the others, so that half of
them are search, and for twice that number, with the search on top. The table counts all updates up to the first
evaluation that meets the target, and those of them that went into the weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from trained import FAST, WIDTHS, Arm, Record, compared, spread

from trainables.contract import Workload
from trainables.policies.autolrs import AutoLrs
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.warmup import Warmup
from trainables.workloads.bert_mlm import BertMlm
from trainables.workloads.resnet_pretrain import ResNetPretrain


def resnet(data: Path) -> list[Arm]:
    """1,875 updates of 64 images; the interval of AutoLRS is its paper's for CIFAR-10."""
    workload = ResNetPretrain(data=str(data / "cifar10"), widths=WIDTHS, stem_stride=2, execution=FAST)
    config = ResNetPretrain.baseline or {}
    rates = (0.01, 0.03, 0.1)
    auto = AutoLrs(low=0.001, high=0.1, stage=1 / 16)  # a range test over two epochs: lowest loss at 0.07 and 0.1
    return [
        Arm("constant", _same(workload), config, rates),
        Arm("recipe: 0.1, a tenth at 1/2 and 3/4", _same(workload), config, (0.1,), LrSchedule("steps")),
        Arm("cosine", _same(workload), config, rates, LrSchedule("cosine")),
        Arm("AutoLRS", _same(workload), config, (0.1,), auto),
        Arm("AutoLRS, replayed data", _same(workload), config, (0.1,), replace(auto, data="replay")),
        Arm("AutoLRS, search on top", _same(_longer(workload)), config, (0.1,), replace(auto, stage=1 / 32)),
    ]


def bert(data: Path) -> list[Arm]:
    """815 updates of 32 rows of 64 pieces; AutoLRS comes after the same warm-up as the others."""
    workload = BertMlm(
        horizon=8, data=str(data / "novels"), vocabulary=str(data / "vocab.txt"), evaluations_per_pass=15
    )
    config = BertMlm.baseline or {}
    rates, warm = (1e-3, 2e-3, 4e-3), 0.5
    auto = AutoLrs(
        low=1e-4, high=3.5e-3, stage=1 / 16
    )  # a range test over two epochs: lowest loss at 0.0034 and 0.0037
    return [
        Arm("constant, after a warm-up", _same(workload), config, rates, Warmup(warm)),
        Arm("recipe: warm-up, a line to 0", _same(workload), config, (1e-3,), Warmup(warm, then=LrSchedule("linear"))),
        Arm("cosine, after a warm-up", _same(workload), config, rates, Warmup(warm, then=LrSchedule("cosine"))),
        Arm("AutoLRS", _same(workload), config, (1e-3,), Warmup(warm, then=auto)),
        Arm(
            "AutoLRS, replayed data",
            _same(workload),
            config,
            (1e-3,),
            Warmup(warm, then=replace(auto, data="replay")),
        ),
        Arm(
            "AutoLRS, search on top",
            _same(_longer(workload)),
            config,
            (1e-3,),
            Warmup(warm, then=replace(auto, stage=1 / 32)),
        ),
    ]


def _same(workload: Workload) -> Callable[[int], Workload]:
    return lambda seed: workload


def _longer(workload: ResNetPretrain | BertMlm) -> Workload:
    return replace(workload, horizon=2 * workload.horizon)


EXPERIMENTS = {"resnet": resnet, "bert": bert}


class Reached(NamedTuple):
    """Updates when the target was reached: all, and those that went into the weights."""

    made: float
    kept: float


def reached(row: dict[str, str], target: float, workload: Workload, batch_size: int) -> Reached | None:
    sign = 1 if workload.mode == "max" else -1
    for epoch, (value, samples) in enumerate(zip(json.loads(row["valid"]), json.loads(row["samples"]), strict=True), 1):
        if sign * value >= sign * target:
            return Reached(epoch * workload.samples() / batch_size, samples / batch_size)
    return None


def line(arm: Arm, rate: float, rows: Sequence[dict[str, str]], target: float) -> str:
    workload = arm.workload(0)
    batch_size = arm.config["batch_size"]
    found = [reached(row, target, workload, batch_size) for row in rows]
    there = [each for each in found if each is not None]
    made, kept = (
        (f"{statistics.mean(column):.0f}" for column in zip(*there, strict=True)) if there else ("never", "never")
    )
    ends = spread([json.loads(row["valid"])[-1] for row in rows])
    tests = spread([json.loads(row["test"])[workload.metric] for row in rows])
    whole = workload.horizon * workload.samples() / batch_size
    seconds = statistics.median(float(row["seconds"]) for row in rows)
    return (
        f"| {arm.name} | {rate:g} | {whole:.0f} | {made} | {kept} | {len(there)} of {len(rows)} | {ends} | {tests} "
        f"| {seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=list(EXPERIMENTS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/rates"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = Record(given.output.absolute() / given.experiment)
    arms = EXPERIMENTS[given.experiment](given.data.absolute())
    chosen = {arm.name: compared(record, arm, given.seeds) for arm in arms}
    rows = {arm.name: [record.train(arm, chosen[arm.name], seed) for seed in range(given.seeds)] for arm in arms}
    target = statistics.mean(json.loads(row["valid"])[-1] for row in rows[arms[0].name])
    print(f"\nTarget: {arms[0].workload(0).metric} {target:.4g} on the validation part, n = {given.seeds}\n")
    print("| arm | rate | updates | to the target: all | kept | reached | validation, end | test | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for arm in arms:
        print(line(arm, chosen[arm.name], rows[arm.name], target))


if __name__ == "__main__":
    main()
