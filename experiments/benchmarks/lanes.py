"""What it brings that momentum or batch race after the rate: `RateRace(lanes=…)` against `RateRace()`, equal samples.

    python experiments/benchmarks/lanes.py resnet ptb bert --data FOLDER --seeds 3
    python experiments/benchmarks/lanes.py quadratic --seeds 20
    python experiments/benchmarks/lanes.py resnet ptb bert quadratic --data FOLDER --show      # tables of what is there

resnet, ptb and bert are the trainings of `weight_averages.py`, which says what FOLDER holds; quadratic is that of
`autolrs.py` (15,000 updates of one sample, the true loss judges). Each starts at the momentum of its baseline, and with
--momentum at another one, with steps as long in all, rate / (1 - momentum): what a wrong guess costs, and whether the race
mends it. bert trains with AdamW, which has no momentum to race.

A row is written as soon as its training ends; the same command continues after an interruption.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from autolrs import MOMENTUM, RACE, START, NoisyQuadratic
from weight_averages import EXPERIMENTS, Experiment, Row, Rows, spread, trained, value

from trainables.contract import Policy
from trainables.policies.rate_race import RateRace
from trainables.policies.warmup import Warmup

ARMS: dict[str, tuple[str, ...]] = {
    "rate": (),
    "rate, momentum": ("momentum",),
    "rate, batch": ("batch_size",),
}


def experiment_of(name: str, data: Path | None, momentum: float | None) -> tuple[Experiment, RateRace]:
    """The training, and the race of rates that it is given."""
    if name == "quadratic":
        experiment, race = Experiment(NoisyQuadratic(), {**START, "momentum": MOMENTUM}, (), 0.0), RACE
    elif data is None:
        raise SystemExit(f"{name}: give the folder of the data with --data.")
    else:
        experiment, race = EXPERIMENTS[name](data.absolute()), RateRace()
    if momentum is None:
        return experiment, race
    factor = (1 - momentum) / (1 - experiment.config.get("momentum", 0.0))
    config = {"momentum": momentum, "learning_rate": factor * experiment.config["learning_rate"]}
    if race.low is not None and race.high is not None:
        race = replace(race, low=factor * race.low, high=factor * race.high)
    return replace(experiment, config={**experiment.config, **config}), race


def found_in(row: Row) -> str:
    """What won each race, in the words of the decisions."""
    return ", ".join(why.split(" wins")[0] for why, _, _ in row["decisions"] if " wins" in why)


def show(name: str, experiment: Experiment, rows: Rows) -> None:
    print(f"\n## {name}: {experiment.workload.metric} on the test part, mean ± standard error\n")
    print("| what races | " + experiment.workload.metric + " | against the rate alone | updates | won | n |")
    print("| --- | --- | --- | --- | --- | --- |")
    base = {seed: row for (arm, _, seed), row in rows.known.items() if arm == "rate"}
    for arm in ARMS:
        of = {seed: row for (each, _, seed), row in sorted(rows.known.items()) if each == arm}
        if not of:
            continue
        values = [value(row, experiment.workload, last=False, part="test") for row in of.values()]
        pairs = [(of[seed], base[seed]) for seed in of if seed in base]
        ratios = [_ratio(experiment, one, other) for one, other in pairs]
        updates = [float(row["updates"]) for row in of.values()]
        won = "; ".join(dict.fromkeys(map(found_in, of.values())))
        print(f"| {arm} | {spread(values)} | {spread(ratios)} | {spread(updates)} | {won} | {len(of)} |")


def _ratio(experiment: Experiment, one: Row, other: Row) -> float:
    """By how much `one` is worse, as a share of the other's result."""
    mine, its = (value(row, experiment.workload, last=False, part="test") for row in (one, other))
    return (
        (its - mine if experiment.workload.mode == "max" else mine - its) / abs(its)
        if math.isfinite(mine)
        else math.inf
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", choices=[*EXPERIMENTS, "quadratic"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--momentum", type=float, help="at the start, in place of the baseline's")
    parser.add_argument("--show", action="store_true", help="print the tables of what is there")
    parser.add_argument("--output", type=Path, default=Path("runs/lanes"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.experiments:
        experiment, race = experiment_of(name, given.data, given.momentum)
        suffix = "" if given.momentum is None else f"-momentum-{given.momentum:g}"
        folder = given.output.absolute() / f"{name}{suffix}"
        rows, rate = Rows(folder, "0/1"), float(experiment.config["learning_rate"])
        for seed in range(given.seeds):
            for arm in given.arms:
                skip = (name == "bert" and "momentum" in arm) or (name == "quadratic" and "batch" in arm)
                if given.show or skip or (arm, rate, seed) in rows.known:
                    continue
                policy: Policy[Any] = replace(race, lanes=ARMS[arm])
                policy = Warmup(experiment.warm_up, then=policy) if experiment.warm_up else policy
                row = trained(experiment, policy, experiment.config, seed, folder / "prepared")
                rows.add({"arm": arm, "rate": rate, "seed": seed, **row})
                print(f"{name} {arm}, seed {seed}: {row['curve'][-1].get(experiment.workload.metric)}, {row['updates']} updates, "
                      f"{found_in(row)}, {row['seconds']} s", flush=True)  # fmt: skip
        show(f"{name}{suffix}", experiment, rows)


if __name__ == "__main__":
    main()
