"""The tables of a comparison."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from orchestrator.page.charts import Table
from orchestrator.page.compared.groups import Comparison
from search.records import Status

LEAST_HOURS = 0.001  # fewer are of no interest


def spread(values: Sequence[float], digits: int = 4) -> str:
    """The median, and the range if there are several; – if there are none."""
    if not values:
        return "–"
    middle = f"{statistics.median(values):.{digits}g}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}g} to {max(values):.{digits}g})"


def table(comparison: Comparison) -> Table:
    """A row for each group; medians, with the range over its runs."""
    value, is_priced = comparison.value, any(group.usd for group in comparison.groups)
    columns = [
        "",
        "runs",
        "best",
        "confirmed",
        "cost",
        "device hours",
        *(["$"] if is_priced else []),
        "trials",
        "completed",
        "failed or diverged",
    ]
    rows = [
        [
            group.label,
            str(len(group.runs)),
            spread([value(loss) for loss in group.best]),
            spread([value(loss) for loss in group.confirmed]),
            spread(group.spent, 3),
            _hours(group.device_hours),
            *([spread(group.usd, 4)] if is_priced else []),
            str(sum(len(run.history.trials) for run in group.runs)),
            str(group.count(Status.COMPLETED)),
            str(group.count(Status.FAILED, Status.DIVERGED)),
        ]
        for group in comparison.groups
    ]
    note = (
        "Medians over the runs, lowest and highest in brackets. Cost in full trainings; best: the winner's first score; "
        "confirmed: its mean on fresh seeds."
    )
    better = "higher" if comparison.goal.mode == "max" else "lower"
    return Table(f"{comparison.goal.metric} ({better} is better)", columns, rows, columns[1:], note)


def _hours(hours: Sequence[float]) -> str:
    return f"<{LEAST_HOURS:g}" if 0 < statistics.median(hours) < LEAST_HOURS else spread(hours, 3)


def reaching(comparison: Comparison) -> Table:
    """Row: who; column: whose best (median); cell: the median cost to reach it, in full trainings, and how many did."""
    labels = [group.label for group in comparison.groups]
    rows = []
    for group in comparison.groups:
        cells = []
        for other in comparison.groups:
            if other is group or not other.best:
                cells.append("–")
                continue
            costs = group.cost_to_reach(statistics.median(other.best))
            cells.append(_reached(costs))
        rows.append([group.label, *cells])
    return Table(
        "Cost to reach the best of",
        ["", *labels],
        rows,
        labels,
        "Cost at which the runs of a row reached the median best of a column: full trainings, the median over runs.",
    )


def _reached(costs: list[float]) -> str:
    median, times = statistics.median(costs), sum(map(math.isfinite, costs))
    count = f" ({times} of {len(costs)})" if len(costs) > 1 else ""
    return (f"{median:.3g}" if math.isfinite(median) else "never" if not times else "most never") + count
