"""A training that does not read its parameters is told of while it runs, and in the summary; chance is not."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.page.health.alike import alike
from orchestrator.page.recorded import Recorded
from orchestrator.reading.printed_summary import print_summary
from orchestrator.record.ledger import Ledger
from search.rules.alike import CAUSE
from search.space import Space, uniform
from tests.support import simulated, small_sweep
from trainables.workloads.callable import FromFunction

LONG = [0.6931472, 0.5123456, 0.4234567, 0.3345678]


def told(folder: Path, losses: Any, horizon: int = 4) -> tuple[list[int], str]:
    """How many trials had begun at each notice of trainings that are alike, and the run's summary. `losses`: of a rate."""

    def train(config: dict[str, Any], state: Any) -> Iterator[Any]:
        for loss in losses(config["rate"]):
            yield {"loss": loss}, {}

    workload = FromFunction(train, metric="loss", mode="min", horizon=horizon)
    simulated(folder, small_sweep(workload=workload, space=Space({"rate": uniform(0, 1)})))
    written = io.StringIO()
    with contextlib.closing(Ledger.read(folder)) as ledger:
        notices = [row["seq"] for row in ledger.rows("event", "WHERE kind = 'notice'") if CAUSE in row["text"]]
        begun = [row["seq"] for row in ledger.rows("suggestion")]
        print_summary(ledger, Console(file=written, width=200))
    return [sum(seq < at for seq in begun) for at in notices], written.getvalue()


def test_trainings_that_are_alike_are_told_of_at_the_third_and_in_the_summary(tmp_path: Path) -> None:
    begun, summary = told(tmp_path / "run", lambda rate: LONG)
    assert begun == [3]
    assert f"All configurations trained exactly alike: {CAUSE}." in summary


@pytest.mark.parametrize(
    ("losses", "is_in_summary"),
    [
        (lambda rate: [*LONG[:2], 0.4 + rate, 0.3], False),
        (lambda rate: [0.1] * 4, False),  # an accuracy at chance
        (lambda rate: [LONG[0]] * 4, True),  # nothing is learned; told at the end, as it may still begin
        (lambda rate: [LONG[0], *[1.0 - rate] * 3], False),  # the loss before the first step
    ],
)
def test_what_may_still_differ_is_not_told_while_it_runs(losses: Any, is_in_summary: bool, tmp_path: Path) -> None:
    begun, summary = told(tmp_path / "run", losses)
    assert (begun, "exactly alike" in summary) == ([], is_in_summary)


@pytest.mark.parametrize("value", [29 / 30, 0.9666666388511658, 0.9667, 96.66667, 0.9123, 1.0, float("inf")])
def test_the_same_share_of_few_examples_is_no_sign(value: float, tmp_path: Path) -> None:
    assert told(tmp_path / "run", lambda rate: [value], horizon=1)[0] == []
    assert "exactly alike" not in told(tmp_path / "again", lambda rate: [value] * 3, horizon=3)[1]


def test_one_long_value_of_each_training_is_enough_if_they_have_no_more(tmp_path: Path) -> None:
    assert told(tmp_path / "run", lambda rate: LONG[:1], horizon=1)[0] == [3]


@pytest.mark.parametrize(("factor", "is_stuck"), [(0.0, True), (1.0, False)])
def test_one_value_in_all_reports_is_told_at_the_end(factor: float, is_stuck: bool, tmp_path: Path) -> None:
    begun, summary = told(tmp_path / "run", lambda rate: [0.1, 0.1, 0.1, 0.1 + factor * rate])
    assert begun == []
    assert ("Every report of every trial has the same value. Look whether" in summary) == is_stuck
    with contextlib.closing(Ledger.read(tmp_path / "run")) as ledger:
        found = alike(Recorded.of(ledger))
    assert [finding.sentence for finding in found] == ["Every report of every trial has the same value."] * is_stuck
