"""A decision that takes long, or never ends, is told with its place; a signal meanwhile says that the sweep waits for it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator import run
from orchestrator.console import slow_decision
from orchestrator.errors import Interrupted
from orchestrator.reading.dry_run import print_plan
from search.contract import Scheduler, Searcher, Verdict
from search.history import History, Trial
from search.records import Suggestion
from search.rules.proposals import propose_random
from tests.support import small_sweep

LONGEST = 60.0  # seconds: then the test fails


@dataclass(frozen=True)
class Waits(Searcher):
    """Decides until `may_end` says that it may."""

    may_end: Callable[[], bool]

    def suggest(self, history: History) -> Suggestion:
        ends = time.monotonic() + LONGEST
        while not self.may_end() and time.monotonic() < ends:
            time.sleep(0.01)
        return propose_random(history)


@dataclass(frozen=True)
class WaitsToJudge(Scheduler):
    may_end: Callable[[], bool]

    def judge(self, trial: Trial, history: History) -> Verdict:
        Waits(self.may_end).suggest(history)
        return Verdict.CONTINUE


class Signalled(Waits):
    """A signal reaches the process while it decides."""

    def suggest(self, history: History) -> Suggestion:
        if not self.may_end():
            os.kill(os.getpid(), signal.SIGTERM)
        return propose_random(history)


def planned(sweep: Any, folder: Path) -> None:
    print_plan(sweep, folder)


def simulated(sweep: Any, folder: Path) -> None:
    run(sweep, folder, simulate=True)


@pytest.mark.parametrize("carried_out", [planned, simulated])
@pytest.mark.parametrize(
    ("part", "kind", "method"),
    [("searcher", Waits, "Waits.suggest"), ("scheduler", WaitsToJudge, "WaitsToJudge.judge")],
)
def test_a_decision_that_takes_long_is_told_with_its_place(
    part: str, kind: Any, method: str, carried_out: Any, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    """An endless loop in `suggest` was never mentioned."""
    monkeypatch.setattr(slow_decision, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(slow_decision, "LOOK_SECONDS", 0.02)
    told = re.compile(rf"notice: {method}\(\) has been deciding for \d+ s \({re.escape(__file__)}, line \d+\)")
    seen: list[str] = []

    def is_told() -> bool:
        seen.append(capsys.readouterr().err)
        return bool(told.search("".join(seen)))

    carried_out(small_sweep(num_samples=2, **{part: kind(is_told)}), tmp_path / "run")
    assert is_told()


def test_a_signal_during_a_decision_says_that_the_sweep_waits_for_it(tmp_path: Path, capfd: Any) -> None:
    sweep = small_sweep(searcher=Signalled((tmp_path / "run" / "signalled").exists))
    with pytest.raises(Interrupted):
        run(sweep, tmp_path / "run", simulate=True)
    said = capfd.readouterr().err
    assert re.search(
        r"stopping: Signalled\.suggest\(\) is deciding \(.*, line \d+\), and the sweep waits for it; then", said
    )
    assert "(a second signal leaves at once)" in said
