"""How large may the batch be? A batch that grows as far as it is free, beside the small one and constant larger ones.

    python experiments/benchmarks/free_batch.py resnet ptb bert --data FOLDER --seeds 3 --base runs/weight_averages
    python experiments/benchmarks/free_batch.py resnet ptb bert --data FOLDER --show         # the tables only

The trainings are those of weight_averages.py, and for "mnist" (FOLDER/mnist: its four files) an LSTM on 12,100 images in
batches of 32. All arms train on the same number of samples, the questions that are undone included, from the baseline's
rate: "constant" at the baseline's batch (weight_averages.py trains the same: --base takes its rows), "free" with
LargestFreeBatch, "ramp4" with a batch that doubles, and the root of two times the rate, after 30 % of the samples and
every 8 % from there until it is four times as large, and "x2", "x4", "x8" with that many times the batch and its root times
the rate from the first sample on. All keep averages of the weights. Updates are all that were made, the undone ones
included. --longer 2 trains the arms that it is given with for twice the epochs; with --base they stand beside the small
batch's usual epochs.

A row is written as soon as its training ends, so the same command continues after an interruption.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from panels import panels
from weight_averages import EXPERIMENTS as OTHERS
from weight_averages import Experiment, Row, Rows, spread, trained, value

from search.records import Config
from trainables.contract import Policy
from trainables.estimates.critical_batch import more_samples
from trainables.policies.averaged import Averaged
from trainables.policies.batch_ramp import BatchRamp
from trainables.policies.largest_free_batch import LargestFreeBatch
from trainables.policies.warmup import Warmup
from trainables.workloads.lstm_mnist import LstmMnist

RAMP = (0.3, 0.08)  # a ramp's first doubling, and the distance to the next, as shares of the training
TARGETS = (0.3, 0.5, 0.7)  # the price of a batch is read where the small batch is after these shares of its samples


def mnist(data: Path) -> Experiment:
    workload = LstmMnist(horizon=25, data=str(data / "mnist"), data_share=0.22)
    config = {"learning_rate": 0.06, "batch_size": 32, "momentum": 0.9}
    return Experiment(workload, config, (0.06,), 0.01, warm_up=0.0625)


EXPERIMENTS = {**OTHERS, "mnist": mnist}


def times(arm: str) -> int:
    """The arm's first batch relative to the baseline's."""
    return int(arm[1:]) if arm.startswith("x") else 1


def ramp(arm: str, batch_size: int) -> BatchRamp:
    """The batch doubles, and the rate grows by the root, until the batch is as many times as large as the arm's name says."""
    growth = int(arm.removeprefix("ramp"))
    at = tuple(RAMP[0] + RAMP[1] * doubling for doubling in range(round(math.log2(growth))))
    return BatchRamp(at, decay=math.sqrt(0.5), growth=2, most=growth * batch_size)


def policy(experiment: Experiment, arm: str) -> Policy[Any]:
    inner: Policy[Any] | None = LargestFreeBatch() if arm == "free" else None
    if arm.startswith("ramp"):
        inner = ramp(arm, experiment.config["batch_size"])
    if experiment.warm_up:
        inner = Warmup(experiment.warm_up) if inner is None else Warmup(experiment.warm_up, then=inner)
    return inner if arm == "free" and inner else Averaged(inner)


def configured(experiment: Experiment, arm: str) -> Config:
    """The baseline with the arm's batch, and the rate by the square root."""
    config = experiment.config
    rate, batch_size = math.sqrt(times(arm)) * config["learning_rate"], times(arm) * config["batch_size"]
    return {**config, "learning_rate": rate, "batch_size": batch_size}


def answers(row: Row) -> list[dict[str, float]]:
    """What LargestFreeBatch found, in order, with the samples at which it was said."""
    return [{**found, "samples": at} for _, at, found in row["decisions"] if "asked_batch" in found]


def critical(found: dict[str, float]) -> float:
    return found.get("critical_batch", math.inf)


def predicted(row: Row, batch_size: float, first: float, samples: float) -> float:
    """The price of a constant batch up to here, each answer holding from the answer before it on."""
    found, begun, spent = answers(row), 0.0, 0.0
    for index, each in enumerate(found):
        end = samples if index + 1 == len(found) else min(each["samples"], samples)
        spent += max(0.0, end - begun) * more_samples(batch_size, first, critical(each))
        begun = max(begun, end)
    return spent / samples


def samples_to(row: Row, goal: float, metric: str, sign: float) -> float:
    """Samples until the metric is as good as `goal`, by lines between the reports; inf: never."""
    before: tuple[float, float] | None = None
    for report in row["curve"]:
        at, here = float(report["samples"]), sign * float(report[metric])
        if here <= sign * goal:
            if before is None:
                return at
            share = (before[1] - sign * goal) / (before[1] - here)
            return before[0] + share * (at - before[0])
        before = at, here
    return math.inf


def arms(names: Sequence[str], larger: Sequence[int], seeds: Sequence[int]) -> Iterator[tuple[str, int]]:
    for seed in seeds:
        yield from ((name, seed) for name in names)
        yield from ((f"x{each}", seed) for each in larger)


def show(name: str, experiment: Experiment, rows: dict[tuple[str, int], Row]) -> None:
    workload, first = experiment.workload, experiment.config["batch_size"]
    metric, sign = workload.metric, 1.0 if workload.mode == "min" else -1.0
    base = {seed: row for (arm, seed), row in rows.items() if arm == "constant"}
    if not base:
        return
    small = base[min(base)]["curve"]
    total = len(small) * math.ceil(small[-1]["samples"] / len(small) / first)
    print(f"\n## {name}: {metric} on the test part; mean ± standard error, differences by seed\n")
    print("| arm | updates | fewer by | last batch | valid | test | worse than the small batch by | n |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for arm in dict.fromkeys(arm for arm, _ in sorted(rows)):
        own = {seed: row for (each, seed), row in rows.items() if each == arm}
        updates = [row.get("updates", total) for row in own.values()]
        valid, test = (
            spread([value(row, workload, last=False, part=part) for row in own.values()]) for part in ("valid", "test")
        )
        loss = [
            100 * sign * (value(row, workload, last=False, part="test") / value(base[seed], workload, last=False, part="test") - 1)
            for seed, row in own.items() if seed in base
        ]  # fmt: skip
        last = sorted({row["curve"][-1].get("batch_size", times(arm) * first) for row in own.values()})
        fewer = f"{total / statistics.mean(updates):.2f}"
        worse = f"{spread(loss)} %" if loss else ""
        print(
            f"| {arm} | {statistics.mean(updates):.0f} | {fewer} | {last} | {valid} | {test} | {worse} | {len(own)} |"
        )
    print("\n| seed | samples | asked | difference / progress | critical batch (one error) | went on with |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (arm, seed), row in sorted(rows.items()):
        for found in answers(row) if arm == "free" else ():
            low, high = (found.get(f"critical_batch_{end}", math.inf) for end in ("low", "high"))
            print(
                f"| {seed} | {found['samples']:.0f} | {found['asked_batch']:.0f} | {found.get('difference', math.inf):.4f} "
                f"±{found['standard_error']:.4f} / {found['progress']:.4f} | {critical(found):.0f} ({low:.0f} to {high:.0f})"
                f" | {found['free_batch']:.0f} |"
            )
    print("\n| batch | the small batch's samples | its price, measured | by all answers | by the last answer | seed |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (arm, seed), row in sorted(rows.items()):
        if not arm.startswith("x") or seed not in base or ("free", seed) not in rows:
            continue
        free, batch_size = rows["free", seed], times(arm) * first
        for share in TARGETS:
            report = base[seed]["curve"][round(share * len(base[seed]["curve"])) - 1]
            spent = samples_to(base[seed], report[metric], metric, sign)
            paid = samples_to(row, report[metric], metric, sign) / spent
            end = row["curve"][-1]["samples"] / spent
            by_all, by_last = (
                predicted(free, batch_size, first, spent),
                more_samples(batch_size, first, critical(answers(free)[-1])),
            )
            seen = f"{paid:.2f}" if math.isfinite(paid) else f"> {end:.2f}"
            print(f"| {batch_size} | {spent:.0f} | {seen} | {by_all:.2f} | {by_last:.2f} | {seed} |")


LOOKS = {"constant": ("the small batch", "#1f77b4", "-"), "ramp4": ("four times as large after 38 %", "#d98c1f", "--")}


def draw(found: Sequence[tuple[str, Experiment, dict[tuple[str, int], Row]]], file: Path) -> None:
    """One panel for each training."""
    titles = [f"{name}: {experiment.workload.metric} on the validation part" for name, experiment, _ in found]
    with panels(file, titles, "updates", legend="lower right") as row:
        for panel, (_, experiment, rows) in zip(row, found, strict=True):
            fill(panel, experiment, rows)


def fill(panel: Any, experiment: Experiment, rows: dict[tuple[str, int], Row]) -> None:
    """Of one training: the tuned metric on the validation part against the updates, the mean of the seeds."""
    metric, ends = experiment.workload.metric, []
    for arm, (words, colour, style) in LOOKS.items():
        curves = [row["curve"] for (each, _), row in rows.items() if each == arm]
        if not curves:
            continue
        size = experiment.config["batch_size"]
        updates = [report.get("updates", report["samples"] / size) for report in curves[0]]
        means = [statistics.mean(report[metric] for report in reports) for reports in zip(*curves, strict=True)]
        panel.plot(updates, means, style, color=colour, label=words, marker="o", markersize=3)
        ends.append(means[-1])
    middle = statistics.median(means)
    panel.set_ylim(*sorted((ends[0] - 0.15 * (middle - ends[0]), ends[0] + 3 * (middle - ends[0]))))
    panel.set_xlim(left=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", choices=list(EXPERIMENTS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--arms", nargs="+", default=["free", "constant", "ramp4"], help="free, constant, ramp4, ramp64, …"
    )
    parser.add_argument("--longer", type=int, default=1, help="times the epochs")
    parser.add_argument("--larger", type=int, nargs="*", default=[2, 4, 8])
    parser.add_argument("--base", type=Path, help="rows of weight_averages.py, for the arm at the baseline's batch")
    parser.add_argument("--part", default="0/1", help="k/n: only each n-th training, from the k-th on")
    parser.add_argument("--show", action="store_true", help="print the tables of what is there")
    parser.add_argument("--figure", type=Path, help="draw the small batch and the ramp into this file")
    parser.add_argument("--output", type=Path, default=Path("runs/free_batch"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    own, parts = map(int, given.part.split("/"))
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    found = []
    for name in given.experiments:
        experiment = EXPERIMENTS[name](given.data.absolute())
        if given.longer > 1:
            workload: Any = experiment.workload
            workload = replace(workload, horizon=given.longer * workload.horizon)
            experiment = replace(experiment, workload=workload)
        folder = given.output.absolute() / (name if given.longer == 1 else f"{name}-{given.longer}x")
        rate = experiment.config["learning_rate"]
        rows = Rows(folder, given.part)
        if given.base and (given.base / name).exists():
            known = Rows(given.base.absolute() / name, given.part).known
            rows.known.update({key: row for key, row in known.items() if key[:2] == ("constant", rate)})
        for number, (arm, seed) in enumerate(arms(given.arms, given.larger, seeds)):
            if given.show or number % parts != own or (arm, rate, seed) in rows.known:
                continue
            row = trained(
                experiment, policy(experiment, arm), configured(experiment, arm), seed, folder / f"prepared-{own}"
            )
            rows.add({"arm": arm, "rate": rate, "seed": seed, **row})
            test = row.get("test", {}).get(experiment.workload.metric)
            print(f"{name} {arm} seed {seed}: test {test}, {row['updates']} updates, {row['seconds']} s", flush=True)
        chosen = {(arm, seed): row for (arm, _, seed), row in rows.known.items() if seed in seeds}
        show(name, experiment, chosen)
        found.append((name, experiment, chosen))
    if given.figure:
        draw(found, given.figure)


if __name__ == "__main__":
    main()
