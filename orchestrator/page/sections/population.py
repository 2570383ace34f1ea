"""The lineage of a population: which trials were copied, and the settings with which the best one was trained."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.page.analysis.columns import Column, columns_of
from orchestrator.page.analysis.words import counted, listed, short
from orchestrator.page.charts import Chart, Figure, Section, Series, Table
from orchestrator.page.recorded import Recorded
from orchestrator.record.encoding import suggestion_of
from search.history import History, Trial
from search.rules.forked_schedule import Stretch, schedule

MOST_TRIALS = 300  # in the picture of the lineage
SETTINGS = 4  # parameters drawn along the best lineage


def section(run: Recorded) -> Section | None:
    """None if no trial began from another one's state."""
    forks = [trial for trial in run.history if trial.parent is not None]
    if not forks:
        return None
    best = run.best
    line = [] if best is None else lineage(run.history, best)
    figures: list[Figure] = [_tree(run, line)]
    if best is not None:
        begun = {row["trial"]: suggestion_of(row) for row in run.rows["suggestion"] if row["kind"] != "resume"}
        stretches = schedule(best.number, best.step, begun)
        figures += _settings(run, stretches)
        figures.append(_table(run, stretches))
    return Section("population", "Lineage", _sentences(run, forks, line), figures, columns=2)


def lineage(history: History, trial: Trial) -> list[Trial]:
    """The trials whose training led to this one, the first of them first."""
    chain = [trial]
    while (parent := chain[-1].parent) is not None:
        chain.append(history.trials[parent])
    return chain[::-1]


def slots(history: History) -> dict[int, int]:
    """Trial → its place in the population: that of the trial it replaces, or a new one."""
    place: dict[int, int] = {}
    count = 0
    for trial in history:
        if trial.replaces in place:
            place[trial.number] = place[trial.replaces]
        else:
            place[trial.number] = count
            count += 1
    return place


def _sentences(run: Recorded, forks: Sequence[Trial], line: Sequence[Trial]) -> list[str]:
    sentences = []
    if line:
        best = line[-1]
        if len(line) > 1:
            sentences.append(
                f"The best trial, {best.number}, descends from trial {line[0].number} through "
                f"{counted(len(line) - 1, 'fork')}: {' → '.join(str(trial.number) for trial in line)}."
            )
        else:
            sentences.append(f"The best trial, {best.number}, is no fork of another one: it trained from the start.")
    parents = {trial.parent for trial in forks}
    first = [trial for trial in run.history if trial.parent is None]
    alive = {lineage(run.history, trial)[0].number for trial in _last(run.history)}
    sentences.append(
        f"{counted(len(forks), 'fork')} from {counted(len(parents), 'trial')}; the present members descend from "
        f"{len(alive)} of the {len(first)} initial ones."
    )
    changed = [c.name for c in columns_of(run.about) if any(_differs(run.history, trial, c) for trial in forks)]
    if changed:
        sentences.append(f"Forks changed {listed(changed, 6)}.")
    return sentences


def _last(history: History) -> list[Trial]:
    """The last trial of each place."""
    latest = {place: number for number, place in slots(history).items()}
    return [history.trials[number] for number in latest.values()]


def _differs(history: History, trial: Trial, column: Column) -> bool:
    assert trial.parent is not None
    parent = history.trials[trial.parent]
    return bool(trial.config.get(column.name) != parent.config.get(column.name))


def _tree(run: Recorded, line: Sequence[Trial]) -> Chart:
    """A level line for each trial at the height of its place, and a slanted one for each fork."""
    place = slots(run.history)
    best = {trial.number for trial in line}
    chosen = [trial for trial in run.history if trial.step > trial.began or trial.number in best]
    trials = [t for t in chosen if t.number in best] + [t for t in chosen if t.number not in best][:MOST_TRIALS]
    series = []
    for role, name, some in (
        ("muted", "trials", [trial for trial in trials if trial.number not in best]),
        ("best", "the best lineage", [trial for trial in trials if trial.number in best]),
    ):
        x: list[float | None] = []
        y: list[float | None] = []
        hover: list[str] = []
        for trial in some:
            end = _end(trial, line)
            if trial.parent is not None:
                x += [float(trial.began), float(trial.began)]
                y += [float(place[trial.parent]), float(place[trial.number])]
                hover += [f"fork of trial {trial.parent}"] * 2
            x += [float(trial.began), float(end), None]
            y += [float(place[trial.number])] * 2 + [None]
            last = f"trial {trial.number}: {run.metric} {short(run.value(trial.loss))}" if trial.steps else ""
            hover += [last, last, ""]
        if x:
            series.append(Series(name, x, y, role=role, hover=hover))
    left = len(chosen) - len(trials)
    return Chart(
        "Lineage", "step", "place in the population", series,
        note="A vertical line is a fork: the training continues from the state of one trial with the settings of the other."
        + (f" {left} trials are left out." if left else ""),
    )  # fmt: skip


def _end(trial: Trial, line: Sequence[Trial]) -> int:
    """The last step that counts: within the best lineage, the one at which the next trial took over."""
    numbers = [each.number for each in line]
    if trial.number in numbers[:-1]:
        return line[numbers.index(trial.number) + 1].began
    return max(trial.step, trial.began)


def _settings(run: Recorded, stretches: Sequence[Stretch]) -> list[Chart]:
    """Each parameter that changed along the best lineage."""
    charts = []
    for column in columns_of(run.about):
        values = [
            column.shown(stretch.config[column.name]) if column.name in stretch.config else None
            for stretch in stretches
        ]
        if len({str(value) for value in values}) < 2:
            continue
        x = [step for stretch in stretches for step in (stretch.first - 1, stretch.last)]
        y = [value for value in values for _ in range(2)]
        hover = [f"trial {stretch.trial}" for stretch in stretches for _ in range(2)]
        series = Series(column.name, x, y, kind="line", hover=hover, shown_in_legend=False)
        charts.append(Chart(f"{column.name} of the best lineage", "step", column.name, [series], y_log=column.log))
    return charts[:SETTINGS]


def _table(run: Recorded, stretches: Sequence[Stretch]) -> Table:
    names = [column.name for column in columns_of(run.about)]
    rows = []
    for stretch in stretches:
        trial = run.history.trials[stretch.trial]
        at = trial.loss_at(stretch.last)
        rows.append(
            [
                str(stretch.trial), f"{stretch.first}–{stretch.last}", "–" if at is None else short(run.value(at)),
                *(short(stretch.config.get(name, "–")) for name in names),
            ]
        )  # fmt: skip
    columns = ["trial", "steps", f"last {run.metric}", *names]
    return Table("Settings of the best lineage", columns, rows, numeric=columns[:3])
