"""A comparison for the terminal: a table where it fits, else a block for each group."""

from __future__ import annotations

import math
from textwrap import wrap
from typing import TYPE_CHECKING

from orchestrator.page.charts import Table
from orchestrator.page.compared.curves import Curve, curve, in_full_trainings
from orchestrator.page.compared.groups import Comparison
from orchestrator.page.compared.tables import reaching, table
from orchestrator.page.compared.verdicts import verdicts

if TYPE_CHECKING:
    from rich.console import Console

HEIGHTS = "▁▂▃▄▅▆▇█"
WIDEST = 60  # characters of a curve
MARGIN = 2


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the verdicts, the curves, the tables and what differs."""
    for sentence in verdicts(comparison):
        console.print(sentence, highlight=False, markup=False, style="bold")
    for warning in comparison.warnings:
        console.print(f"Note: {warning}", highlight=False, markup=False)
    console.print("")
    _print_curves(comparison, console)
    labels = [group.label for group in comparison.groups]
    for found in (table(comparison), reaching(comparison)):
        console.print("")
        if _fits(found, console.width):
            _print_table(found, console)
        else:
            _print_blocks(found, console)
    console.print("")
    if not comparison.differences:
        console.print("Only names and seeds differ.", highlight=False)
        return
    console.print("What differs", style="bold")
    for each in comparison.differences:
        console.print(each.setting, markup=False, highlight=False, soft_wrap=True)
        for value in dict.fromkeys(each.values):
            whose = [label for label, its in zip(labels, each.values, strict=True) if its == value]
            _print_hanging(f"{', '.join(whose)}: {value}", console)


def _fits(found: Table, width: int) -> bool:
    cells = [found.columns, *found.rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(found.columns))]
    return sum(widths) + 3 * (len(widths) - 1) <= width


def _print_table(found: Table, console: Console) -> None:
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, pad_edge=False, padding=(0, 3, 0, 0), title_justify="left")
    for name in found.columns:
        shown.add_column(Text(name), justify="right" if name in found.numeric else "left", no_wrap=True)
    for row in found.rows:
        shown.add_row(*map(Text, row))
    console.print(found.title, style="bold", markup=False, highlight=False)
    console.print(shown)


def _print_blocks(found: Table, console: Console) -> None:
    """Each row as a heading with a line for each cell."""
    console.print(found.title, style="bold", markup=False, highlight=False)
    wide = max(len(name) for name in found.columns[1:]) if found.columns[1:] else 0
    for row in found.rows:
        console.print(row[0], markup=False, highlight=False, style="bold", soft_wrap=True)
        for name, cell in zip(found.columns[1:], row[1:], strict=True):
            _print_hanging(f"{name:<{wide}}  {cell}", console, hang=wide + 2)


def _print_hanging(text: str, console: Console, *, hang: int = 2) -> None:
    """Indented by two; further lines by `hang` more."""
    lines = wrap(text, console.width, initial_indent="  ", subsequent_indent=" " * (2 + hang), drop_whitespace=True)
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_curves(comparison: Comparison, console: Console) -> None:
    """A line of blocks for each group, all on one cost axis and one scale; higher blocks are better."""
    curves = [(group.label, curve(group, in_full_trainings)) for group in comparison.groups]
    known = [found for _, found in curves if found.costs]
    if not known:
        return
    end = max(found.costs[-1] for found in known)
    losses = sorted({loss for found in known for loss in found.median})
    label_width = min(max(len(label) for label, _ in curves), console.width // 3)
    width = max(8, min(WIDEST, console.width - label_width - MARGIN))
    console.print(f"Best so far, from 0 to {end:.3g} full trainings; a higher line is a better value", highlight=False)
    for label, found in curves:
        line = _blocks(found, end, losses, width)
        console.print(f"{label[:label_width]:<{label_width}}  {line}", markup=False, highlight=False, no_wrap=True)


def _blocks(found: Curve, end: float, losses: list[float], width: int) -> str:
    """Each column shows the last value in it; blank where the curve is unknown.

    The height is the rank among all values shown, so outliers flatten nothing.
    """
    text, last = "", found.costs[-1] if found.costs else 0.0
    for column in range(width):
        loss = found.at(min(end * (column + 1) / width, last)) if end * column / width < last else None
        if loss is None:
            text += " "
            continue
        better = sum(each > loss for each in losses) / max(1, len(losses) - 1)
        text += HEIGHTS[min(len(HEIGHTS) - 1, math.floor(better * len(HEIGHTS)))]
    return text
