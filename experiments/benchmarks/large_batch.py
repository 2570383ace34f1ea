"""Large batches without tuning again: LEGW beside the other rules, and the range of good learning rates.

    python experiments/benchmarks/large_batch.py scaling                 # digits: a few minutes
    python experiments/benchmarks/large_batch.py scaling --data MNIST --share 0.22 --epochs 25 --batch 32 --factors 64 \
        --rates 0.06 --warmup 0.0625 --seeds 5
    python experiments/benchmarks/large_batch.py scaling --text PTB --epochs 3 --batch 20 --factors 32 --rates 1 \
        --warmup 0.02 --seeds 2
    python experiments/benchmarks/large_batch.py widths                  # SGD, Adam, LARS and LAMB at the largest batch
    python experiments/benchmarks/large_batch.py needs --data MNIST --share 0.22 --epochs 25 --batch 32 --factors 64 \
        --rates 0.06,0.24,0.48,0.96,1.92 --warmups 0,1,4 --seeds 3

`scaling`: an LSTM is trained with a base batch and, in the same number of epochs and with nothing tuned again, with k
times that batch, by each rule. Every base rate is a separate reading: one near the largest stable rate, and a timid one. The
table shows accuracy (for text: perplexity) on the test part at the end (mean, spread over the seeds), updates, the share of
the base batch's updates after which its final validation value is reached (less half a point of accuracy, or 3 % of
perplexity), and processor seconds. Text: one LSTM layer of 128, adaptive softmax, a cosine after the warm-up.
`widths`: the learning rates that reach --target at k times the base batch, as an interval in decades.
`needs`: at k times the base batch, every unscaled rate with every unscaled warm-up (in epochs) and --optimizers: settings that
might lose nothing there, whatever rule finds them.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from search.records import Config
from search.work import Assignment
from trainables.carry_out import carry_out, measured_on_test
from trainables.contract import Policy, Workload
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.warmup import Warmup
from trainables.workloads.lstm_lm import LstmLm
from trainables.workloads.lstm_mnist import LstmMnist

RULES = ("LEGW", "sqrt, no warm-up", "linear", "linear, 5 epochs of warm-up", "unchanged")
GUESS = {"accuracy": 0.1, "perplexity": 10_000.0}
OPTIMIZERS: dict[str, tuple[Config, float, float]] = {  # settings, and the decades of rates
    "sgd": ({"optimizer": "sgd"}, -2.0, 1.5),
    "adam": ({"optimizer": "adam"}, -4.0, -0.5),
    "lars": ({"optimizer": "lars"}, -1.0, 3.0),
    "lars with trust 0.02": ({"optimizer": "lars", "trust_coefficient": 0.02}, -1.5, 1.5),
    "lamb": ({"optimizer": "lamb"}, -3.5, 0.5),
}


def rule(name: str, base_batch: int, warmup: float) -> Warmup:
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
    curve: list[float]  # validation metric after each epoch; shorter if the training diverged
    seconds: list[float]  # of processor time until then
    test: float  # metric; that of a guess if it diverged


def train(workload: Workload, config: Config, policy: Policy[Any] | None, seed: int) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        steps, metric = workload.horizon, workload.metric
        assignment = Assignment(0, config, seed, steps, Path(folder), recorded=steps, checkpoint_seconds=1e6)
        begun, curve, seconds = time.process_time(), [], []
        for item in carry_out(workload, policy, assignment):
            if item is not None and item.kind == "report":
                curve.append(item.metrics[metric])
                seconds.append(time.process_time() - begun)
        whole = len(curve) == steps and math.isfinite(curve[-1])
        return Outcome(curve, seconds, measured_on_test(workload, assignment)[metric] if whole else GUESS[metric])


def scaling(given: argparse.Namespace, workload: LstmMnist | LstmLm, write: Any) -> None:
    size, rules = workload.samples(), given.rules.split("; ")
    then = LrSchedule("cosine") if isinstance(workload, LstmLm) else None
    for rate in map(float, given.rates.split(",")):
        config = {"learning_rate": rate, "momentum": 0.0 if isinstance(workload, LstmLm) else 0.9}
        base: dict[int, float] = {}
        print(f"\nbase rate {rate:g}, base batch {given.batch}, warm-up {given.warmup:g} epochs, {workload.horizon} epochs, "
              f"{size} samples, n = {len(given.seeds)}\n")  # fmt: skip
        level = "" if given.level is None else f" seconds to {given.level:g} |"
        print(
            f"| rule | k | batch | updates | test {workload.metric} | share of the base's updates to nearly its end | "
            f"seconds |{level}"
        )
        print("| --- | --- | --- | --- | --- | --- | --- |" + " --- |" * bool(level), flush=True)
        arms = [("LEGW", 1)] + [(name, k) for k in map(int, given.factors.split(",")) for name in rules if name]
        for name, times in arms:
            batch = given.batch * times
            policy = replace(rule(name, given.batch, given.warmup), then=then)
            found = [train(workload, {**config, "batch_size": batch}, policy, seed) for seed in given.seeds]
            if times == 1:
                base = {
                    seed: nearly(workload, outcome.curve[-1]) for seed, outcome in zip(given.seeds, found, strict=True)
                }
            reached = [
                first(workload, outcome.curve, base[seed]) for seed, outcome in zip(given.seeds, found, strict=True)
            ]
            shares = [epoch / times / workload.horizon for epoch in reached if epoch is not None]
            tests = [outcome.test for outcome in found]
            share = f"{statistics.mean(shares):.3f} ({len(shares)} of {len(found)})" if shares else "not reached"
            label = "base batch, with its warm-up" if times == 1 else name
            times_taken = f"{statistics.mean(outcome.seconds[-1] for outcome in found):.1f} |"
            if level:
                epochs = [first(workload, outcome.curve, given.level) for outcome in found]
                taken = [outcome.seconds[epoch - 1] for outcome, epoch in zip(found, epochs, strict=True) if epoch]
                times_taken += (
                    f" {statistics.mean(taken):.1f} ({len(taken)} of {len(found)}) |" if taken else " never |"
                )
            print(f"| {label} | {times} | {batch} | {workload.horizon * -(-size // batch)} | {spread(tests)} | {share} | "
                  f"{times_taken}", flush=True)  # fmt: skip
            for seed, outcome in zip(given.seeds, found, strict=True):
                write({"part": "scaling", "rule": label, "k": times, "rate": rate, "seed": seed, "test": outcome.test,
                       "curve": " ".join(f"{value:.4f}" for value in outcome.curve)})  # fmt: skip


def needs(given: argparse.Namespace, workload: LstmMnist | LstmLm, write: Any) -> None:
    times = max(map(int, given.factors.split(",")))
    batch = given.batch * times
    warmups = [float(warmup) for warmup in given.warmups.split(",")]
    print(
        f"\nbatch {batch}, {workload.horizon} epochs of {workload.samples()} samples, n = {len(given.seeds)}: test {workload.metric}\n"
    )
    print("| optimiser | rate | " + " | ".join(f"{warmup:g} epochs of warm-up" for warmup in warmups) + " |")
    print("| --- | --- |" + " --- |" * len(warmups), flush=True)
    for name in (given.optimizers or "sgd").split(","):
        settings, _, _ = OPTIMIZERS[name]
        for rate in map(float, given.rates.split(",")):
            config = {**settings, "learning_rate": rate, "momentum": 0.9, "batch_size": batch}
            cells = []
            for warmup in warmups:
                found = [train(workload, config, Warmup(warmup), seed) for seed in given.seeds]
                cells.append(spread([outcome.test for outcome in found]))
                for seed, outcome in zip(given.seeds, found, strict=True):
                    write({"part": "needs", "rule": f"{name}, warm-up {warmup:g}", "k": times, "rate": rate, "seed": seed,
                           "test": outcome.test, "curve": " ".join(f"{value:.4f}" for value in outcome.curve)})  # fmt: skip
            print(f"| {name} | {rate:g} | " + " | ".join(cells) + " |", flush=True)


def widths(given: argparse.Namespace, workload: LstmMnist, write: Any) -> None:
    times = max(map(int, given.factors.split(",")))
    print(
        f"\nbatch {given.batch * times}, target {given.target}, {given.points} rates a decade, n = {len(given.seeds)}\n"
    )
    print("| optimiser | warm-up | best mean accuracy, at | decades of rates that reach the target |")
    print("| --- | --- | --- | --- |")
    chosen = given.optimizers.split(",") if given.optimizers else [*OPTIMIZERS]
    for name in chosen:
        settings, low, high = OPTIMIZERS[name]
        for warmup in (0.0, given.warmup):
            rates = [10 ** (low + i / given.points) for i in range(round((high - low) * given.points) + 1)]
            means = {}
            for rate in rates:
                config = {**settings, "learning_rate": rate, "momentum": 0.9, "batch_size": given.batch * times}
                policy = Warmup(warmup, given.batch, "none")
                tests = [train(workload, config, policy, seed).test for seed in given.seeds]
                means[rate] = statistics.mean(tests)
                write({"part": "widths", "rule": name, "k": times, "rate": rate, "seed": -1, "test": means[rate],
                       "curve": f"warm-up {warmup:g}"})  # fmt: skip
            best = max(means, key=lambda rate: means[rate])
            width = sum(mean >= given.target for mean in means.values()) / given.points
            print(f"| {name} | {warmup * times:g} epochs | {means[best]:.3f}, {best:.2g} | {width:.2f} |", flush=True)


def nearly(workload: Workload, value: float) -> float:
    """What counts as no loss beside `value`."""
    return value - 0.005 if workload.mode == "max" else value * 1.03


def first(workload: Workload, curve: list[float], wanted: float) -> int | None:
    """The first epoch, from 1, whose value is as good; None if there is none."""
    sign = 1 if workload.mode == "max" else -1
    return next((epoch for epoch, value in enumerate(curve, start=1) if sign * value >= sign * wanted), None)


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    digits = 1 if min(values) > 1 else 3  # perplexities, accuracies
    return f"{statistics.mean(values):.{digits}f} ±{deviation:.{digits}f}"


def made(given: argparse.Namespace) -> LstmMnist | LstmLm:
    if given.text:
        return LstmLm(
            given.epochs, given.text, hidden=given.hidden or 128, layers=1, dropout=0.1, cutoffs=(1000, 4000),
            data_share=given.share,
        )  # fmt: skip
    hidden = given.hidden or (128 if given.data else 64)
    return LstmMnist(given.epochs, given.data, hidden, data_share=given.share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("scaling", "widths", "needs"))
    parser.add_argument("--data", help="a folder with MNIST's files; default: digits")
    parser.add_argument("--text", help="a folder with the Penn Treebank or other text, in place of images")
    parser.add_argument(
        "--rules", default="; ".join(RULES), help="of scaling, separated by '; ' (none: the base batch alone)"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the training part")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=None, help="default: 64 for digits, 128 for MNIST")
    parser.add_argument("--batch", type=int, default=16, help="the base batch")
    parser.add_argument("--factors", default="8,32", help="k, the batch by the base batch")
    parser.add_argument("--rates", default="0.2,0.05", help="base rates")
    parser.add_argument("--level", type=float, help="of scaling: also shown is the time until validation is as good")
    parser.add_argument("--warmup", type=float, default=0.3, help="epochs at the base batch")
    parser.add_argument("--warmups", default="0,1,4", help="of needs: epochs at the large batch")
    parser.add_argument(
        "--optimizers", help=f"of widths (default: all) and needs (default: sgd), of {', '.join(OPTIMIZERS)}"
    )
    parser.add_argument("--target", type=float, default=0.95, help="of widths: test accuracy")
    parser.add_argument("--points", type=int, default=3, help="of widths: learning rates a decade")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first-seed", type=int, default=0, help="to add to trainings that are there")
    parser.add_argument("--output", type=Path, help="a CSV of all trainings")
    given = parser.parse_args()
    given.seeds = range(given.first_seed, given.first_seed + given.seeds)
    if unknown := [name for name in given.rules.split("; ") if name and name not in RULES]:
        parser.error(f"no rule {unknown[0]!r}; there are {'; '.join(RULES)}")
    if unknown := [name for name in (given.optimizers or "sgd").split(",") if name not in OPTIMIZERS]:
        parser.error(f"no optimiser {unknown[0]!r}; there are {', '.join(OPTIMIZERS)}")
    torch.set_num_threads(1)
    workload = made(given)
    workload.check()

    def write(row: dict[str, Any]) -> None:
        if given.output:
            is_new = not given.output.exists()
            with given.output.open("a", newline="") as handle:
                writer = csv.DictWriter(handle, list(row))
                if is_new:
                    writer.writeheader()
                writer.writerow(row)

    if given.part == "scaling":
        scaling(given, workload, write)
    elif given.part == "needs":
        needs(given, workload, write)
    elif isinstance(workload, LstmMnist):
        widths(given, workload, write)
    else:
        parser.error("widths is for images; leave --text out")


if __name__ == "__main__":
    main()
