"""Do two versions of search/ decide alike? Every decision on a fixed set of histories, to the last bit.

    python experiments/benchmarks/same_decisions.py dump before.json   # on one commit, about five minutes
    python experiments/benchmarks/same_decisions.py dump after.json    # on the other
    python experiments/benchmarks/same_decisions.py compare before.json after.json

Histories  drawn at random (trials of every status, tasks, strangers from an older space, broken losses), and searches
           that were carried out: every searcher, every scheduler, tasks, forks, failures, priors, an earlier sweep.
Compared   decisions (configurations by the `repr` of their numbers, steps, tasks, origins, verdicts) must be equal. The
           words beside them (evidence, notes) may differ: they are counted.
To add     a searcher or a scheduler: one line in `searchers` or `schedulers`.

Classes are found by their names wherever they are, so that two commits with other modules can be compared.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import search

HORIZON = 9
JSON = dict[str, Any]


def _everything() -> dict[str, Any]:
    """All public names of search/ and of the trainables' estimate of the next rate."""
    names = [module.name for module in pkgutil.walk_packages(search.__path__, "search.")]
    found: JSON = {}
    for name in names:
        module = importlib.import_module(name)
        own = {key: value for key, value in vars(module).items() if getattr(value, "__module__", "") == name}
        found |= {key: value for key, value in own.items() if not key.startswith("_")}
    return found


S = _everything()


def _next_rate() -> Callable[..., float]:
    for name in ("trainables.estimates.next_rate", "trainables.estimates.next_rate"):
        try:
            function: Callable[..., float] = importlib.import_module(name).next_rate
        except ModuleNotFoundError:
            continue
        return function
    raise SystemExit("same_decisions.py: there is no next_rate in trainables; say in this file where it is.")


def spaces() -> dict[str, Any]:
    space, uniform, log, when = S["Space"], S["uniform"], S["loguniform"], S["when"]
    return {
        "continuous": space({"x": uniform(-1, 2), "lr": log(1e-4, 1), "z": uniform(0, 1)}),
        "mixed": space(
            {
                "lr": log(1e-5, 1), "layers": S["randint"](1, 4), "width": S["lograndint"](8, 64),
                "batch": S["pow2"](16, 256), "act": S["choice"](["relu", "tanh", None]), "epochs": 9,
            }
        ),
        "conditional": space(
            {
                "momentum": when(uniform(0, 0.9), optimizer=("sgd", "rmsprop")),
                "nesterov": when(S["choice"]([True, False]), optimizer="sgd"),
                "optimizer": S["choice"](["sgd", "rmsprop", "adam"]),
                "lr": log(1e-4, 1),
            }
        ),
        "constrained": space(
            {"batch": S["pow2"](16, 1024), "length": S["randint"](16, 512), "x": uniform(0, 1)},
            {"fits in memory": lambda c: c["batch"] * c["length"] <= 16384},
        ),
        "finite": space({"a": S["choice"](["x", "y"]), "n": S["randint"](1, 3), "b": S["pow2"](1, 4)}),
        "priors": space({"lr": log(1e-5, 1).prior(1e-2, confidence=0.5), "x": uniform(0, 1)}),
    }  # fmt: skip


def searchers() -> dict[str, Any]:
    sigopt = S["SigOptSearch"] if "SigOptSearch" in S else lambda **k: S["MultitaskSearch"](rule="sigopt", **k)
    return {
        "random": S["Random"](),
        "sobol": S["Sobol"](),
        "grid": S["Grid"](resolution=3),
        "tpe": S["Tpe"](n_startup_trials=4),
        "gp": S["GaussianProcess"](n_startup_trials=4),
        "bayes": S["BayesSearch"](n_initial=4),
        "bohb": S["BohbSearch"](),
        "cmaes": S["CmaEs"](),
        "multitask": S["MultitaskSearch"](n_initial=4),
        "multitask-stop": S["MultitaskSearch"](n_initial=3, stop_below=0.02, full=0.5),
        "sigopt": sigopt(n_initial=4),
        "pbt": S["PopulationBasedTraining"](population=4, interval=2),
        "pb2": S["Pb2"](population=4, interval=2),
    }


def schedulers() -> dict[str, Any]:
    return {
        "asha": S["Asha"](reduction_factor=2),
        "asha-promote": S["AshaPromote"](reduction_factor=2),
        "hyperband": S["Hyperband"](),
        "hyperband-synchronous": S["Hyperband"](synchronous=True),
        "median": S["Median"](min_trials=2),
    }


def loss_of(config: JSON, step: int) -> float:
    """Any number, the same for the same configuration."""
    parts = (math.log(abs(value) + 1e-3) if isinstance(value, float) else len(repr(value)) for value in config.values())
    return abs(sum(parts)) + 1 / step


def drawn(space: Any, *, seed: int, trials: int, tasks: Any = (), earlier: Any = ()) -> Any:
    """A history of trials of every status, with resumed ones, tasks, strangers from an older space, broken losses."""
    rng = np.random.default_rng(seed)
    history = S["History"](space, horizon=HORIZON, seed=seed, tasks=tasks, earlier=earlier)
    cheap = [task.name for task in tasks if not task.resumes] or ["cheap"]
    status = S["Status"]
    for _ in range(trials):
        config = {"of_an_older_space": 3} if rng.random() < 0.05 else space.sample(rng)
        task = str(rng.choice(cheap)) if rng.random() < 0.3 else "full"
        trial = history.append(S["start"](config, task=task, origin=str(rng.choice(["random", "initial", "model"]))))
        outcome = str(rng.choice(["completed", "stopped", "resumed", "running", "diverged", "failed"],
                                 p=[0.4, 0.25, 0.1, 0.05, 0.1, 0.1]))  # fmt: skip
        whole = history.steps(task)
        steps = whole if outcome == "completed" else int(rng.integers(0, whole))
        for step in range(1, steps + 1):
            loss = loss_of(config, step) + rng.normal() / 10
            history.append(S["Report"](trial.number, step, loss, cost_seconds=float(rng.random() + 0.1)))
        if outcome == "completed":
            history.append(S["End"](trial.number, status.COMPLETED))
        elif outcome in ("stopped", "resumed"):
            history.append(S["End"](trial.number, status.STOPPED))
            if outcome == "resumed":
                history.append(S["resume"](trial, until=whole))
        elif outcome == "diverged":
            history.append(S["Report"](trial.number, steps + 1, float(rng.choice([math.nan, math.inf, 1e300]))))
            history.append(S["End"](trial.number, status.DIVERGED, "broken loss"))
        elif outcome == "failed":
            history.append(S["End"](trial.number, status.FAILED, "out of memory"))
    return history


def told(answer: Any) -> JSON:
    """A decision, and the words beside it."""
    if answer is None:
        return {"decision": None}
    if not hasattr(answer, "config"):
        return {"decision": "enough", "words": answer.reason}
    fields = ("kind", "trial", "until", "task", "origin", "parent", "parent_step", "replaces")
    decision = {name: getattr(answer, name) for name in fields}
    notes = repr([getattr(answer, name, "") for name in ("evidence", "memo", "notes")])
    return {"decision": decision | {"config": repr(sorted(answer.config.items()))}, "words": notes}


def carried_out(
    searcher: Any, scheduler: Any, history: Any, *, seed: int, decisions: int, broken: Callable[[JSON], bool]
) -> Iterator[JSON]:
    """Three workers; who reports next is drawn. Yields every suggestion, verdict and what may be forked."""
    rng = np.random.default_rng(seed)
    status, made = S["Status"], 0
    running: list[Any] = []
    while True:
        while len(running) < 3 and made < decisions:
            answer = scheduler.promote(history) if scheduler else None
            if answer is None and (history.room or searcher.continues):
                answer = searcher.suggest(history)
            yield told(answer) | {"forkable": sorted(searcher.forkable(history))}
            made += 1
            if answer is None or not hasattr(answer, "config") or not history.allows(answer):
                break
            running.append(history.append(answer))
        if not running:
            break
        trial = running[int(rng.integers(len(running)))]
        step, draw = max(trial.step, trial.began) + 1, rng.random()
        loss = loss_of(trial.config, step) + 0.05 * rng.normal()
        whole = history.steps(trial.task)
        end = None
        if draw < 0.01 or (broken(trial.config) and draw < 0.5):
            end = status.FAILED if draw < 0.25 else status.DIVERGED
            if end is status.DIVERGED:
                history.append(S["Report"](trial.number, step, math.nan))
        else:
            history.append(S["Report"](trial.number, step, loss, cost_seconds=1.0 + float(rng.random())))
            if step >= whole:
                end = status.COMPLETED
            elif step >= min(trial.suggestion.until or whole, whole):
                end = status.STOPPED
            elif scheduler is not None:
                verdict = scheduler.judge(trial, history)
                yield {"decision": [trial.number, step, verdict.value]}
                end = status.STOPPED if verdict.value == "stop" else None
        if end is not None:
            history.append(S["End"](trial.number, end))
            running.remove(trial)
    best = S["winner"](history)
    yield {"decision": ["winner", None if best is None else best.number]} | {"then": told(S["confirm"](history, 2, 2))}


def groups() -> Iterator[tuple[str, Callable[[], list[JSON]]]]:
    """Everything that is decided, group by group."""
    coarse, data = S["Task"].epochs(0.3, 1.0), S["Task"].data(0.1, 0.4, 1.0)
    for name, searcher in searchers().items():
        for where, space in spaces().items():
            if _refuses(searcher, space):
                continue
            for seed, trials in enumerate((0, 7, 25, 60)):
                tasks = data if seed == 2 else ()
                earlier = [drawn(space, seed=90, trials=20)] if seed == 3 else []

                def asked(searcher: Any = searcher, space: Any = space, seed: int = seed, trials: int = trials,
                          tasks: Any = tasks, earlier: Any = earlier) -> list[JSON]:  # fmt: skip
                    history = drawn(space, seed=seed, trials=trials, tasks=tasks, earlier=earlier)
                    return [told(searcher.suggest(history))]

                yield f"{name} on {where}, {trials} drawn trials", asked
    for name, searcher in searchers().items():
        for where, space in spaces().items():
            if where not in ("continuous", "conditional", "priors") or _refuses(searcher, space):
                continue
            many = 40 if name in ("gp", "bayes") or "multitask" in name or name == "sigopt" else 90
            plans = [("alone", (), None), *([("data", data, None), ("coarse", coarse, None)] if many == 40 else [])]
            for how, tasks, scheduler in plans:

                def run(searcher: Any = searcher, space: Any = space, tasks: Any = tasks, scheduler: Any = scheduler,
                        many: int = many, where: str = where) -> list[JSON]:  # fmt: skip
                    history = S["History"](space, horizon=HORIZON, seed=3, tasks=tasks, limit=30)
                    breaks = (lambda c: c.get("lr", 0) > 0.1) if where != "priors" else (lambda c: False)
                    return list(carried_out(searcher, scheduler, history, seed=5, decisions=many, broken=breaks))

                yield f"{name} carried out on {where}, {how}", run
    for name, scheduler in schedulers().items():
        for base in ("random", "tpe", "bohb"):

            def halving(scheduler: Any = scheduler, base: str = base) -> list[JSON]:
                history = S["History"](spaces()["mixed"], horizon=27, seed=1, limit=60)
                searcher = searchers()[base]
                return list(carried_out(searcher, scheduler, history, seed=2, decisions=120, broken=lambda c: False))

            yield f"{base} with {name}", halving
    for name in ("multitask", "bayes", "sigopt", "pbt", "pb2"):

        def long(name: str = name) -> list[JSON]:
            history = S["History"](spaces()["continuous"], horizon=40, seed=8)
            searcher = searchers()[name]
            return list(carried_out(searcher, None, history, seed=8, decisions=90, broken=lambda c: c["x"] > 1.9))

        yield f"{name}, ninety decisions", long
    yield "the next rate", rates


def rates() -> list[JSON]:
    next_rate, rng, found = _next_rate(), np.random.default_rng(0), []
    for _ in range(40):
        tried: list[tuple[float, float]] = [(0.01, 1.0)]
        for kappa in (1000.0, 1000.0, 2.0, 2.0, 1.0, 0.5):
            rate = next_rate(tried, 1e-4, 1.0, kappa)
            found.append({"decision": repr(rate)})
            tried.append((rate, math.nan if rng.random() < 0.1 else (math.log10(rate) + 2) ** 2 + rng.normal() / 5))
    return found


def _refuses(searcher: Any, space: Any) -> bool:
    try:
        searcher.check(space)
    except ValueError:
        return True
    return False


def dump(path: Path, only: str) -> None:
    found = {}
    for name, decide in groups():
        if only in name:
            found[name] = decide()
            print(f"{len(found[name]):4} decisions: {name}", file=sys.stderr, flush=True)
    path.write_text(json.dumps(found, indent=0))
    print(f"{sum(map(len, found.values()))} decisions in {len(found)} groups: {path}")


def compare(first: Path, second: Path) -> int:
    """The number of groups that differ in a decision."""
    one, two = json.loads(first.read_text()), json.loads(second.read_text())
    different, words, total = 0, 0, 0
    for name in [*one, *(name for name in two if name not in one)]:
        if name not in one or name not in two:
            print(f"only in {first if name in one else second}: {name}")
            continue
        pairs = list(zip(one[name], two[name], strict=False))
        total += len(pairs)
        words += sum(a.get("words") != b.get("words") for a, b in pairs)
        apart = [index for index, (a, b) in enumerate(pairs) if _without_words(a) != _without_words(b)]
        if apart or len(one[name]) != len(two[name]):
            different += 1
            print(f"different: {name}: {len(one[name])} and {len(two[name])} decisions", end="")
            print(f", the first at {apart[0]}: {pairs[apart[0]]}" if apart else "")
    print(f"{total} decisions, {different} groups with another decision, {words} with other words")
    return different


def _without_words(told: JSON) -> JSON:
    then = told.get("then")
    return {key: value for key, value in told.items() if key not in ("words", "then")} | {
        "then": None if then is None else then["decision"]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["dump", "compare"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--only", default="", help="groups whose name contains this")
    given = parser.parse_args()
    if len(given.paths) != (1 if given.what == "dump" else 2):
        parser.error("dump takes one file, compare takes two.")
    if given.what == "dump":
        dump(given.paths[0], given.only)
    else:
        sys.exit(1 if compare(*given.paths) else 0)


if __name__ == "__main__":
    main()
