"""Leave out what nobody could tell apart, so that a page of a long run stays small; the figure's note says how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from orchestrator.page.charts import Chart, Figure, Images, Parallel, Series, Surface, Table

MOST_POINTS, MOST_LINES, MOST_ROWS, MOST_IMAGES = 4000, 1500, 200, 60  # of a series, parallel lines, a table, pictures

Item = TypeVar("Item")


def thinned(figure: Figure) -> Figure:
    """The figure with at most so many points, lines, rows or pictures."""
    if isinstance(figure, Chart):
        series = [_thin_series(each) for each in figure.series]
        before, after = (
            sum(len(each.x) for each in found if each.kind == "points") for found in (figure.series, series)
        )
        return replace(figure, series=series, note=_with(figure.note, before - after, before, "points are not drawn"))
    if isinstance(figure, Surface):
        if figure.points is None:
            return figure
        points = _thin_series(figure.points)
        before = len(figure.points.x)
        return replace(
            figure,
            points=points,
            note=_with(figure.note, before - len(points.x), before, "points are not drawn"),
        )
    if isinstance(figure, Parallel):
        kept = _kept(len(figure.color), MOST_LINES)
        axes = [replace(axis, values=_at(axis.values, kept)) for axis in figure.axes]
        note = _with(figure.note, len(figure.color) - len(kept), len(figure.color), "trials are not drawn")
        return replace(figure, axes=axes, color=_at(figure.color, kept), note=note)
    if isinstance(figure, Table):
        note = _with(figure.note, len(figure.rows) - MOST_ROWS, len(figure.rows), "rows are not shown")
        return replace(figure, rows=figure.rows[:MOST_ROWS], note=note)
    assert isinstance(figure, Images)
    note = _with(figure.note, len(figure.items) - MOST_IMAGES, len(figure.items), "are not shown")
    return replace(figure, items=figure.items[:MOST_IMAGES], note=note)


def _thin_series(series: Series) -> Series:
    kept = _kept(len(series.x), MOST_POINTS)
    if len(kept) == len(series.x):
        return series
    return replace(
        series, x=_at(series.x, kept), y=_at(series.y, kept), low=_at(series.low, kept), high=_at(series.high, kept),
        hover=_at(series.hover, kept),
    )  # fmt: skip


def _kept(length: int, most: int) -> Sequence[int]:
    """Indices at equal distances, the first and the last among them."""
    if length <= most:
        return range(length)
    return sorted({round(position * (length - 1) / (most - 1)) for position in range(most)})


def _at(values: Sequence[Item], kept: Sequence[int]) -> Sequence[Item]:
    return [values[index] for index in kept] if values else values


def _with(note: str, left_out: int, before: int, words: str) -> str:
    said = f"{left_out:,} of {before:,} {words}." if left_out > 0 else ""
    return f"{note} {said}".strip()
