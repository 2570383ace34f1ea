"""Figures as data. The sections of the report make them, and a renderer draws them: plotly for HTML, matplotlib for files.

A chart holds plain numbers only, so tests read what a figure shows without drawing it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Number: TypeAlias = float | None
Value: TypeAlias = float | str | None


@dataclass(frozen=True)
class Series:
    """One line, band, set of points or set of bars. `x` and `y` have the same length; None leaves a gap.

    `kind`: "line", "step" (holds its value to the next x), "points", "bars", "hbars" (x: lengths, y: names) or "band"
    (from `low` to `high`). `role` names a colour of the palette: "best", "baseline", "random", "muted", "bad", "good",
    or "task:NAME" and "trial:NUMBER" for a colour of their own. `low` and `high`: the ends of an interval of each y (of
    each x for "hbars"). `hover`: the text of each point.
    """

    name: str
    x: Sequence[Value]
    y: Sequence[Value]
    kind: Literal["line", "step", "points", "bars", "hbars", "band"] = "line"
    role: str = "best"
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()
    hover: Sequence[str] = ()
    shown_in_legend: bool = True


@dataclass(frozen=True)
class Chart:
    """A figure with two axes."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    x_log: bool = False
    y_log: bool = False
    note: str = ""  # below the figure: assumptions, and what was left out
    y_range: tuple[float, float] | None = None  # shown at first, in units of y; None: all

    @property
    def is_empty(self) -> bool:
        return not any(len(series.x) for series in self.series)


def are_whole(values: Sequence[Value]) -> bool:
    """Whether an axis of these values counts something, so that no tick stands between two whole numbers."""
    known = [value for value in values if value is not None]
    return bool(known) and all(type(value) is int for value in known)


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once: numbers by their values, then the others by their letters.

    >>> in_order(["128", "None", "32", "64", "32"])
    ['32', '64', '128', 'None']
    """
    return sorted(set(names), key=lambda name: (0, float(name), name) if _is_number(name) else (1, 0.0, name))


def options(chart: Chart) -> list[str]:
    """The names on the x axis of a chart of points, in order; none if they are numbers."""
    return in_order(x for series in chart.series if series.kind == "points" for x in series.x if isinstance(x, str))


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


@dataclass(frozen=True)
class Surface:
    """A contour plot: `z[row][column]` over `x` (columns) and `y` (rows), with the observations as points."""

    title: str
    x_label: str
    y_label: str
    z_label: str
    x: Sequence[float]
    y: Sequence[float]
    z: Sequence[Sequence[Number]]
    points: Series | None = None
    x_log: bool = False
    y_log: bool = False
    note: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.z


@dataclass(frozen=True)
class Axis:
    """One axis of a `Parallel`: a value for each line; strings are categories."""

    label: str
    values: Sequence[Value]
    log: bool = False


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates: a line for each trial across all axes, coloured by `color`, a value for each line."""

    title: str
    axes: Sequence[Axis]
    color: Sequence[float]
    color_label: str
    low_is_good: bool = True
    note: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.color


@dataclass(frozen=True)
class Table:
    """Rows of text below a heading; the columns named in `numeric` are set to the right.

    `wide`: it takes the whole width where figures are beside each other. `folded`: a page shows its title, and the rows on
    a click.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[str] = ()
    note: str = ""
    wide: bool = False
    folded: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.rows


@dataclass(frozen=True)
class Images:
    """Pictures with a caption each, as PNG bytes; or, without a picture, the sentence itself as the caption."""

    title: str
    items: Sequence[tuple[bytes | None, str]]
    note: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.items


Figure: TypeAlias = Chart | Surface | Parallel | Table | Images


@dataclass(frozen=True)
class Section:
    """A part of the page: its heading, sentences with the finding first, and figures. `key` is its anchor."""

    key: str
    title: str
    sentences: Sequence[str] = ()
    figures: Sequence[Figure] = field(default_factory=tuple)
    columns: int = 1  # figures beside each other on a wide screen
