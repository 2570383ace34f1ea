"""Figures drawn by matplotlib show what the page shows: every bar, every category."""

from __future__ import annotations

from itertools import pairwise

from matplotlib.patches import Rectangle
from matplotlib.text import Text

from orchestrator.page.charts import Axis, Chart, Parallel, Series
from orchestrator.page.matplotlib_charts import figure_of
from orchestrator.page.palette import LIGHT


def test_bars_of_one_name_lie_beside_each_other_and_the_legend_below_them() -> None:
    chart = Chart(
        "Importance by task", "share", "",
        [
            Series("step 10", [0.4, 0.1], ["lr", "depth"], "hbars", "best", [0.3, 0.0], [0.5, 0.2]),
            Series("step 20", [0.2], ["depth"], "hbars", "good", [0.1], [0.3]),
            Series("the end", [0.3, 0.2], ["depth", "lr"], "hbars", "bad"),
        ],
    )  # fmt: skip
    figure = figure_of(chart, LIGHT)
    (axes,) = figure.axes
    bars = sorted((each for each in axes.patches if isinstance(each, Rectangle)), key=lambda bar: bar.get_y())
    assert all(upper.get_y() + upper.get_height() <= lower.get_y() + 1e-9 for upper, lower in pairwise(bars))
    assert [bar.get_width() for bar in bars] == [0.4, 0.2, 0.1, 0.2, 0.3]  # of lr, then of depth, in the series' order
    assert [label.get_text() for label in axes.get_yticklabels()] == ["lr", "depth"]
    intervals = sorted(segment[0][1] for each in axes.collections for segment in each.get_segments())
    assert len({*intervals}) == 3  # an interval lies on its own bar
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().y1 <= axes.get_window_extent().y0


def test_all_categories_of_a_parallel_axis_are_written() -> None:
    optimizers = ["adam", "lion", "sgd", "lion"]
    figure = figure_of(
        Parallel("t", [Axis("optimizer", optimizers), Axis("lr", [1, 2, 3, 4])], [1, 2, 3, 4], "loss"), LIGHT
    )
    written = {each.get_text(): each.get_position() for each in figure.axes[0].findobj(Text) if isinstance(each, Text)}
    assert written["lion"] == (0, 0.5)
    assert {"adam", "sgd", "1", "4"} <= written.keys()
