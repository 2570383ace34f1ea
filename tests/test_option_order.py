"""Options that are numbers stand in the figures by their values, whatever the trials had first; others by their letters."""

from __future__ import annotations

from orchestrator.page.charts import Axis, Chart, Parallel, Series
from orchestrator.page.matplotlib_charts import figure_of
from orchestrator.page.palette import palettes
from orchestrator.page.plotly_charts import drawn

HIDDEN, SORTED = ["64", "None", "128", "32", "64"], ["32", "64", "128", "None"]
LOSSES = [1.0, 2.0, 3.0, 4.0, 5.0]


def slice_of(*series: Series) -> Chart:
    return Chart("hidden", "hidden", "loss", series)


def test_the_options_of_a_slice_are_in_order() -> None:
    chart = slice_of(Series("trials", HIDDEN, LOSSES, "points"), Series("best", ["16"], [0.5], "points"))
    expected = ["16", *SORTED]
    axis = drawn(chart)["layout"]["xaxis"]
    assert (axis["type"], axis["categoryarray"]) == ("category", expected)
    palette, _ = palettes([])
    (axes,) = figure_of(chart, palette).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == expected


def test_the_axis_of_a_number_is_none_of_options() -> None:
    chart = slice_of(Series("trials", [64.0, 32.0], [1.0, 2.0], "points"))
    assert "categoryarray" not in drawn(chart)["layout"]["xaxis"]


def test_the_options_of_parallel_coordinates_are_in_order() -> None:
    parallel = Parallel("t", [Axis("hidden", HIDDEN), Axis("loss", LOSSES)], LOSSES, "loss")
    (trace,) = drawn(parallel)["data"]
    assert trace["dimensions"][0]["ticktext"] == SORTED
    assert trace["dimensions"][0]["values"] == [1, 3, 2, 0, 1]
    palette, _ = palettes([])
    axes = figure_of(parallel, palette).axes[0]
    assert [text.get_text() for text in axes.texts][: len(SORTED)] == SORTED
