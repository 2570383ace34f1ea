"""Several sweeps, or groups of seeds of the same sweep, side by side on one cost axis: a page's sections, and plain data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

from orchestrator.report.charts import Chart, Section, Series, Table
from orchestrator.report.compared.curves import curve, in_device_hours, in_full_trainings
from orchestrator.report.compared.groups import Comparison, Group
from orchestrator.report.compared.tables import reaching, table
from orchestrator.report.compared.verdicts import verdicts
from orchestrator.report.recorded import Recorded
from search.records import Status


def sections(comparison: Comparison) -> list[Section]:
    """The parts of a page: the answer, the curves, what differs."""
    charts = [
        _chart(comparison, "cost (full trainings)", in_full_trainings),
        _chart(comparison, "device hours", in_device_hours),
    ]
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
            low, high = [each[0] for each in ends], [each[1] for each in ends]
            series.append(Series(group.label, found.costs, values, "band", role, low, high, shown_in_legend=False))
        series.append(Series(group.label, found.costs, values, "step", role))
    note = "Line: the median of a group's runs, from where all have a result to where the first one ends; band: lowest and highest."
    return Chart("Best so far", label, comparison.goal.metric, series, note=note)


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
        "device_hours": [round(hours, 4) for hours in group.device_hours],
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
