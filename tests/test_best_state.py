"""The state of the best trial: what a notebook goes on with after the sweep."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator import BadInput, Result, Space, Sweep, report, run, uniform
from orchestrator.reading.export import best_as_yaml
from orchestrator.record.ledger import Ledger


def ended(train: Callable[..., Any], folder: Path) -> Result:
    sweep = Sweep("state", train, Space({"x": uniform(0.0, 1.0)}), minimize="loss", steps=3, num_samples=3)
    return run(sweep, folder, simulate=True, quiet=True)


def savable(config: Any, state: Any) -> Iterator[Any]:
    for step in range(state["step"] if state else 0, 3):
        yield {"loss": config["x"]}, {"weights": torch.full((2,), config["x"]), "step": step + 1}


def unsavable(config: Any, state: Any) -> Iterator[Any]:
    for _ in range(3):
        yield {"loss": config["x"]}, object()


def stateless(config: Any) -> Iterator[Any]:
    for _ in range(3):
        yield {"loss": config["x"]}


def reporting(config: Any) -> None:
    Path("weights").write_text("mine")
    report(3, loss=config["x"], checkpoint="weights")


def test_the_best_state_is_what_the_generator_yielded_last(tmp_path: Path) -> None:
    result = ended(savable, tmp_path / "run")
    state = result.load_state()
    assert result.config is not None
    assert state["step"] == 3
    assert torch.equal(state["weights"], torch.full((2,), result.config["x"]))


@pytest.mark.parametrize("train", [unsavable, stateless])
def test_a_checkpoint_without_a_state_is_none(train: Callable[..., Any], tmp_path: Path) -> None:
    result = ended(train, tmp_path / "run")
    assert result.value is not None
    assert result.checkpoint is None
    assert "Checkpoint" not in result.report()
    ledger = Ledger.read(result.folder)
    assert "checkpoint:" not in best_as_yaml(ledger)
    ledger.close()
    with pytest.raises(BadInput, match=r"the best, has no checkpoint. A generator must yield \(metrics, state\)"):
        result.load_state()


def test_that_no_state_can_be_saved_is_told_once(tmp_path: Path) -> None:
    ledger = Ledger.read(ended(unsavable, tmp_path / "run").folder)
    told = [row["text"] for row in ledger.rows("event") if "no checkpoints" in row["text"]]
    ledger.close()
    assert len(told) == 1
    assert "an interruption starts a trial over" in told[0]


@pytest.mark.slow
def test_a_checkpoint_of_the_functions_own_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"wrote its checkpoint itself; load it .* result.checkpoint, .*weights"):
        ended(reporting, tmp_path / "run").load_state()


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    result = ended(savable, tmp_path / "run")
    assert result.checkpoint is not None
    with open(result.checkpoint / "state.json", "a") as file:
        file.write("{")
    assert Result(result.folder).checkpoint == result.checkpoint
    with pytest.raises(BadInput, match="bytes instead of"):
        result.load_state()


def test_the_export_of_a_notebooks_run_names_the_call_that_replays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It named a command, which refuses such a run."""
    monkeypatch.delattr(sys.modules["__main__"], "__file__")  # as at a prompt
    result = ended(savable, tmp_path / "run")
    ledger = Ledger.read(result.folder)
    text = best_as_yaml(ledger)
    ledger.close()
    assert f"train_again: Result('{result.folder}').replay(sweep, {result.trial})" in text
    assert "# In the notebook that made this run" in text
    assert "train_on" not in text


@pytest.mark.parametrize(
    ("words", "told"),
    [((1,), r"replay\(1\): pass the sweep .*: replay\(sweep, 1\)"), ((None, 2), r"replay\(sweep, 2\)")],
)
def test_replay_says_what_to_pass(words: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=told):
        ended(savable, tmp_path / "run").replay(*words)
