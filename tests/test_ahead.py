"""A trial that the search stopped ahead of the best one is named beside it, on every screen in the same words."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator import FromFunction, Hyperband, Random, Space, uniform
from orchestrator.commands.inspect import status
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections.answer import section
from orchestrator.reading.printed_summary import print_summary
from orchestrator.reading.summary import glance, summary
from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import STATE
from search.records import FINALIST, Status, start
from tests.support import simulated, small_sweep

CONFIG = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
BEST = (0.9, 0.6, 0.4, 0.5)  # its last value is not its lowest


def falls(config: Any, state: Any) -> Iterator[Any]:
    for step in range(state or 0, 27):
        yield {"loss": config["x"] + 1 / (step + 1)}, step + 1


def run_of(folder: Path, *others: Sequence[float], state: str = "finished", origin: str = "random") -> Ledger:
    """A run whose trial 0 has completed, and others that were stopped; each has a loss for each of its steps."""
    ledger = Ledger.write(folder)
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        for trial, losses in enumerate((BEST, *others)):
            config = CONFIG | {"momentum": 0.1 * trial}
            ledger.add_suggestion(trial, start(config, origin=origin if trial else "random"), seed=0)
            for step, loss in enumerate(losses, start=1):
                ledger.add_report(trial, step, loss, 0.1, {"loss": loss})
            ledger.add_ending(trial, Status.STOPPED if trial else Status.COMPLETED, len(losses), "its end")
        ledger.add_event(STATE, state)
    return ledger


@pytest.mark.parametrize(
    ("others", "leader"),
    [
        ([(0.8, 0.45)], (1, 2, 0.45)),
        ([(0.8, 0.45), (0.3,)], (2, 1, 0.3)),  # the lowest of several
        ([(0.8, 0.55)], None),
        ([(0.9, 0.7, 0.45)], None),  # the best was lower at that step, and rose later
        ([(0.9, 0.7, 0.42), (0.8, 0.48)], (2, 2, 0.48)),
        ([(float("nan"),)], None),
    ],
)
def test_the_stopped_trial_that_was_ahead_at_its_step_and_below_the_end_is_the_leader(
    others: list[tuple[float, ...]], leader: tuple[int, int, float] | None, tmp_path: Path
) -> None:
    ledger = run_of(tmp_path, *others)
    found = [facts["ahead"] for facts in (summary(ledger), glance(ledger))] + [Recorded.of(ledger).ahead]
    ledger.close()
    assert [each and (each["trial"], each["step"], each["value"]) for each in found] == [leader] * 3


def test_a_trial_that_is_behind_the_mean_of_fresh_seeds_is_not_called_better(tmp_path: Path) -> None:
    """The best was 0.5 when it was found; the screens tell 0.42, its mean on fresh seeds, and the other had 0.45."""
    ledger = run_of(tmp_path, (0.8, 0.45))
    with ledger.transaction():
        ledger.add_suggestion(2, start(CONFIG | {"momentum": 0.0}, origin=FINALIST), seed=1)
        for step, loss in enumerate((0.9, 0.6, 0.5, 0.42), start=1):
            ledger.add_report(2, step, loss, 0.1, {"loss": loss})
        ledger.add_ending(2, Status.COMPLETED, 4, "its end")
    facts, told, page = summary(ledger), glance(ledger), Recorded.of(ledger)
    ledger.close()
    assert facts["best"]["value"] == told["best"]["value"] == 0.42
    assert facts["ahead"] is told["ahead"] is page.ahead is None


@pytest.mark.parametrize(
    "more", [{"state": "running"}, {"state": "interrupted"}, {"state": "out of time"}, {"origin": FINALIST}]
)
def test_nothing_is_said_while_the_search_may_come_back_nor_of_a_repetition(
    more: dict[str, str], tmp_path: Path
) -> None:
    ledger = run_of(tmp_path, (0.3,), **more)
    assert summary(ledger)["ahead"] is glance(ledger)["ahead"] is None
    ledger.close()


def test_all_screens_name_a_leader_that_hyperband_left_and_the_command_that_trains_it_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workload = FromFunction(falls, metric="loss", mode="min", horizon=27)
    space, out = Space({"x": uniform(0.0, 1.0)}), io.StringIO()
    sweep = small_sweep(
        workload=workload, space=space, searcher=Random(), scheduler=Hyperband(), num_samples=14, seed=1
    )
    simulated(tmp_path / "run", sweep)
    ledger = Ledger.write(tmp_path / "run")
    with ledger.transaction():
        ledger.add_event(STATE, "finished")
    print_summary(ledger, Console(file=out, width=200))
    (answer, *_) = section(Recorded.of(ledger)).figures
    ledger.close()
    status(str(tmp_path / "run"), tmp_path)
    command = shlex.join(["orchestrator", "replay", str(tmp_path / "run"), "3", "--go-on", "27"])
    words = f"trial 3 had a lower loss, 0.1229 at step 9, but was not trained further. To train it on: {command}"
    for told in (out.getvalue(), str(dict(answer.rows)["What won"]), capsys.readouterr().out):  # type: ignore[union-attr]
        assert words in told
