"""Model averaging in one process: the speed of replicas all at once, and the sensitivity to the learning rate.

    OMP_NUM_THREADS=1 python experiments/benchmarks/averaging.py           # all, about fifteen minutes
    OMP_NUM_THREADS=1 python experiments/benchmarks/averaging.py --only speed

Speed: rounds per second with 16 samples a replica (fewer where the whole set has fewer), in blocks that take turns: `Sma`
all at once, `Sma` one replica after the other (its fallback), and separate models with separate optimisers, as written
without stacking.

Width: accuracy on the test part after 30 epochs of `MlpDigits`, for learning rates over four decades; the number of decades
within two points of the best. Replicas have batches of 16; synchronous SGD has one model and the same total batch, with
the rate unscaled or k times as high. Both have the same (local) momentum.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from trainables.contract import Policy, Workload
from trainables.policies.fixed import Fixed
from trainables.policies.sma import Sma
from trainables.training.device import measure
from trainables.training.loop import Training
from trainables.values import Averaging
from trainables.workloads.bert_mlm import BertMlm
from trainables.workloads.mlp_digits import MlpDigits
from trainables.workloads.resnet_pretrain import ResNetPretrain

SAMPLES = 16  # of a replica in a round
REPLICAS = (4, 16)
BLOCKS = 9
RATES = [10 ** (-3 + third / 3) for third in range(13)]
WITHIN = 0.02
SEEDS = (1, 2, 3)
PERIODS = (1, 4, 16)  # updates from one exchange to the next


def speed() -> None:
    print(
        "| workload | k | all at once | one after the other | separate models | faster than the loop | than separate |"
    )
    print("|---|---|---|---|---|---|---|")
    for workload, rounds in ((MlpDigits(), 60), (ResNetPretrain.smallest(), 4), (BertMlm.smallest(), 4)):
        with tempfile.TemporaryDirectory() as folder:
            workload.prepare(Path(folder))
            for k in REPLICAS:
                _speed(workload, k, rounds, Path(folder))


def _speed(workload: Workload, k: int, rounds: int, prepared: Path) -> None:
    ways = [_stacked(workload, k, prepared, ""), _stacked(workload, k, prepared, "for comparison"), _separate(workload, k, prepared)]  # fmt: skip
    for way in ways:
        _rate(way, max(2, rounds // 4))
    blocks = [[_rate(way, rounds) for way in ways] for _ in range(BLOCKS)]
    cells = [_spread(column, ".0f" if workload == MlpDigits() else ".1f") for column in zip(*blocks, strict=True)]
    cells += [_spread([block[0] / block[other] for block in blocks], ".2f") for other in (1, 2)]
    print(f"| {type(workload).__name__} | {k} | " + " | ".join(cells) + " |", flush=True)


def _config(workload: Workload, k: int) -> dict[str, Any]:
    return {**(workload.baseline or {}), "batch_size": SAMPLES * k}


def _stacked(workload: Workload, k: int, prepared: Path, obstacle: str) -> Iterator[None]:
    training = Training(workload, Sma(k), _config(workload, k), until=10**9, prepared=prepared)
    assert training.weights.replicas is not None
    training.weights.replicas.losses.obstacle = obstacle
    while True:
        if training.cursor + SAMPLES * k > workload.samples():  # whole rounds only, and no evaluations
            training.cursor = 0
        training._advance()
        yield


def _separate(workload: Workload, k: int, prepared: Path) -> Iterator[None]:
    config, averaging = _config(workload, k), Averaging(k)
    central = workload.model(config, prepared).train()
    models = [copy.deepcopy(central) for _ in range(k)]
    optimizers = [workload.optimizer(model, config) for model in models]
    before = [parameter.detach().clone() for parameter in central.parameters()]
    order = torch.randperm(workload.samples())
    cursor = 0
    while True:
        if cursor + SAMPLES * k > len(order):
            cursor = 0
        batch = order[cursor : cursor + SAMPLES * k]
        cursor += SAMPLES * k
        moved = [averaging.momentum * (z.detach() - old) for z, old in zip(central.parameters(), before, strict=True)]
        for j, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            optimizer.zero_grad()
            workload.loss(model, batch[j::k]).backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                pairs = zip(model.parameters(), central.parameters(), strict=True)
                corrections = [averaging.pull * (w - z) for w, z in pairs]
                optimizer.step()
                for w, total, correction in zip(model.parameters(), moved, corrections, strict=True):
                    w.sub_(correction)
                    total.add_(correction)
        with torch.no_grad():
            for z, old, total in zip(central.parameters(), before, moved, strict=True):
                old.copy_(z)
                z.add_(total)
        yield


def _rate(way: Iterator[None], rounds: int) -> float:
    begun = time.perf_counter()
    for _ in range(rounds):
        next(way)
    return rounds / (time.perf_counter() - begun)


def _spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


METHODS: dict[str, Callable[[int, float], tuple[Policy[Any], float]]] = {
    "S-SGD, rate as it is": lambda k, rate: (Fixed(), rate),
    "S-SGD, k times the rate": lambda k, rate: (Fixed(), k * rate),
    "SMA": lambda k, rate: (Sma(k), rate),
}


def width() -> None:
    for momentum in (0.0, 0.9):
        print(f"\nMomentum {momentum:g}: mean accuracy over {len(SEEDS)} seeds by base learning rate\n")
        print("| k | method | " + " | ".join(f"{rate:.2g}" for rate in RATES) + " |")
        print("|---|---|" + "---|" * len(RATES))
        curves: dict[tuple[int, str], list[list[float]]] = {}
        for k in (1, *REPLICAS):
            for name, method in METHODS.items():
                if k > 1 or name == "SMA":  # all three are one with a single replica
                    curves[k, name] = [[accuracy(*method(k, r), k, momentum, seed) for r in RATES] for seed in SEEDS]
                    means = [statistics.mean(column) for column in zip(*curves[k, name], strict=True)]
                    print(
                        f"| {k} | {_named(k, name)} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |", flush=True
                    )
        top = max(statistics.mean(column) for seeds in curves.values() for column in zip(*seeds, strict=True))
        print(f"\nDecades within {WITHIN} of the method's own best, of the best of all ({top:.3f}): mean (seeds)\n")
        print("| k | method | best | decades (own best) | decades (best of all) | from | to |")
        print("|---|---|---|---|---|---|---|")
        for (k, name), seeds in curves.items():
            means = [statistics.mean(column) for column in zip(*seeds, strict=True)]
            good = [rate for rate, mean in zip(RATES, means, strict=True) if mean >= max(means) - WITHIN]
            own = [decades(seed, max(seed) - WITHIN) for seed in seeds]
            of_all = [decades(seed, top - WITHIN) for seed in seeds]
            cells = [f"{max(means):.3f}", _mean(own), _mean(of_all), f"{good[0]:.2g}", f"{good[-1]:.2g}"]
            print(f"| {k} | {_named(k, name)} | " + " | ".join(cells) + " |")


def outer() -> None:
    k, momentum = 4, 0.9
    print(f"\n{k} replicas, momentum {momentum:g}: accuracy at the best rate over {len(SEEDS)} seeds\n")
    print("| updates from one exchange to the next | replicas are | best rate | accuracy ± standard error | decades |")
    print("|---|---|---|---|---|")
    ways: dict[str, dict[str, Any]] = {"SMA's corrections": {}, "moved by Nesterov's momentum": {"outer": "nesterov"}}
    for period in PERIODS:
        for name, settings in ways.items():
            policy = Sma(k, period=period, **settings)
            found = {rate: [accuracy(policy, rate, k, momentum, seed) for seed in SEEDS] for rate in RATES}
            best = max(RATES, key=lambda rate: statistics.mean(found[rate]))
            mean = statistics.mean(found[best])
            error = statistics.stdev(found[best]) / len(SEEDS) ** 0.5
            wide = decades([statistics.mean(found[rate]) for rate in RATES], mean - WITHIN)
            print(f"| {period} | {name} | {best:.2g} | {mean:.3f} ±{error:.3f} | {wide:.2f} |", flush=True)


def accuracy(policy: Policy[Any], rate: float, k: int, momentum: float, seed: int) -> float:
    """On the test part at the end; 0 for a training that diverged."""
    config = {"learning_rate": rate, "batch_size": SAMPLES * k, "momentum": momentum}
    training = Training(replace(MlpDigits(), horizon=30), policy, config, seed=seed)
    for _ in training:
        pass
    found = measure(training.workload, training.model, "test")
    return found["accuracy"] if found["loss"] < float("inf") else 0.0


def decades(curve: Sequence[float], level: float) -> float:
    """How much of the (logarithmic) axis of rates lies at the level or above, between the points on straight lines."""
    total = 0.0
    for left, right in pairwise(curve):
        low, high = min(left, right), max(left, right)
        total += 1.0 if low >= level else (high - level) / (high - low) if high > level else 0.0
    return total / 3


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f} ({', '.join(f'{value:.2f}' for value in values)})"


def _named(k: int, name: str) -> str:
    return "one model" if k == 1 else name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("speed", "width", "outer"))
    only = parser.parse_args().only
    torch.set_num_threads(1)
    for part in (speed, width, outer):
        if only in (None, part.__name__):
            part()


if __name__ == "__main__":
    main()
