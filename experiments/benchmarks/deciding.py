"""The cost of a suggestion in processor seconds and memory, by the number of known trials.

    OMP_NUM_THREADS=1 python experiments/benchmarks/deciding.py                  # about ten minutes
    OMP_NUM_THREADS=1 python experiments/benchmarks/deciding.py --sizes 200 --methods multitask,optuna-gp

Each cell has its own process: random trials in seven dimensions on a made-up loss (horizon 50; for MultitaskSearch nine in
ten rest after one to nine steps), then fifty suggestions, each followed by its result. The first suggestion fits the
model's settings; the mean over all fifty includes it. `optuna-gp` and `optuna-tpe` are Optuna's own samplers in an
in-memory study, without this project.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from search.contract import Searcher
from search.history import History
from search.records import End, Report, Status, Suggestion, start
from search.searchers.bayes import BayesSearch
from search.searchers.multitask import MultitaskSearch
from search.searchers.optuna import Tpe
from search.space import Space, uniform

DIMENSION, HORIZON, SUGGESTIONS = 7, 50, 50
SPACE = Space({f"x{index}": uniform(0.0, 1.0) for index in range(DIMENSION)})
SEARCHERS: dict[str, Searcher] = {"multitask": MultitaskSearch(), "bayes": BayesSearch(), "tpe": Tpe()}
METHODS = (*SEARCHERS, "optuna-tpe", "optuna-gp")


def loss(point: np.ndarray, step: int) -> float:
    """A bowl with a ripple; it falls with training, faster at some places than at others."""
    distance = float(((point - 0.4) ** 2).sum())
    return distance + 0.05 * float(np.sin(9 * point).sum()) + (1 + point[0]) / step


def ours(searcher: Searcher, size: int) -> Iterator[None]:
    """Yield before and after each suggestion."""
    rng = np.random.default_rng(0)
    history = History(SPACE, horizon=HORIZON, seed=0)

    def train(suggestion: Suggestion, until: int) -> None:
        trial = history.append(suggestion)
        point = np.array(list(trial.config.values()))
        for step in range(trial.step + 1, until + 1):
            history.append(Report(trial.number, step, loss(point, step), cost_seconds=1.0))
        history.append(End(trial.number, Status.COMPLETED if until == HORIZON else Status.STOPPED))

    for _ in range(size):
        rests = searcher.continues and rng.random() < 0.9
        until = int(rng.integers(1, 10)) if rests else HORIZON
        train(start(SPACE.sample(rng), origin="random", until=until), until)
    for _ in range(SUGGESTIONS):
        yield
        suggestion = searcher.suggest(history)
        yield
        assert isinstance(suggestion, Suggestion)
        train(suggestion, suggestion.until or HORIZON)


def optunas(name: str, size: int) -> Iterator[None]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.GPSampler(seed=0) if name == "optuna-gp" else optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    space = {f"x{index}": optuna.distributions.FloatDistribution(0.0, 1.0) for index in range(DIMENSION)}
    rng = np.random.default_rng(0)
    for point in rng.random((size, DIMENSION)):
        values = dict(zip(space, map(float, point), strict=True))
        study.add_trial(optuna.trial.create_trial(params=values, distributions=space, value=loss(point, HORIZON)))
    for _ in range(SUGGESTIONS):
        yield
        trial = study.ask(space)
        yield
        study.tell(trial, loss(np.array(list(trial.params.values())), HORIZON))


def suggested(method: str, size: int) -> Iterator[None]:
    return ours(SEARCHERS[method], size) if method in SEARCHERS else optunas(method, size)


def measured(method: str, size: int) -> dict[str, float]:
    for _ in suggested(method, 20):  # imports what is imported late
        pass
    times = [time.process_time() for _ in suggested(method, size)]
    seconds = [after - before for before, after in list(pairwise(times))[::2]]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first": seconds[0], "mean": float(np.mean(seconds)), "most": max(seconds), "mib": memory}


def in_a_process(method: str, size: int, limit: float) -> str:
    command = [sys.executable, __file__, "--one", method, "--sizes", str(size)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit, check=True)
    except subprocess.TimeoutExpired:
        return f"not within {limit:g} s"
    found = json.loads(done.stdout.splitlines()[-1])
    return f"{found['first']:.3f} / {found['mean']:.3f} s, {found['mib']:.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="200,1000,10000", help="trials known")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for a cell")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    if given.one:
        print(json.dumps(measured(given.one, sizes[0])))
        return
    methods = given.methods.split(",")
    for method in methods:
        if method not in METHODS:
            parser.error(f"--methods: there is no method {method!r}; there are {', '.join(METHODS)}.")
    print("First suggestion / mean of fifty, processor seconds; the process's largest memory\n")
    print(f"{'':<12}" + "".join(f"{f'{size:,} trials':>30}" for size in sizes))
    for method in methods:
        cells = (in_a_process(method, size, given.limit) for size in sizes)
        print(f"{method:<12}" + "".join(f"{cell:>30}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
