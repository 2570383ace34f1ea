"""Does finding the rate cost less from trial to trial, if each race starts from what the other trials' races found?

    python experiments/benchmarks/shared_rates.py --seeds 5        # a quarter of an hour on one core

Trials one after the other, each with a batch size, a momentum and a first rate drawn at random: a network on
scikit-learn's digits, 60 epochs (1,900 to 7,500 updates). Arms: five rates around the trial's own, three, and three
around what `FromFound` expects. "tried" counts the rates of a trial's first race, and "lost" is the share of its updates
that all races rolled back. Both are means over the trials after the first two, which have nothing to start from.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from search import AskAndTell, FromFound, Random, Searcher, Space, choice, loguniform, pow2
from search.records import Config
from search.work import Decision, Reported
from trainables import MlpDigits, RateRace
from trainables.training.loop import Training

SPACE = Space({"learning_rate": loguniform(1e-4, 1), "batch_size": pow2(8, 32), "momentum": choice([0.0, 0.9])})
ARMS: dict[str, tuple[Searcher, int]] = {
    "five rates": (Random(), 2),
    "three rates": (Random(), 1),
    "three, FromFound": (FromFound(Random()), 1),
}
FIRST = 2  # trials that have nothing to start from


@dataclass
class Trial:
    tried: float = 0.0
    lost: float = 0.0
    accuracy: float = 0.0


def trained(workload: MlpDigits, config: Config, rungs: int, seed: int) -> tuple[Trial, list[Reported]]:
    trial, reports = Trial(), []
    for event in Training(workload, RateRace(rungs=rungs), config, seed=seed, until=workload.horizon):
        match event:
            case Decision(metrics={"tried": tried, "search_samples": samples, "trial_updates": updates}):
                trial.tried = trial.tried or tried
                trial.lost += samples - updates * config["batch_size"]
            case Reported():
                reports.append(event)
    trial.lost /= workload.horizon * workload.samples()
    trial.accuracy = reports[-1].metrics["accuracy"]
    return trial, reports


def sweep(searcher: Searcher, rungs: int, workload: MlpDigits, trials: int, seed: int) -> list[Trial]:
    tuning, found = AskAndTell(SPACE, searcher, horizon=workload.horizon, seed=seed), []
    for number in range(trials):
        asked = tuning.ask()
        assert asked is not None
        trial, reports = trained(workload, dict(asked.config), rungs, seed=100 * seed + number)
        for report in reports:
            tuning.tell(asked, report.step, -report.metrics["accuracy"], metrics=report.metrics)
        found.append(trial)
    return found


def spread(values: Sequence[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3g} ±{error:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    workload = MlpDigits(horizon=given.epochs)
    print("| arm | tried | lost | accuracy | worst accuracy | n |\n| --- | --- | --- | --- | --- | --- |")
    for name, (searcher, rungs) in ARMS.items():
        sweeps = [sweep(searcher, rungs, workload, given.trials, seed)[FIRST:] for seed in range(given.seeds)]
        means = [
            spread([statistics.mean(getattr(trial, what) for trial in trials) for trials in sweeps])
            for what in ("tried", "lost", "accuracy")
        ]
        worst = min(trial.accuracy for trials in sweeps for trial in trials)
        print(f"| {name} | {' | '.join(means)} | {worst:.3f} | {given.seeds} |", flush=True)


if __name__ == "__main__":
    main()
