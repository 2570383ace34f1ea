"""What the early part of a training, or a cheaper task, tells about the end, and what stopping early has saved."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from orchestrator.money.amounts import rounded_trainings, trainings
from orchestrator.page.analysis.rank_correlation import FEWEST, Correlation, partial, spearman
from orchestrator.page.analysis.stages import Stage, stages
from orchestrator.page.analysis.task_correlation import Learned, learned
from orchestrator.page.analysis.words import counted, listed, short
from orchestrator.page.charts import Chart, Figure, Section, Series, Table
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import duration
from search.history import key_of
from search.records import FINALIST, Status
from search.task import FULL

MOST_POINTS = 500
COMPLETE = 0.98  # a rank correlation above which nothing is left for a later stage to add


def section(run: Recorded) -> Section | None:
    """None with fewer than two trials, one step and one task, or nothing that has a result at an early stage."""
    if len(run.history.trials) < 2:
        return None
    found = stages(run.history)
    early, end = found[:-1], found[-1]
    if not any(stage.results for stage in early):
        return None
    known = [_Known(run, stage, end) for stage in early]
    figures: list[Figure] = [_table(known)]
    if any(each.rank or each.model for each in known):
        figures.insert(0, _chart(known))
    pairs = next((each for each in known if each.rank), None)
    if pairs is not None:
        figures.append(_scatter(run, pairs))
    return Section("correlation", "What early results tell", _sentences(run, known), figures, columns=2)


class _Known:
    """What is known of one stage: its rank correlation with the end, and the learned one."""

    def __init__(self, run: Recorded, stage: Stage, end: Stage) -> None:
        self.stage = stage
        early, late = stage.by_configuration(run.history), end.by_configuration(run.history)
        self.both = [key for key in early if key in late]
        self.early = np.array([early[key] for key in self.both], dtype=np.float64)
        self.late = np.array([late[key] for key in self.both], dtype=np.float64)
        self.rank: Correlation | None = spearman(self.early, self.late)
        self.model: Learned | None = learned(run.history, stage)

    def beside(self, other: _Known) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
        """The configurations with results at this stage, at the other one and at the end; their results there."""
        mine = dict(zip(self.both, zip(self.early, self.late, strict=True), strict=True))
        its = dict(zip(other.both, other.early, strict=True))
        keys = [key for key in self.both if key in its]
        first = np.array([its[key] for key in keys])
        return keys, np.array([mine[key][0] for key in keys]), np.array([mine[key][1] for key in keys]), first


def _sentences(run: Recorded, known: Sequence[_Known]) -> list[str]:
    sentences = []
    for each in known:
        if each.rank is not None and each.rank.low > 0:
            sentences.append(f"Results {each.stage.where} predict the end with a rank correlation of {each.rank}.")
        elif each.rank is not None:
            sentences.append(
                f"The data do not show whether results {each.stage.where} predict the end (rank correlation {each.rank})."
            )
    few = [f"{len(each.both)} {each.stage.where}" for each in known if each.rank is None]
    if few:
        sentences.append(
            f"To compare a stage with the end, {FEWEST} configurations with different results at both are needed. "
            f"So far there are {listed(few)}."
        )
    saved = _saved(run)
    if saved is not None:
        configurations, spent = saved
        less = trainings(configurations - rounded_trainings(spent))
        step = _step_seconds(run)
        time = (
            f" ({duration((configurations - spent) * run.history.horizon * step)} at the mean time of a step)"
            if step
            else ""
        )
        sentences.append(
            f"{counted(configurations, 'configuration')} cost {trainings(spent)} full trainings. Training each to the end would "
            f"have cost {configurations}. Stopping early saved {less} full trainings{time}."
        )
    for first, then in pairwise(known):
        keys, middle, late, given = then.beside(first)
        left = partial(middle, late, given) if keys else None
        if left is None:
            continue
        if first.rank is not None and first.rank.value > COMPLETE:
            sentences.append(f"The order {first.stage.where} is already that of the end: later stages can add nothing.")
            break
        tell = "Results" if left.low > 0 else "The data do not show whether results"
        sentences.append(
            f"{tell} {then.stage.where} tell more about the end than those {first.stage.where} (partial rank correlation {left})."
        )
    for each in known:
        if each.model is not None and each.model.fits > 1:
            median, low, high = each.model.prior
            narrower = each.model.high - each.model.low < 0.5 * (high - low)
            told = "" if narrower else "; the data have hardly narrowed the prior"
            sentences.append(
                f"The model of the search has learned a correlation of {each.model} {each.stage.where} (in brackets the range "
                f"over {each.model.fits} fits); its prior was {median:.2f} [{low:.2f}, {high:.2f}]{told}."
            )
    return sentences


def _saved(run: Recorded) -> tuple[int, float] | None:
    """Configurations that came to rest with a result, and their cost in full trainings; None if nothing was saved."""
    history = run.history
    settled = {Status.COMPLETED, Status.STOPPED}
    keys, spent = set(), 0.0
    for trial in history:
        if trial.first_origin == FINALIST or trial.status not in settled or trial.parent is not None:
            continue
        keys.add(key_of(trial.config))
        spent += max(0, trial.reach - trial.began) / history.steps(trial.task) * history.cost_of(trial.task)
    forked = any(trial.parent is not None for trial in history)
    return None if forked or len(keys) - spent < 0.05 else (len(keys), spent)


def _step_seconds(run: Recorded) -> float:
    """The mean time of a step of full trainings, without what first reports took longer; 0 if no time is recorded."""
    full = [trial for trial in run.history if trial.task == FULL]
    steps = sum(max(0, trial.step - trial.began) for trial in full)
    seconds = sum(trial.cost_seconds - run.start_seconds.get(trial.number, 0.0) for trial in full)
    return seconds / steps if steps else 0.0


def _chart(known: Sequence[_Known]) -> Chart:
    series = []
    ranked = [each for each in known if each.rank]
    if ranked:
        ranks = [each.rank for each in ranked if each.rank]
        series.append(
            Series(
                "rank correlation", [rank.value for rank in ranks], [each.stage.name for each in ranked], kind="hbars",
                low=[rank.low for rank in ranks], high=[rank.high for rank in ranks],
                hover=[f"{rank} over {counted(rank.pairs, 'configuration')}" for rank in ranks],
            )
        )  # fmt: skip
    modelled = [each for each in known if each.model]
    if modelled:
        models, names = [each.model for each in modelled if each.model], [each.stage.name for each in modelled]
        series.append(
            Series(
                "learned by the model", [m.value for m in models], names, kind="hbars", role="good",
                low=[m.low for m in models], high=[m.high for m in models],
            )
        )  # fmt: skip
        series.append(
            Series(
                "its prior", [m.prior[0] for m in models], names, kind="hbars", role="muted",
                low=[m.prior[1] for m in models], high=[m.prior[2] for m in models],
            )
        )  # fmt: skip
    note = (
        "Rank correlation with the results of full trainings; lines: the middle 90 % over resampled configurations. Only "
        "configurations trained to the end count, often the better ones; over all, the correlation may be higher."
    )
    if modelled:
        note += (
            " Learned: the model's correlation, without noise; lines: the range over fits to parts of the data, which is "
            "narrower than the true uncertainty. Prior: median and middle 90 %."
        )
    return Chart("Correlation with the end", "correlation", "", series, note=note)


def _table(known: Sequence[_Known]) -> Table:
    rows = [
        [
            each.stage.name,
            short(round(each.stage.cost, 3)),
            str(len(each.stage.results)),
            str(len(each.both)),
            str(each.rank) if each.rank else "–",
        ]
        for each in known
    ]
    columns = ["stage", "cost", "results", "with a result at the end", "rank correlation"]
    return Table("Stages", columns, rows, numeric=columns[1:], note="Cost: as a share of a full training.")


def _scatter(run: Recorded, each: _Known) -> Chart:
    early, late = each.early[:MOST_POINTS], each.late[:MOST_POINTS]
    x, y = [run.value(float(loss)) for loss in early], [run.value(float(loss)) for loss in late]
    return Chart(
        f"The end against the result {each.stage.where}", f"{run.metric} {each.stage.where}", f"{run.metric} at the end",
        [Series("configurations", x, y, kind="points", role="best")],
    )  # fmt: skip
