"""Which parameters matter: importance by task, parallel coordinates, slices, and a contour of the two that matter most."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from orchestrator.page.analysis.columns import Column, as_trained, finders, places, secrets_of
from orchestrator.page.analysis.importance import MOST, forest
from orchestrator.page.analysis.influence import Influence, influences_in, searched_in
from orchestrator.page.analysis.stages import Stage
from orchestrator.page.analysis.words import counted, listed, percent, short
from orchestrator.page.charts import Axis, Chart, Figure, Parallel, Section, Series, Surface
from orchestrator.page.recorded import Recorded
from orchestrator.reading.influence_needs import needed_for
from search.history import Trial
from search.records import Status
from search.task import FULL

ENOUGH = 8  # results at a stage for the charts of parameters; at a later one with fewer, hardly anything is seen
LINES = 400  # trials in the parallel coordinates: the best, and a spread of the others
AXES = 10  # parameters in them, and …
SLICES = 8  # … in the slices, the most important first
POINTS = 600  # trials in a slice
GRID = 24  # cells of a contour along each axis
AVERAGED = 40  # trials over whose other parameters a contour is averaged
FAR = 0.15  # of the ranges: cells of a contour farther from every trial stay empty


def section(run: Recorded) -> Section | None:
    """None if the sweep searches no parameter, or no trial has a result, or there is one trial only."""
    if len(run.history.trials) < 2:
        return None
    columns, found = searched_in(run), influences_in(run)
    shown = next((each for each in reversed(found) if len(each.stage.results) >= ENOUGH), None)
    shown = shown or next((each for each in reversed(found) if each.stage.results), None)
    if shown is None:
        return None
    order = _in_order(columns, shown if shown.bars else next((each for each in reversed(found) if each.bars), shown))
    began = [column.name for column in order if finders(column.name, run.history)]
    figures: list[Figure] = [chart for chart in (_bars(found, order, began),) if chart is not None]
    if len(shown.stage.results) > 1:
        figures.append(_parallel(run, shown.stage, order[:AXES]))
    figures += [_slice(run, shown.stage, column) for column in order[:SLICES]]
    if (surface := _contour(run, shown, order)) is not None:
        figures.append(surface)
    return Section("parameters", "Parameters", _sentences(run, found, columns), figures, columns=2)


def _sentences(run: Recorded, found: Sequence[Influence], columns: Sequence[Column]) -> list[str]:
    sentences = []
    for each in reversed(found):
        if not each.bars:
            continue
        influential = [bar for bar in each.bars if bar.shows]
        where = f"{each.stage.where[:1].upper()}{each.stage.where[1:]}"
        if influential:
            texts = [
                f"{bar.name} {'for' if position else 'accounts for'} {percent(bar.share)} ({percent(bar.low)} to {percent(bar.high)})"
                for position, bar in enumerate(influential)
            ]
            silent = [bar.name for bar in each.bars if not bar.shows]
            others = f" No influence of {listed(silent, 6)} is visible {each.stage.where}." if silent else ""
            sentences.append(
                f"{where}, {listed(texts)} of the variation between {counted(each.trials, 'trial')}; in brackets: the middle "
                f"90 % over refits of a random forest.{others}"
            )
        else:
            sentences.append(
                f"{where}, {counted(each.trials, 'trial')} are too few to prove an influence of any parameter."
            )
    sentences += _missing(found, some=bool(sentences))
    if secrets := secrets_of(run.about):
        sentences.append(f"The record masks the values of {listed(secrets)}, so nothing can be said about them.")
    constant = [c.name for c in columns if len({repr(t.config.get(c.name)) for t in run.history}) == 1]
    if constant and len(run.history.trials) > 1:
        sentences.append(f"All trials so far have the same {listed(constant)}.")
    return sentences


def _missing(found: Sequence[Influence], some: bool) -> list[str]:
    """Why there are no bars; a reason that several stages share is told once."""
    where: dict[str, list[str]] = {}
    for each in found:
        for place, why in each.missing:
            where.setdefault(why, []).append(place)
    if not where:
        return []
    unknown = "The importance is not known everywhere" if some else "The importance of the parameters is not known yet"
    if not some and len(where) == 1:
        return [f"{unknown}: {next(iter(where))}."]
    return [f"{unknown}: {'; '.join(f'{listed(places)}: {why}' for why, places in where.items())}."]


def _in_order(columns: Sequence[Column], shown: Influence) -> list[Column]:
    place = {bar.name: index for index, bar in enumerate(shown.bars)}
    return sorted(columns, key=lambda column: place.get(column.name, len(place)))


def _bars(found: Sequence[Influence], order: Sequence[Column], began: Sequence[str]) -> Chart | None:
    """The importance of each parameter, a series for each stage. `began`: those that trainings go on to change."""
    series = []
    for each in found:
        bars = {bar.name: bar for bar in each.bars}
        names = [column.name for column in order if column.name in bars]
        if not names:
            continue
        role = f"task:{FULL if each.stage.is_end else each.stage.name}"
        series.append(
            Series(
                each.stage.name, [max(0.0, bars[name].share) for name in names], names, kind="hbars", role=role,
                low=[max(0.0, bars[name].low) for name in names], high=[max(0.0, bars[name].high) for name in names],
                hover=[f"{name}: {percent(bars[name].share)} {each.stage.where}" for name in names],
            )
        )  # fmt: skip
    if not series:
        return None
    explained = [
        f"{percent(max(0.0, each.explained))} {each.stage.where}" for each in found if each.explained is not None
    ]
    some = max((each.used for each in found if each.trials > each.used > 0), default=0)
    note = (
        "A random forest predicts the results from the parameters. The bar shows how much of their variation it no longer "
        "predicts with a wrong value of this parameter. Lines: the middle 90 % over refits. Diverged trainings count as the "
        "worst result, and failed ones do not count."
        + (f" Of the variation of unseen trials, the forest predicts {listed(explained)}." if explained else "")
        + (f" A random {some} of the trials were used." if some else "")
    )
    if any(column.when for column in order):
        note += " A conditional parameter is measured among the trials that have it."
    if began:
        note += f" For {listed(began)}, the value at the start of the training counts."
    shown = [each for each in found if each.bars]
    title = "Importance by task" if len(shown) > 1 else f"Importance {shown[0].stage.where}"
    return Chart(title, "share of the variation", "", series, note=note)


def _parallel(run: Recorded, stage: Stage, order: Sequence[Column]) -> Parallel:
    numbers = sorted(stage.results, key=lambda number: stage.results[number])
    kept = _spread(numbers, LINES)[::-1]  # the best last: on top
    trials = [run.history.trials[number] for number in kept]
    values = [run.value(stage.results[number]) for number in kept]
    configs = [as_trained(trial) for trial in trials]
    axes = [
        Axis(c.name, [c.shown(config[c.name]) if c.name in config else None for config in configs], c.log)
        for c in order
    ]
    note = _which(run, stage)
    if left := len(numbers) - len(kept):
        note += f" {left} are left out: the best are shown, and an even selection of the others."
    if found := [column.name for column in order if finders(column.name, trials)]:
        note += f" {listed(found)}: as found in training."
    title = "Configurations trained in full" if stage.is_end else f"Configurations {stage.where}"
    label = f"{run.metric}, {stage.name}"
    return Parallel(title, [*axes, Axis(label, values)], values, label, run.goal.mode == "min", note=note)


def _which(run: Recorded, stage: Stage) -> str:
    """Which trials a chart of a stage shows, and with which of their values, in a sentence."""
    results = counted(len(stage.results), "result")
    if not stage.is_end:
        return f"{results} {stage.where}, including trials that trained further; their final values are not shown here."
    stopped = run.history.count(Status.STOPPED)
    others = (
        f"; {counted(stopped, 'trial')} that stopped early {'has' if stopped == 1 else 'have'} none" if stopped else ""
    )
    return f"{results} of full trainings{others}."


def _slice(run: Recorded, stage: Stage, column: Column) -> Chart:
    """The result against one parameter."""
    numbers = [n for n in sorted(stage.results) if column.name in run.history.trials[n].config]
    best, baseline = run.best, run.baseline
    special = {trial.number: role for trial, role in ((baseline, "baseline"), (best, "best")) if trial is not None}
    others = [n for n in _spread(numbers, POINTS) if n not in special]
    series = [_points(run, stage, column, others, "trials", "muted")] if others else []
    series += [_points(run, stage, column, [n], role, role) for n, role in special.items() if n in numbers]
    left = len(numbers) - POINTS
    found = finders(column.name, [run.history.trials[number] for number in numbers])
    some = "" if found == len(numbers) else f", by {found} of {counted(len(numbers), 'trial')}"
    label = f"{column.name} (found in training{some})" if found else column.name
    return Chart(
        column.name, label, f"{run.metric}, {stage.name}", series, x_log=column.log,
        note=(f"Among the trials with {column.when}. " if column.when else "")
        + (f"{left} of {len(numbers)} trials are left out." if left > 0 else ""),
    )  # fmt: skip


def _points(run: Recorded, stage: Stage, column: Column, numbers: Sequence[int], name: str, role: str) -> Series:
    trials: list[Trial] = [run.history.trials[number] for number in numbers]
    x = [column.shown(as_trained(trial)[column.name]) for trial in trials]
    y = [run.value(stage.results[number]) for number in numbers]
    hover = [
        f"trial {trial.number}: {run.metric} {short(value)}"
        + ("" if stage.is_end else f" {stage.where}")
        + (f", began at {short(trial.config[column.name])}" if finders(column.name, [trial]) else "")
        for trial, value in zip(trials, y, strict=True)
    ]
    return Series(name, x, y, kind="points", role=role, hover=hover)


def _contour(run: Recorded, shown: Influence, order: Sequence[Column]) -> Surface | None:
    """What a forest makes of the two most important numbers, the other parameters averaged out."""
    known = {bar.name: bar for bar in shown.bars}
    pair = [column for column in order if column.name in known and not column.is_category and not column.when][:2]
    numbers = sorted(shown.stage.results)
    if len(pair) < 2 or len(numbers) < needed_for(len(order)):
        return None
    rng = np.random.default_rng(len(numbers))
    numbers = sorted(rng.permutation(numbers)[:MOST].tolist())
    losses = np.array([shown.stage.results[number] for number in numbers])
    columns = [*pair, *(column for column in order if column not in pair)]
    configs = [as_trained(run.history.trials[number]) for number in numbers]
    rows = places(columns, configs)
    model = forest(rows, np.clip(losses, *np.quantile(losses, [0.0, 0.95])), rng)
    ticks = (np.arange(GRID) + 0.5) / GRID
    cells = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    others = rows[rng.permutation(len(rows))[:AVERAGED], 2:]
    asked = np.concatenate([np.repeat(cells, len(others), axis=0), np.tile(others, (len(cells), 1))], axis=1)
    predicted = model.predict(asked).reshape(len(cells), len(others)).mean(1)
    distance = np.abs(cells[:, None] - rows[None, :, :2]).max(-1).min(1)
    z = [None if far > FAR else run.value(float(loss)) for loss, far in zip(predicted, distance, strict=True)]
    grid = [z[row * GRID : (row + 1) * GRID] for row in range(GRID)]
    a, b = pair
    unproven = [each.name for each in pair if not known[each.name].shows]
    x = [float(config[a.name]) for config in configs]
    y = [float(config[b.name]) for config in configs]
    hover = [f"trial {n}: {short(run.value(shown.stage.results[n]))}" for n in numbers]
    return Surface(
        f"{a.name} and {b.name}", a.name, b.name, f"{run.metric}, {shown.stage.name}", [a.value(tick) for tick in ticks],
        [b.value(tick) for tick in ticks], grid, Series("trials", x, y, kind="points", role="muted", hover=hover),
        x_log=a.log, y_log=b.log,
        note=f"The two most important of the numeric parameters that are always active, {shown.stage.where}"
        + (f" (no influence of {listed(unproven)} is visible there)" if unproven else "")
        + f". A forest fitted to {counted(len(numbers), 'trial')} predicts the result, averaged over the other parameters; the "
        "worst 5 % of the results are clipped. Cells far from every trial stay empty."
        + "".join(f" {each.name}: as found in training." for each in pair if finders(each.name, run.history)),
    )  # fmt: skip


def _spread(numbers: Sequence[int], most: int) -> list[int]:
    """At most `most` of them: the first half, then a spread of the others."""
    if len(numbers) <= most:
        return list(numbers)
    first, others = list(numbers[: most // 2]), numbers[most // 2 :]
    return first + list(others[:: math.ceil(len(others) / (most - most // 2))])
