"""What the workers' time was used for: training, waiting for decisions, and everything around a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from orchestrator.page.analysis.idle import Idle, at_once, idle, simulated_seconds
from orchestrator.page.analysis.words import percent
from orchestrator.page.charts import Chart, Figure, Section, Series
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import duration

MOST_CHANGES = 60  # of the line; more would fill it in, and means are drawn instead
SPANS = 100
NOTICEABLE = 0.05  # share of the worker time
UNNOTICED = 0.01  # seconds of waiting


def section(run: Recorded) -> Section | None:
    """None before the first trial; without figures if the clock was simulated."""
    found = idle(run)
    if found is None or not any(trial.steps for trial in run.history):
        return None
    if simulated_seconds(run) is not None:
        told = "The sweep was simulated: one process trained for all workers, so there are no starts and no waiting to show."
        return Section("workers", "Workers", [told])
    if not found.is_wall_clock:
        told = (
            f"The trials report {duration(found.trained)} of training, more than the {duration(found.held)} for "
            "which they had workers. So their costs are not measured times, and how busy the workers were is not known."
        )
        return Section("workers", "Workers", [told])
    slow = sum(run.start_seconds.values())
    found = replace(found, trained=found.trained - slow)
    figures: list[Figure] = [_shares(found), _over_time(found)]
    return Section("workers", "Workers", _sentences(run, found, slow), figures, columns=2)


def _sentences(run: Recorded, found: Idle, slow: float) -> list[str]:
    worker_time = found.held + (found.waited or 0.0)
    sentences = [
        f"Workers trained for {duration(found.trained)}, {percent(found.trained / worker_time)} of their time "
        f"({duration(worker_time)})." + (" The extra time of first reports counts as start." if slow else "")
    ]
    if found.waited is None:
        sentences.append("How long workers waited for decisions is not on record yet: the driver notes it at its end.")
    elif found.waited < UNNOTICED:
        sentences.append("They did not wait for decisions.")
    else:
        share = found.waited / worker_time
        sentences.append(
            f"They waited {duration(found.waited)} for decisions ({percent(share)})"
            + (": a cheaper searcher, or fewer workers, would help." if share > NOTICEABLE else ".")
        )
    sentences.append(
        "Starts, checkpoints and evaluation outside the reported cost took "
        f"{duration(found.overhead)} ({percent(found.overhead / worker_time)})."
    )
    if found.downtime > 1.0:
        sentences.append(
            f"The sweep stood still for {duration(found.downtime)} until it was continued. This time does not count."
        )
    return sentences


def _shares(found: Idle) -> Chart:
    names = ["training", "starts, checkpoints, …", "waiting for decisions"]
    seconds = [found.trained, found.overhead, found.waited or 0.0]
    shown = names if found.waited is not None else names[:2]
    series = Series("worker time", seconds[: len(shown)], shown, kind="hbars", shown_in_legend=False)
    return Chart("Worker time", "seconds", "", [series])


def _over_time(found: Idle) -> Chart:
    times, counts = at_once(found.stretches)
    note = (
        "A trial has a worker from its suggestion to its end. For the first trials after each start of the sweep, the time "
        "begins with their training: before that, Ray starts."
    )
    shown: list[float] = [float(count) for count in counts]
    if len(times) > MOST_CHANGES:
        times, shown = _means(times, counts)
        note += f" The line shows means over {SPANS} equal spans of time."
    unit, name = (3600.0, "hours") if found.span > 7200 else (60.0, "minutes") if found.span > 120 else (1.0, "seconds")
    return Chart(
        "Trials at once", f"{name} since the first trial", "trials with a worker",
        [Series("trials", [time / unit for time in times], shown, kind="step", shown_in_legend=False)],
        note=note, y_range=(0.0, 1.06 * max(counts, default=1)),
    )  # fmt: skip


def _means(times: Sequence[float], counts: Sequence[int]) -> tuple[list[float], list[float]]:
    """The mean count in each of `SPANS` equal spans: where it begins, and the last one's end."""
    edges = np.linspace(times[0], times[-1], SPANS + 1)
    areas = np.concatenate([[0.0], np.cumsum(np.diff(times) * np.asarray(counts[:-1]))])
    means = np.diff(np.interp(edges, times, areas)) / np.diff(edges)
    return edges.tolist(), [*means.tolist(), float(means[-1])]
