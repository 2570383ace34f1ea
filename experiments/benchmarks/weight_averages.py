"""Averages of the weights beside a constant rate, a cosine, and a race of rates, over decades of learning rates.

    python experiments/benchmarks/weight_averages.py resnet ptb bert --data FOLDER --seeds 5
    python experiments/benchmarks/weight_averages.py resnet ptb bert --data FOLDER --show --figure FILE    # tables and figure

FOLDER holds cifar10 (an archive of images), ptb and novels (texts). Three trainings whose end is limited by the noise of
their gradients: a ResNet-8 on 8,000 images of CIFAR-10 (2,500 updates of 64), an LSTM on the whole Penn Treebank (6,972
updates of 20 windows, 2,000 words), a small BERT on two novels (3,466 updates of 32). "constant" and "cosine" are trained
at each rate; one training gives both its last weights and their averages, for the averages do not touch it. "race" gets
no rate. All arms make the same number of updates, the race's search included. An arm's rate is chosen by the mean over
the seeds on the validation part; the test part is measured at the end.

--momentum trains with another momentum at rates that keep the length of the steps, rate / (1 - momentum).

A row is written as soon as its training ends, so the same command continues after an interruption; two commands with
--part 0/2 and --part 1/2 share the work.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from panels import panels

from search.records import Config
from trainables.contract import Policy, Workload
from trainables.policies.averaged import Averaged
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.rate_race import RateRace
from trainables.policies.warmup import Warmup
from trainables.training.device import measure
from trainables.training.loop import Training
from trainables.values import Execution, of_last
from trainables.workloads.bert_mlm import BertMlm
from trainables.workloads.lstm_lm import LstmLm
from trainables.workloads.resnet_pretrain import ResNetPretrain

Row = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """A training, the rates to train it at, and its warm-up in epochs."""

    workload: Workload
    config: Config
    rates: tuple[float, ...]
    points: float  # of the tuned metric: a result within these of the best counts as good
    warm_up: float = 0.0

    def policy(self, arm: str) -> Policy[Any]:
        then = {"constant": None, "cosine": LrSchedule("cosine"), "race": None}[arm]
        if arm == "race":
            race = RateRace()
            return Warmup(self.warm_up, then=race) if self.warm_up else race
        if self.warm_up:
            then = Warmup(self.warm_up) if then is None else Warmup(self.warm_up, then=then)
        return Averaged(then)


def resnet(data: Path) -> Experiment:
    execution = Execution(precision="bf16", channels_last=True)
    workload = ResNetPretrain(
        horizon=20, data=str(data / "cifar10"), widths=(16, 32, 64), stem_stride=2, execution=execution
    )
    return Experiment(workload, ResNetPretrain.baseline or {}, (0.01, 0.03, 0.1, 0.3), 0.03)


def ptb(data: Path) -> Experiment:
    workload = LstmLm(horizon=3, data=str(data / "ptb"), hidden=64, layers=1, vocabulary_size=2000)
    return Experiment(workload, LstmLm.baseline or {}, (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0), 3.0)


def bert(data: Path) -> Experiment:
    workload = BertMlm(
        horizon=5, data=str(data / "novels"), evaluations_per_pass=5, hidden=64, heads=1, vocabulary_size=2000,
        length=32,
    )  # fmt: skip
    return Experiment(workload, BertMlm.baseline or {}, (3e-4, 1e-3, 3e-3), 0.03, warm_up=0.25)


def with_momentum(experiment: Experiment, momentum: float) -> Experiment:
    factor = (1 - momentum) / (1 - experiment.config.get("momentum", 0.0))
    rates = tuple(factor * rate for rate in experiment.rates)
    return replace(experiment, config={**experiment.config, "momentum": momentum}, rates=rates)


EXPERIMENTS: dict[str, Callable[[Path], Experiment]] = {"resnet": resnet, "ptb": ptb, "bert": bert}


def trained(experiment: Experiment, policy: Policy[Any], config: Config, seed: int, prepared: Path) -> Row:
    """One training: each report's metrics with its place, the decisions, and at the end the metrics on the test part.

    "test_last" is of the last weights, "test" of the chosen ones; both are missing if it diverged.
    """
    workload = experiment.workload
    workload.prepare(prepared)
    begun, updates = time.perf_counter(), 0
    training = Training(workload, policy, config, seed=seed, prepared=prepared)
    control, curve, told = training.control, [], []
    for item in training:
        if item is None:
            updates += 1
        elif item.kind == "report":
            place = {"position": control.position, "samples": control.samples, "updates": updates}
            curve.append({**item.metrics, **place, "batch_size": control.knobs.batch_size})
        else:
            told.append([item.text, item.samples, dict(item.metrics)])
    row: Row = {"curve": curve, "decisions": told, "seconds": round(time.perf_counter() - begun, 1), "updates": updates}
    if not training.diverged:
        row["test_last"] = dict(measure(workload, training.model, "test"))
        with control.evaluating():
            row["test"] = dict(measure(workload, training.model, "test"))
    return row


class Rows:
    """The rows of one workload, one file for each part of the work."""

    def __init__(self, folder: Path, part: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"rows-{part.replace('/', '-')}.jsonl"
        lines = [line for file in sorted(folder.glob("rows-*.jsonl")) for line in file.read_text().splitlines()]
        self.known = {(row["arm"], row["rate"], row["seed"]): row for row in map(json.loads, lines)}

    def add(self, row: Row) -> None:
        self.known[row["arm"], row["rate"], row["seed"]] = row
        with self._file.open("a") as handle:
            handle.write(json.dumps(row) + "\n")


def runs(experiment: Experiment, seeds: int) -> Iterator[tuple[str, float, int]]:
    """Arm, rate and seed of each training, all arms of a seed before the next seed."""
    for seed in range(seeds):
        yield "race", float(experiment.config["learning_rate"]), seed
        for rate in experiment.rates:
            for arm in ("constant", "cosine"):
                yield arm, rate, seed


def value(row: Row, workload: Workload, *, last: bool, part: str) -> float:
    """The tuned metric at the end, of the last or of the chosen weights; infinitely bad for a diverged training."""
    bad = math.inf if workload.mode == "min" else -math.inf
    if "test" not in row:
        return bad
    if part == "test":
        return float(row["test_last" if last else "test"][workload.metric])
    end = row["curve"][-1]
    return float(end.get(of_last(workload.metric), end[workload.metric]) if last else end[workload.metric])


def spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    if not all(map(math.isfinite, values)):
        return f"diverged {sum(not math.isfinite(each) for each in values)} of {len(values)}"
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.4g} ±{error:.2g}"


ARMS = (("constant", True), ("constant", False), ("cosine", True), ("cosine", False))


def title(arm: str, last: bool) -> str:
    return f"{arm}, {'last weights' if last else 'averaged'}"


def show(name: str, experiment: Experiment, rows: Rows) -> None:
    workload = experiment.workload
    found: dict[tuple[str, float], list[Row]] = {}
    for (arm, rate, _), row in sorted(rows.known.items()):
        found.setdefault((arm, rate), []).append(row)
    print(f"\n## {name}: {workload.metric} on the test part, mean ± standard error\n")
    print("| rate | " + " | ".join(title(*arm) for arm in ARMS) + " | n |")
    print("| --- " * (len(ARMS) + 2) + "|")
    for rate in experiment.rates:
        cells = [
            spread([value(row, workload, last=last, part="test") for row in found.get((arm, rate), [])])
            for arm, last in ARMS
        ]
        print(f"| {rate:g} | " + " | ".join(cells) + f" | {len(found.get(('constant', rate), []))} |")
    best = max if workload.mode == "max" else min
    print("\n| arm | rate | validation | test | n |\n| --- | --- | --- | --- | --- |")
    for arm, last in ARMS:
        means = {  # only rates that as many seeds have been trained at as any
            rate: statistics.mean(value(row, workload, last=last, part="valid") for row in found[arm, rate])
            for rate in experiment.rates
            if (arm, rate) in found
            and len(found.get((arm, rate), [])) == max(len(found.get((arm, each), [])) for each in experiment.rates)
        }
        if means:
            line(title(arm, last), best(means, key=lambda each: means[each]), found, arm, workload, last=last)
    for (arm, rate), _ in found.items():
        if arm == "race":
            line("race, no rate given", rate, found, arm, workload, last=False)


def line(
    name: str, rate: float, found: dict[tuple[str, float], list[Row]], arm: str, workload: Workload, *, last: bool
) -> None:
    """One arm at one rate."""
    rows = found[arm, rate]
    valid, test = (spread([value(row, workload, last=last, part=part) for row in rows]) for part in ("valid", "test"))
    print(f"| {name} | {'' if arm == 'race' else f'{rate:g}'} | {valid} | {test} | {len(rows)} |")


LOOKS = {
    ("constant", True): ("constant rate, last weights", "#b0b0b0", "o-"),
    ("constant", False): ("constant rate, averaged weights", "#1f77b4", "o-"),
    ("cosine", True): ("cosine", "#d98c1f", "s--"),
}


def draw(found: Sequence[tuple[str, Experiment, Rows]], file: Path) -> None:
    """One panel for each training."""
    titles = [f"{name}: {experiment.workload.metric} on the test part" for name, experiment, _ in found]
    with panels(file, titles, "learning rate") as row:
        for panel, (_, experiment, rows) in zip(row, found, strict=True):
            fill(panel, experiment, rows)


def fill(panel: Any, experiment: Experiment, rows: Rows) -> None:
    """Of one workload: the tuned metric on the test part against the rate, with standard errors."""
    workload, shown = experiment.workload, []
    for (arm, last), (words, colour, style) in LOOKS.items():
        points = []
        for rate in experiment.rates:
            own = [row for key, row in rows.known.items() if key[:2] == (arm, rate)]
            values = [value(row, workload, last=last, part="test") for row in own]
            if values and all(map(math.isfinite, values)):
                error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
                points.append((rate, statistics.mean(values), error))
        if points:
            rates, means, errors = zip(*points, strict=True)
            shown += means
            panel.errorbar(rates, means, yerr=errors, fmt=style, color=colour, label=words, capsize=2, markersize=4)
    raced = [value(row, workload, last=False, part="test") for key, row in rows.known.items() if key[0] == "race"]
    if raced:
        panel.axhline(statistics.mean(raced), color="#2ca02c", linestyle=":", label="RateRace(), no rate given")
    best, worst = (max(shown), min(shown)) if workload.mode == "max" else (min(shown), max(shown))
    usual = statistics.quantiles([abs(each - best) for each in shown], n=4)[2]  # what is far worse is off the scale
    if abs(worst - best) > 4 * usual:
        sign = -1 if workload.mode == "max" else 1
        panel.set_ylim(*sorted((best - sign * 0.1 * usual, best + sign * 1.2 * usual)))
    panel.set_xscale("log")
    panel.set_xticks(experiment.rates, [f"{rate:g}" for rate in experiment.rates])
    panel.minorticks_off()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", choices=list(EXPERIMENTS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--part", default="0/1", help="k/n: only each n-th training, from the k-th on")
    parser.add_argument(
        "--arms", nargs="+", choices=["constant", "cosine", "race"], default=["constant", "cosine", "race"]
    )
    parser.add_argument("--rates", nargs="+", type=float, help="only these; without it all of the experiment's")
    parser.add_argument("--momentum", type=float, help="in place of the baseline's")
    parser.add_argument("--show", action="store_true", help="print the tables of what is there")
    parser.add_argument("--figure", type=Path, help="draw them into this file")
    parser.add_argument("--output", type=Path, default=Path("runs/weight_averages"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    own, parts = map(int, given.part.split("/"))
    found = []
    for name in given.experiments:
        experiment = EXPERIMENTS[name](given.data.absolute())
        folder = given.output.absolute() / name
        if given.momentum is not None:
            experiment = with_momentum(experiment, given.momentum)
            folder = folder.with_name(f"{name}-momentum-{given.momentum:g}")
        rows = Rows(folder, given.part)
        for number, (arm, rate, seed) in enumerate(runs(experiment, given.seeds)):
            chosen = number % parts == own and arm in given.arms and (given.rates is None or rate in given.rates)
            if given.show or not chosen or (arm, rate, seed) in rows.known:
                continue
            config = {**experiment.config, "learning_rate": rate}
            row = trained(experiment, experiment.policy(arm), config, seed, folder / f"prepared-{own}")
            rows.add({"arm": arm, "rate": rate, "seed": seed, **row})
            end = row["curve"][-1] if row["curve"] else {}
            print(
                f"{name} {arm} {rate:g} seed {seed}: {end.get(experiment.workload.metric)}, {row['seconds']} s",
                flush=True,
            )
        show(name, experiment, rows)
        found.append((name, experiment, rows))
    if given.figure:
        draw(found, given.figure)


if __name__ == "__main__":
    main()
