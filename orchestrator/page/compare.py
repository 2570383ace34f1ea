"""Several sweeps, or groups of seeds of the same sweep, side by side on one cost axis: a page's sections, and plain data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

from orchestrator.page.charts import Chart, Section, Series, Table
from orchestrator.page.compared.curves import curve, in_device_hours, in_dollars, in_full_trainings
from orchestrator.page.compared.groups import Comparison, Group
from orchestrator.page.compared.tables import reaching, table
from orchestrator.page.compared.verdicts import verdicts
from orchestrator.page.document import Document
from orchestrator.page.recorded import Recorded
from orchestrator.record.encoding import now
from search.records import Status


def document(comparison: Comparison) -> Document:
    """The comparison as a page."""
    runs = [run for group in comparison.groups for run in group.runs]
    better = "higher" if comparison.goal.mode == "max" else "lower"
    title = " against ".join(group.label for group in comparison.groups)
    facts = f"{len(runs)} runs · {comparison.goal.metric} ({better} is better)"
    return Document(title, facts, tuple(sections(comparison)), runs[0].folder, 0, now()[:19])


def sections(comparison: Comparison) -> list[Section]:
    """The parts of a page: the answer, the curves, what differs."""
    charts = [
        _chart(comparison, "full trainings", in_full_trainings),
        _chart(comparison, "device hours", in_device_hours),
    ]
    if all(group.usd for group in comparison.groups):
        charts.append(_chart(comparison, "$", in_dollars))
    found = [
        Section(
            "compare",
            "Comparison",
            [*verdicts(comparison), *comparison.warnings],
            (table(comparison), reaching(comparison)),
        ),
        Section("curves", "Best so far against cost", (), tuple(charts), columns=2),
    ]
    labels = [group.label for group in comparison.groups]
    rows = [[each.setting, *each.values] for each in comparison.differences]
    words = [] if rows else ["Only names and seeds differ."]
    found.append(Section("differences", "What differs", words, (Table("Settings", ["setting", *labels], rows),)))
    return found


def _chart(comparison: Comparison, label: str, cost_of: Callable[[Recorded, float, float], float]) -> Chart:
    series: list[Series] = []
    for number, group in enumerate(comparison.groups):
        found, role = curve(group, cost_of), f"trial:{number}"
        values = [comparison.value(loss) for loss in found.median]
        if len(group.runs) > 1 and found.costs:
            ends = [
                sorted((comparison.value(low), comparison.value(high)))
                for low, high in zip(found.low, found.high, strict=True)
            ]
            low, high = _stepped([each[0] for each in ends]), _stepped([each[1] for each in ends])
            corners = [cost for cost in found.costs for _ in range(2)][1:]
            middle = _stepped(values)
            series.append(Series(group.label, corners, middle, "band", role, low, high, shown_in_legend=False))
        series.append(Series(group.label, found.costs, values, "step", role))
    note = (
        "Line: the median of a group's runs, from the cost at which all have a result to the cost at which the first one ends; "
        "band: lowest to highest run."
    )
    return Chart(f"Against {label}", label, comparison.goal.metric, series, note=note)


def _stepped(values: list[float]) -> list[float]:
    """Each value holds to the next place: two points at every place but the first."""
    return [value for value in values for _ in range(2)][:-1]


def as_data(comparison: Comparison) -> dict[str, Any]:
    """The object that `compare --json` prints."""
    value = comparison.value
    return {
        "metric": comparison.goal.metric,
        "mode": comparison.goal.mode,
        "verdicts": verdicts(comparison),
        "warnings": list(comparison.warnings),
        "groups": [_group_data(comparison, group) for group in comparison.groups],
        "differences": [
            {
                "setting": each.setting,
                "values": dict(zip([g.label for g in comparison.groups], each.values, strict=True)),
            }
            for each in comparison.differences
        ],
        "levels": {group.label: value(statistics.median(group.best)) for group in comparison.groups if group.best},
    }


def _group_data(comparison: Comparison, group: Group) -> dict[str, Any]:
    value, found = comparison.value, curve(group, in_full_trainings)
    others = [other for other in comparison.groups if other is not group and other.best]
    return {
        "label": group.label,
        "runs": [str(run.folder) for run in group.runs],
        "best": [value(loss) for loss in group.best],
        "confirmed": [value(loss) for loss in group.confirmed],
        "full_trainings": [round(cost, 3) for cost in group.spent],
        "device_hours": [round(hours, 6) for hours in group.device_hours],
        "usd": group.usd or None,
        "trials": {status.value: group.count(status) for status in Status},
        "cost_to_reach": {
            other.label: [
                None if math.isinf(cost) else round(cost, 3)
                for cost in group.cost_to_reach(statistics.median(other.best))
            ]
            for other in others
        },
        "curve": {
            "cost": list(found.costs), "median": [value(loss) for loss in found.median],
            "best": [value(loss) for loss in found.low], "worst": [value(loss) for loss in found.high],
        },
    }  # fmt: skip
