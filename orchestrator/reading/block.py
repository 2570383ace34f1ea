"""The state of a running sweep as rows of text that fit a given width, and as one line."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from orchestrator.console.sparkline import sparkline
from orchestrator.reading.scores import rests_on, scores
from orchestrator.reading.spending import tasks
from orchestrator.reading.spent import spent_in_words
from search.records import Status
from search.rules.finalists import score
from search.wording import with_found

if TYPE_CHECKING:
    from orchestrator.driver import Driver
    from orchestrator.money.forecast import Range
    from orchestrator.reading.standing import Standing
    from search.history import Trial

LABEL = 10  # cells of the first column
SPARK = 24  # cells of the spark line
SHOWN_TRIALS = 3  # running ones
MOST_ROWS = {"best": 4}  # of an entry; the whole configuration is in the report
OTHERS = 2  # rows of any other entry
_MEASURE = Console(file=io.StringIO())  # rich measures and wraps text by means of a console


def rows(standing: Standing, width: int) -> list[Text]:
    """The block: none of its rows is wider than `width` cells."""
    drawn = _wrapped(_title(standing), width)[:OTHERS]
    for label, text in _entries(standing):
        for position, part in enumerate(
            _shortened(_wrapped(text, max(8, width - LABEL)), MOST_ROWS.get(label, OTHERS))
        ):
            drawn.append(Text.assemble(f"  {label if not position else '':<{LABEL - 2}}", part))
    for row in drawn:
        row.truncate(width)
    return drawn


def line(standing: Standing) -> Text:
    """The same in one line, for a log."""
    driver, best = standing.driver, standing.best
    parts = [_elapsed(driver), _counts(standing) if driver.history.trials else ""]
    if driver.sweep.budget is not None:
        parts.append(spent_in_words(driver))
    if best is not None:
        loss, again = _score(standing, best)
        parts.append(f"best {_value(standing, loss)} (trial {best.number}{again})")
    parts += [standing.state or _left(standing.time_left), standing.waiting]
    return Text("  ".join(part for part in parts if part))


def config_in_words(config: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in config.items()
    )


def duration(seconds: float) -> str:
    """
    >>> duration(59), duration(192), duration(7500)
    ('59s', '3m12s', '2h05m')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def _title(standing: Standing) -> Text:
    driver = standing.driver
    state = standing.state
    return Text.assemble(
        (driver.sweep.name, "bold"), f"  {_elapsed(driver)}  ",
        (state, "yellow" if driver.stop_reason else "") if state else _left(standing.time_left),
    )  # fmt: skip


def _elapsed(driver: Driver) -> str:
    return duration(driver.spent_seconds) + ("" if driver.clock is time.monotonic else " simulated")


def _entries(standing: Standing) -> Iterator[tuple[str, Text]]:
    driver = standing.driver
    yield "trials", Text(_counts(standing) + ("" if standing.most is None else f" of {standing.most}"))
    yield "spent", Text(spent_in_words(driver))
    best = standing.best
    if best is None:
        yield "best", Text("no result yet")
    else:
        yield "best", _best(standing, best)
    if driver.history.tasks:
        yield "tasks", Text(_shares(standing))
    if standing.origins:
        yield "origins", Text(", ".join(f"{count} {origin}" for origin, count in standing.origins.items()))
    if not standing.is_over and (now := _now(standing)):
        yield "now", Text(now)
    if standing.waiting:
        yield "waiting", Text(standing.waiting, style="yellow")


def _best(standing: Standing, best: Trial) -> Text:
    of = "" if best.status is Status.COMPLETED else f" of {standing.driver.history.horizon}"
    loss, again = _score(standing, best)
    text = Text.assemble((_value(standing, loss), "green"), f" (trial {best.number}, step {best.step}{of}{again})")
    if bars := sparkline([standing.driver.sweep.value(loss) for loss in standing.trend], SPARK):
        text.append(f" {bars}", "green")
    return text.append(f"\n{config_in_words(with_found(best))}")


def _score(standing: Standing, best: Trial) -> tuple[float, str]:
    """The loss that stands for the best trial, and in words what it rests on; finalists train once the search is over."""
    driver = standing.driver
    if not driver.over:
        return best.loss, ""
    again = rests_on(scores(driver.history, best, driver.sweep.goal))
    return score(driver.history, best), f", {again}" if again else ""


def _value(standing: Standing, loss: float) -> str:
    sweep = standing.driver.sweep
    return f"{sweep.metric_name} {sweep.value(loss):.4g}"


def _counts(standing: Standing) -> str:
    driver, history = standing.driver, standing.driver.history
    running = 0 if standing.doing or standing.is_over else len(driver.running)
    waiting = history.count(Status.RUNNING) - running
    parts = [f"{running} running"] if running or not (waiting or standing.is_over) else []
    parts += [f"{waiting} to {'resume' if driver.found or not standing.doing else 'start'}"] if waiting > 0 else []
    parts += [
        f"{history.count(status)} {status.value}"
        for status in Status
        if status is not Status.RUNNING and history.count(status)
    ]
    return ", ".join(parts) or "none"


def _shares(standing: Standing) -> str:
    """Each task's share of the cost so far."""
    found = tasks(standing.driver.history)
    whole = sum(task["spent"] for task in found)
    return (
        ", ".join(f"{task['task']} {100 * task['spent'] / whole:.0f} %" for task in found)
        if whole
        else "nothing spent yet"
    )


def _now(standing: Standing) -> str:
    """The running trials that came last, with their latest values."""
    driver = standing.driver
    trials = [driver.history.trials[number] for number in sorted(driver.running, reverse=True)]
    told = [trial for trial in trials if trial.steps][:SHOWN_TRIALS]
    shown = [
        f"trial {trial.number} step {trial.step} of {driver.history.goal(trial)}: {driver.sweep.value(trial.loss):.4g}"
        for trial in told
        if isfinite(trial.loss)
    ]
    return "; ".join([*shown, f"{len(trials) - len(shown)} more"] if shown and len(trials) > len(shown) else shown)


def _left(left: Range | None) -> str:
    """The time left with its interval; empty if it cannot be told."""
    if left is None:
        return ""
    low, high = duration(left.low), duration(left.high)
    return f"about {duration(left.middle)} left" + (f" ({low} to {high})" if low != high else "")


def _wrapped(text: Text, width: int) -> list[Text]:
    return list(text.wrap(_MEASURE, max(1, width), overflow="fold"))


def _shortened(parts: list[Text], most: int) -> list[Text]:
    """At most so many rows; the last one says if there are more."""
    if len(parts) <= most:
        return parts
    last = parts[most - 1].copy()
    last.rstrip()
    last.truncate(max(part.cell_len for part in parts) - 2)
    return [*parts[: most - 1], last.append(" …")]
