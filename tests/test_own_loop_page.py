"""The examples of "In your own loop" and of the section after it run as printed; what they call yours is here."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import accelerate
import lightning.pytorch
import pytest
import torch
import transformers
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from orchestrator import BadInput, FromFound, Tpe
from tests.lines import CONFIG, SAMPLES, TRAIN, Line, Rows
from tests.piecing import section
from tests.support import ROOT, interrupted_after, recorded, sequence, simulated
from tests.test_control_lightning import Module
from tests.test_docs import blocks
from trainables.training.weight_averages import WeightAverages

BEFORE, AFTER = (ROOT / "docs" / "policies.md").read_text().split("## In your own loop")
SECTION, _, FRAMEWORKS = AFTER.split("\n## ")
RACE, AVERAGES = blocks(BEFORE, "python")
(PLAIN,) = blocks(SECTION, "python")
TRAINER, LIGHTNING, ACCELERATE = blocks(FRAMEWORKS, "python")


def test_the_sweep_in_which_nobody_tunes_the_rate_as_printed() -> None:
    found: dict[str, Any] = {}
    exec(compile(RACE, "docs/policies.md", "exec"), found)
    assert found["sweep"].searcher == FromFound(Tpe())
    with pytest.raises(BadInput, match=r"nothing finds 'learning_rate' .* add policy=RateRace\(rungs=1\)"):
        exec(compile(RACE.replace(", policy=RateRace(rungs=1)", ""), "docs/policies.md", "exec"), {})


def test_the_section_is_short() -> None:
    assert max(len(SECTION.splitlines()), len(FRAMEWORKS.splitlines())) <= 62


def run(code: str, **yours: Any) -> dict[str, Any]:
    """What the code leaves behind."""
    exec(compile(code, "docs/policies.md", "exec"), yours)
    return yours


def own() -> dict[str, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))
    inputs = torch.randn(640, 3)
    data = TensorDataset(inputs, inputs.square().sum(1))

    def evaluate(model: nn.Module) -> float:
        with torch.no_grad():
            return mse_loss(model(data.tensors[0]), data.tensors[1]).item()

    return {
        "torch": torch, "DataLoader": DataLoader, "mse_loss": mse_loss, "model": model, "data": data, "evaluate": evaluate,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    }  # fmt: skip


def test_averages_alone_run_as_printed(tmp_path: Path) -> None:
    yours = own()
    last = yours["evaluate"](yours["model"])
    left = run(AVERAGES, **yours, loader=DataLoader(yours["data"], batch_size=32), path=tmp_path / "checkpoint.pt")
    assert left["metrics"]["valid_loss"] < last, "the average of a training that learns"
    restored = WeightAverages.restored(left["model"], torch.load(tmp_path / "checkpoint.pt")["averages"])
    with restored.swapped(16.0):
        assert left["evaluate"](left["model"]) == left["metrics"]["valid_loss"]


def test_the_plain_loop_is_whole_and_runs_as_printed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    left = run(PLAIN, path=tmp_path / "checkpoint.pt")
    assert left["control"].epoch == 20
    assert any("wins the race of" in each.text for each in left["control"].decisions.take())
    assert left["metrics"]["found_learning_rate"] > 0.001, "what it began at is too small"
    assert left["metrics"]["valid_loss"] < 0.2 * left["y"].var()
    assert left["model"].training, "evaluate has left evaluation mode on, and Control has restored it"
    assert left["evaluate"](300).keys() == left["evaluate"]().keys() <= left["metrics"].keys()
    assert set(torch.load(tmp_path / "checkpoint.pt", weights_only=True)) == {"model", "optimizer", "control"}


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set")  # where there is no GPU
def test_the_trainer_runs_as_printed(tmp_path: Path) -> None:
    run(
        TRAINER, Trainer=transformers.Trainer, TrainingArguments=transformers.TrainingArguments, model=Line(),
        data=Rows(TRAIN), path=str(tmp_path),
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.glob("*/control.pt")) == ["control.pt"] * len(
        [*tmp_path.glob("checkpoint-*")]
    )


@pytest.mark.filterwarnings("ignore")
def test_lightning_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module = Module()
    run(LIGHTNING, Trainer=lightning.pytorch.Trainer, module=module, loader=DataLoader(Rows(TRAIN), batch_size=8))
    assert module.trainer.current_epoch == 3
    assert module.trainer.global_step == 3 * SAMPLES / 8
    assert module.trainer.optimizers[0].param_groups[0]["lr"] <= CONFIG["learning_rate"]


def test_accelerate_runs_as_printed() -> None:
    yours = own()
    loader = DataLoader(yours["data"], batch_size=32, shuffle=True)
    left = run(ACCELERATE, **yours, loader=loader, Accelerator=accelerate.Accelerator)
    assert left["control"].epoch == 3
    assert left["control"].knobs.learning_rate > CONFIG["learning_rate"]  # the gain of a batch twice as large


def test_the_generator_with_a_policy_runs_as_printed_and_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    (code,) = section("A function with a policy")
    yours: dict[str, Any] = {}
    exec(compile(code.replace("launch(\n", "sweep = (\n"), "docs/own_training.md", "exec"), yours)
    sweep = replace(yours["sweep"], checkpoint_seconds=0.0)
    simulated(tmp_path / "whole", sweep)
    interrupted_after(tmp_path / "cut", sweep, 8, workers=1)
    simulated(tmp_path / "cut", sweep)
    assert sequence(tmp_path / "cut") == sequence(tmp_path / "whole")
    reports = recorded(tmp_path / "whole", "report")
    assert {*reports[-1]["metrics"]} == {"valid_loss", "last_valid_loss", "averaged", "train_loss"}
    assert max(row["step"] for row in reports) == 6
