"""The bill: what the run cost, by task and by what the time was for, and what random search would need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.money.against_random import needed
from orchestrator.money.amounts import budget_words, dollars
from orchestrator.money.bill import OUTCOMES
from orchestrator.money.prices import HOUR, Prices, prices_of
from orchestrator.page.analysis.words import percent
from orchestrator.page.charts import Chart, Section, Series, Table
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import duration
from orchestrator.reading.costs import NO_TASK, cost_words
from orchestrator.reading.forecasts import random_search_words, usd_per_second
from search.costs import HELD_UP
from search.records import BASELINE, FINALIST, Status

NOT_COUNTED = "The time of devices that wait between trainings is not included, although their owner may charge for it."


def section(run: Recorded) -> Section | None:
    """None before any device time is on record."""
    cost = run.accounts["cost"]
    if not cost["device_seconds"]:
        return None
    sentences = [_whole(cost), *_losses(cost), *_random(run, prices_of(cost["prices"]))]
    figures: list[Chart | Table] = [_outcomes(cost), _tables(cost["breakdown"], "What the time was for", OUTCOMES)]
    if len({*cost["by_task"]} - {NO_TASK}) > 1:
        figures.append(_tables(cost["by_task"], "By task", {NO_TASK: "before any task"}))
    if len(cost["devices"]) > 1:
        figures.append(_tables(cost["devices"], "By device", {}))
    return Section("bill", "The bill", sentences, figures, columns=2)


def _whole(cost: Mapping[str, Any]) -> str:
    budget = "" if cost["budget"] is None else f" The budget is {budget_words(cost['budget'])}."
    return f"The run has cost {cost_words(cost)}.{budget}"


def _losses(cost: Mapping[str, Any]) -> list[str]:
    """What gave no result: failures, lost work, stalls."""
    parts = {name: cost["breakdown"][name] for name in ("failed", "lost", "stalled") if name in cost["breakdown"]}
    if not parts:
        return []
    seconds = sum(part["device_seconds"] for part in parts.values())
    words = ", ".join(f"{_amount(part)} for {OUTCOMES[name]}" for name, part in parts.items())
    stalls = (
        f" A step is held up if it takes more than {HELD_UP:g} times the median step of its task; its time beyond the median "
        "counts. Perhaps the machine, its disk or the network was busy, or a script's lines came late."
        if "stalled" in parts
        else ""
    )
    return [f"{percent(seconds / cost['device_seconds'])} of it gave no result: {words}.{stalls}"]


def _random(run: Recorded, prices: Prices) -> list[str]:
    """What random search would need, with the assumption; nothing without enough random configurations."""
    found = needed(run.history, run.best)
    if found is None or (found.estimate is None and found.at_least < run.history.spent):
        return []  # a lower end below this sweep's own cost says nothing
    if all(trial.first_origin in ("random", BASELINE, FINALIST) for trial in run.history) and not run.history.having(
        Status.STOPPED
    ):
        return []  # it is a random search
    words = random_search_words(run.history, run.best, usd_per_second(prices, run.history))
    assumed = (
        "This assumes that random search trains every configuration in full, each for the mean time of a training here, "
        "and that a configuration that was stopped would not have reached this result."
    )
    return [f"Random search without early stopping needs {words}. {assumed}"]


def _outcomes(cost: Mapping[str, Any]) -> Chart:
    has_price, parts = cost["usd"] is not None, cost["breakdown"]
    unit, size = _unit(parts)
    lengths = [part["usd"] if has_price else part["device_seconds"] / size for part in parts.values()]
    hover = [_amount(part) for part in parts.values()]
    bars = Series("cost", lengths, [OUTCOMES[name] for name in parts], "hbars", hover=hover, shown_in_legend=False)
    return Chart("What the cost was for", "dollars" if has_price else unit, "", [bars], note=NOT_COUNTED)


def _tables(parts: Mapping[str, Mapping[str, Any]], title: str, words: Mapping[str, str]) -> Table:
    whole, (unit, size) = sum(part["device_seconds"] for part in parts.values()), _unit(parts)
    shares = {name: part["device_seconds"] / whole if whole else 0.0 for name, part in parts.items()}
    rows = [
        (
            words.get(name, name), f"{part['device_seconds'] / size:,.2f}", _dollars(part["usd"]),
            f"{100 * shares[name]:.1f} %",
        )
        for name, part in parts.items()
    ]  # fmt: skip
    rows.append(("total", f"{whole / size:,.2f}", _dollars(_sum(parts)), "100.0 %"))
    columns = ("", unit, "dollars", "share")
    return Table(title, columns, rows, numeric=columns[1:])


def _unit(parts: Mapping[str, Mapping[str, Any]]) -> tuple[str, float]:
    """The unit of device time that suits the whole, and its seconds."""
    is_long = sum(part["device_seconds"] for part in parts.values()) >= HOUR
    return ("device hours", HOUR) if is_long else ("device seconds", 1.0)


def _amount(part: Mapping[str, Any]) -> str:
    return f"{duration(part['device_seconds'])} of device time" if part["usd"] is None else _dollars(part["usd"])


def _sum(parts: Mapping[str, Mapping[str, Any]]) -> float | None:
    known = [part["usd"] for part in parts.values() if part["usd"] is not None]
    return sum(known) if len(known) == len(parts) else None


def _dollars(usd: float | None) -> str:
    return "–" if usd is None else dollars(usd)
