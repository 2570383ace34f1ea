"""The half sentence beside a gain: the same in `show`, the printout and the report."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.page.sections import answer
from orchestrator.reading.printed_summary import print_summary
from orchestrator.record.ledger import Ledger
from search.records import BASELINE, FINALIST, Status
from tests.records_on_disk import read
from tests.support import small_sweep
from tests.told import Told, tell
from trainables.workloads.quadratic import Quadratic

BASE = {"learning_rate": 0.1, "momentum": 0.0, "batch_size": 8}
GOOD, NEXT = BASE | {"momentum": 0.5}, BASE | {"momentum": 0.6}


def again(config: dict[str, float], *losses: float) -> list[Told]:
    return [Told(config, [loss], origin=FINALIST) for loss in losses]


@pytest.mark.parametrize(
    ("fresh", "words", "evidence"),
    [
        ([], "not confirmed on fresh seeds", "Not confirmed."),
        (again(GOOD, 0.6), "noise not measured", "does not measure the noise"),
        ([*again(GOOD, 0.5, 0.9), *again(NEXT, 0.8, 0.9)], "noise could explain it", "noise could explain it."),
        (
            [*again(GOOD, 0.5, 0.6), *again(NEXT, 0.8, 0.9)],
            "more than the noise between seeds explains",
            "more than the noise between seeds explains.",
        ),
        (again(GOOD, 0.5, 0.6), "not enough with so few repetitions", "not enough with so few repetitions, it would"),
        (again(GOOD, 0.6, 0.6), "fresh seeds gave equal values", "2 fresh seeds gave equal values"),
    ],
)
def test_show_states_a_gain_with_the_doubt_of_the_report(
    fresh: list[Told], words: str, evidence: str, tmp_path: Path
) -> None:
    """`show` stated "better by 0.0134" where the report said that noise could explain it."""
    trials = [Told(BASE, [1.0], origin=BASELINE), Told(GOOD, [0.4]), Told(NEXT, [0.7]), *fresh]
    sweep = small_sweep(workload=Quadratic(horizon=1), baseline=BASE)
    folder, out = tell(tmp_path / "run", trials, sweep), io.StringIO()
    print_summary(ledger := Ledger.read(folder), Console(file=out, width=120))
    ledger.close()
    (line,) = [line for line in out.getvalue().splitlines() if line.startswith("against the baseline")]
    assert line.startswith(f"against the baseline, {words} ")
    assert "better by" in line
    rows = dict(answer.section(read(folder)).figures[0].rows)  # type: ignore[union-attr, arg-type]
    assert evidence in rows["On what evidence"]


@pytest.mark.parametrize(
    ("status", "said", "label"),
    [
        (Status.FAILED, "Not decided: trial 0 has no fresh seed yet.", "trial 1 (best so far)"),
        (
            Status.COMPLETED,
            "The winner changed: trial 0 had the best first score (loss 0.4), trial 1 is",
            "trial 1 (winner)",
        ),
    ],
)
def test_a_finalist_without_a_fresh_seed_has_not_lost(status: Status, said: str, label: str, tmp_path: Path) -> None:
    repeated = Told(GOOD, [0.9] if status is Status.COMPLETED else [], status, FINALIST)
    trials = [Told(GOOD, [0.4]), Told(NEXT, [0.7]), repeated, *again(NEXT, 0.8)]
    out = io.StringIO()
    folder = tell(tmp_path / "run", trials, small_sweep(workload=Quadratic(horizon=1)))
    print_summary(ledger := Ledger.read(folder), Console(file=out, width=120))
    ledger.close()
    assert said in out.getvalue()
    assert label in out.getvalue()


def test_a_loss_against_the_baseline_needs_no_doubt(tmp_path: Path) -> None:
    trials = [Told(BASE, [1.0], origin=BASELINE), Told(GOOD, [0.9]), *again(GOOD, 1.5)]
    folder, out = (
        tell(tmp_path / "run", trials, small_sweep(workload=Quadratic(horizon=1), baseline=BASE)),
        io.StringIO(),
    )
    print_summary(ledger := Ledger.read(folder), Console(file=out, width=120))
    ledger.close()
    assert "against the baseline  " in out.getvalue()
    assert "worse by 0.5" in out.getvalue()
