"""Figures drawn by matplotlib, in light colours: for files that no browser has to open."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.page.charts import Axis, Chart, Parallel, Series, Surface, Value, are_whole, in_order, options

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 7.5, 3.9  # inches
BAR = 0.28  # inches for a horizontal bar
ROW = 0.8  # of the distance between two names: their bars, beside each other
DPI = 130
WRITTEN = 12  # categories on an axis of a parallel chart; of more only the ends
LEGEND = 6  # more names than this in a legend hide the figure


def figure_of(figure: Chart | Surface | Parallel, palette: Mapping[str, str]) -> Figure:
    """The figure with its title and note below; `palette`: role → colour."""
    from matplotlib.figure import Figure as New

    height = HEIGHT
    if isinstance(figure, Chart) and (bars := [each for each in figure.series if each.kind == "hbars"]):
        height = (
            1.2 + BAR * len(bars) * max(2, len(_names(bars))) + (BAR if len(bars) > 1 else 0)
        )  # its legend is below
    new = New(figsize=(WIDTH, height), layout="constrained", facecolor=palette["page"])
    axes = new.add_subplot()
    axes.set_title(figure.title, loc="left", fontsize=11, fontweight="bold", color=palette["ink"])
    axes.grid(color=palette["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=palette["ink"], labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(palette["muted"])
    if isinstance(figure, Chart):
        _chart(axes, figure, palette)
    elif isinstance(figure, Surface):
        _surface(axes, figure, palette)
    else:
        _parallel(axes, figure)
    return new


def png(figure: Chart | Surface | Parallel, palette: Mapping[str, str]) -> bytes:
    """The figure as a PNG picture."""
    picture = io.BytesIO()
    figure_of(figure, palette).savefig(picture, dpi=DPI, format="png")
    return picture.getvalue()


def _chart(axes: Axes, chart: Chart, palette: Mapping[str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    _label(axes, chart)
    if names := options(chart):
        axes.xaxis.update_units(names)  # type: ignore[no-untyped-call]  # else they come in the order in which trials have them
    for kind in ("bars", "hbars"):
        if bars := [series for series in chart.series if series.kind == kind]:
            _bars(axes, bars, palette)
    for series in chart.series:
        if series.kind not in ("bars", "hbars"):
            _draw(axes, series, palette)
    for axis, log, values in (
        (axes.xaxis, chart.x_log, [x for series in chart.series for x in series.x]),
        (axes.yaxis, chart.y_log, [y for series in chart.series for y in series.y]),
    ):
        if not log and are_whole(values):
            axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    if chart.y_range is not None:
        axes.set_ylim(*chart.y_range)
    handles, names = axes.get_legend_handles_labels()
    if not 1 < len(names) <= LEGEND:
        return
    look: Any = {"frameon": False, "fontsize": 9, "labelcolor": palette["ink"]}
    if any(series.kind in ("bars", "hbars") for series in chart.series):  # bars leave no free place on the axes
        axes.figure.legend(handles, names, loc="outside lower center", ncols=len(names), **look)
    else:
        axes.legend(handles, names, **look)


def _bars(axes: Axes, bars: Sequence[Series], palette: Mapping[str, str]) -> None:
    """Those of one name beside each other; horizontal ones from the top."""
    lie, names, thickness = bars[0].kind == "hbars", _names(bars), ROW / len(bars)
    for place, series in enumerate(bars):
        lengths, own = (series.x, series.y) if lie else (series.y, series.x)
        at = [names.index(name) + (place - (len(bars) - 1) / 2) * thickness for name in own]
        look: Any = {"color": palette.get(series.role, palette["ink"]), "label": _legend(series), "capsize": 3}
        if lie:
            axes.barh(at, _gaps(lengths), height=thickness, xerr=_errors(series, lengths), **look)
        else:
            axes.bar(at, _gaps(lengths), width=thickness, yerr=_errors(series, lengths), **look)
    if lie:
        axes.set_yticks(range(len(names)), [str(name) for name in names])
        axes.invert_yaxis()
    else:
        axes.set_xticks(range(len(names)), [str(name) for name in names])


def _names(bars: Sequence[Series]) -> list[Value]:
    """What the bars stand for, each once, in their order."""
    return list(dict.fromkeys(name for each in bars for name in (each.y if each.kind == "hbars" else each.x)))


def _draw(axes: Axes, series: Series, palette: Mapping[str, str]) -> None:
    color = palette.get(series.role, palette["ink"])
    name = _legend(series)
    x, y = _gaps(series.x), _gaps(series.y)
    if series.kind == "band":
        axes.fill_between(x, _gaps(series.low), _gaps(series.high), color=color, alpha=0.2, linewidth=0, label=name)
    elif series.kind == "points":
        axes.errorbar(x, y, yerr=_errors(series, series.y), fmt="o", markersize=4, color=color, label=name, alpha=0.85)
    else:
        faint = None in series.y or series.role == "muted"
        style = "steps-post" if series.kind == "step" else "default"
        axes.plot(
            x, y, drawstyle=style, color=color, alpha=0.6 if faint else 1, linewidth=0.8 if faint else 2, label=name
        )


def _legend(series: Series) -> str:
    """Its name in the legend; matplotlib leaves out what begins with an underscore."""
    return series.name if series.shown_in_legend and series.name else "_"


def _surface(axes: Axes, surface: Surface, palette: Mapping[str, str]) -> None:
    _label(axes, surface)
    filled = axes.contourf(surface.x, surface.y, [_gaps(row) for row in surface.z], levels=14, cmap="viridis")
    bar = axes.figure.colorbar(filled, ax=axes)
    bar.set_label(surface.z_label)
    if surface.points is not None:
        points = surface.points
        axes.scatter(
            _gaps(points.x), _gaps(points.y), s=18, color=palette["page"], edgecolors=palette["ink"], linewidths=0.7
        )


def _parallel(axes: Axes, parallel: Parallel) -> None:
    """Lines across axes of equal height; the ends of every axis are written at it, of one with categories all of them."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    places = range(len(parallel.axes))
    scaled = [_scaled(axis) for axis in parallel.axes]
    scale = Normalize(min(parallel.color), max(parallel.color))
    colors = colormaps["viridis" if parallel.low_is_good else "viridis_r"]
    for line, value in enumerate(parallel.color):
        axes.plot(
            places, [heights[line] for heights, _ in scaled], color=colors(scale(value)), linewidth=0.7, alpha=0.6
        )
    behind = {"facecolor": axes.get_facecolor(), "edgecolor": "none", "alpha": 0.7, "pad": 1}
    for place, (_, labels) in zip(places, scaled, strict=True):
        for text, height in zip(labels, np.linspace(0, 1, len(labels)) if len(labels) > 1 else [0.0], strict=True):
            if 0 < height < 1:
                axes.text(place, height, text, ha="center", va="center", fontsize=7, bbox=behind)
            else:
                over = height == 1
                axes.text(place, 1.02 if over else -0.02, text, ha="center", va="bottom" if over else "top", fontsize=7)
    axes.set_xticks(places, [axis.label for axis in parallel.axes], rotation=20, ha="right")
    axes.set_yticks([])
    axes.set_ylim(-0.12, 1.12)
    from matplotlib.cm import ScalarMappable

    if scale.vmin != scale.vmax:
        axes.figure.colorbar(ScalarMappable(scale, colors), ax=axes).set_label(parallel.color_label)


def _scaled(axis: Axis) -> tuple[list[float], list[str]]:
    """Heights in [0, 1], NaN for a missing value, and the texts of both ends or, from 0 to 1, of all categories."""
    import numpy as np

    known = [value for value in axis.values if value is not None]
    if any(isinstance(value, str) for value in known):
        names = in_order(str(value) for value in known)
        step = max(1, len(names) - 1)
        heights = [float("nan") if value is None else names.index(str(value)) / step for value in axis.values]
        return heights, names if len(names) <= WRITTEN else [names[0], names[-1]]
    numbers = np.array([float("nan") if value is None else float(value) for value in axis.values])
    low, high = (float(np.nanmin(numbers)), float(np.nanmax(numbers))) if known else (0.0, 1.0)
    if axis.log and low > 0:
        numbers = np.log(numbers)
    bottom, top = (float(np.nanmin(numbers)), float(np.nanmax(numbers))) if known else (0.0, 1.0)
    return [*((numbers - bottom) / ((top - bottom) or 1.0))], [f"{low:.3g}", f"{high:.3g}"]


def _label(axes: Axes, figure: Chart | Surface) -> None:
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    if figure.x_log:
        axes.set_xscale("log")
    if figure.y_log:
        axes.set_yscale("log")


def _gaps(values: Sequence[Value]) -> list[Any]:
    """A missing value as NaN, at which matplotlib breaks a line."""
    return [float("nan") if value is None else value for value in values]


def _errors(series: Series, values: Sequence[Value]) -> list[list[float]] | None:
    if not series.low or not series.high:
        return None
    down, up = [], []
    for value, low, high in zip(values, series.low, series.high, strict=True):
        known = isinstance(value, (int, float)) and low is not None and high is not None
        down.append(max(0.0, value - low) if known else 0.0)  # type: ignore[operator]
        up.append(max(0.0, high - value) if known else 0.0)  # type: ignore[operator]
    return [down, up]
