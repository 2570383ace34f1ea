"""Does averaging the weights make early reports more truthful? Rank correlation of rungs with the end, and what it costs.

    python experiments/benchmarks/rungs.py resnet lstm bert --data FOLDER                 # record, then the tables
    python experiments/benchmarks/rungs.py resnet lstm bert --data FOLDER --show          # of what is there

FOLDER holds cifar10 (an archive of images), ptb and novels (texts). Each training is a random configuration from a fixed
seed, with a constant rate and `Averaged`: every report has the tuned metric of the last weights and of the better of the
last weights and two averages, from one training, for the averages do not touch it. A row is written as soon as its
training ends, so the same command continues after an interruption.

Ranks     Spearman's correlation of a rung (5, 10, 25, 50 % of the reports) with the end, over the configurations; its
          spread from drawing the configurations anew, 1,000 times.
Cost      a search is replayed on the recorded curves (the nearest configuration answers; simulated clock, 4 workers)
          until its incumbent is as good as a target. What the scheduler sees and what counts are apart, so that "sees
          last, averages count" shows what the truth of the rungs is worth without what averaging gives to the end.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from curves import Curve, Table
from numpy.typing import NDArray
from race import race
from record import shortened
from recorded_curves import spearman

from search.ask_and_tell import AskAndTell
from search.contract import Scheduler, Searcher
from search.records import Config
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.run_to_end import RunToEnd
from search.searchers.multitask import MultitaskSearch
from search.searchers.random import Random
from search.space import Space, loguniform, pow2, uniform
from trainables.contract import Workload
from trainables.policies.averaged import Averaged
from trainables.training.loop import Training
from trainables.values import AVERAGED, Execution, of_last
from trainables.workloads.bert_mlm import BertMlm
from trainables.workloads.lstm_lm import LstmLm
from trainables.workloads.resnet_pretrain import ResNetPretrain

Row = dict[str, Any]
Matrix = NDArray[np.float64]

SEED = 20_261_129  # of the configurations
SHARES = (0.05, 0.1, 0.25, 0.5)
DRAWS = 1000  # of the bootstrap
WORKERS = 4


@dataclass(frozen=True)
class Experiment:
    """A training, what is searched, and how near to the best averaged end a search shall come."""

    workload: Workload
    space: Space
    near: float  # a share of the loss, or with `mode` "max" of the metric's whole range


def resnet(data: Path, work: Path) -> Experiment:
    """A report is a quarter of an epoch of 2,400 images."""
    folder = fewer_images(data / "cifar10", 3000, work / "cifar10")
    workload = ResNetPretrain(
        horizon=20, data=str(folder), widths=(16, 24, 32), stem_stride=2, side=12, data_share=0.25,
        execution=Execution(channels_last=True),
    )  # fmt: skip
    space = {
        "learning_rate": loguniform(3e-3, 1.0),
        "batch_size": pow2(16, 64),
        "momentum": uniform(0.0, 0.95),
        "weight_decay": loguniform(1e-5, 1e-2),
    }
    return Experiment(workload, Space(space), 0.005)


def lstm(data: Path, work: Path) -> Experiment:
    folder = shortened(data / "ptb", {"train": 700, "valid": 150, "test": 150}, work / "lstm")
    workload = LstmLm(horizon=20, data=str(folder), hidden=16, layers=1, vocabulary_size=200)
    space = {
        "learning_rate": loguniform(0.05, 10.0),
        "batch_size": pow2(16, 64),
        "momentum": uniform(0.0, 0.9),
        "weight_decay": loguniform(1e-7, 1e-3),
    }
    return Experiment(workload, Space(space), 0.02)


def bert(data: Path, work: Path) -> Experiment:
    folder = shortened(data / "novels", {"train": 12_000, "valid": 100, "test": 100}, work / "bert")
    workload = BertMlm(
        horizon=20, data=str(folder), vocabulary_size=100, length=32, layers=1, heads=1, hidden=32,
        evaluations_per_pass=80,
    )  # fmt: skip
    space = {
        "learning_rate": loguniform(5e-4, 0.1),
        "batch_size": pow2(16, 64),
        "weight_decay": loguniform(1e-4, 1.0),
    }
    return Experiment(workload, Space(space), 0.02)


def fewer_images(source: Path, count: int, folder: Path) -> Path:
    """A folder with as many images of each part of an archive, evenly spaced: the archive is sorted by class."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        with np.load(source / f"{part}.npz") as arrays:
            total = len(arrays["labels"])
            chosen = np.arange(min(count, total)) * total // min(count, total)
            np.savez(
                folder / f"{part}.npz",
                images=arrays["images"][chosen],
                labels=arrays["labels"][chosen],
                class_names=arrays["class_names"],
            )
    return folder


EXPERIMENTS: dict[str, Callable[[Path, Path], Experiment]] = {"resnet": resnet, "lstm": lstm, "bert": bert}


def trained(experiment: Experiment, config: dict[str, Any], seed: int, prepared: Path) -> Row:
    """One training: of each report the metric of the last weights, of the chosen ones, and processor seconds."""
    metric = experiment.workload.metric
    training = Training(experiment.workload, Averaged(), config, seed=seed, prepared=prepared)
    row: Row = {"config": config, "last": [], "averaged": [], "gamma": [], "seconds": []}
    begun = time.process_time()
    for item in training:
        if item is None or item.kind != "report":
            continue
        row["averaged"].append(item.metrics[metric])
        row["last"].append(item.metrics.get(of_last(metric), item.metrics[metric]))
        row["gamma"].append(item.metrics.get(AVERAGED, 0.0))
        row["seconds"].append(round(time.process_time() - begun, 4))
        begun = time.process_time()
    return row


def record(name: str, experiment: Experiment, count: int, folder: Path, seconds: float) -> list[Row]:
    """Rows of the first `count` configurations; no training begins after `seconds`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rng, until = np.random.default_rng(SEED), time.monotonic() + seconds
    configs = [experiment.space.sample(rng) for _ in range(count)]
    if any(row["config"] != config for row, config in zip(rows, configs, strict=False)):
        raise ValueError(f"{file}: was recorded with another space; move it away.")
    if len(rows) < count and seconds > 0:
        experiment.workload.prepare(folder / "prepared" / name)
    while len(rows) < count and time.monotonic() < until:
        row = trained(experiment, dict(configs[len(rows)]), len(rows), folder / "prepared" / name)
        rows.append(row)
        with file.open("a") as handle:
            handle.write(json.dumps(row) + "\n")
        ends = [f"{row[which][-1]:.4g}" if row[which] else "-" for which in ("last", "averaged")]
        print(f"{name} {len(rows) - 1}: {' '.join(ends)}, {sum(row['seconds']):.1f} s, {row['config']}", flush=True)
    return rows[:count]


@dataclass(frozen=True)
class Curves:
    """What was recorded. Losses: (configurations, reports), lower is better, infinite from where a training diverged."""

    units: Matrix
    rates: Matrix
    last: Matrix
    averaged: Matrix
    seconds: Matrix

    @classmethod
    def of(cls, rows: Sequence[Row], experiment: Experiment) -> Curves:
        sign, offset = (-1.0, 1.0) if experiment.workload.mode == "max" else (1.0, 0.0)
        seconds = np.array([statistics.median(row["seconds"] or [math.nan]) for row in rows])
        last, averaged = (_losses(rows, which, experiment.workload.horizon) for which in ("last", "averaged"))
        return cls(
            np.array([experiment.space.to_unit(row["config"]) for row in rows]),
            np.array([row["config"]["learning_rate"] for row in rows]),
            np.where(np.isfinite(last), offset + sign * last, np.inf),
            np.where(np.isfinite(averaged), offset + sign * averaged, np.inf),
            np.nan_to_num(seconds, nan=float(np.nanmedian(seconds))),
        )


def _losses(rows: Sequence[Row], which: str, horizon: int) -> Matrix:
    losses = np.full((len(rows), horizon), np.nan)
    for place, row in enumerate(rows):
        losses[place, : len(row[which])] = row[which]
    return losses


def correlation(rung: Matrix, end: Matrix, half: bool) -> float:
    """Of ranks; among the better half by the end, or all."""
    if half:
        chosen = end <= np.median(end)
        rung, end = rung[chosen], end[chosen]
    finite = [np.where(np.isfinite(each), each, np.nan) for each in (rung, end)]
    return spearman(finite[0].astype(np.float32), finite[1])


def show_ranks(name: str, curves: Curves) -> None:
    """The table of correlations; the gain is that of averaged → averaged over last → last."""
    count, horizon = curves.last.shape
    drawn = np.random.default_rng(0).integers(count, size=(DRAWS, count))
    print(f"\n## {name}: rank correlation of a rung with the end, {count} configurations, {horizon} reports\n")
    print("| among | rung | last → last | averaged → averaged | gain (95 %) | last → averaged end | gain (95 %) |")
    print("| --- " * 7 + "|")
    for half in (False, True):
        for share in SHARES:
            step = round(share * horizon) - 1
            pairs = (
                (curves.last[:, step], curves.last[:, -1]),
                (curves.averaged[:, step], curves.averaged[:, -1]),
                (curves.last[:, step], curves.averaged[:, -1]),
            )
            found = [correlation(*pair, half) for pair in pairs]
            again = np.array([[correlation(a[draw], b[draw], half) for a, b in pairs] for draw in drawn])
            own, same = (_interval(again[:, 1] - again[:, other]) for other in (0, 2))
            print(
                f"| {'better half' if half else 'all'} | {share:.0%} | {found[0]:.3f} | {found[1]:.3f} | "
                f"{found[1] - found[0]:+.3f} ({own}) | {found[2]:.3f} | {found[1] - found[2]:+.3f} ({same}) |"
            )


def _interval(values: Matrix) -> str:
    low, high = np.nanquantile(values, (0.025, 0.975))
    return f"{low:+.3f} to {high:+.3f}"


def show_seen(curves: Curves, rows: Sequence[Row]) -> None:
    """What averaging changes in what a scheduler sees."""
    count, horizon = curves.last.shape
    ten, quarter = round(0.1 * horizon) - 1, count // 4
    best = np.argsort(curves.averaged[:, -1])[:quarter]
    print("\n| seen | geometric mean rate of the best quarter | of the best quarter at the end (averaged) |")
    print("| --- | --- | --- |")
    for title, losses in (
        ("last, 10 %", curves.last[:, ten]),
        ("averaged, 10 %", curves.averaged[:, ten]),
        ("last, end", curves.last[:, -1]),
        ("averaged, end", curves.averaged[:, -1]),
    ):
        seen = np.argsort(losses)[:quarter]
        rate = math.exp(np.log(curves.rates[seen]).mean())
        print(f"| {title} | {rate:.3g} | {len(set(seen) & set(best))} of {quarter} |")
    chosen = [np.mean([row["gamma"][step] > 0 for row in rows if len(row["gamma"]) > step]) for step in (ten, -1)]
    gain = np.median((curves.last - curves.averaged)[np.isfinite(curves.last[:, -1])], axis=0)
    print(f"\nAn average was the better one in {chosen[0]:.0%} of trainings at 10 %, {chosen[1]:.0%} at the end; it")
    print(f"lowered the loss by {gain[ten]:.4g} (median) at 10 % and by {gain[-1]:.4g} at the end.")
    ends = [float(each[np.isfinite(each)].min()) for each in (curves.last[:, -1], curves.averaged[:, -1])]
    print(f"Best end: last {ends[0]:.4g}, averaged {ends[1]:.4g}; diverged {np.isinf(curves.last[:, -1]).sum()}.")


@dataclass(frozen=True)
class Replayed(Table):
    """Recorded curves as a problem: the search sees the losses, `truth` counts."""

    truth: Matrix

    def curve(self, config: Config) -> Curve:
        return replace(super().curve(config), truth=self.truth[self.row(config)])


@dataclass(frozen=True)
class Method:
    searcher: Searcher
    scheduler: Scheduler
    budget: float  # full trainings
    is_slow: bool = False


METHODS = {
    "random": Method(Random(), RunToEnd(), 60),
    "asha": Method(Random(), Asha(), 40),
    "asha-promote": Method(Random(), AshaPromote(), 40),
    "multitask": Method(MultitaskSearch(), RunToEnd(), 12, is_slow=True),
}
ARMS = (("last", "last"), ("last", "averaged"), ("averaged", "averaged"))  # what is seen, what counts


def costs(method: Method, problem: Replayed, targets: Sequence[float], seeds: int) -> list[list[float]]:
    """For each target the cost of each seed, in full trainings, until the incumbent was as good; infinite: never."""
    seconds = method.budget * problem.full_cost / WORKERS
    found: list[list[float]] = [[] for _ in targets]
    for seed in range(seeds):
        tuning = AskAndTell(problem.space, method.searcher, method.scheduler, horizon=problem.horizon, seed=seed)
        trace = race(problem, tuning, workers=WORKERS, seconds=seconds, enough=min(targets)).any
        for target, into in zip(targets, found, strict=True):
            when = [now for now, loss in trace if loss <= target + 1e-12]
            into.append(when[0] * WORKERS / problem.full_cost if when else math.inf)
    return found


def show_costs(name: str, experiment: Experiment, curves: Curves, seeds: int, slow_seeds: int) -> None:
    ends = {"last": curves.last[:, -1], "averaged": curves.averaged[:, -1]}
    best = float(ends["averaged"].min())
    margin = experiment.near if experiment.workload.mode == "max" else experiment.near * best
    targets = {"near the best averaged end": best + margin, "best end of last weights": float(ends["last"].min())}
    print(f"\n## {name}: median cost in full trainings (quartiles) until the incumbent is as good\n")
    print("| method | target | loss | " + " | ".join(f"sees {seen}, {counts} counts" for seen, counts in ARMS) + " |")
    print("| --- " * 6 + "|")
    seconds = np.repeat(curves.seconds[:, None], curves.last.shape[1], axis=1)
    for title, method in METHODS.items():
        if method.is_slow and not slow_seeds:
            continue
        cells: list[list[list[float]]] = []
        for seen, counts in ARMS:
            losses = np.where(np.isinf(getattr(curves, seen)), np.nan, getattr(curves, seen))
            problem = Replayed(name, experiment.space, curves.units, losses, seconds, getattr(curves, counts))
            cells.append(costs(method, problem, list(targets.values()), slow_seeds if method.is_slow else seeds))
        for place, (target, loss) in enumerate(targets.items()):
            texts = " | ".join(_cost(cell[place], method.budget) for cell in cells)
            print(f"| {title} | {target} | {loss:.4g} | {texts} |", flush=True)


def _cost(values: Sequence[float], budget: float) -> str:
    low, middle, high = (
        f"{value:.3g}" if math.isfinite(value) else f"> {budget:g}"
        for value in np.quantile(values, (0.25, 0.5, 0.75), method="nearest")
    )
    never = sum(not math.isfinite(value) for value in values)
    return f"{middle} ({low} to {high})" + (f", {never} of {len(values)} never" if never else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", choices=list(EXPERIMENTS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=48, help="configurations")
    parser.add_argument("--seeds", type=int, default=20, help="of replayed searches")
    parser.add_argument("--slow-seeds", type=int, default=3, help="of those of a model")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of recording for each experiment")
    parser.add_argument("--show", action="store_true", help="print the tables of what is there")
    parser.add_argument("--output", type=Path, default=Path("runs/rungs"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = given.output.absolute()
    for name in given.experiments:
        experiment = EXPERIMENTS[name](given.data.absolute(), folder / "text")
        rows = record(name, experiment, given.count, folder, 0.0 if given.show else given.seconds)
        curves = Curves.of(rows, experiment)
        show_ranks(name, curves)
        show_seen(curves, rows)
        if given.seeds:
            show_costs(name, experiment, curves, given.seeds, given.slow_seeds)


if __name__ == "__main__":
    main()
