"""Large batches without tuning again: LEGW beside the other rules, and how wide the good learning rates are.

    python experiments/benchmarks/large_batch.py scaling                 # digits: a few minutes
    python experiments/benchmarks/large_batch.py scaling --data MNIST --share 0.22 --batch 32 --rates 0.03,0.06 --seeds 3
    python experiments/benchmarks/large_batch.py widths                  # SGD, Adam, LARS and LAMB at the largest batch

`scaling`: an LSTM is trained with a base batch and, in the same number of epochs and with nothing tuned again, with k
times that batch, by each rule. Every base rate is a reading of its own: near the largest rate that is stable, and a timid
one. Shown: accuracy on the test part at the end (mean, spread over the seeds), updates, and at what share of the base
batch's updates the base batch's final validation accuracy less half a point was reached.
`widths`: at k times the base batch, which learning rates reach --target; the width of the interval in decades.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from search.trial import Config
from search.work import Assignment
from trainables.base import Policy
from trainables.policies.warmup import Warmup
from trainables.workloads.lstm_mnist import LstmMnist

RULES = ("LEGW", "sqrt, no warm-up", "linear", "linear, 5 epochs of warm-up", "unchanged")
OPTIMIZERS = {"sgd": (-2.0, 1.5), "adam": (-4.0, -0.5), "lars": (-1.0, 3.0), "lamb": (-3.5, 0.5)}  # decades of rates


def rule(name: str, base_batch: int, warmup: float) -> Policy[Any]:
    """What the configuration's rate, meant for the base batch, becomes at its own batch size."""
    return {
        "LEGW": Warmup(warmup, base_batch),
        "sqrt, no warm-up": Warmup(0.0, base_batch),
        "linear": Warmup(0.0, base_batch, "linear"),
        "linear, 5 epochs of warm-up": Warmup(5.0, base_batch, "linear", stretch=False),
        "unchanged": Warmup(0.0, base_batch, "none"),
    }[name]


@dataclass(frozen=True)
class Outcome:
    curve: list[float]  # validation accuracy after each epoch; shorter if the training diverged
    test: float  # accuracy; that of a coin with ten sides if it diverged


def train(workload: LstmMnist, config: Config, policy: Policy[Any] | None, seed: int) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        steps = workload.horizon
        assignment = Assignment(0, config, seed, steps, Path(folder), recorded=steps, checkpoint_seconds=1e6)
        items = workload.run(policy, assignment)
        curve = [item.metrics["accuracy"] for item in items if item is not None and item.kind == "report"]
        whole = len(curve) == steps and math.isfinite(curve[-1])
        return Outcome(curve, workload.test(assignment)["accuracy"] if whole else 0.1)


def scaling(given: argparse.Namespace, workload: LstmMnist, write: Any) -> None:
    size = workload.samples()
    for rate in map(float, given.rates.split(",")):
        config = {"learning_rate": rate, "momentum": 0.9}
        base = {}
        print(f"\nbase rate {rate:g}, base batch {given.batch}, warm-up {given.warmup:g} epochs, {workload.horizon} epochs, "
              f"{size} images, n = {given.seeds}\n")  # fmt: skip
        print(
            "| rule | k | batch | updates | test accuracy | share of the base's updates to its accuracy - 0.5 points |"
        )
        print("| --- | --- | --- | --- | --- | --- |")
        arms = [("LEGW", 1)] + [(name, k) for k in map(int, given.factors.split(",")) for name in RULES]
        for name, times in arms:
            batch = given.batch * times
            policy = rule(name, given.batch, given.warmup)
            found = [train(workload, {**config, "batch_size": batch}, policy, seed) for seed in range(given.seeds)]
            if times == 1:
                base = {seed: outcome.curve[-1] - 0.005 for seed, outcome in enumerate(found) if outcome.curve}
            reached = [first(outcome.curve, base.get(seed, 1.0)) for seed, outcome in enumerate(found)]
            shares = [epoch / times / workload.horizon for epoch in reached if epoch is not None]
            tests = [outcome.test for outcome in found]
            share = f"{statistics.mean(shares):.3f} ({len(shares)} of {len(found)})" if shares else "not reached"
            label = "base batch, with its warm-up" if times == 1 else name
            print(f"| {label} | {times} | {batch} | {workload.horizon * -(-size // batch)} | {spread(tests)} | {share} |", flush=True)  # fmt: skip
            for seed, outcome in enumerate(found):
                write({"part": "scaling", "rule": label, "k": times, "rate": rate, "seed": seed, "test": outcome.test,
                       "curve": " ".join(f"{value:.4f}" for value in outcome.curve)})  # fmt: skip


def widths(given: argparse.Namespace, workload: LstmMnist, write: Any) -> None:
    times = max(map(int, given.factors.split(",")))
    print(f"\nbatch {given.batch * times}, target {given.target}, {given.points} rates a decade, n = {given.seeds}\n")
    print("| optimiser | warm-up | best mean accuracy, at | decades of rates that reach the target |")
    print("| --- | --- | --- | --- |")
    for name, (low, high) in OPTIMIZERS.items():
        for warmup in (0.0, given.warmup):
            rates = [10 ** (low + i / given.points) for i in range(round((high - low) * given.points) + 1)]
            means = {}
            for rate in rates:
                config = {"learning_rate": rate, "momentum": 0.9, "batch_size": given.batch * times, "optimizer": name}
                policy = Warmup(warmup, given.batch, "none")
                tests = [train(workload, config, policy, seed).test for seed in range(given.seeds)]
                means[rate] = statistics.mean(tests)
                write({"part": "widths", "rule": name, "k": times, "rate": rate, "seed": -1, "test": means[rate],
                       "curve": f"warm-up {warmup:g}"})  # fmt: skip
            best = max(means, key=lambda rate: means[rate])
            width = sum(mean >= given.target for mean in means.values()) / given.points
            print(f"| {name} | {warmup * times:g} epochs | {means[best]:.3f}, {best:.2g} | {width:.2f} |", flush=True)


def first(curve: list[float], wanted: float) -> int | None:
    """The first epoch, from 1, whose value is as good; None if there is none."""
    return next((epoch for epoch, value in enumerate(curve, start=1) if value >= wanted), None)


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ±{deviation:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("scaling", "widths"))
    parser.add_argument("--data", help="a folder with MNIST's files; default: digits")
    parser.add_argument("--share", type=float, default=1.0, help="of the training images")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=None, help="default: 64 for digits, 128 for MNIST")
    parser.add_argument("--batch", type=int, default=16, help="the base batch")
    parser.add_argument("--factors", default="8,32", help="k, the batch by the base batch")
    parser.add_argument("--rates", default="0.2,0.05", help="base rates")
    parser.add_argument("--warmup", type=float, default=0.3, help="epochs at the base batch")
    parser.add_argument("--target", type=float, default=0.95, help="of widths: test accuracy")
    parser.add_argument("--points", type=int, default=3, help="of widths: learning rates a decade")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="a CSV of all trainings")
    given = parser.parse_args()
    torch.set_num_threads(1)
    workload = LstmMnist(
        horizon=given.epochs,
        data=given.data,
        hidden=given.hidden or (128 if given.data else 64),
        data_share=given.share,
    )
    workload.check()

    def write(row: dict[str, Any]) -> None:
        if given.output:
            is_new = not given.output.exists()
            with given.output.open("a", newline="") as handle:
                writer = csv.DictWriter(handle, list(row))
                if is_new:
                    writer.writeheader()
                writer.writerow(row)

    (scaling if given.part == "scaling" else widths)(given, workload, write)


if __name__ == "__main__":
    main()
