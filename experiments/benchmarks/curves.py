"""Learning curves to search on without any training: a made-up family, and recorded tables.

`made_up` is a family of six-parameter trainings with what makes real ones hard: a curved valley between learning
rate, momentum and batch size; curves that cross (what is regularised learns slowly and ends well); a bias of the
first epochs towards narrow networks; costs that differ tenfold; noise with spikes from a heavy tail; and, beyond an
edge of the learning rate, divergence, mostly at once and sometimes late. A task is a seed; a configuration of a task
always has the same curve.

`tables` reads recorded runs from a folder; see `Table`. `schedules` and `surrogates` read two public sets.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from peer import space_of

from search.contract import derived_seed
from search.records import Config
from search.space import Float, Int, Space, lograndint, loguniform, pow2, uniform

Vector = NDArray[np.float64]

SPACE = Space(
    {
        "learning_rate": loguniform(1e-5, 1.0),
        "momentum": uniform(0.0, 0.99),
        "weight_decay": loguniform(1e-6, 0.1),
        "batch_size": pow2(16, 512),
        "width": lograndint(16, 1024),
        "dropout": uniform(0.0, 0.8),
    }
)
TENTHS = 10  # steps of a schedule
RATE, MOMENTUM, DECAY, BATCH, WIDTH, DROPOUT = range(6)


class Losses(Protocol):
    """One for each step: an array, or what computes them."""

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True)
class Curve:
    """What one configuration shows: loss after and cost of step 1, 2, …; NaN from where it diverged.

    `truth` is the loss without noise, where it is known: the search sees `losses`, regret counts `truth`.
    """

    losses: Losses
    cost_seconds: Vector
    truth: Losses | None = None


class Problem(Protocol):
    """Something to search. Regret is 0 at the loss `best` and 1 at `typical`, a random full training's."""

    @property
    def name(self) -> str: ...

    @property
    def space(self) -> Space: ...

    @property
    def horizon(self) -> int: ...

    @property
    def best(self) -> float: ...

    @property
    def typical(self) -> float: ...

    @property
    def full_cost(self) -> float:
        """Mean cost in seconds of the full training of a random configuration."""

    def curve(self, config: Config) -> Curve: ...


@dataclass(frozen=True)
class MadeUp:
    """One task of the made-up family. U: (configurations, 6), unit cube, in the order of SPACE."""

    task: int
    horizon: int = 27
    space: Space = field(default=SPACE, repr=False)

    @property
    def name(self) -> str:
        return f"made up {self.task}"

    @cached_property
    def best(self) -> float:
        """The lowest loss without noise at the horizon: random points, then smaller and smaller steps around the best."""
        rng = np.random.default_rng(derived_seed("best", self.task))
        points = rng.random((4096, 6))
        for width in (0.1, 0.05, 0.02, 0.01, 0.005):
            points = points[np.argsort(self.expected(points)[:, -1])[:64]]
            nearby = points[:, None, :] + width * rng.standard_normal((64, 32, 6))
            points = np.concatenate([points, np.clip(nearby.reshape(-1, 6), 0.0, 1.0)])
        return float(self.expected(points)[:, -1].min())

    @cached_property
    def typical(self) -> float:
        finals = [curve.losses[-1] for curve in self._random]
        return float(np.median(np.nan_to_num(finals, nan=self._start)))

    @cached_property
    def full_cost(self) -> float:
        return float(np.mean([curve.cost_seconds.sum() for curve in self._random]))

    def curve(self, config: Config) -> Curve:
        unit = self.space.to_unit(config)
        rng = np.random.default_rng(derived_seed("curve", self.task, sorted(config.items())))
        height, steps = self._start - self._floor, self.horizon
        losses = self.expected(unit[None])[0] + 0.004 * height * rng.standard_normal(steps)
        spikes = 0.05 * height * rng.pareto(1.5, steps)
        losses += np.where(rng.random(steps) < 0.04, np.minimum(spikes, 100.0), 0.0)
        beyond = self._rate(unit) - self._edge
        diverges = rng.random() < 1 / (1 + math.exp(-30 * min(max(beyond, -1.0), 1.0)))
        step = 1 + 2 * rng.pareto(0.7)  # when: half of them within three steps, a fifth after ten
        if diverges and step <= steps:
            losses[int(step) - 1 :] = np.nan
        seconds = (0.2 + config["width"] / 256) * (128 / config["batch_size"]) ** 0.5 * rng.lognormal(0.0, 0.1)
        return Curve(losses, np.full(steps, seconds))

    def expected(self, units: Vector) -> Vector:
        """(configurations, horizon): the losses without noise and divergence."""
        share = np.arange(1, self.horizon + 1) / self.horizon
        places = units.copy()
        places[:, RATE] = self._rate(units)
        distance = ((places - self._optimum) ** 2 * self._weights).sum(axis=1)
        final = self._floor + (self._start - self._floor) * (1 - np.exp(-distance))
        slow = np.maximum(self._optimum[RATE] - places[:, RATE], 0.0) * 3 + units[:, DECAY] + units[:, DROPOUT]
        scale = 0.01 * np.exp(2.0 * slow)  # share of the horizon in which the curve falls by half
        falling = (1 + share / scale[:, None]) ** -1.2
        bias = 0.4 * units[:, [WIDTH]] * (1 - share) ** 2  # narrow networks look good at first
        return np.asarray(final[:, None] + (self._start - final[:, None]) * np.minimum(falling + bias, 1.0))

    def _rate(self, units: Vector) -> Any:
        """The effective learning rate: momentum multiplies it, a large batch divides it."""
        return units[..., RATE] + 0.35 * (units[..., MOMENTUM] - 0.5) - 0.25 * (units[..., BATCH] - 0.5)

    @cached_property
    def _shape(self) -> tuple[Vector, Vector, float, float]:
        rng = np.random.default_rng(derived_seed("shape", self.task))
        optimum = rng.uniform(0.25, 0.75, 6)
        weights = np.array([9.0, *rng.permutation([4.0, 2.0, 1.0, 0.5, 0.2])])  # few parameters matter much
        floor = rng.uniform(0.05, 0.3)
        return optimum, weights, floor, floor + rng.uniform(0.4, 0.7)

    @property
    def _optimum(self) -> Vector:
        return self._shape[0]

    @property
    def _weights(self) -> Vector:
        return self._shape[1]

    @property
    def _floor(self) -> float:
        return self._shape[2]

    @property
    def _start(self) -> float:
        """The loss of a network that has learned nothing."""
        return self._shape[3]

    @property
    def _edge(self) -> float:
        return float(self._optimum[RATE]) + 0.2

    @cached_property
    def _random(self) -> list[Curve]:
        rng = np.random.default_rng(derived_seed("random", self.task))
        return [self.curve(self.space.sample(rng)) for _ in range(512)]


@dataclass(frozen=True)
class Table:
    """Recorded runs of random configurations; a proposal is answered by the nearest row in the unit cube.

    A folder holds `space.json`, a list of {"name", "type": "int" | "float", "low", "high", "log"}, and one `.npz`
    for each task, with the arrays (n runs, p parameters, s steps):

        configs         (n, p)    in the order of space.json
        val             (n, 1+s)  validation loss before training and after each step, or
        val_err         (n, s)    … after each step
        cost            (n, 1+s)  seconds of each step (column 0 is not read), or
        cost_per_epoch  (n,)      the same for all steps of a run; neither: every step costs 1

    What diverged reads as 1.5 times the median loss before training (or after the first step), as does all beyond.
    """

    name: str
    space: Space
    units: Vector  # (n, p)
    losses: Vector  # (n, s)
    cost_seconds: Vector  # (n, s)

    @property
    def horizon(self) -> int:
        return int(self.losses.shape[1])

    @cached_property
    def best(self) -> float:
        return float(np.nanmin(self.losses))

    @cached_property
    def typical(self) -> float:
        return float(np.median(np.nan_to_num(self.losses[:, -1], nan=np.nanmax(self.losses))))

    @cached_property
    def full_cost(self) -> float:
        return float(self.cost_seconds.sum(axis=1).mean())

    def row(self, config: Config) -> int:
        """The run that is nearest to `config`."""
        return int(((self.units - self.space.to_unit(config)) ** 2).sum(axis=1).argmin())

    def curve(self, config: Config) -> Curve:
        row = self.row(config)
        return Curve(self.losses[row], self.cost_seconds[row])


def made_up(count: int) -> list[MadeUp]:
    """The first tasks of the family."""
    return [MadeUp(task) for task in range(count)]


def tables(folder: Path) -> list[Table]:
    """All tables of a folder, in order of their names; raises ValueError if there is none."""
    description = folder / "space.json"
    if not description.is_file():
        raise ValueError(
            f"{folder}: has no space.json; give a folder of tables, as described in {Path(__file__).name}."
        )
    space = space_of(json.loads(description.read_text()))
    found = [table for path in sorted(folder.glob("*.npz")) if (table := _read(path, space)) is not None]
    if not found:
        raise ValueError(f"{folder}: no .npz with the arrays configs and val or val_err; see {Path(__file__).name}.")
    return found


class Surrogate:
    """A data set of LCBench, by the surrogate of another harness; the losses of a curve are computed when first read."""

    def __init__(self, problem: Any) -> None:
        self._problem = problem
        self.name = str(problem.name)
        self.space = space_of(problem.space.params)
        self.horizon = int(problem.max_epoch)
        self.best = float(problem.best)
        self.typical = float(problem.median)
        self.full_cost = float(problem.full_cost)

    def curve(self, config: Config) -> Curve:
        curve = self._problem.curve(config)
        return Curve(OnDemand(curve), np.asarray(curve.cost, dtype=np.float64)[: self.horizon])


@dataclass(frozen=True)
class OnDemand:
    """The losses of a curve of that harness, by the index of the step."""

    curve: Any

    def __getitem__(self, index: int) -> float:
        return float(self.curve.at(index + 1)[0])


def surrogates(harness: Path, folder: Path) -> list[Surrogate]:
    """The data sets of LCBench in `folder`, read by the module `sim` of the harness, in order of their names."""
    for file in (harness / "sim.py", folder / "reference.json"):
        if not file.is_file():
            raise ValueError(f"{file} is missing; give the folders of the harness and of its surrogate of LCBench.")
    if str(harness) not in sys.path:
        sys.path.insert(0, str(harness))
    sim = importlib.import_module("sim")
    names = sorted(json.loads((folder / "reference.json").read_text()))
    return [Surrogate(sim.LCBenchProblem(name, str(folder))) for name in names]


def schedules(folder: Path) -> list[Table]:
    """The two sets of opda (Lourie; CC BY-SA 4.0), in which the length of the training is searched as well.

    A step is a tenth of a run's own schedule, with the error of its last evaluation (before the first, that of
    guessing); NaN from where it diverged. A step costs its part of the run's seconds (AlexNet: epochs times the
    median epoch), or of the samples that it sees. Raises ValueError if the files are not there.
    """
    try:
        return [_alexnet(folder / "alexnet_imagenet.npz"), _deberta(folder / "deberta_base_mnli.npz")]
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: {error.filename} is missing; give the folder of opda's recorded runs.") from error


def _alexnet(path: Path) -> Table:
    arrays = np.load(path)
    given = dict(zip(arrays["columns"].tolist(), arrays["configs"].T, strict=True))
    epochs, n_recorded = given["epochs"], arrays["n_recorded"]
    space = Space(
        {
            "epochs": Int(20, 100),
            "batch_size": pow2(128, 1024),
            "lr": loguniform(5e-3, 50.0),
            "peak": uniform(0.0, 0.8),  # of the schedule
            "momentum": uniform(0.7, 1.0),
            "weight_decay": loguniform(1e-6, 1e-3),
            "label_smoothing": uniform(0.0, 0.5),
        }
    )
    columns = {**given, "peak": given["lr_peak_epoch"] / epochs}
    ends = np.floor(np.outer(epochs, np.arange(1, TENTHS + 1)) / TENTHS).astype(int)  # epochs done at each step
    top1 = np.concatenate([np.full((len(epochs), 1), 1 / 1000), arrays["top1"]], axis=1)
    losses = 1 - np.take_along_axis(top1, ends, axis=1).astype(float)
    losses[arrays["nan_train_loss"][:, None] & (ends > n_recorded[:, None])] = np.nan
    seconds = np.diff(arrays["time"], prepend=0.0, axis=1)
    usual = float(np.nanmedian(seconds))
    each = np.array([np.nanmedian(row) if np.isfinite(row).any() else usual for row in seconds])
    return _scheduled("alexnet", space, columns, losses, epochs * each)


def _deberta(path: Path) -> Table:
    arrays = np.load(path)
    given = dict(zip(arrays["columns"].tolist(), arrays["configs"].T, strict=True))
    total = given["total_model_steps"]
    space = Space(
        {
            "num_train_epochs": Int(1, 4),
            "train_batch_size": Int(16, 64),
            "learning_rate": loguniform(1e-6, 1e-3),
            "warm_up": uniform(0.0, 0.6),  # of the schedule
            "cls_drop_out": uniform(0.0, 0.3),
        }
    )
    columns = {**given, "warm_up": given["warmup_steps"] / total}
    losses = np.full((len(total), TENTHS), 2 / 3)
    for row, (steps, right) in enumerate(zip(arrays["step"], arrays["acc_matched"], strict=True)):
        steps = steps[steps > 0]
        for tenth in range(TENTHS):
            done = int(np.searchsorted(steps, total[row] * (tenth + 1) / TENTHS, side="right"))
            if done:
                losses[row, tenth] = 1 - right[done - 1]
    return _scheduled("deberta", space, columns, losses, total * given["train_batch_size"])


def _scheduled(name: str, space: Space, columns: dict[str, Vector], losses: Vector, costs: Vector) -> Table:
    rows = np.stack([columns[parameter] for parameter in space.parameters], axis=1)
    units = np.array([space.to_unit(_config(row, space)) for row in rows.tolist()])
    return Table(name, space, units, losses, np.repeat(costs[:, None] / TENTHS, TENTHS, axis=1))


def _read(path: Path, space: Space) -> Table | None:
    arrays = np.load(path)
    if "configs" not in arrays or not {"val", "val_err"} & set(arrays):
        return None
    has_start = "val" in arrays
    losses = np.asarray(arrays["val" if has_start else "val_err"], dtype=np.float64)
    cap = 1.5 * float(np.nanmedian(losses[:, 0]))
    losses = np.minimum(np.nan_to_num(losses, nan=cap, posinf=cap), cap)[:, 1 if has_start else 0 :]
    if "cost" in arrays:
        costs = np.asarray(arrays["cost"], dtype=np.float64)[:, 1 if has_start else 0 :]
    elif "cost_per_epoch" in arrays:
        costs = np.repeat(np.asarray(arrays["cost_per_epoch"], dtype=np.float64)[:, None], losses.shape[1], axis=1)
    else:
        costs = np.ones_like(losses)
    units = [space.to_unit(_config(row, space)) for row in arrays["configs"].tolist()]
    return Table(path.stem, space, np.array(units), losses, costs)


def _config(row: list[float], space: Space) -> dict[str, Any]:
    """The values of a row, within the ranges (files round them)."""
    config = {}
    for (name, parameter), value in zip(space.parameters.items(), row, strict=True):
        ends = (parameter.low, parameter.high) if isinstance(parameter, (Float, Int)) else (value, value)
        config[name] = parameter.plain(min(max(value, ends[0]), ends[1]))
    return config
