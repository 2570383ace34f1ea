"""A fork is trained again with all that it descends from, where the sweep has deleted its parent's checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import NotTheSame
from orchestrator.reading.export import best_as_yaml
from orchestrator.reading.replay import replay_trial
from orchestrator.record.ledger import Ledger
from orchestrator.sweep import Sweep
from search.searchers.pbt import PopulationBasedTraining
from search.space import Space, uniform
from tests.support import recorded, simulated
from tests.sweeps.forking import HORIZON, INTERVAL, text
from trainables.workloads.script import Script


def multiplies(config: dict[str, Any], state: Any) -> Iterator[Any]:
    value = 1.0 if state is None else state
    while True:
        value *= config["rate"]
        yield {"loss": value}, value


def population(workload: Any, steps: int | None = None) -> Sweep:
    searcher = PopulationBasedTraining(population=3, interval=INTERVAL, quantile=0.34)
    space = Space({"rate": uniform(0.5, 1.0)})
    return Sweep("a", workload, space, searcher=searcher, keep_checkpoints=1, checkpoint_seconds=0.0, steps=steps,
                 minimize=None if isinstance(workload, Script) else "loss")  # fmt: skip


@pytest.mark.parametrize("kind", ["a script", "a generator"])
def test_every_fork_is_trained_again(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It failed for all that had forked early, as the typical winner has: their parents' checkpoints were gone."""
    script = tmp_path / "train.py"
    script.write_text(text())
    command = Script(f"{sys.executable} {script}", metric="loss", mode="min", horizon=HORIZON)
    sweep = population(command) if kind == "a script" else population(multiplies, HORIZON)
    simulated(tmp_path / "run", sweep)
    forks = {row["trial"]: row for row in recorded(tmp_path / "run", "suggestion") if row["kind"] == "fork"}
    own = [row["trial"] for row in recorded(tmp_path / "run", "report")]
    lineages = 0
    for trial, row in list(forks.items())[: 1 if kind == "a script" else None]:
        replay_trial(sweep, tmp_path / "run", trial, None)
        told = capsys.readouterr().out
        if f"trial {row['parent']}, from step " in told:
            lineages += 1
            assert f"trial {trial}, from step {row['parent_step'] + 1} to " in told
            assert "all" in told.splitlines()[-1]
        else:
            assert told.endswith(f"trial {trial}: all {own.count(trial)} steps equal the record\n")
    assert lineages
    if kind == "a script":
        script.write_text(text().replace("* rate", "* rate * 0.5"))
        first = next(trial for trial, row in forks.items() if row["parent"] not in forks)
        with pytest.raises(NotTheSame, match=rf"^trial {forks[first]['parent']}: 2 of 2 steps differ from the record"):
            replay_trial(sweep, tmp_path / "run", first, None)


def test_the_export_of_a_fork_says_what_its_command_trains(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import argparse\n" + text().replace('parameters()["rate"]', "float(__import__('sys').argv[1][7:])")
    )
    command = Script(f"{sys.executable} {script}", metric="loss", mode="min", horizon=HORIZON, flag="--{name}={value}")
    driver = simulated(tmp_path / "run", population(command))
    assert driver.best is not None
    ledger = Ledger.read(tmp_path / "run")
    exported = best_as_yaml(ledger)
    ledger.close()
    assert driver.best.parent is not None
    assert (
        "# Another training: these values from the first step on. train_again repeats the recorded one.\ncommand: "
        in exported
    )
