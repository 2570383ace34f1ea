"""A population starts as many configurations as it has members: the plan, the end and the health checks say so."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.console.typed_command import more
from orchestrator.definition.warnings import warnings
from orchestrator.driving.continuation import describe_found
from orchestrator.main import run
from orchestrator.page.health.progress import few_trials
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections.answer import section
from orchestrator.reading.dry_run import print_plan
from orchestrator.reading.printed_summary import print_summary
from orchestrator.record.ledger import Ledger
from orchestrator.smoke import smallest
from search.searchers.cmaes import CmaEs
from search.searchers.pbt import PopulationBasedTraining
from search.searchers.points import Points
from search.space import Space
from tests.support import SPACE, interrupted_after, orchestrator, simulated, small_sweep
from trainables.workloads.quadratic import Quadratic

POPULATION = PopulationBasedTraining(population=4, interval=2)
POINT = Space(SPACE).check({"learning_rate": 0.1, "batch_size": 16, "momentum": 0.9})


def sweep(samples: int | None, **changes: Any) -> Any:
    fields = {"searcher": POPULATION, "num_samples": samples, "workload": Quadratic(horizon=6)}
    return small_sweep(**(fields | changes))


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def printed(planned: Any) -> str:
        print_plan(planned, tmp_path / "run")
        return capsys.readouterr().out

    return printed


@pytest.mark.parametrize(
    ("samples", "changes", "configurations", "warning"),
    [
        (
            20,
            {},
            4,
            "num_samples=20 has no effect beyond 4: the population has 4 members; for more, raise population to 20",
        ),
        (
            3,
            {},
            3,
            "num_samples=3 lets only 3 of the population's 4 members start; give num_samples=4 for all, or lower",
        ),
        (4, {}, 4, ""),
        (None, {}, 4, ""),
        (
            4,
            {"baseline": POINT},
            4,
            "num_samples=4 lets only 3 of the population's 4 members start; give num_samples=5",
        ),
        (5, {"baseline": POINT}, 5, ""),
        (None, {"budget": 30.0}, 4, ""),
        (20, {"searcher": Points([POINT], then=POPULATION)}, 4, "num_samples=20 has no effect beyond 4"),
    ],
)
def test_the_plan_counts_the_members(
    plan: Any, samples: int | None, changes: Any, configurations: int, warning: str
) -> None:
    text = plan(sweep(samples, **changes))
    assert f": {configurations} configurations of " in text
    assert f"at most {configurations} full trainings" in text
    assert warning in text
    assert ("num_samples" in text) == bool(warning)


def test_a_plan_shows_what_begins_as_it_begins(plan: Any) -> None:
    """The first trainings were shown with the order that resumes them later."""
    lines = plan(sweep(4)).splitlines()
    first, second = [line for line in lines if re.search(r"\(\w+, to step \d", line)][:2]
    assert first.endswith("(initial, to step 2)")
    assert second.endswith("(initial, to step 2)")


def test_more_of_a_population_is_a_larger_one(tmp_path: Path) -> None:
    over = simulated(tmp_path, sweep(4)).over
    assert over == "the 4 members of the population have been trained; a larger population would train more"
    assert more(sweep(4), over, 4) == "need a larger population: write population=8 in the script, and another name"
    assert more(sweep(3), "3 configurations have been started", 3).endswith(" --num-samples 4")
    assert more(sweep(3, baseline=POINT), "", 3).endswith(" --num-samples 5")
    spent = "the budget of 2 full trainings is used up"
    assert more(sweep(None, budget=2.0), spent, 4).endswith("--budget 4")
    kept = "2 of the 6 full trainings were for the search and are used up; the rest is for the finalists"
    assert more(sweep(8, searcher=CmaEs(population=4), budget=6.0), kept, 4).endswith("--budget 12")
    assert more(sweep(4, searcher=CmaEs(population=4)), "", 4).endswith(" --num-samples 8")


def test_a_population_that_goes_on_with_more_samples_says_why_nothing_starts(tmp_path: Path) -> None:
    simulated(tmp_path, sweep(4))
    again = simulated(tmp_path, sweep(8))
    assert again.over.endswith("a larger population would train more")


@pytest.mark.parametrize(
    ("searcher", "remedy"),
    [
        (
            POPULATION,
            "A population trains its 4 members to the end: use population=6 or more, in a run of another name.",
        ),
        (CmaEs(population=4), "Raise num_samples or budget and run the same command again."),
    ],
)
def test_too_few_trials_of_a_population_are_too_few_members(tmp_path: Path, searcher: Any, remedy: str) -> None:
    run(sweep(4, searcher=searcher), runs=tmp_path, simulate=True)
    ledger = Ledger.read(tmp_path / "small")
    (finding,) = few_trials(Recorded.of(ledger))
    ledger.close()
    assert finding.remedy == remedy


def test_a_smoke_test_of_a_population_starts_all_members(tmp_path: Path) -> None:
    """With four samples at most, the smoke test of eight members would warn of a number that nobody gave."""
    eight = PopulationBasedTraining(population=8, interval=2)
    for baseline, samples in ((None, 8), (POINT, 9)):
        tried = smallest(sweep(None, searcher=eight, baseline=baseline))
        assert tried.num_samples == samples
        assert not [warning for warning in warnings(tried) if "num_samples" in warning or "interval" in warning]


@pytest.mark.parametrize("interval", [5, 6, 50])
def test_an_interval_as_long_as_the_training_is_told(plan: Any, interval: int) -> None:
    """A population without a single comparison ended well, and nothing said so."""
    searcher = PopulationBasedTraining(population=4, interval=interval)
    assert ("compares no members, as a full training ends at step 6" in plan(sweep(None, searcher=searcher))) == (
        interval >= 6
    )


def test_members_that_wait_for_their_turn_rest_and_are_not_called_stopped(tmp_path: Path) -> None:
    folder, out = tmp_path / "small", io.StringIO()
    interrupted_after(folder, sweep(None), 7, workers=1)
    shown = orchestrator("status", "small", "--runs", str(tmp_path), cwd=tmp_path).stdout
    with contextlib.closing(Ledger.read(folder)) as ledger:
        print_summary(ledger, Console(file=out, width=200))
        assert ": 2 resting and 1 running. " in str(section(Recorded.of(ledger)).figures)
    for text in (shown, out.getvalue()):
        assert "1 running, 2 resting" in text
        assert not re.search(r"\d stopped", text)
    history, out = simulated(folder, sweep(None)).history, io.StringIO()
    replaced = sum(trial.replaces is not None for trial in history)
    with contextlib.closing(Ledger.read(folder)) as ledger:
        told = describe_found("small", ledger, history, sweep(None).rules, "")
        print_summary(ledger, Console(file=out, width=200))
        page = str(section(Recorded.of(ledger)).figures)
    assert f": 4 trained to the end and {replaced} replaced by forks. " in page
    assert replaced
    assert f", {replaced} replaced by forks." in told
    assert "resting" not in told + out.getvalue()
    assert f"{replaced} stopped, 4 completed" in out.getvalue()
