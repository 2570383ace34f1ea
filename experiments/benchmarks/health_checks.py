"""How often each health check fires where it must, and where it must not: simulated sweeps whose truth is known.

    python experiments/benchmarks/health_checks.py                     # 20 seeds of every case, about six minutes of one core
    python experiments/benchmarks/health_checks.py --seeds 5 --cases edge

A case is a sweep and the truth about it: the trainings are formulas, so we know where the optimum lies, how large the
noise is and what an early loss tells. Each case runs on the simulated engine with its own seeds; then the checks read
its ledger as `orchestrator show` does. Two cases judge by what happens later: the search goes on to twice its length,
and the truth is whether that improved the best.

Prints, for each case, in how many of the sweeps the check fired, with the Wilson interval of 95 %.
"""

from __future__ import annotations

import argparse
import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from recorded_curves import FOLDER, Recording

from orchestrator.driver import Driver
from orchestrator.page.health.finding import Finding
from orchestrator.page.health.overfitting import turning_point
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections.health import CHECKS
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from orchestrator.sweep import Sweep
from search.contract import Searcher, derived_seed
from search.history import History
from search.records import Config, Status, Suggestion, resume
from search.schedulers.asha import Asha
from search.schedulers.run_to_end import RunToEnd
from search.searchers.optuna import Tpe
from search.searchers.random import Random
from search.searchers.sobol import Sobol
from search.space import Space, loguniform, pow2, uniform
from search.task import Task
from trainables.workloads.callable import FromFunction

SPACE = Space(
    {
        "rate": loguniform(1e-4, 1.0),
        "width": pow2(8, 1024),
        "dropout": uniform(0.0, 0.8),
        "decay": loguniform(1e-6, 0.1),
    }
)
MIDDLE = (0.6, 0.5, 0.4, 0.5)  # an optimum well inside, in the unit cube
BASELINE = SPACE.from_unit(np.array([0.45, 0.35, 0.5, 0.4]))
SIGMA = 0.05  # of the noise between seeds, where there is much


@dataclass(frozen=True)
class Bowl:
    """Loss at the horizon: the weighted squared distance from an optimum in the unit cube, and noise of the seed."""

    optimum: tuple[float, ...] = MIDDLE
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    noise: float = 0.0  # between seeds
    jitter: float = 0.0  # from step to step
    cliff: bool = False  # far from the optimum all is equally bad, and beyond 0.85 of `rate` it is much worse

    def __call__(self, config: Config) -> float:
        unit = SPACE.to_unit(config)
        distance = float(np.sum(np.array(self.weights) * (unit - np.array(self.optimum)) ** 2))
        return 1 - math.exp(-3 * distance) + 0.5 * (unit[0] > 0.85) if self.cliff else distance


def train(config: Config, state: Any, *, bowl: Bowl, horizon: int, tells: float) -> Iterator[Any]:
    """A curve that falls to the bowl's loss. `tells`: the share of the first half's variance that is the final loss's."""
    yield
    state = state or {"step": 0, "own": float(np.random.normal()), "seed": float(np.random.normal())}
    final = bowl(config)
    for step in range(state["step"] + 1, horizon + 1):
        known = tells if 2 * step <= horizon else 1.0
        early = math.sqrt(known) * final + math.sqrt(1 - known) * 0.3 * abs(state["own"])
        loss = early + 2.0 / (1 + step) + bowl.noise * state["seed"] + bowl.jitter * float(np.random.normal())
        yield {"loss": loss}, state | {"step": step}


def rises(
    config: Config,
    state: Any,
    *,
    horizon: int,
    share: float,
    noise: float = SIGMA,
    wave: float = 0.0,
    train_rises: bool = False,
) -> Iterator[dict[str, float]]:
    """A curve that falls, and from 40 % of the training on rises again in this share of the space, along `dropout`.

    `noise`: of each step; `wave`: the standard deviation of a slow drift. `train_rises`: so does the training loss.
    """
    unit, drift = SPACE.to_unit(config), 0.0
    for step in range(1, horizon + 1):
        behind = max(0.0, step / horizon - 0.4) if unit[2] < share else 0.0
        drift = 0.9 * drift + math.sqrt(1 - 0.9**2) * float(np.random.normal())
        loss = Bowl()(config) + 2.0 / (1 + step) + behind + wave * drift + noise * float(np.random.normal())
        yield {"loss": loss, "train_loss": 1.0 / step + train_rises * 2 * behind}


def fails(config: Config, *, above: float, reasons: int) -> Iterator[dict[str, float]]:
    """Fails beyond a place of `rate`; the reason depends on the width."""
    unit = SPACE.to_unit(config)
    if unit[0] > above:
        kinds = (RuntimeError("out of memory"), KeyError("label"), OSError("no such file"))
        raise kinds[int(unit[1] * reasons * 0.999)]
    yield {"loss": Bowl()(config)}


@dataclass(frozen=True)
class Climb(Searcher):
    """Random on the cheapest task; the best third of it goes on to the full training."""

    continues = True

    def suggest(self, history: History) -> Suggestion | None:
        results = history.results(history.tasks[0])
        done = [number for number in results if history.trials[number].status is not Status.RUNNING]
        for number in sorted(done, key=lambda number: results[number])[: len(done) // 3]:
            trial = history.trials[number]
            if trial.status is Status.STOPPED:
                return resume(trial)
        if not history.room:
            return None
        drawn = Random().suggest(history)
        assert isinstance(drawn, Suggestion)
        return replace(drawn, until=history.tasks[0].steps(history.horizon), origin="initial")


@dataclass(frozen=True)
class Slow(Searcher):
    """A searcher that takes so many seconds of the simulated clock for each decision."""

    seconds: float
    clock: SimulatedClock

    def suggest(self, history: History) -> Suggestion | None:
        self.clock.seconds += self.seconds
        found = Random().suggest(history)
        assert found is None or isinstance(found, Suggestion)
        return found

    def __repr__(self) -> str:
        return f"Slow({self.seconds})"


def sweep(bowl: Bowl, clock: SimulatedClock, *, horizon: int = 1, tells: float = 1.0, **changes: Any) -> Sweep:
    function: Any = partial(train, bowl=bowl, horizon=horizon, tells=tells)
    fields = {
        "name": "known", "workload": FromFunction(function, metric="loss", mode="min", horizon=horizon), "space": SPACE,
        "searcher": Random(), "scheduler": RunToEnd(), "num_samples": 40, "baseline": None, "allow_failed": 1000,
    }  # fmt: skip
    return Sweep(**(fields | changes))


@dataclass(frozen=True)
class Case:
    """A sweep and whether the check `key` must fire."""

    key: str
    name: str
    fires: bool
    sweep: Callable[[SimulatedClock], Sweep]
    about: str = ""  # only findings about this count


def cases() -> list[Case]:
    beyond = Bowl(optimum=(1.4, 0.5, 0.4, 0.5), weights=(1.0, 0.5, 0.5, 0.5))
    below = Bowl(optimum=(0.6, -0.4, 0.4, 0.5), weights=(0.5, 1.0, 0.5, 0.5))
    cliff = Bowl(optimum=(0.7, 0.5, 0.4, 0.5), cliff=True)
    two = Bowl(weights=(1.0, 1.0, 0.0, 0.0))
    noisy, clean = replace(two, noise=SIGMA), replace(two, noise=1e-5)
    flat = Bowl(weights=(0.0, 0.0, 0.0, 0.0), noise=SIGMA)
    better = Bowl(weights=(4.0, 4.0, 0.0, 0.0), noise=SIGMA / 5)
    again = {"finalists": 3, "confirmations": 3}
    epochs = Task.epochs(1 / 4, 1)
    found = []
    for searcher in (Random(), Tpe(), Sobol()):
        title = type(searcher).__name__
        found += [
            Case("edge", f"optimum beyond the upper end, {title}", True, _of(beyond, searcher=searcher), "rate"),
            Case("edge", f"optimum below the lower end, {title}", True, _of(below, searcher=searcher), "width"),
            Case("edge", f"optimum inside, any of 4 parameters, {title}", False, _of(Bowl(), searcher=searcher)),
            Case("edge", f"two of 4 do not matter, {title}", False, _of(two, searcher=searcher)),
            Case("influence", f"dropout has none, 60 trials, {title}", True, _of(_without(2), searcher=searcher, num_samples=60), "dropout"),
            Case("edge", f"a cliff before an optimum inside, {title}", False, _of(cliff, searcher=searcher)),
            Case("influence", f"all four matter, 60 trials, {title}", False, _of(Bowl(), searcher=searcher, num_samples=60)),
        ]  # fmt: skip
    found += [
        Case("noise", "noise of the seed, finalists", True, _of(noisy, **again), "runner-up"),
        Case("noise", "noise of each step, curves of 24", True, _of(replace(two, jitter=SIGMA), horizon=24), "runner-up"),
        Case("noise", "no noise, finalists", False, _of(clean, **again), "runner-up"),
        Case("noise", "no noise, curves of 24", False, _of(two, horizon=24), "runner-up"),
        Case("noise", "nothing better than the baseline, finalists", True, _of(flat, baseline=BASELINE, **again), "baseline"),
        Case("noise", "much better than the baseline, finalists", False, _of(better, baseline=BASELINE, **again), "baseline"),
        Case("copies", "the result does not depend on the seed", True, _of(Bowl(), horizon=4, **again)),
        Case("copies", "little noise of the seed", False, _of(clean, horizon=4, **again)),
        Case("rungs", "the first half tells nothing", True, _of(Bowl(), horizon=9, tells=0.0, scheduler=Asha(1, 3), num_samples=120)),
        Case("rungs", "the first half tells half", False, _of(Bowl(), horizon=9, tells=0.5, scheduler=Asha(1, 3), num_samples=120)),
        Case("rungs", "the first half tells all", False, _of(Bowl(), horizon=9, tells=1.0, scheduler=Asha(1, 3), num_samples=120)),
        Case("cheap_task", "tells nothing", True, _of(Bowl(), horizon=4, tells=0.0, searcher=Climb(), tasks=epochs, num_samples=75)),
        Case("cheap_task", "tells half", False, _of(Bowl(), horizon=4, tells=0.5, searcher=Climb(), tasks=epochs, num_samples=75)),
        Case("cheap_task", "tells all", False, _of(Bowl(), horizon=4, tells=1.0, searcher=Climb(), tasks=epochs, num_samples=75)),
        Case("failures", "70 % for one reason", True, _failing(0.3, 1)),
        Case("failures", "70 % for three reasons", False, _failing(0.3, 3)),
        Case("failures", "30 % for one reason", False, _failing(0.7, 1)),
        Case("overfitting", "all rise from 40 % on, curves of 24", True, _rising(1.0)),
        Case("overfitting", "three of four rise", True, _rising(0.75)),
        Case("overfitting", "one of four rises", False, _rising(0.25)),
        Case("overfitting", "the training loss rises, too", False, _rising(1.0, train_rises=True)),
        Case("overfitting", "noise of each step", False, _rising(0.0)),
        Case("overfitting", "noise of each step, four times as much", False, _rising(0.0, noise=4 * SIGMA)),
        Case("overfitting", "a slow drift", False, _rising(0.0, noise=0.0, wave=SIGMA)),
        Case("waiting", "5 s for each decision", True, lambda clock: sweep(two, clock, searcher=Slow(5.0, clock))),
        Case("waiting", "decisions take no time", False, _of(two)),
        Case("few_trials", "7 of 4 parameters", True, _of(two, num_samples=7)),
        Case("few_trials", "40 of 4 parameters", False, _of(two)),
        Case("baseline", "the baseline is the optimum", True, _of(two, baseline=SPACE.from_unit(np.array(MIDDLE)))),
        Case("baseline", "the baseline is far from it", False, _of(two, baseline=BASELINE)),
    ]  # fmt: skip
    return found


def _without(index: int) -> Bowl:
    weights = [1.0, 1.0, 1.0, 1.0]
    weights[index] = 0.0
    return Bowl(weights=tuple(weights))


def _of(bowl: Bowl, **changes: Any) -> Callable[[SimulatedClock], Sweep]:
    return lambda clock: sweep(bowl, clock, **changes)


def _failing(above: float, reasons: int) -> Callable[[SimulatedClock], Sweep]:
    function: Any = partial(fails, above=above, reasons=reasons)
    workload = FromFunction(function, metric="loss", mode="min", horizon=1)
    sound = [SPACE.from_unit(np.array([place, 0.5, 0.5, 0.5])) for place in (0.1, 0.2, 0.25)]
    return lambda clock: sweep(Bowl(), clock, workload=workload, points_to_evaluate=sound)


def _rising(share: float, **changes: Any) -> Callable[[SimulatedClock], Sweep]:
    function: Any = partial(rises, horizon=24, share=share, **changes)
    workload = FromFunction(function, metric="loss", mode="min", horizon=24, metrics=("loss", "train_loss"))
    return lambda clock: sweep(Bowl(), clock, workload=workload)


def findings(folder: Path, key: str) -> list[Finding]:
    """What the check of this key finds, as in `orchestrator show`; the others take their time for nothing here."""
    ledger = Ledger.read(folder)
    try:
        run = Recorded.of(ledger)
        return [found for check in CHECKS if check.__name__.startswith(key) for found in check(run)]
    finally:
        ledger.close()


def drive(folder: Path, described: Sweep, clock: SimulatedClock) -> None:
    ledger = Ledger.write(folder)
    try:
        driver = Driver(described, ledger, clock=clock)
        simulate(driver, clock, workers=1)  # of two, measured times would choose the order of the reports
        ledger_end(ledger)
        driver.close()
    finally:
        ledger.close()


def ledger_end(ledger: Ledger) -> None:
    """Note the end of the invocation, as `launch` does."""
    with ledger.transaction():
        ledger.add_event("state", "finished")


def outcome(case: Case, seed: int) -> tuple[bool, bool]:
    """Whether the check must fire, and whether it did."""
    clock = SimulatedClock()
    described = case.sweep(clock).changed(seed=derived_seed("reported", case.key, case.name, seed) % 2**31)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        folder = Path(place) / "run"
        drive(folder, described, clock)
        found = findings(folder, case.key)
        fired = any(each.key == case.key and each.about.startswith(case.about) for each in found)
        return case.fires, fired


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a rate."""
    z, rate = 1.96, hits / count
    centre, half = rate + z**2 / (2 * count), z * math.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return max(0.0, (centre - half) / (1 + z**2 / count)), min(1.0, (centre + half) / (1 + z**2 / count))


def row(case: Case, must: bool, fired: list[bool]) -> str:
    low, high = wilson(sum(fired), len(fired))
    wanted = "hit rate" if must else "false alarms"
    return f"| {case.key} | {case.name} | {wanted} | {sum(fired)} of {len(fired)} | {low:.0%} to {high:.0%} |"


def turning() -> Iterator[str]:
    """Of our recorded trainings (recorded_curves.py), how many have a curve that `overfitting` counts."""
    for path in sorted(FOLDER.glob("*.npz")):
        curves = [
            curve for curve in Recording.read(path).losses.astype(float).tolist() if all(map(math.isfinite, curve))
        ]
        turned = sum(turning_point(curve) is not None for curve in curves)
        yield f"recorded trainings, {path.stem}: {turned} of {len(curves)} curves turn"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--cases", default="", help="only cases whose check or name contains this text")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    print("| check | sweep | | fired | 95 % interval |\n| --- | --- | --- | --- | --- |")
    for case in cases():
        if given.cases and given.cases not in f"{case.key} {case.name}":
            continue
        outcomes = [outcome(case, seed) for seed in range(given.seeds)]
        for must in (True, False):
            fired = [did for truth, did in outcomes if truth is must]
            if fired:
                print(row(case, must, fired), flush=True)
    for told in turning() if given.cases in "overfitting" else ():
        print(told)


if __name__ == "__main__":
    main()
