"""Other libraries' optimisers in our race: the families, the clock and the rules of regret.py, by a harness's adapters.

    PYTHONPATH=. ENV/bin/python experiments/benchmarks/other_libraries.py --harness FOLDER --peer peers.syne_peers:DyHPOLight3 \\
        --name dyhpo --families resnet,lstm --data FOLDER --seeds 3 --until 0.25 --output runs/regret
    python experiments/benchmarks/other_libraries.py --harness FOLDER --families resnet,lstm --output runs/regret --show dyhpo

ENV is an environment with the library and numpy (each library needs its own; the harness's README names the versions).
The rows go into the same regret.csv as regret.py's, so that --show has them beside ours, over the seeds that all have.

An adapter has `suggest(now)`, `started`, `report` and `finished`; see peer.py, which is the other way round. It knows the
names, ranges, logarithms and types of the parameters; powers of two are the exponents to it, choices their numbers. A loss that is not finite
reads as half again the largest first loss of 64 random configurations, and its training goes on until the optimiser
stops it; ours ends there by itself.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import importlib
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fleet
import numpy as np
import standing
from curves import Curve, Problem
from race import Outcome, regrets_of

from search.domain.parameters import Choice, Float, Int, Pow2
from search.records import Config
from search.space import Space

OURS = ("multitask", *standing.REFERENCES)


class View:
    """A space as the harness describes it: `params`, each with name, type, low, high and log; and `names`."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.params = [_described(name, parameter) for name, parameter in space.parameters.items()]
        self.names = [given["name"] for given in self.params]

    def config(self, given: Mapping[str, Any]) -> Config:
        return {name: self._plain(name, given[name]) for name in self.names}

    def _plain(self, name: str, value: Any) -> Any:
        parameter = self._space.parameters[name]
        if isinstance(parameter, Choice):
            return parameter.options[round(value)]
        return 2 ** round(value) if isinstance(parameter, Pow2) else parameter.plain(value)

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """As the harness's own random search draws."""
        return self.from_unit(rng.uniform(size=len(self.params)))

    def from_unit(self, unit: Sequence[float]) -> dict[str, Any]:
        values = {}
        for given, share in zip(self.params, unit, strict=True):
            low, high = (math.log(given[end]) if given["log"] else given[end] for end in ("low", "high"))
            value = low + float(share) * (high - low)
            value = math.exp(value) if given["log"] else value
            values[given["name"]] = (
                round(value) if given["type"] == "int" else min(max(value, given["low"]), given["high"])
            )
        return values


def _described(name: str, parameter: Any) -> dict[str, Any]:
    if isinstance(parameter, Pow2):
        low, high = parameter.exponents
        return {"name": name, "type": "int", "low": low, "high": high, "log": False}
    if isinstance(parameter, Choice):
        return {"name": name, "type": "int", "low": 0, "high": len(parameter.options) - 1, "log": False}
    if not isinstance(parameter, (Float, Int)):
        raise ValueError(f"{name} is no number, and the adapters know numbers only")
    kind = "int" if isinstance(parameter, Int) else "float"
    return {"name": name, "type": kind, "low": parameter.low, "high": parameter.high, "log": parameter.log}


def broken(problem: Problem) -> float:
    """What a loss that is not finite reads as."""
    rng = np.random.default_rng(0)
    first = [float(problem.curve(problem.space.sample(rng)).losses[0]) for _ in range(64)]
    return 1.5 * max(loss for loss in first if math.isfinite(loss))


def raced(problem: Problem, view: View, optimiser: Any, *, workers: int, seconds: float) -> Outcome:
    """Run `optimiser` on `problem` for `seconds` of simulated time."""
    outcome, now, bad = Outcome(), 0.0, broken(problem)
    free = list(range(workers))
    curves: list[Curve] = []
    steps: list[int] = []
    under_way: list[tuple[float, int, int]] = []  # heap: end of the step, worker, trial

    def launch(worker: int, number: int) -> None:
        heapq.heappush(under_way, (now + float(curves[number].cost_seconds[steps[number]]), worker, number))

    def feed() -> None:
        while free:
            began = time.process_time()
            suggested = optimiser.suggest(now)
            if suggested is None:
                return
            kind, given = suggested
            if kind == "start":
                given = dict(given)
                curves.append(problem.curve(view.config(given)))
                steps.append(0)
                optimiser.started(len(curves) - 1, given)
            outcome.decision_seconds += time.process_time() - began
            outcome.decisions += 1
            outcome.trials += kind == "start"
            outcome.resumes += kind != "start"
            launch(free.pop(0), len(curves) - 1 if kind == "start" else given)

    feed()
    while under_way and under_way[0][0] <= seconds:
        now, worker, number = heapq.heappop(under_way)
        curve, step = curves[number], steps[number]
        loss = float(curve.losses[step])
        truth = loss if curve.truth is None else float(curve.truth[step])
        steps[number] = step = step + 1
        is_full = step == problem.horizon
        outcome.record(now, loss, truth, is_full=is_full)
        outcome.complete += is_full
        began, shown = time.process_time(), loss if math.isfinite(loss) else bad
        verdict = optimiser.report(number, step, shown, now)
        if is_full:
            optimiser.finished(number, step, shown)
        outcome.decision_seconds += time.process_time() - began
        if verdict == "continue" and not is_full:
            launch(worker, number)
        else:
            free.append(worker)
            free.sort()
            feed()
    return outcome


def rows_of(given: argparse.Namespace, families: Mapping[str, Sequence[Problem]]) -> Iterator[dict[str, Any]]:
    """The missing rows, one after the other."""
    sys.path.insert(0, str(given.harness))
    module, _, name = given.peer.partition(":")
    make = getattr(importlib.import_module(module), name)
    there = {(row["task"], row["method"], int(row["seed"])) for row in known(given.output)}
    for seed in range(given.seeds):
        for family, problems in families.items():
            for problem in problems:
                if (problem.name, given.name, seed) in there:
                    continue
                view, began = View(problem.space), time.perf_counter()
                optimiser = make(view, problem.horizon, seed=seed)
                seconds = given.evals * problem.full_cost / given.workers
                outcome = raced(problem, view, optimiser, workers=given.workers, seconds=given.until * seconds)
                head = {
                    "family": family, "task": problem.name, "method": given.name, "settings": given.peer, "seed": seed,
                    "workers": given.workers, "evals": given.evals, "resume_charge": 0.0, "until": given.until,
                }  # fmt: skip
                yield {
                    **head,
                    **regrets_of(problem, outcome, seconds, given.until),
                    "trials": outcome.trials, "complete": outcome.complete, "resumes": outcome.resumes,
                    "cpu_ms_per_suggestion": round(1e3 * outcome.decision_seconds / max(1, outcome.decisions), 3),
                    "wall_s": round(time.perf_counter() - began, 2), "any_trace": "", "full_trace": "",
                }  # fmt: skip


def known(folder: Path) -> list[dict[str, Any]]:
    file = folder / "regret.csv"
    return list(csv.DictReader(file.open(newline=""))) if file.exists() else []


def show(given: argparse.Namespace, families: Mapping[str, Sequence[Problem]]) -> None:
    """Beside ours and random with ASHA, over the seeds and tasks that all of them have."""
    names = [*given.show, *OURS]
    rows = [row for row in known(given.output) if row["family"] in families and row["method"] in names]
    if given.baselines:
        have = {(row["task"], row["method"], row["seed"]) for row in rows}
        more = [row for row in known(given.baselines) if row["family"] in families and row["method"] in names]
        rows += [row for row in more if (row["task"], row["method"], row["seed"]) not in have]
    of: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        of.setdefault((row["task"], row["seed"]), set()).add(row["method"])
    rows = [row for row in rows if of[row["task"], row["seed"]] == set(names)]
    shares = [share for share in standing.PRINTED if share <= given.until]
    splits = {name: fleet.FAMILIES[name].split for name in families}
    standing.show(rows, names, ["any", "full"], shares, splits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harness", type=Path, required=True, help="the folder that has the adapters")
    parser.add_argument("--peer", help="module:class of an adapter")
    parser.add_argument("--name", help="the method's name in the rows")
    parser.add_argument("--families", required=True, help=f"of {', '.join(fleet.FAMILIES)}")
    parser.add_argument("--tasks", help="only these, by name")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--evals", type=float, default=50.0)
    parser.add_argument("--until", type=float, default=0.25)
    parser.add_argument("--output", type=Path, default=Path("runs/regret"))
    parser.add_argument("--baselines", type=Path, help="another folder with rows of ours")
    parser.add_argument("--show", nargs="+", help="print the tables of these methods, and run nothing")
    given = parser.parse_args()
    found, missing = fleet.load(given.families.split(","), fleet.Sources(given.data, given.harness))
    for name, why in missing.items():
        print(f"{name} is left out: {why}.")
    if given.tasks:
        found = {name: [p for p in problems if p.name in given.tasks.split(",")] for name, problems in found.items()}
    if given.show:
        show(given, found)
        return
    if not given.peer or not given.name:
        parser.error("give --peer and --name, or --show")
    given.output.mkdir(parents=True, exist_ok=True)
    file = given.output / "regret.csv"
    for row in rows_of(given, found):
        standing.append(file, row)
        print(f"{row['task']} seed {row['seed']}: {row['any_0.10']} {row['any_0.25']}, {row['wall_s']} s", flush=True)


if __name__ == "__main__":
    main()
