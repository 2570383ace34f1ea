"""The incumbent against cost, beside random search at the same cost; and all learning curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.money.amounts import trainings
from orchestrator.page.charts import Chart, Section, Series
from orchestrator.page.completions import completions
from orchestrator.page.recorded import Recorded
from orchestrator.page.thin import MOST_POINTS
from orchestrator.page.words import number
from orchestrator.reading.trial_counts import status_words
from search.history import Trial
from search.records import Status
from search.task import FULL

Item = TypeVar("Item")

FEWEST = 8  # random trainings from which the band is computed; with fewer it would say little
CENTRAL = (0.1, 0.5, 0.9)  # quantiles of the band: 80 % of random searches lie in it
MOST_CURVES, MOST_STEPS = 100, 200  # curves of one outcome, steps of a curve
LONG = 100.0  # full trainings from which the axis of the cost is logarithmic
POINTS = 200  # of the band
OUTCOMES = (  # status, its name in the legend, its colour; drawn in this order
    (Status.STOPPED, "stopped early", "muted"),
    (Status.DIVERGED, "diverged", "bad"),
    (Status.FAILED, "failed", "bad"),
    (Status.COMPLETED, "completed", "good"),
    (Status.RUNNING, "running", "random"),
)


@dataclass(frozen=True)
class Race:
    """The completed full trainings in order: the cost of all training until then (full trainings), their losses."""

    costs: Sequence[float]
    losses: Sequence[float]
    trials: Sequence[int]
    total: float  # cost of all training so far

    @property
    def incumbents(self) -> list[float]:
        """The lowest loss so far, for each of them."""
        found: list[float] = []
        for loss in self.losses:
            found.append(min(loss, found[-1]) if found else loss)
        return found


@dataclass(frozen=True)
class Band:
    """What the best of n random trainings would be, for n = 1, 2, …: losses at the quantiles `CENTRAL`."""

    pool: int  # random trainings that it is computed from
    cut: int  # of these, the ones that were not trained to the end
    low: Sequence[float | None]
    median: Sequence[float | None]
    high: Sequence[float | None]


def section(run: Recorded) -> Section | None:
    if not any(trial.steps for trial in run.history):
        return None
    race, band = race_of(run), band_of(run)
    charts = [_incumbents(run, race, band), *_curves(run)]
    return Section("progress", "Progress", _sentences(run, race, band), charts, columns=2)


def race_of(run: Recorded) -> Race:
    """The sweep's completed full trainings; repetitions of finalists cost, and do not count as finds."""
    found = completions(run, repetitions=True)
    costs, losses = [each.cost for each in found.each], [each.trial.loss for each in found.each]
    return Race(costs, losses, [each.trial.number for each in found.each], found.cost)


def band_of(run: Recorded) -> Band | None:
    """The band of random search, from the sweep's own random and initial trials of the full task; None if too few.

    A trial that was cut, diverged or failed counts as worse than all that were trained to the end. The best of n draws
    with replacement from m losses is above the i-th lowest with probability (1 - i/m)ⁿ, for n up to m.
    """
    drawn = [t for t in run.history if t.first_origin in ("random", "initial") and t.task == FULL and not t.began]
    ended = [trial for trial in drawn if trial.status is not Status.RUNNING]
    losses = sorted(t.loss for t in ended if t.status is Status.COMPLETED and math.isfinite(t.loss))
    pool = len(ended)
    if len(losses) < FEWEST:
        return None
    low, median, high = ([_best_of(losses, pool, draws, share) for draws in range(1, pool + 1)] for share in CENTRAL)
    return Band(pool, pool - len(losses), low, median, high)


def _best_of(losses: Sequence[float], pool: int, draws: int, share: float) -> float | None:
    """The quantile `share` of the best of `draws`; None if it falls among those that were not trained to the end."""
    rank = math.ceil(pool * (1 - (1 - share) ** (1 / draws)) - 1e-9)
    return losses[rank - 1] if rank <= len(losses) else None


def _sentences(run: Recorded, race: Race, band: Band | None) -> list[str]:
    if not race.losses:
        return ["No full training is completed yet."]
    bests = race.incumbents
    found = bests.index(bests[-1])
    other = run.best is not None and run.best.number != race.trials[found]
    winner = f" Trial {run.best.number} won on fresh seeds." if other and run.best is not None else ""
    sentences = [
        f"The best full training is trial {race.trials[found]} with {run.metric} {number(run.value(bests[-1]))}, completed at a "
        f"cost of {trainings(race.costs[found])} of the sweep's {trainings(race.total)} full trainings.{winner}"
    ]
    if band is None:
        sentences.append(
            f"Random search is not drawn: that takes at least {FEWEST} completed full trainings with random configurations."
        )
        return sentences
    draws = int(min(race.total, band.pool))
    reached = [best for cost, best in zip(race.costs, bests, strict=True) if cost <= draws]
    if not reached:
        return sentences
    known = [loss for loss in (losses[draws - 1] for losses in (band.low, band.median, band.high)) if loss is not None]
    if len(known) == len(CENTRAL):
        low, middle, high = (number(run.value(loss)) for loss in known)
        low, high = (low, high) if run.goal.mode == "min" else (high, low)
        sentences.append(
            f"At the cost of {draws:,} full trainings, random search would have reached about {middle} (80 % of the time between "
            f"{low} and {high}); this sweep had {number(run.value(reached[-1]))}."
        )
    elif (
        begins := next((place for place, loss in enumerate(band.high, start=1) if loss is not None), None)
    ) is not None:
        sentences.append(
            f"The band of random search begins at a cost of {begins:,} full trainings. With less, more than one random search in ten "
            "would have drawn only configurations that were not trained to the end here."
        )
    return sentences


def _incumbents(run: Recorded, race: Race, band: Band | None) -> Chart:
    series, note = [], ""
    if band is not None:
        draws = _evenly_on_a_log_scale(band.pool)
        median, low, high = (
            _values(run, [losses[count - 1] for count in draws]) for losses in (band.median, band.low, band.high)
        )
        low, high = (low, high) if run.goal.mode == "min" else (high, low)
        series.append(Series("random search, 80 % of the time", draws, median, "band", "random", low, high))
        note = (
            f"Random search: the best of n draws from this sweep's {band.pool} random trials, each at the cost of one full "
            "training; the band ends at their number."
        )
        if band.cut:
            note += f" {band.cut} of them were not trained to the end and count as worse than all that were."
    hover = [
        f"trial {trial}: {run.metric} {number(run.value(loss))}"
        for trial, loss in zip(race.trials, race.losses, strict=True)
    ]
    series.append(Series("full trainings", race.costs, _values(run, race.losses), "points", "muted", hover=hover))
    if run.baseline is not None and run.baseline.number in race.trials:
        at = run.value(run.baseline.loss)
        first = race.costs[0] if race.total > LONG else 0.0
        series.append(Series(f"baseline {number(at)}", [first, race.total], [at, at], "line", "baseline"))
    if race.losses:
        bests, costs = _values(run, race.incumbents), race.costs
        better = [place for place in range(len(bests)) if not place or bests[place] != bests[place - 1]]
        x, y = [costs[place] for place in better], [bests[place] for place in better]
        series.append(Series("best so far", [*x, race.total], [*y, y[-1]], "step", "best"))
    extra = [] if band is None else [loss for loss in band.median if loss is not None]
    shown = _range(run, race.losses, [*extra, *([run.baseline.loss] if run.baseline is not None else [])])
    if shown is not None:
        note = f"{note} Worse results lie outside; double-click to see all.".strip()
    label = f"{run.metric} ({'higher' if run.goal.mode == 'max' else 'lower'} is better)"
    title = "Best full training against cost"
    is_long = race.total > LONG
    return Chart(title, "cost (full trainings)", label, series, x_log=is_long, note=note, y_range=shown)


def _curves(run: Recorded) -> list[Chart]:
    """A chart of the learning curves of every task."""
    tasks = dict.fromkeys(trial.task for trial in run.history if trial.steps)
    ranked = sorted(tasks, key=lambda task: (task != FULL, task))
    return [_curves_of(run, task, [t for t in run.history if t.task == task and t.steps]) for task in ranked]


def _curves_of(run: Recorded, task: str, trials: Sequence[Trial]) -> Chart:
    series, left_out = [], 0
    special = {trial.number: trial for trial in (run.baseline, run.best) if trial is not None}  # they may be the same
    named = [trial for trial in special.values() if trial in trials]
    most = min(MOST_CURVES, MOST_POINTS // (min(run.history.steps(task), MOST_STEPS) + 1))
    for status, name, role in OUTCOMES:
        found = [trial for trial in trials if trial.status is status and trial not in named]
        chosen = _evenly(sorted(found, key=lambda trial: (math.isnan(trial.loss), trial.loss, trial.number)), most)
        left_out += len(found) - len(chosen)
        if found:
            series += _joined(run, f"{status_words(name, run.state)} ({len(found):,})", role, chosen)
    for trial in named:
        is_best = trial is run.best
        name = f"{'best' if is_best else 'baseline'} (trial {trial.number})"
        series += _joined(run, name, "best" if is_best else "baseline", [trial])
    losses = [loss for trial in trials for loss in trial.losses if math.isfinite(loss)]
    is_log = run.goal.mode == "min" and _spans_decades(losses)
    shown = None if is_log else _range(run, losses, [], share=0.97)
    note = "Worse values lie outside; double-click to see all." if shown else ""
    if left_out:
        note += f" {left_out:,} of {len(trials):,} curves are not drawn; the others are an even selection from best to worst."
    title = "Learning curves" if task == FULL else f"Learning curves of the task {task}"
    return Chart(title, "step", run.metric, series, y_log=is_log, note=note.strip(), y_range=shown)


def _joined(run: Recorded, name: str, role: str, trials: Sequence[Trial]) -> list[Series]:
    """The curves of several trials as one line with gaps; those of one value, where a line would show nothing, as points."""
    single = [trial for trial in trials if sum(map(math.isfinite, trial.losses)) == 1]
    longer = [trial for trial in trials if trial not in single]
    found = [_with_gaps(run, Series(name, (), (), "line", role), longer)] if longer else []
    if single:
        points = Series(name, (), (), "points", role, shown_in_legend=not longer)
        found.append(_with_gaps(run, points, single))
    return found


def _with_gaps(run: Recorded, series: Series, trials: Iterable[Trial]) -> Series:
    x: list[float | None] = []
    y: list[float | None] = []
    hover: list[str] = []
    for trial in trials:
        points = list(zip(trial.steps, trial.losses, strict=True))
        for step, loss in _evenly(points, MOST_STEPS):
            value = run.value(loss) if math.isfinite(loss) else None
            x.append(step)
            y.append(value)
            hover.append(f"trial {trial.number}, step {step}: {number(value)}")
        x.append(None)
        y.append(None)
        hover.append("")
    return replace(series, x=x[:-1], y=y[:-1], hover=hover[:-1])


def _evenly(items: Sequence[Item], most: int) -> Sequence[Item]:
    """At most so many, at equal distances, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(place * (len(items) - 1) / max(most - 1, 1))] for place in range(most)]


def _evenly_on_a_log_scale(last: int) -> list[int]:
    """Whole numbers from 1 to `last`, all of the first ones."""
    return sorted({round(last ** (place / (POINTS - 1))) for place in range(POINTS)})


def _range(
    run: Recorded, losses: Sequence[float], also: Iterable[float], *, share: float = 0.8
) -> tuple[float, float] | None:
    """The values to show at first, so that the worst ones (all but this `share`) do not flatten the others; None: all."""
    finite = sorted(losses)
    if len(finite) < 5:
        return None
    best, bad = (
        finite[0],
        max([finite[int(share * (len(finite) - 1))], *(each for each in also if math.isfinite(each))]),
    )
    if bad <= best or finite[-1] - best < 2.5 * (bad - best):
        return None
    edge = 0.08 * (bad - best)
    ends = sorted((run.value(best - edge), run.value(bad + edge)))
    return ends[0], ends[1]


def _spans_decades(losses: Sequence[float]) -> bool:
    finite = sorted(losses)
    if not finite or finite[0] <= 0:
        return False
    return finite[int(0.95 * (len(finite) - 1))] > 50 * finite[int(0.05 * (len(finite) - 1))]


def _values(run: Recorded, losses: Iterable[float | None]) -> list[float | None]:
    return [None if loss is None else run.value(loss) for loss in losses]
