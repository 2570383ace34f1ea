"""Where nothing new is left to try, nobody is told to search longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.outcome import tell_end
from orchestrator.page.health.progress import few_trials
from orchestrator.page.sections import answer
from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import STATE
from search.schedulers.run_to_end import RunToEnd
from search.searchers.grid import Grid
from search.searchers.random import Random
from search.space import Space, choice
from tests.records_on_disk import read
from tests.support import simulated, small_sweep

FOUR = Space({"learning_rate": choice([0.01, 0.1]), "momentum": choice([0.0, 0.5]), "batch_size": 8})


def finish(folder: Path) -> None:
    ledger = Ledger.write(folder)
    with ledger.transaction():
        ledger.add_event(STATE, "finished")
    ledger.close()


def told(folder: Path, capsys: pytest.CaptureFixture[str], **changes: Any) -> tuple[str, str]:
    """The last line of the printout, and the report's next step."""
    driver = simulated(folder, small_sweep(scheduler=RunToEnd(), **changes))
    finish(folder)
    ledger = Ledger.read(folder)
    capsys.readouterr()
    tell_end(driver, ledger, None)
    ledger.close()
    rows = dict(answer.section(read(folder)).figures[0].rows)  # type: ignore[union-attr, arg-type]
    return capsys.readouterr().out.splitlines()[-1], rows["What next"]


def test_a_grid_that_has_been_walked_is_not_searched_longer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A grid of four was told "Raise num_samples", and nothing was left to do, twice."""
    last, step = told(tmp_path / "grid", capsys, space=FOUR, searcher=Grid(), num_samples=32)
    for text in (last, step):
        assert (
            "nothing new: Grid has nothing more to suggest; add values to the space, or confirm the best on fresh"
            in text
        )
        assert "num_samples" not in text.replace("-", "_")
        assert "earch longer" not in text


@pytest.mark.parametrize("count", [4, 6])
def test_nor_is_a_finite_space_whose_configurations_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    last, step = told(tmp_path / "random", capsys, space=FOUR, searcher=Random(), num_samples=count)
    assert "nothing new: all " in last
    assert "configurations of the space have been tried; add values to the space" in last
    assert "Raise num_samples" not in step


def test_a_part_of_a_grid_is_searched_longer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last, step = told(tmp_path / "part", capsys, space=FOUR, searcher=Grid(), num_samples=3)
    assert "--num-samples 6" in last
    assert step.startswith("Search longer. ")


def test_a_winner_that_is_confirmed_need_not_be_confirmed(tmp_path: Path) -> None:
    simulated(tmp_path / "again", small_sweep(space=FOUR, searcher=Grid(), num_samples=9, finalists=1))
    finish(tmp_path / "again")
    (few,) = few_trials(read(tmp_path / "again"))
    assert few.remedy.endswith("more to suggest; add values to the space.")
