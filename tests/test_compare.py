"""Several sweeps side by side."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.errors import BadInput
from orchestrator.page.compare import as_data, document, sections
from orchestrator.page.compared.curves import curve, in_full_trainings
from orchestrator.page.compared.groups import Comparison, Group, compare
from orchestrator.page.compared.text import print_comparison
from orchestrator.page.compared.verdicts import verdicts
from orchestrator.page.differences import differences
from search.records import FINALIST, Status
from search.schedulers.asha import Asha
from search.searchers.sobol import Sobol
from search.space import Space, loguniform, pow2, uniform
from tests.records_on_disk import read
from tests.support import SPACE, orchestrator, small_sweep
from tests.told import Told, tell
from trainables.workloads.quadratic import Quadratic


def one(folder: Path, losses: Sequence[float], **changes: Any) -> Group:
    """A run whose trials have these losses, each of one step."""
    config = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
    trials = [Told(config | {"momentum": n / 100}, [loss]) for n, loss in enumerate(losses)]
    fields = {"name": folder.name, "workload": Quadratic(horizon=1)} | changes
    return Group(folder.name, (read(tell(folder, trials, small_sweep(**fields))),))


def seeds(label: str, *groups: Group) -> Group:
    return Group(label, tuple(run for group in groups for run in group.runs))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Three seeds of each of two sweeps; the second one is better."""
    root = tmp_path_factory.mktemp("runs")
    slow = [one(root / f"slow-{n}", [0.9, 0.8, 0.7 + n / 100, 0.8]) for n in range(3)]
    fast = [one(root / f"fast-{n}", [0.9, 0.5 + n / 100, 0.6], searcher=Sobol()) for n in range(3)]
    return compare([seeds("slow", *slow), seeds("fast", *fast)])


def test_a_curve_is_the_median_and_the_range_of_its_runs(two: Comparison) -> None:
    found = curve(two.groups[1], in_full_trainings)
    assert found.costs == (1.0, 2.0, 3.0)
    assert found.median == (0.9, 0.51, 0.51)
    assert (found.low[1], found.high[1]) == (0.5, 0.52)


def test_a_curve_ends_where_the_first_run_of_its_group_ends(tmp_path: Path) -> None:
    long, short = one(tmp_path / "a", [0.9, 0.8, 0.1]), one(tmp_path / "b", [0.7, 0.6])
    assert curve(seeds("both", long, short), in_full_trainings).costs == (1.0, 2.0)


def test_the_cost_to_reach_the_others_best_is_that_of_each_run(two: Comparison) -> None:
    slow, fast = as_data(two)["groups"]
    assert fast["cost_to_reach"] == {"slow": [2.0, 2.0, 2.0]}
    assert slow["cost_to_reach"] == {"fast": [None, None, None]}


def test_the_verdict_names_pairs_of_runs_and_the_chance(two: Comparison) -> None:
    (verdict,) = verdicts(two)
    assert verdict == (
        "At equal cost (3 full trainings), fast is better than slow by 0.2 loss, in 9 of 9 pairs of runs (Mann-Whitney p = 0.1; "
        "this may be chance)."
    )


def test_one_run_each_is_said_to_be_weak(tmp_path: Path) -> None:
    found = compare([one(tmp_path / "a", [0.5]), one(tmp_path / "b", [0.4])])
    assert verdicts(found) == ["At equal cost (1 full training), b is better than a by 0.1 loss (one run each)."]
    assert any("with another seed the order may be different" in warning for warning in found.warnings)


def test_only_what_differs_is_told(two: Comparison) -> None:
    assert [(each.setting, each.values) for each in two.differences] == [("searcher", ("Random", "Sobol"))]


def test_the_same_class_with_other_settings_differs_in_those_only() -> None:
    sweeps = [small_sweep(scheduler=Asha(reduction_factor=factor)).describe() for factor in (3, 4)]
    assert [(each.setting, each.values) for each in differences([[sweeps[0]], [sweeps[1]]])] == [
        ("scheduler.reduction_factor", ("3", "4"))
    ]


def test_spaces_differ_parameter_by_parameter() -> None:
    narrow, wide = Space(SPACE), Space(SPACE | {"learning_rate": loguniform(1e-4, 1.0), "width": uniform(0, 1)})
    found = differences([[small_sweep(space=narrow).describe()], [small_sweep(space=wide).describe()]])
    assert [(each.setting, each.values) for each in found] == [
        ("space: learning_rate", ("loguniform(0.001, 0.3)", "loguniform(0.0001, 1)")),
        ("space: width", ("–", "uniform(0, 1)")),
    ]


def test_several_values_within_a_group_are_listed() -> None:
    three, four, five = (small_sweep(num_samples=count).describe() for count in (3, 4, 5))
    (found,) = differences([[three, four], [five]])
    assert found.values == ("3 or 4", "5")


def test_other_metrics_and_directions_are_refused(tmp_path: Path) -> None:
    quadratic = one(tmp_path / "a", [0.5])
    upwards = Group("b", (replace(quadratic.runs[0], goal=replace(quadratic.runs[0].goal, mode="max")),))
    with pytest.raises(
        BadInput, match=r"a has the metric 'loss' \(min\), a has 'loss' \(max\); only runs with the same"
    ):
        compare([quadratic, upwards])
    with pytest.raises(BadInput, match="name at least two runs"):
        compare([quadratic])


def test_other_horizons_and_spaces_are_allowed_and_said(tmp_path: Path) -> None:
    other = one(tmp_path / "b", [0.4], workload=Quadratic(horizon=3), space=Space(SPACE | {"batch_size": pow2(8, 16)}))
    warnings = " ".join(compare([one(tmp_path / "a", [0.5]), other]).warnings)
    assert "The horizons differ (1, 3 steps)" in warnings
    assert "The spaces differ" in warnings


def test_fresh_seeds_count_as_confirmation_and_as_cost(tmp_path: Path) -> None:
    config = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
    trials = [Told(config, [0.5]), Told(config, [0.6], origin=FINALIST), Told(config, [0.8], origin=FINALIST)]
    sweep = small_sweep(workload=Quadratic(horizon=1), finalists=1)
    group = Group("again", (read(tell(tmp_path / "again", trials, sweep)),))
    facts = as_data(compare([group, one(tmp_path / "b", [0.4])]))["groups"][0]
    assert facts["best"] == [0.5]
    assert facts["confirmed"] == [pytest.approx(0.7)]
    assert facts["full_trainings"] == [3.0]


def test_the_winner_on_fresh_seeds_is_compared(tmp_path: Path) -> None:
    lucky, sound = ({"learning_rate": 0.1, "momentum": each, "batch_size": 8} for each in (0.1, 0.2))
    again = [Told(lucky, [0.9], origin=FINALIST), Told(sound, [0.6], origin=FINALIST)]
    sweep = small_sweep(workload=Quadratic(horizon=1), finalists=2)
    folder = tell(tmp_path / "again", [Told(lucky, [0.3]), Told(sound, [0.5]), *again], sweep)
    found = compare([Group("again", (read(folder),)), one(tmp_path / "b", [0.55])])
    assert as_data(found)["groups"][0]["best"] == [0.5]
    assert any("Only 1 of 2 runs have a winner confirmed on fresh seeds" in warning for warning in found.warnings)


def test_the_longer_run_is_not_ahead_because_it_is_longer(tmp_path: Path) -> None:
    found = compare([one(tmp_path / "long", [0.9, 0.8, 0.7, 0.1]), one(tmp_path / "short", [0.9, 0.5])])
    assert verdicts(found) == [
        "At equal cost (2 full trainings), short is better than long by 0.3 loss (one run each). At the end (long 4, short 2 full "
        "trainings), long is better than short by 0.4 loss (one run each)."
    ]
    assert as_data(found)["verdicts"] == sections(found)[0].sentences[:1] == verdicts(found)


def test_a_run_without_a_result_at_the_common_cost_is_named(tmp_path: Path) -> None:
    config = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
    cut = [Told(config | {"momentum": n / 10}, [0.9, 0.8], Status.STOPPED) for n in range(3)]
    sweep = small_sweep(name="late", workload=Quadratic(horizon=2))
    late = Group("late", (read(tell(tmp_path / "late", [*cut, Told(config, [0.9, 0.3])], sweep)),))
    (verdict,) = verdicts(compare([late, one(tmp_path / "early", [0.5])]))
    assert verdict.startswith(
        "At equal cost (1 full training), there is no completed full training yet in every run of late. At the end (late 4, early 1 "
    )
    assert "late is better than early by 0.2 loss" in verdict


def confirmed(folder: Path, first: float, again: float, *others: float) -> Group:
    """A run that trained the configuration of its first trial again."""
    config = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
    rest = [Told(config | {"momentum": n / 100}, [loss]) for n, loss in enumerate(others)]
    trials = [Told(config, [first]), *rest, Told(config, [again], origin=FINALIST)]
    sweep = small_sweep(name=folder.name, workload=Quadratic(horizon=1), finalists=1)
    return Group(folder.name, (read(tell(folder, trials, sweep)),))


def test_a_mean_on_fresh_seeds_is_not_compared_with_a_first_score(tmp_path: Path) -> None:
    found = compare([confirmed(tmp_path / "a", 0.3, 0.6), one(tmp_path / "b", [0.5])])
    assert verdicts(found) == ["At equal cost (1 full training), a is better than b by 0.2 loss (one run each)."]
    assert any("Only 1 of 2 runs have a winner confirmed" in warning for warning in found.warnings)


def test_fresh_seeds_decide_between_runs_that_cost_the_same(tmp_path: Path) -> None:
    found = compare([confirmed(tmp_path / "a", 0.3, 0.6), confirmed(tmp_path / "b", 0.4, 0.5)])
    assert verdicts(found) == [
        "At equal cost (1 full training) and on fresh seeds, b is better than a by 0.1 loss (one run each)."
    ]


def test_fresh_seeds_are_named_where_the_longer_run_is_confirmed_too(tmp_path: Path) -> None:
    found = compare([confirmed(tmp_path / "a", 0.3, 0.6), confirmed(tmp_path / "b", 0.1, 0.5, 0.9, 0.8)])
    assert verdicts(found) == [
        "At equal cost (1 full training), b is better than a by 0.2 loss (one run each). At the end (a 1, b 3 full trainings), on "
        "fresh seeds, b is better than a by 0.1 loss (one run each)."
    ]


def test_the_printed_curve_ends_with_the_last_value(tmp_path: Path) -> None:
    """The winner's final jump was lost if it came after the last column's right edge."""
    found = compare([one(tmp_path / "short", [0.9, 0.8, 0.1]), one(tmp_path / "long", [0.9] * 97)])
    short, long = printed(found, 80).split("higher line is a better value\n")[1].splitlines()[:2]
    assert short.rstrip().endswith("█")
    assert long.endswith("▁")


def test_a_long_curve_ends_with_its_last_value(tmp_path: Path) -> None:
    """Rounding put the last of the places short of the end, where the run had reached its best."""
    config = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
    trials = [Told(config | {"momentum": n / 1000}, [1 - n / 1000] * 3) for n in range(147)]
    run = read(tell(tmp_path / "long", trials, small_sweep(workload=Quadratic(horizon=3))))
    assert curve(Group("long", (run,)), in_full_trainings).median[-1] == trials[-1].values[-1]


def test_a_renamed_run_is_called_as_its_folder(tmp_path: Path) -> None:
    renamed = compare([one(tmp_path / "first", [], name="old"), one(tmp_path / "b", [0.4])])
    assert "Without a completed full training: first." in renamed.warnings


def test_a_run_without_a_result_has_no_curve_and_no_best(tmp_path: Path) -> None:
    config = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
    failed = tell(
        tmp_path / "failed", [Told(config, [], Status.FAILED, reason="MemoryError")], small_sweep(name="failed")
    )
    found = compare([Group("failed", (read(failed),)), one(tmp_path / "b", [0.4])])
    assert "failed and b cannot be compared: one has no completed full training." in verdicts(found)
    assert as_data(found)["groups"][0]["curve"]["cost"] == []
    assert as_data(found)["groups"][1]["cost_to_reach"] == {}
    assert printed(found, 40)


def printed(found: Comparison, width: int) -> str:
    out = io.StringIO()
    print_comparison(found, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 160])
def test_every_line_fits_the_terminal(two: Comparison, width: int) -> None:
    text = printed(two, width)
    assert max(map(len, text.splitlines())) <= width
    assert "0.71 (0.7 to 0.72)" in text
    assert "fast: Sobol" in text


def test_the_page_has_the_curves_of_all_groups_with_their_bands(two: Comparison) -> None:
    comparison, curves, settings = sections(two)
    assert [figure.title for figure in comparison.figures] == ["loss (lower is better)", "Cost to reach the best of"]
    for chart in curves.figures:
        shown = [(each.name, each.kind) for each in chart.series]  # type: ignore[union-attr]
        assert shown == [("slow", "band"), ("slow", "step"), ("fast", "band"), ("fast", "step")]
        assert all(len(each.x) == len(each.y) for each in chart.series)  # type: ignore[union-attr]
    assert settings.figures[0].rows == [["searcher", "Random", "Sobol"]]  # type: ignore[union-attr]
    assert document(two).title == "slow against fast"


def test_the_command_takes_runs_groups_and_patterns(tmp_path: Path, two: Comparison) -> None:
    runs = str(two.groups[0].runs[0].folder.parent)
    page = tmp_path / "page.html"
    groups = ["best=fast-0,fast-1", "slow-*"]
    told = orchestrator("compare", *groups, "--runs", runs, "--json", "--html", str(page), cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout)
    assert [(group["label"], len(group["runs"])) for group in facts["groups"]] == [("best", 2), ("slow-*", 3)]
    assert "best against slow-*" in page.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["slow-0"], "name at least two runs"),
        (["slow-0", "slow-9"], "no run 'slow-9'"),
        (["slow-0", "=fast-0"], "the label is missing"),
        (["slow-0", "a=fast-0,"], "a name is empty"),
        (["slow-0", "none-*"], "no run in"),
    ],
)
def test_a_wrong_argument_is_named_with_its_remedy(two: Comparison, words: list[str], message: str) -> None:
    from typer.testing import CliRunner

    from orchestrator.commands import app

    told = CliRunner().invoke(app, ["compare", *words, "--runs", str(two.groups[0].runs[0].folder.parent)])
    assert told.exit_code == 2
    assert message in told.output
