"""Figures as plotly's JSON. Colours stand in it as "role:NAME" or "role:NAME/OPACITY"; the page fills them in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import Any, TypeAlias

from orchestrator.page.charts import (
    Axis,
    Chart,
    Images,
    Parallel,
    Series,
    Surface,
    Table,
    Value,
    are_whole,
    in_order,
    options,
)

Json: TypeAlias = dict[str, Any]

HEIGHT, BAR = 360, 26  # pixels: of a figure, and of a horizontal bar or a line of its name
LONGEST = 24  # characters in a line of a bar's name
MARGIN = {"l": 62, "r": 16, "t": 8, "b": 48}
MANY = 200  # points or lines of one kind; more are drawn small and pale, so that their density shows
APART = 0.06  # of an axis: ticks nearer to each other would be written on each other
AROUND = 0.1  # of a single value: what its axis shows on both sides
BELOW, EDGE = 0.15, 0.03  # parts of an axis of parallel coordinates: where lines without a value pass, and its ends
NO_VALUE = "none"
DECADES = 3.0  # on a logarithmic axis; from there on only powers of ten are written
FEW = 8  # values on a logarithmic axis that are all written
TINY = 1e-3
NEAR = 12  # whole numbers on an axis that are all written
DIGITS = 6  # more cannot be seen


def drawn(figure: Chart | Surface | Parallel) -> Json:
    """`data`, `layout` and `height` (pixels) for plotly."""
    if isinstance(figure, Chart):
        return _chart(figure)
    return _surface(figure) if isinstance(figure, Surface) else _parallel(figure)


def is_drawn(figure: Chart | Surface | Parallel | Table | Images) -> bool:
    """Whether plotly draws it; the others are HTML."""
    return isinstance(figure, (Chart, Surface, Parallel))


def _chart(chart: Chart) -> Json:
    traces = [trace for series in chart.series for trace in _traces(series)]
    shown = [trace for trace in traces if trace["showlegend"]]
    for trace in traces:
        trace["showlegend"] = trace["showlegend"] and len(shown) > 1
    layout = _layout(chart.x_label, chart.y_label, chart.x_log, chart.y_log)
    height = HEIGHT
    if any(series.kind == "hbars" for series in chart.series):
        names = list(dict.fromkeys(str(name) for series in chart.series for name in series.y))
        broken = ["<br>".join(wrap(name, LONGEST, break_long_words=False)) for name in names]
        lines = max(
            max(1, sum(series.kind == "hbars" for series in chart.series)), *(1 + name.count("<br>") for name in broken)
        )
        height = 90 + BAR * max(2, len(names)) * lines
        layout["yaxis"] |= {"automargin": True, "autorange": "reversed", "showgrid": False}
        layout["yaxis"] |= {"tickvals": names, "ticktext": broken}
        layout["xaxis"] |= {"tickangle": 0, "nticks": 5}  # also where a narrow screen leaves little room
    if names := options(chart):
        layout["xaxis"] |= {"type": "category", "categoryorder": "array", "categoryarray": names}
    has_bars = any("bars" in series.kind for series in chart.series)  # they begin at 0
    for axis, log, values in (
        ("xaxis", chart.x_log, [x for series in chart.series for x in series.x]),
        ("yaxis", chart.y_log, [y for series in chart.series for y in series.y]),
    ):
        if axis == "yaxis":  # of a band, both edges
            values = [*values, *(end for series in chart.series if not has_bars for end in (*series.low, *series.high))]
        known = [value for value in values if value is not None]
        if log:
            layout[axis] |= _log_ticking(known)
        elif are_whole(known) and max(known) - min(known) <= NEAR:  # type: ignore[operator]
            layout[axis]["dtick"] = 1
        if not has_bars and (value := _only(known)) is not None and (value > 0 or not log):
            layout[axis]["range"] = _around(value, log)
            layout[axis] |= {"tickmode": "array", "tickvals": [value], "ticktext": [f"{value:.4g}"]} if log else {}
        if _is_tiny(values, log):
            layout[axis]["exponentformat"] = "power"  # 10⁻⁴: "100µ" is hard to read without a unit
    if all(x >= 0 for series in chart.series for x in series.x if isinstance(x, (int, float))):
        layout["xaxis"]["rangemode"] = "nonnegative"
    if chart.y_range is not None:
        low, high = chart.y_range
        layout["yaxis"]["range"] = [math.log10(low), math.log10(high)] if chart.y_log else [low, high]
    layout["barmode"] = "group"
    return {"data": traces, "layout": layout, "height": height}


def _only(values: Sequence[Value]) -> float | None:
    """The value of an axis that has no other; plotly would show it between far ends."""
    found = {value for value in values if value is not None}
    value = found.pop() if len(found) == 1 else None
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _around(value: float, log: bool) -> list[float]:
    if log:
        return [math.log10(value * (1 - AROUND)), math.log10(value * (1 + AROUND))]
    margin = AROUND * abs(value) or 0.5
    return [value - margin, value + margin]


def _log_ticking(values: Sequence[Value]) -> Json:
    """The values themselves if they are few (a parameter that is a power of two), else powers of ten."""
    own = sorted({value for value in values if isinstance(value, (int, float)) and 0 < value < math.inf})
    if len(own) <= FEW and all(float(value).is_integer() for value in own):  # others would lie on each other
        return {"tickmode": "array", "tickvals": own, "ticktext": [f"{value:.4g}" for value in own]}
    return _log_ticks_of(values)


def _log_ticks_of(values: Sequence[Value]) -> Json:
    """Powers of ten, or 1, 2 and 5 times them if there are few; these are written out, not as plotly's lone 2 and 5."""
    known = [value for value in values if isinstance(value, (int, float)) and 0 < value < math.inf]
    is_wide = bool(known) and math.log10(max(known) / min(known)) >= DECADES
    return {"dtick": 1} if is_wide else {"dtick": "D2", "tickformat": "~g"}


def _is_tiny(values: Sequence[Value], log: bool) -> bool:
    """Whether the axis has ticks that plotly would write with a prefix for small numbers."""
    known = [abs(value) for value in values if isinstance(value, (int, float)) and value and math.isfinite(value)]
    return bool(known) and (min if log else max)(known) < TINY


def _traces(series: Series) -> list[Json]:
    color = f"role:{series.role}"
    base: Json = {
        "name": series.name, "x": _plain(series.x), "y": _plain(series.y),
        "showlegend": series.shown_in_legend and bool(series.name), "legendgroup": series.name,
    }  # fmt: skip
    base |= {"hovertext": list(series.hover), "hoverinfo": "text"} if series.hover else {"hoverinfo": "x+y+name"}
    if series.kind == "band":
        return _band(series, base)
    if series.kind in ("bars", "hbars"):
        lies = series.kind == "hbars"
        errors = _errors(series, series.x if lies else series.y)
        bars = {"type": "bar", "marker": {"color": color}, "orientation": "h" if lies else "v"}
        return [base | bars | ({f"error_{'x' if lies else 'y'}": errors} if errors else {})]
    if series.kind == "points":
        marker = {"color": color, "size": 7, "opacity": 0.85}
        if len(series.x) > MANY:
            marker |= {"size": 4, "opacity": 0.5}
        errors = _errors(series, series.y)
        points = {"type": "scatter", "mode": "markers", "marker": marker, "cliponaxis": False}  # whole at the edge, too
        return [base | points | ({"error_y": errors} if errors else {})]
    faint = None in series.y or series.role == "muted"  # many lines in one
    line = {
        "color": f"{color}/{0.35 if series.y.count(None) > MANY // 4 else 0.6}" if faint else color,
        "width": 1.2 if faint else 2.4,
        "shape": "hv" if series.kind == "step" else "linear",
    }  # fmt: skip
    return [base | {"type": "scatter", "mode": "lines", "line": line}]


def _band(series: Series, base: Json) -> list[Json]:
    """Two lines with the space between them filled; where an end is missing there is no band."""
    rows = [row for row in zip(series.x, series.low, series.high, strict=True) if None not in row[1:]]
    edge: Json = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    x = _plain([row[0] for row in rows])
    low = edge | {"x": x, "y": _plain([row[1] for row in rows]), "showlegend": False}
    high = edge | {"x": x, "y": _plain([row[2] for row in rows]), "fill": "tonexty"}
    filled = high | {"fillcolor": f"role:{series.role}/0.3", "name": base["name"], "showlegend": base["showlegend"]}
    return [low | {"legendgroup": base["legendgroup"]}, filled | {"legendgroup": base["legendgroup"]}]


def _errors(series: Series, values: Sequence[Value]) -> Json:
    if not series.low or not series.high:
        return {}
    up, down = [], []
    for value, low, high in zip(values, series.low, series.high, strict=True):
        known = isinstance(value, (int, float)) and low is not None and high is not None
        up.append(high - value if known else None)  # type: ignore[operator]
        down.append(value - low if known else None)  # type: ignore[operator]
    return {
        "type": "data", "symmetric": False, "array": _plain(up), "arrayminus": _plain(down), "color": "role:ink",
        "thickness": 1.2, "width": 3,
    }  # fmt: skip


def _surface(surface: Surface) -> Json:
    layout = _layout(surface.x_label, surface.y_label, surface.x_log, surface.y_log)
    for axis, log, values in (("xaxis", surface.x_log, surface.x), ("yaxis", surface.y_log, surface.y)):
        layout[axis] |= _log_ticks_of(values) if log else {}
    contour: Json = {
        "type": "contour", "x": _plain(surface.x), "y": _plain(surface.y), "z": [_plain(row) for row in surface.z],
        "colorscale": "Viridis", "ncontours": 14, "line": {"width": 0.5}, "showlegend": False,
        "colorbar": {"title": {"text": surface.z_label, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        "hovertemplate": f"{surface.x_label} %{{x}}<br>{surface.y_label} %{{y}}<br>{surface.z_label} %{{z}}<extra></extra>",
    }  # fmt: skip
    traces = [contour]
    if surface.points is not None:
        points = _traces(surface.points)[0]
        points["marker"] |= {"color": "role:page", "line": {"color": "role:ink", "width": 1}}
        traces.append(points | {"showlegend": False})
    return {"data": traces, "layout": layout, "height": HEIGHT + 40}


def _parallel(parallel: Parallel) -> Json:
    line: Json = {
        "color": _plain(parallel.color), "colorscale": "Viridis",
        "showscale": len({*parallel.color}) > 1, "colorbar": {"title": {"text": parallel.color_label, "side": "right"}, "thickness": 12},
    }  # fmt: skip
    trace = {
        "type": "parcoords", "line": line, "dimensions": [_dimension(axis) for axis in parallel.axes],
        "labelfont": {"color": "role:ink"}, "tickfont": {"color": "role:ink"}, "rangefont": {"color": "role:soft"},
    }  # fmt: skip
    layout = _layout("", "", False, False) | {"margin": {"l": 60, "r": _right(parallel), "t": 44, "b": 16}}
    return {
        "data": [trace],
        "layout": layout,
        "height": HEIGHT + 40,
        "least_width": least_width(parallel),
        "low_is_good": parallel.low_is_good,
    }


def _right(parallel: Parallel) -> int:
    """Pixels beside the last axis: for half of its name, where no colour bar gives it room."""
    return 40 if len({*parallel.color}) > 1 else max(40, 3 * len(parallel.axes[-1].label))


def least_width(parallel: Parallel) -> int:
    """Pixels of parallel coordinates, so that the names of axes beside each other do not meet."""
    lengths = [len(axis.label) for axis in parallel.axes]
    widest = max((a + b) / 2 for a, b in zip(lengths, lengths[1:] or lengths, strict=False))
    return len(lengths) * max(90, round(8 * widest) + 10)


def _dimension(axis: Axis) -> Json:
    """Categories become their positions, logarithmic values their exponents; the ticks show the values themselves.

    A line without a value (a parameter that does not apply) passes below the axis.
    """
    known = [value for value in axis.values if value is not None]
    if any(isinstance(value, str) for value in known):
        names = in_order(str(value) for value in known)
        places: list[float | None] = [
            None if value is None else float(names.index(str(value))) for value in axis.values
        ]
        return _placed(axis.label, places, [float(place) for place in range(len(names))], names)
    numbers = [None if value is None else float(value) for value in axis.values]
    if axis.log and all(value is None or value > 0 for value in numbers):
        numbers = [None if value is None else math.log10(value) for value in numbers]
        own = sorted({value for value in numbers if value is not None})
        ticks = _apart(own) if len(own) <= FEW else _log_ticks(own)
        return _placed(axis.label, numbers, ticks, [f"{10**tick:.3g}" for tick in ticks])
    ends = [value for value in numbers if value is not None]
    if not ends:
        return _placed(axis.label, numbers, [], [])
    low, high = min(ends), max(ends)
    ticks = [low + (high - low) * place / 4 for place in range(5)] if high > low else [low]
    return _placed(axis.label, numbers, ticks, [f"{tick:.3g}" for tick in ticks])


def _placed(label: str, values: Sequence[float | None], ticks: Sequence[float], texts: Sequence[str]) -> Json:
    known = [value for value in (*values, *ticks) if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    size = (high - low) or 1.0
    below = low - BELOW * size
    if None in values:
        values = [below if value is None else value for value in values]
        ticks, texts = [below, *ticks], [NO_VALUE, *texts]
    return {
        "label": label, "values": _plain(values), "tickvals": _plain(ticks), "ticktext": list(texts),
        "range": _plain([(below if NO_VALUE in texts else low) - EDGE * size, high + EDGE * size]),
    }  # fmt: skip


def _apart(ticks: Sequence[float]) -> list[float]:
    """Of ticks in order, those that can be read beside each other, both ends among them."""
    if len(ticks) < 3:
        return list(ticks)
    least, kept = APART * (ticks[-1] - ticks[0]), [ticks[0]]
    for tick in ticks[1:-1]:
        if tick - kept[-1] >= least and ticks[-1] - tick >= least:
            kept.append(tick)
    return [*kept, ticks[-1]]


def _log_ticks(exponents: Sequence[float]) -> list[float]:
    if not exponents:
        return []
    low, high = min(exponents), max(exponents)
    whole = [float(power) for power in range(math.ceil(low), math.floor(high) + 1)]
    return whole if len(whole) >= 2 else [low, (low + high) / 2, high]


def _layout(x_label: str, y_label: str, x_log: bool, y_log: bool) -> Json:
    def axis(label: str, log: bool) -> Json:
        return {
            "title": {"text": label, "standoff": 8}, "type": "log" if log else "-", "gridcolor": "role:grid",
            "zeroline": False, "linecolor": "role:grid", "automargin": True,
        }  # fmt: skip

    return {
        "margin": dict(MARGIN), "xaxis": axis(x_label, x_log), "yaxis": axis(y_label, y_log),
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "hovermode": "closest",
        "font": {"color": "role:ink", "size": 13, "family": "system-ui, sans-serif"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"bgcolor": "role:page", "bordercolor": "role:soft", "font": {"color": "role:ink"}},
    }  # fmt: skip


def _plain(values: Sequence[Value]) -> list[Value]:
    """Rounded to what can be seen; a number that JSON does not know becomes a gap."""
    return [_rounded(value) if isinstance(value, float) else value for value in values]


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
