"""Does a race judged on a part of the validation data choose the rate that the whole would choose?

    python experiments/benchmarks/judging.py digits --seeds 20
    python experiments/benchmarks/judging.py ptb --data FOLDER --seeds 3     # the data of weight_averages.py

Races from rates that are off by up to a factor of 16, with batches and momenta drawn at random on the digits. The whole
decides; at the same weights parts of several sizes are measured, too, and each is asked which of the tried rates wins.
"regret" is by how much the whole's loss at a part's winner is above that at the whole's.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from weight_averages import ptb

from search.records import Config
from search.work import Decision
from trainables.estimates.rate_ladder import Trial, winner_of
from trainables.policies.rate_race import RateRace
from trainables.training.loop import Training
from trainables.workloads.lstm_lm import LstmLm
from trainables.workloads.mlp_digits import MlpDigits

SIZES = (10**9, 32, 64, 128, 256, 512)  # the whole first
POLICY = RateRace()


class Watched:
    """Measures parts of all sizes, and answers with the whole."""

    def probe(self, model: torch.nn.Module, samples: int) -> Mapping[str, float]:
        found = [super(Watched, self).probe(model, size) for size in SIZES]  # type: ignore[misc]
        MEASURED.append([each["loss"] for each in found])
        whole: Mapping[str, float] = found[0]
        return whole


MEASURED: list[list[float]] = []  # of each set of weights that this race has measured


@dataclass(frozen=True)
class Digits(Watched, MlpDigits):
    pass


@dataclass(frozen=True)
class Ptb(Watched, LstmLm):
    pass


def choices(workload: Digits | Ptb, config: Config, seed: int) -> tuple[list[float], dict[float, list[float]]] | None:
    """The winner by each size, and each rate's value by each size; None if no rate won."""
    MEASURED.clear()
    events = Training(workload, POLICY, config, seed=seed)
    told = next((each for each in events if isinstance(each, Decision) and "wins the race" in each.text), None)
    if told is None:
        return None
    sets = 1 + len(POLICY.gammas)
    trials = [MEASURED[begin : begin + sets] for begin in range(0, len(MEASURED), sets)]
    found = [[min(each[size] for each in trial) for size in range(len(SIZES))] for trial in trials]
    at = {float(name[3:]): value for name, value in told.metrics.items() if name.startswith("at ")}
    values = {min(at, key=lambda rate: abs(at[rate] - row[0])): row for row in found}
    values |= {float(name[12:]): [math.inf] * len(SIZES) for name in told.metrics if name.startswith("diverged at ")}
    return [_winner(told, values, size, config["learning_rate"]) for size in range(len(SIZES))], values


def _winner(told: Decision, values: Mapping[float, list[float]], size: int, centre: float) -> float:
    winner: Trial | None = None
    tried: list[Trial] = []
    for rate in sorted(values, reverse=True):
        tried.append((rate, values[rate][size], f"rose at {rate!r}" in told.metrics))
        winner = winner_of(winner, tried[-1], tried, POLICY.slack, centre, is_first=True)
    assert winner is not None
    return winner[0]


def races(name: str, data: Path, seeds: int) -> Iterator[tuple[list[float], dict[float, list[float]]]]:
    for seed in range(seeds):
        drawn = random.Random(seed)
        workload: Any = Digits(horizon=60)
        config = dict(MlpDigits.baseline or {})
        if name == "ptb":
            workload = Ptb(**vars(ptb(data).workload))
            config = dict(LstmLm.baseline or {})
        config["learning_rate"] *= 10 ** drawn.uniform(-1.2, 1.2)
        if name == "digits":
            config |= {"momentum": drawn.choice([0.0, 0.9]), "batch_size": drawn.choice([8, 16, 32])}
        if found := choices(workload, config, seed):
            yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainings", nargs="+", choices=("digits", "ptb"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--data", type=Path, default=Path())
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| training | samples | the same winner | mean regret | worst regret | n |\n| --- | --- | --- | --- | --- | --- |"
    )
    for name in given.trainings:
        found = list(races(name, given.data.absolute(), given.seeds))
        for size, samples in list(enumerate(SIZES))[1:]:
            same = sum(winners[size] == winners[0] for winners, _ in found)
            regrets = [values[winners[size]][0] - values[winners[0]][0] for winners, values in found]
            mean, worst = statistics.mean(regrets), max(regrets)
            print(f"| {name} | {samples} | {same} | {mean:.3f} | {worst:.3f} | {len(found)} |", flush=True)


if __name__ == "__main__":
    main()
