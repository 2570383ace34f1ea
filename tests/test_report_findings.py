"""The analytical sections of the report state what the record shows, and nothing where it shows nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.page.analysis.words import short
from orchestrator.page.charts import Chart, Parallel, Section, Surface, Table
from orchestrator.page.matplotlib_charts import figure_of
from orchestrator.page.plotly_charts import drawn
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections import (
    correlation,
    decisions,
    examples,
    failures,
    origins,
    parameters,
    population,
    workers,
)
from orchestrator.page.sections.population import lineage, slots
from search.contract import Searcher
from search.models.fits import CurveFits
from search.records import FOUND, End, Lost, Report, Status, start
from search.rules.turns import model_share
from search.searchers.multitask import MultitaskSearch
from search.searchers.pbt import PopulationBasedTraining
from search.searchers.points import Points
from search.searchers.random import Random
from search.searchers.sigopt import SigOptSearch
from search.space import Space, choice, loguniform, uniform, when
from search.work import Decision
from tests.populations import Recording
from tests.populations import run as populate
from tests.records_on_disk import read, sweep_over, trained, written
from tests.support import SPACE, recorded, simulated, small_sweep
from trainables.workloads.quadratic import Quadratic

SECTIONS = (correlation, decisions, examples, failures, origins, parameters, population, workers)
LINE = Space({"x": uniform(0, 1), "rate": loguniform(1e-3, 1.0)})


def check(section: Section | None) -> None:
    """Whatever a section shows, its columns have equal lengths and its sentences are sentences."""
    if section is None:
        return
    assert section.sentences or section.figures
    for sentence in section.sentences:
        assert sentence[0].isupper() or sentence[0].isdigit()
        assert sentence[-1] in ".!:" or ": " in sentence
        assert "nan" not in sentence.split()
    for figure in section.figures:
        assert not figure.is_empty
        match figure:
            case Chart(series=series):
                for one in series:
                    assert len(one.x) == len(one.y)
                    assert len(one.hover) in (0, len(one.x))
                    assert len(one.low) == len(one.high)
                    assert len(one.low) in (0, len(one.x))
            case Table(columns=columns, rows=rows, numeric=numeric):
                assert all(len(row) == len(columns) and all(isinstance(cell, str) for cell in row) for row in rows)
                assert set(numeric) <= set(columns)
            case Parallel(axes=axes, color=color):
                assert all(len(axis.values) == len(color) for axis in axes)
            case Surface(x=x, y=y, z=z):
                assert len(z) == len(y)
                assert all(len(row) == len(x) for row in z)


def text(section: Section | None) -> str:
    assert section is not None
    return " ".join(section.sentences)


def tables(section: Section | None) -> dict[str, Table]:
    assert section is not None
    return {figure.title: figure for figure in section.figures if isinstance(figure, Table)}


# The smallest runs.


def configs_of(space: Space, count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(count)
    return [space.sample(rng) for _ in range(count)]


def edges() -> Iterator[tuple[str, dict[str, Any], list[Any]]]:
    secret = Space({"x": uniform(0, 1), "api_key": choice(["sk-aaaaaaaaaaaa", "sk-bbbbbbbbbbbb"])})
    tree = Space({"opt": choice(["sgd", "adam"]), "momentum": when(uniform(0, 1), opt="sgd")})
    one = {"x": 0.5, "rate": 0.1}
    yield "no trial", {"space": LINE}, []
    yield "one trial without a report", {"space": LINE}, [start(one)]
    yield "one trial", {"space": LINE}, list(trained([one], np.ones((1, 4))))
    yield "a trial that failed", {"space": LINE}, [start(one), End(0, Status.FAILED, "ValueError: x")]
    yield "all diverged", {"space": LINE}, list(trained([one, one], np.full((2, 4), np.nan)))
    yield "equal results", {"space": LINE}, list(trained(configs_of(LINE, 25), np.ones((25, 4))))
    yield "a masked secret", {"space": secret}, list(trained(configs_of(secret, 3), np.arange(12.0).reshape(3, 4)))
    yield "conditions", {"space": tree}, list(trained(configs_of(tree, 5), np.arange(20.0).reshape(5, 4)))
    yield "nothing to search", {"space": Space({"x": 1.0})}, list(trained([{"x": 1.0}], np.ones((1, 4))))
    yield "one step", {"space": LINE, "horizon": 1}, list(trained(configs_of(LINE, 3), np.ones((3, 1))))
    yield "an older space", {"space": LINE}, list(trained([{"gone": 1}, {"x": "text"}], np.ones((2, 4))))


EDGES = list(edges())


@pytest.mark.parametrize(("what", "changes", "records"), EDGES, ids=[what for what, _, _ in EDGES])
def test_every_section_is_sound_on_the_smallest_runs(
    what: str, changes: dict[str, Any], records: list[Any], tmp_path: Path
) -> None:
    run = written(tmp_path, sweep_over(**changes), records)
    found = {module.__name__.rpartition(".")[2]: module.section(run) for module in SECTIONS}
    for section in found.values():
        check(section)
    for absent in ("decisions", "population", "examples"):
        assert found[absent] is None
    if what == "no trial":
        assert set(found.values()) == {None}
    if what == "one trial":  # there is nothing to compare
        assert {found[name] for name in ("parameters", "origins", "correlation")} == {None}
    if what == "conditions":
        assert text(found["parameters"]).startswith("The importance of the parameters is not known yet")
    if what == "a masked secret":
        assert "masks the values of api_key" in text(found["parameters"])
    if what == "one step":
        assert found["correlation"] is None


def test_an_inactive_choice_has_no_option_and_a_condition_reads_as_in_the_plan(tmp_path: Path) -> None:
    own = when(choice(["a", "b"]), opt=["sgd", "lars"])
    space = Space({"opt": choice(["sgd", "lars", "adam"]), "kind": own})
    configs = [{"opt": "sgd", "kind": "a"}, {"opt": "lars", "kind": "b"}, {"opt": "adam"}] * 3
    run = written(tmp_path, sweep_over(space), trained(configs, np.arange(36.0).reshape(9, 4)))
    section = parameters.section(run)
    assert section is not None
    (lines,) = [figure for figure in section.figures if isinstance(figure, Parallel)]
    (axis,) = [axis for axis in lines.axes if axis.label == "kind"]
    assert sorted(axis.values, key=str) == [None] * 3 + ["a"] * 3 + ["b"] * 3
    (told,) = [sentence for sentence in section.sentences if sentence.startswith("The importance of the parameters")]
    assert "with opt is sgd or lars: 6 of the" in told
    assert told.count(". ") == 0, "one sentence"


# Parameters and correlation, on a sweep that stopped most trials early.


@pytest.fixture(scope="module", params=["min", "max"])
def stopped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """60 trials; the result is x with a little noise, rate has no influence; 36 stop at the second of four steps."""
    rng = np.random.default_rng(0)
    configs = configs_of(LINE, 60)
    ends = np.array([config["x"] for config in configs]) + 0.05 * rng.normal(size=60)
    curves = ends[:, None] + np.array([3.0, 2.0, 1.0, 0.0]) + rng.normal(size=(60, 4)) * [0.2, 0.1, 0.1, 0.0]
    stop = dict.fromkeys(np.argsort(ends)[24:].tolist(), 2)
    sweep = sweep_over(LINE, mode=request.param, num_samples=60)
    return written(tmp_path_factory.mktemp(request.param), sweep, trained(configs, curves, stop_at=stop))


def test_a_rate_that_trainings_found_is_drawn_where_they_found_it(tmp_path: Path) -> None:
    """Each of 30 trainings found 0.1, wherever it began."""
    configs = configs_of(LINE, 30)
    records = [
        replace(record, metrics={FOUND + "rate": 0.1}) if isinstance(record, Report) else record
        for record in trained(configs, np.array([[config["x"]] * 4 for config in configs]))
    ]
    run = written(tmp_path, sweep_over(LINE, num_samples=30), records)
    section = parameters.section(run)
    check(section)
    assert section is not None
    bars, slice_ = (
        next(each for each in section.figures if isinstance(each, Chart) and each.title.startswith(title))
        for title in ("Importance", "rate")
    )
    assert slice_.x_label == "rate (found in training)"
    assert {x for series in slice_.series for x in series.x} == {0.1}
    began = run.history.trials[0].config["rate"]
    assert any(f"began at {short(began)}" in words for series in slice_.series for words in series.hover)
    assert "For rate, the value at the start of the training counts." in bars.note
    (lines,) = [each for each in section.figures if isinstance(each, Parallel)]
    (axis,) = [axis for axis in lines.axes if axis.label == "rate"]
    assert {*axis.values} == {0.1}
    assert lines.note.endswith(" rate: as found in training.")
    (surface,) = [each for each in section.figures if isinstance(each, Surface)]
    assert surface.points is not None
    assert {0.1} in ({*surface.points.x}, {*surface.points.y})


def test_the_parameter_that_matters_is_named_with_its_interval(stopped: Recorded) -> None:
    section = parameters.section(stopped)
    check(section)
    assert section is not None
    assert section.sentences[0].startswith("In the full trainings, x accounts for ")
    assert "At step 2, x accounts for " in text(section)
    assert "No influence of rate is visible in the full trainings." in text(section)
    bars = next(figure for figure in section.figures if isinstance(figure, Chart))
    assert [series.name for series in bars.series] == ["step 2", "full trainings"]
    assert bars.series[0].y[0] == "x"
    surface = next(figure for figure in section.figures if isinstance(figure, Surface))
    lines = next(figure for figure in section.figures if isinstance(figure, Parallel))
    assert "always active, in the full trainings (no influence of rate is visible there)" in surface.note
    assert lines.low_is_good == (stopped.goal.mode == "min")
    sign = 1 if lines.low_is_good else -1
    edge = [[value for value in column if value is not None] for column in list(zip(*surface.z, strict=True))[:2]]
    assert all(sign * value < 0.3 for column in edge for value in column)  # x near 0 is good, whatever the sign


def test_where_too_few_came_to_the_end_the_bars_are_in_the_order_of_an_earlier_stage(tmp_path: Path) -> None:
    configs = configs_of(LINE, 40)
    curves = np.array([config["x"] for config in configs])[:, None] - np.arange(4.0)
    stop = dict.fromkeys(range(10, 40), 2)  # ten results at the end: enough for charts, not for its importance
    section = parameters.section(
        written(tmp_path, sweep_over(LINE, num_samples=40), trained(configs, curves, stop_at=stop))
    )
    assert section is not None
    bars = next(figure for figure in section.figures if isinstance(figure, Chart))
    assert (bars.title, list(bars.series[0].y)) == ("Importance at step 2", ["x", "rate"])


@pytest.mark.parametrize(
    ("cut", "title", "label", "note"),
    [
        (34, "Configurations at step 2", "loss, step 2", "40 results at step 2, including trials that trained further; their final values are not shown here."),
        (30, "Configurations trained in full", "loss, full trainings", "10 results of full trainings; 30 trials that stopped early have none."),
        (0, "Configurations trained in full", "loss, full trainings", "40 results of full trainings."),
    ],
)  # fmt: skip
def test_the_chart_of_configurations_says_at_which_step_their_values_are(
    cut: int, title: str, label: str, note: str, tmp_path: Path
) -> None:
    configs = configs_of(LINE, 40)
    curves = np.array([config["x"] for config in configs])[:, None] - np.arange(4.0)
    stop = dict.fromkeys(range(40 - cut, 40), 2)
    run = written(tmp_path, sweep_over(LINE, num_samples=40), trained(configs, curves, stop_at=stop))
    section = parameters.section(run)
    assert section is not None
    (lines,) = [figure for figure in section.figures if isinstance(figure, Parallel)]
    assert (lines.title, lines.axes[-1].label, lines.color_label, lines.note) == (title, label, label, note)
    slices = [figure for figure in section.figures if isinstance(figure, Chart) and figure.title in ("x", "rate")]
    hovers = [words for chart in slices for series in chart.series for words in series.hover]
    assert hovers
    assert all(words.endswith(" at step 2") == (cut == 34) for words in hovers)


def test_what_early_results_tell_and_what_stopping_saved(stopped: Recorded) -> None:
    section = correlation.section(stopped)
    check(section)
    assert "Results at step 2 predict the end with a rank correlation of 0." in text(section)
    assert (
        "60 configurations cost 42.0 full trainings. Training each to the end would have cost 60. Stopping early saved "
        "18.0 full trainings (36 s at the mean time of a step)."
    ) in text(section)
    (row,) = tables(section)["Stages"].rows
    assert row[:4] == ["step 2", "0.5", "60", "24"]


# Decisions of policies.


def decision(
    trial: int, samples: int, rate: tuple[float, float], why: str, *, tried: bool = False
) -> tuple[int, Decision]:
    before, after = ({"learning_rate": value, "batch_size": 8} for value in rate)
    return trial, Decision(1, samples, None if tried else samples, why, before, after, {"loss": 0.5}, cost_seconds=0.25)


def test_decisions_are_counted_with_their_reasons_and_cost(tmp_path: Path) -> None:
    configs = configs_of(LINE, 2)
    records = [
        *trained(configs, np.array([[2.0, 1.0], [2.0, 1.5]])),
        decision(0, 10, (0.1, 0.05), "plateau of 3 epochs"), decision(1, 20, (0.1, 0.05), "plateau of 5 epochs"),
        decision(0, 30, (0.05, 0.5), "tries", tried=True),
    ]  # fmt: skip
    trial, last = decision(0, 40, (0.05, 0.2), "the best, 0.020743111369377315, of those tried")
    records.append((trial, replace(last, metrics={"loss": 0.5, "at 0.020743111369377315": 2.8312})))
    section = decisions.section(written(tmp_path, sweep_over(LINE, horizon=2), records))
    check(section)
    assert "raised the learning rate 1 time and lowered it 2 times, in 2 trials." in text(section)
    assert "1 setting was only tried, and undone." in text(section)
    assert "Deciding took 1 s, 50 % of these trials' training time." in text(section)
    reasons = {row[0]: row[1:] for row in tables(section)["Reasons"].rows}
    assert reasons["plateau of … epochs"] == ["2", "2", "learning rate", "2", "0.5 s"]
    assert reasons["tries"][3] == "0"
    listed = tables(section)["Decisions of trial 0"]
    assert listed.wide
    assert listed.rows[-1][3:5] == ["the best, 0.02074, of those tried", "0.02074 → 2.831; loss 0.5"]
    assert section is not None
    rate = section.figures[0]
    assert isinstance(rate, Chart)
    assert [(s.name, list(s.y)) for s in rate.series][:2] == [
        ("trial 0 (best)", [0.1, 0.05, 0.2]),
        ("tried by trial 0 (best)", [0.5]),
    ]


def test_the_largest_batch_that_is_free_is_said_in_a_sentence(tmp_path: Path) -> None:
    why = "batches up to 64 cost nothing here by now; 256 would cost about 4 times the samples"
    trial, asked = decision(0, 4800, (0.1, 0.14), why)
    records = [
        *trained(configs_of(LINE, 1), np.array([[2.0, 1.0]])),
        (trial, replace(asked, metrics={"free_batch": 64.0, "undone_samples": 1200.0, "of_samples": 12000.0})),
        (trial, replace(asked, samples=9600, metrics={"undone_samples": 600.0, "of_samples": 12000.0})),
    ]
    section = decisions.section(written(tmp_path, sweep_over(LINE, horizon=2), records))
    check(section)
    assert f"Trial 0, after 4,800 samples: {why}." in text(section)
    assert "Trial 0: what it tried and undid took 1,800 samples, 15 % of a full training's." in text(section)
    assert list(tables(section)) == ["Decisions of trial 0"], "of one trial they are the reasons, too"


def test_a_report_says_how_often_averages_of_the_weights_counted(tmp_path: Path) -> None:
    records = [
        replace(record, metrics={"last_loss": 3.0, "averaged": 16.0 * (record.step > 1)})
        if isinstance(record, Report)
        else record
        for record in trained(configs_of(LINE, 2), np.array([[2.0, 1.0], [2.0, 1.5]]))
    ]
    section = decisions.section(written(tmp_path, sweep_over(LINE, horizon=2), records))
    check(section)
    assert "In 2 of 4 reports an average of the weights was better than the last weights" in text(section)
    assert "The best trial (0) reports the average with γ = 16: loss 1; the last weights have 3." in text(section)


# Populations.


def test_the_lineage_is_that_of_the_record(tmp_path: Path) -> None:
    searcher = PopulationBasedTraining(population=5, interval=4)
    history = Recording(LINE, horizon=20, limit=5)
    populate(searcher, history, lambda trial, step: abs(trial.config["x"] - step / 20), workers=2)
    run = written(tmp_path, sweep_over(LINE, horizon=20), history.records)
    section = population.section(run)
    check(section)
    assert run.best is not None
    line = lineage(run.history, run.best)
    assert [trial.parent for trial in line] == [None, *(trial.number for trial in line[:-1])]
    assert f"descends from trial {line[0].number} through {len(line) - 1} fork" in text(section)
    forks = sum(trial.parent is not None for trial in history)
    assert f"{forks} forks from " in text(section)
    assert "of the 5 initial ones" in text(section)
    assert set(slots(run.history).values()) == set(range(5))
    rows = tables(section)["Settings of the best lineage"].rows
    assert [row[0] for row in rows] == [str(trial.number) for trial in line]
    steps = [row[1] for row in rows]
    assert steps[0].startswith("1–")
    assert steps[-1].endswith("–20")
    assert all(int(a.split("–")[1]) + 1 == int(b.split("–")[0]) for a, b in pairwise(steps))


# Origins.


def test_origins_are_counted_with_what_they_found(tmp_path: Path) -> None:
    records: list[Any] = []
    origins_of = ["initial", "initial", "model", "fallback", "random"]
    for number, (origin, config) in enumerate(zip(origins_of, configs_of(LINE, 5), strict=True)):
        records += [
            start(config, origin=origin, evidence="the model failed" if origin == "fallback" else ""),
            Report(number, 1, 4.0 - number if number < 3 else 9.0, 1.0),
            End(number, Status.COMPLETED),
        ]
    section = origins.section(written(tmp_path, sweep_over(LINE, horizon=1), records))
    check(section)
    assert text(section).startswith("The best trial, 2 (loss 2), was proposed by: model.")
    assert "5 suggestions: initial design (2), model (1), fallback (1) and random (1)." in text(section)
    assert (
        "A fallback replaced the searcher 1 time, 20 % of all; the most frequent reason (1 ×): the model failed."
        in text(section)
    )
    assert section is not None
    (chart,) = [figure for figure in section.figures if isinstance(figure, Chart)]
    assert len({series.role for series in chart.series}) == len(chart.series) == 4
    points = [trace for trace in drawn(chart)["data"] if trace["mode"] == "markers"]
    assert not any(trace["cliponaxis"] for trace in points)  # the first trial's point lies on the edge
    rows = {row[0]: row[1:] for row in tables(section)["Origins"].rows}
    assert rows["initial design"] == ["2", "2", "2", "3", "3.5", "40 %"]


def test_a_real_multitask_sweep_says_whose_turns_they_are(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    sweep = small_sweep(
        workload=Quadratic(horizon=6, declared_cost=1.0), searcher=MultitaskSearch(n_initial=3), num_samples=7
    )
    simulated(tmp_path, sweep)
    skills = [json.loads(row["memo"])["curves"]["skill"] for row in recorded(tmp_path, "suggestion") if row["memo"]]
    section = origins.section(read(tmp_path))
    check(section)
    share = 100 * model_share(skills[-1])
    told = (
        f"The model makes {share:.0f} % of the suggestions and successive halving of random configurations the other "
    )
    assert text(section).count(told) == 1
    assert f"have a rank correlation of {skills[-1]:.2f} with the results (" in text(section)
    (chart,) = [figure for figure in section.figures if isinstance(figure, Chart) and "Turns" in figure.title]
    skill, _ = chart.series
    assert skill.y[-2:] == [skills[-1], skills[-1]]
    assert list(skill.x) == sorted({*skill.x}), "one fit for each count of trials: no vertical line"
    assert skill.x[-1] == len({row["trial"] for row in recorded(tmp_path, "suggestion")})


def memo_of(skill: float) -> str:
    return CurveFits([2, 1, 0], 4, [[0.0]], skill).memo


def with_memos(folder: Path, searcher: Searcher, *memos: str) -> str:
    """The sentences of a sweep whose trials, one for each memo, had 4 steps each."""
    records = [start(config, memo=memo) for config, memo in zip(configs_of(LINE, len(memos)), memos, strict=True)]
    return text(origins.section(written(folder, sweep_over(LINE, horizon=4, searcher=searcher), records)))


def test_turns_are_told_from_the_last_two_skills_on_record(tmp_path: Path) -> None:
    memos = ["", memo_of(0.0), "", "not JSON", '{"bayes": {}}', "[1]", memo_of(0.4), ""]
    assert (
        "The model makes 70 % of the suggestions and successive halving of random configurations the other 30 %, because "
        "the model's forecasts have a rank correlation of 0.40 with the results (5 trials earlier: 0.00)."
    ) in with_memos(tmp_path / "two", MultitaskSearch(), *memos)
    given = Points([{"x": 0.5, "rate": 0.1}], then=MultitaskSearch())
    assert "correlation of 0.00 with the results." in with_memos(tmp_path / "one", given, *memos[:3])


def test_of_fits_between_which_no_trial_began_the_last_counts(tmp_path: Path) -> None:
    begun = [
        start(config, memo=memo_of(skill)) for config, skill in zip(configs_of(LINE, 3), (0.1, 0.2, 0.3), strict=True)
    ]
    again = [replace(begun[0], kind="resume", trial=0, memo=memo_of(skill)) for skill in (0.4, 0.5)]
    run = written(tmp_path, sweep_over(LINE, horizon=4, searcher=MultitaskSearch()), [*begun, *again])
    assert [(each["trials"], each["skill"]) for each in run.accounts["turns"]] == [
        (0, 0.1),
        (1, 0.2),
        (2, 0.3),
        (3, 0.5),
    ]
    section = origins.section(run)
    assert section is not None
    (chart,) = [figure for figure in section.figures if isinstance(figure, Chart) and "Turns" in figure.title]
    axes = figure_of(chart, dict.fromkeys(("page", "ink", "grid", "muted", "best"), "black")).axes[0]
    assert all(float(tick).is_integer() for tick in axes.get_xticks()), "trials are counted"
    assert drawn(chart)["layout"]["xaxis"]["dtick"] == 1


@pytest.mark.parametrize("searcher", [Random(), SigOptSearch()], ids=["random", "sigopt"])
def test_a_search_without_turns_says_nothing_of_them(searcher: Searcher, tmp_path: Path) -> None:
    assert "turns" not in with_memos(tmp_path, searcher, memo_of(0.4), memo_of(0.8))


def test_a_multitask_sweep_without_a_fit_says_nothing_of_turns(tmp_path: Path) -> None:
    assert "turns" not in with_memos(tmp_path, MultitaskSearch(), "", "")


# Failures.


def test_failures_are_grouped_by_cause_with_the_first_traceback(tmp_path: Path) -> None:
    records: list[Any] = []
    for number, config in enumerate(configs_of(LINE, 5)):
        records += [start(config), Report(number, 1, 1.0, 2.0)]
        reason = f"ValueError: width {number} is odd" if number < 3 else "OSError: no file" if number == 3 else ""
        records.append(End(number, Status.FAILED if reason else Status.COMPLETED, reason))
    records.append(Lost(4, "the node is gone"))
    section = failures.section(written(tmp_path, sweep_over(LINE, horizon=1), records))
    check(section)
    assert text(section).startswith(
        "4 of 5 trials failed or diverged (80 %), most (3) for one reason: ValueError: width 0 is odd"
    )
    assert "They cost 8 s of training, 80 % of the total, not counting starts." in text(section)
    assert "Workers were lost 1 time, in 1 trial" in text(section)
    causes = tables(section)["Causes"].rows
    assert [row[:4] for row in causes[:2]] == [
        ["failed", "3", "ValueError: width 0 is odd", "0, 1, 2"],
        ["failed", "1", "OSError: no file", "3"],
    ]
    assert [row[4] for row in causes] == ["1", "1", "1"]
    lines = [row[0] for row in tables(section)["The first: trial 0"].rows]
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[2] == "\u00a0" * 4 + "f()"  # a browser would swallow plain spaces
    assert lines[-1] == "ValueError: width 0 is odd"


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (
            ["disk full", "no file", "disk full", "no file"],
            "for 2 different reasons, 2 of them for this one: disk full",
        ),
        (["disk full", "no file", "disk full", "bad lr"], "for 3 different reasons, 2 of them for this one: disk full"),
        (["disk full", "no file", "disk full"], "most (2) for one reason: disk full"),
        (["disk full", "no file"], "each for a different reason, the first: disk full"),
        (["disk full", "disk full"], "all for the same reason: disk full"),
    ],
)
def test_most_failures_have_one_reason_only_if_more_than_half_have_it(
    reasons: list[str], told: str, tmp_path: Path
) -> None:
    records: list[Any] = []
    for number, (config, reason) in enumerate(zip(configs_of(LINE, len(reasons)), reasons, strict=True)):
        records += [start(config), End(number, Status.FAILED, reason)]
    assert told in text(failures.section(written(tmp_path, sweep_over(LINE, horizon=1), records)))


def test_a_cause_is_told_at_the_step_at_which_it_struck(tmp_path: Path) -> None:
    """Not at the last step of a trial that went on, which `status` does not name either."""
    (config,) = configs_of(LINE, 1)
    records: list[Any] = [start(config), Report(0, 1, 1.0, 2.0), Lost(0, "the node is gone"), Report(0, 2, 1.0, 2.0)]
    run = written(tmp_path, sweep_over(LINE, horizon=2), [*records, End(0, Status.COMPLETED)])
    table = tables(failures.section(run))["Causes"]
    assert [(row[0], row[4]) for row in table.rows] == [("lost its worker", "1")]


# Workers.


def test_costs_that_are_no_measured_times_say_nothing_about_workers(tmp_path: Path) -> None:
    run = written(tmp_path, small_sweep(), trained(configs_of(Space(SPACE), 3), np.ones((3, 4)) * [[4, 3, 2, 1]]))
    section = workers.section(run)
    check(section)
    assert section is not None
    assert not section.figures
    assert "So their costs are not measured times" in text(section)
