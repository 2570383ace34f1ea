"""Trials that all begin with a NaN stop the sweep, which says what to do; a NaN after a finite value does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.driver import Driver
from orchestrator.errors import BadInput, NoMetric
from orchestrator.outcome import problem_of
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections.answer import section
from orchestrator.reading.export import best_as_yaml
from orchestrator.reading.summary import no_result, summary
from orchestrator.record.ledger import Ledger
from search.records import Config
from search.space import Space, randint, uniform
from tests.support import simulated, small_sweep
from trainables.workloads.callable import FromFunction

ALL = 9  # finite reports: more than there are
STOPS = (
    "the first 3 trials diverged at their first report (loss = nan at step 1): a NaN or infinite value counts as a "
    "divergence. If nothing is measured yet at that step, report or print the metric only once it has a value; otherwise "
    "lower the learning rates of the space"
)


def returns(config: Config) -> Iterator[dict[str, float]]:
    """So many finite reports before a NaN."""
    for step in range(1, 5):
        yield {"loss": float("nan") if step == config["finite"] + 1 else 1.0 / step}


def driven(folder: Path, finite: list[int]) -> Driver:
    workload = FromFunction(returns, metric="loss", mode="min", horizon=4)
    points = [{"finite": each, "x": 0.1 * number} for number, each in enumerate(finite)]
    space = Space({"finite": randint(0, ALL), "x": uniform(0.0, 1.0)})
    sweep = small_sweep(workload=workload, space=space, points_to_evaluate=points, num_samples=len(finite))
    return simulated(folder, sweep)


def test_three_trials_that_begin_with_a_nan_stop_the_sweep_which_says_what_to_do(tmp_path: Path) -> None:
    driver = driven(tmp_path, [0] * 6)
    assert len(driver.history.trials) == 3
    assert driver.abort_reason == STOPS
    error = problem_of(driver, [], "run the same command")
    assert isinstance(error, NoMetric)
    assert STOPS in str(error)
    again = driven(tmp_path, [0] * 6)  # the user goes on, and hears it again
    assert (len(again.history.trials), again.abort_reason) == (6, STOPS)


@pytest.mark.parametrize(
    "finite",
    [
        [ALL, 0, 0, 0, 0],  # the space is good in part
        [0, 0, ALL, 0, 0],
        [1, 1, 1, 1, 1],  # measured, and diverged later
    ],
)
def test_divergences_of_another_kind_stop_nothing(tmp_path: Path, finite: list[int]) -> None:
    driver = driven(tmp_path, finite)
    assert len(driver.history.trials) == 5
    assert driver.abort_reason == ""


def test_a_run_without_a_finite_value_does_not_say_that_nothing_was_reported(tmp_path: Path) -> None:
    driven(tmp_path, [0, 0])
    ledger = Ledger.read(tmp_path)
    assert no_result(summary(ledger)) == "no trial has a finite loss: 2 trials diverged"
    with pytest.raises(BadInput, match="nothing to export, no trial has a finite loss: 2 trials diverged"):
        best_as_yaml(ledger)
    told = str(section(Recorded.of(ledger)).figures[0])
    ledger.close()
    assert "Nothing yet: 2 trials have begun, and no full training has a finite value." in told


def test_a_sweep_that_diverged_after_finite_values_is_not_said_to_be_one_of_cheaper_tasks(tmp_path: Path) -> None:
    error = problem_of(driven(tmp_path, [1, 1]), [], "run the same command")
    assert "no trial gave a finite 'loss'. The first of 2 that diverged: loss = nan at step 2" in str(error)
