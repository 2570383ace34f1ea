"""No gain over a baseline is told where the two trainings cannot be compared: on no screen, and for the same reason."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.page.recorded import Recorded
from orchestrator.page.sections.answer import section
from orchestrator.reading.printed_summary import print_summary
from orchestrator.reading.summary import summary
from orchestrator.record.ledger import Ledger
from search.records import BASELINE, Status, start
from tests.support import small_sweep

CONFIG = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
COMPLETED, FAILED, RUNNING, STOPPED = Status.COMPLETED, Status.FAILED, Status.RUNNING, Status.STOPPED


def run_of(folder: Path, baseline: tuple[Status, int], other: tuple[Status, int]) -> Ledger:
    """A run of a baseline and another trial, each with its state and its last step of 4."""
    ledger = Ledger.write(folder)
    with ledger.transaction():
        ledger.add_sweep(small_sweep(baseline=CONFIG | {"momentum": 0.0}), "", [])
        for trial, (status, steps) in enumerate((baseline, other)):
            config = CONFIG | {"momentum": 0.1 * trial}
            ledger.add_suggestion(trial, start(config, origin="random" if trial else BASELINE), seed=0)
            for step in range(1, steps + 1):
                ledger.add_report(trial, step, 1.0 / (step + trial), 0.1, {"loss": 1.0 / (step + trial)})
            if status is not RUNNING:
                ledger.add_ending(trial, status, steps, "RuntimeError: boom" if status is FAILED else "its end")
    return ledger


@pytest.mark.parametrize(
    ("baseline", "other", "why"),
    [
        ((COMPLETED, 4), (COMPLETED, 4), ""),
        ((COMPLETED, 2), (COMPLETED, 4), ""),  # it ended by itself
        ((RUNNING, 2), (RUNNING, 2), ""),
        ((FAILED, 2), (COMPLETED, 4), "the baseline failed at step 2 of 4"),
        ((FAILED, 0), (COMPLETED, 4), "the baseline failed at step 0 of 4"),
        ((RUNNING, 2), (COMPLETED, 4), "the baseline is at step 2 of 4, the best at step 4"),
        ((RUNNING, 0), (COMPLETED, 4), "the baseline has not reported yet"),
        ((STOPPED, 2), (RUNNING, 3), "the baseline is at step 2 of 4, the best at step 3"),
    ],
)
def test_all_screens_tell_a_gain_or_the_same_reason_why_not(
    tmp_path: Path, baseline: tuple[Status, int], other: tuple[Status, int], why: str
) -> None:
    ledger, out = run_of(tmp_path, baseline, other), io.StringIO()
    print_summary(ledger, Console(file=out, width=200))
    assert summary(ledger)["unfair"] == why
    (answer, *_) = section(Recorded.of(ledger)).figures
    told = str(dict(answer.rows)["By how much"])  # type: ignore[union-attr]
    ledger.close()
    assert ("better by" in told) == ("better by" in out.getvalue()) == (not why)
    if why:
        assert told == f"Unknown: {why}."
        assert f"The gain is unknown: {why}." in out.getvalue()
