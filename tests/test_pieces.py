"""Trainings of other frameworks: what their pieces report, and that they go on exactly."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from orchestrator import reporting
from search.work import Assignment
from tests.piecing import compare_with_a_killed_one, section
from tests.support import ROOT, run_script
from trainables.carry_out import carry_out
from trainables.workloads.script import Script

needs_accelerate = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed: the Trainer needs it"
)
needs_lightning = pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="Lightning is not installed")


class Killed(BaseException):
    """The process ends here, and nothing is tidied up."""


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A script's process begins: in a trial's folder as the sweep makes it, or (None) with no sweep."""

    def begin(folder: Path | None, go_on: bool = True) -> None:
        monkeypatch.setattr(reporting, "last_step", -1)
        monkeypatch.delenv(reporting.FOLDER, raising=False)
        if folder is not None:
            place = folder / reporting.PLACE
            place.mkdir(parents=True, exist_ok=True)
            (place / reporting.PARAMETERS).write_text("{}")
            (place / reporting.ANSWER).write_text(json.dumps({"step": 10**6 if go_on else 0, "go_on": go_on}))
            monkeypatch.setenv(reporting.FOLDER, str(folder))

    return begin


def reports(folder: Path) -> list[dict[str, Any]]:
    """What was reported, without the clock's share."""
    path = folder / reporting.PLACE / reporting.REPORTS
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for line in lines:
        line["metrics"] = {
            name: value for name, value in line["metrics"].items() if "runtime" not in name and "per_second" not in name
        }
        line["checkpoint"] = line["checkpoint"] and Path(line["checkpoint"]).name
    return lines


# transformers


def trainer_of(folder: Path, kill_at: int | None = None, **arguments: Any) -> Any:
    """Eight updates an epoch, three epochs of a tiny BERT."""
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

    from orchestrator import TransformersCallback

    class Kill(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == kill_at:
                raise Killed

    torch.manual_seed(0)
    words = torch.randint(0, 17, (96, 8))
    rows = [{"input_ids": row, "labels": int(row.sum() > 64)} for row in words]
    evaluated = {"near": rows[64:80], "far": rows[80:]} if arguments.pop("two_sets", False) else rows[64:]
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    settings: dict[str, Any] = {
        "output_dir": str(folder / "shared"), "num_train_epochs": 3, "eval_strategy": "epoch", "report_to": "none",
        "learning_rate": 1e-2, "use_cpu": True, "disable_tqdm": True,
    }  # fmt: skip
    return Trainer(
        BertForSequenceClassification(BertConfig(vocab_size=17, max_position_embeddings=8, **sizes)),
        TrainingArguments(**(settings | arguments)),
        train_dataset=rows[:64],
        eval_dataset=evaluated,
        callbacks=[TransformersCallback(), Kill()],
    )


def train_with_transformers(folder: Path, kill_at: int | None = None, **arguments: Any) -> Any:
    trainer = trainer_of(folder, kill_at, **arguments)
    try:
        trainer.train(resume_from_checkpoint=reporting.resumed_from())
    except Killed:
        return None
    return trainer


@needs_accelerate
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({}, id="epochs"),
        pytest.param({"eval_strategy": "steps", "eval_steps": 4}, id="updates", marks=pytest.mark.slow),
    ],
)
def test_a_killed_trainer_of_transformers_goes_on_as_if_nothing_had_happened(
    arguments: dict[str, Any], tmp_path: Path, start: Any
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    start(whole)
    train_with_transformers(tmp_path, **arguments)
    for kill_at in (19, None):
        start(parts)
        train_with_transformers(tmp_path, kill_at, **arguments)
    assert reports(parts) == reports(whole)
    assert [line["step"] for line in reports(whole)] == ([4, 8, 12, 16, 20, 24] if arguments else [1, 2, 3])
    assert all("eval_loss" in line["metrics"] and line["checkpoint"] for line in reports(whole))
    assert list((whole / "shared").glob("checkpoint-*"))  # no trial writes where another one does
    assert not list((tmp_path / "shared").glob("checkpoint-*"))


@needs_accelerate
def test_one_report_holds_all_that_was_evaluated_at_a_step_and_nothing_from_outside_the_training(
    tmp_path: Path, start: Any
) -> None:
    start(tmp_path / "trial")
    trainer = train_with_transformers(tmp_path, two_sets=True, eval_on_start=True, save_strategy="no")
    trainer.evaluate()
    lines = reports(tmp_path / "trial")
    assert [(line["step"], line["checkpoint"]) for line in lines] == [(1, None), (2, None), (3, None)]
    assert all({"eval_near_loss", "eval_far_loss"} <= set(line["metrics"]) for line in lines)


@needs_accelerate
@pytest.mark.parametrize("saving", ["epoch", "best", "no"])
def test_the_trainer_of_transformers_stops_when_the_sweep_needs_no_more(
    saving: str, tmp_path: Path, start: Any
) -> None:
    start(tmp_path / "trial", go_on=False)
    trainer = train_with_transformers(tmp_path, save_strategy=saving, metric_for_best_model="loss")
    assert [line["step"] for line in reports(tmp_path / "trial")] == [1]
    assert trainer.state.global_step <= 9  # an update may have begun


@needs_accelerate
def test_the_callback_leaves_a_trainer_alone_that_no_sweep_runs(tmp_path: Path, start: Any) -> None:
    start(None)
    trainer = train_with_transformers(tmp_path, num_train_epochs=1, save_strategy="no")
    assert trainer.args.output_dir == str(tmp_path / "shared")
    assert not list((tmp_path / "shared").iterdir())


# Lightning


def fit_with_lightning(
    folder: Path, schedule: str = "none", epochs: int = 6, kill_at: int | None = None, **options: Any
) -> Any:
    """Four updates an epoch of a network with dropout."""
    import lightning
    from lightning.pytorch.callbacks import EarlyStopping

    from orchestrator import LightningCallback

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Dropout(0.2), torch.nn.Linear(16, 1))

        def training_step(self, batch: Any, index: int) -> Any:
            if self.global_step == kill_at:
                raise Killed
            loss = mse_loss(self.model(batch[0]), batch[1])
            self.log("train_loss", loss, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("valid_loss", mse_loss(self.model(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
            schedulers = torch.optim.lr_scheduler
            if schedule == "none":
                return optimizer
            if schedule == "epoch":
                return [optimizer], [schedulers.StepLR(optimizer, 1, 0.7)]
            if schedule == "update":
                each = {"scheduler": schedulers.OneCycleLR(optimizer, 0.1, total_steps=24), "interval": "step"}
                return {"optimizer": optimizer, "lr_scheduler": each}
            watching = schedulers.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": watching, "monitor": "valid_loss"}}

    lightning.seed_everything(3, verbose=False)
    x = torch.randn(96, 4, generator=torch.Generator().manual_seed(0))
    rows = TensorDataset(x, x.sum(1, keepdim=True).sin())
    settings: dict[str, Any] = {
        "max_epochs": epochs, "accelerator": "cpu", "logger": False, "enable_progress_bar": False,
        "enable_model_summary": False, "default_root_dir": folder,
        "callbacks": [LightningCallback(), EarlyStopping("valid_loss", patience=3)],
    }  # fmt: skip
    trainer = lightning.Trainer(**(settings | options))
    train, valid = DataLoader(rows, 24, shuffle=True), DataLoader(rows, 48)
    try:
        trainer.fit(Module(), train, valid, ckpt_path=reporting.resumed_from())
    except Killed:
        return None
    trainer.validate(trainer.lightning_module, valid, verbose=False)
    return trainer


@needs_lightning
@pytest.mark.parametrize("schedule", ["none", "epoch", "update", "plateau"])
def test_a_killed_lightning_trainer_goes_on_as_if_nothing_had_happened(
    schedule: str, tmp_path: Path, start: Any
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    start(whole)
    fit_with_lightning(tmp_path, schedule)
    for kill_at in (9, 14, None):
        start(parts)
        fit_with_lightning(tmp_path, schedule, kill_at=kill_at)
    assert reports(parts) == reports(whole)
    steps = [line["step"] for line in reports(whole)]
    assert steps == list(range(1, len(steps) + 1))
    assert {"train_loss", "valid_loss"} <= set(reports(whole)[0]["metrics"])
    assert len(list((whole / "lightning").iterdir())) == 2


@needs_lightning
def test_validations_within_an_epoch_count_updates_and_go_on_from_the_epochs_end(tmp_path: Path, start: Any) -> None:
    start(tmp_path / "trial")
    fit_with_lightning(tmp_path, epochs=2, val_check_interval=0.5)
    assert [(line["step"], line["checkpoint"]) for line in reports(tmp_path / "trial")] == [
        (2, None), (4, "step-4.ckpt"), (6, None), (8, "step-8.ckpt"),
    ]  # fmt: skip


@needs_lightning
@pytest.mark.parametrize("options", [{}, {"val_check_interval": 0.5}, {"enable_checkpointing": False}])
def test_lightnings_trainer_stops_when_the_sweep_needs_no_more(
    options: dict[str, Any], tmp_path: Path, start: Any
) -> None:
    start(tmp_path / "trial", go_on=False)
    trainer = fit_with_lightning(tmp_path, **options)
    assert len(reports(tmp_path / "trial")) == 1
    assert trainer.global_step <= 4


@needs_lightning
def test_the_callback_leaves_lightnings_trainer_alone_that_no_sweep_runs(tmp_path: Path, start: Any) -> None:
    start(None)
    trainer = fit_with_lightning(tmp_path, epochs=1, enable_checkpointing=False)
    assert trainer.global_step == 4
    assert not list(tmp_path.iterdir())


PAGES = [
    pytest.param("A PyTorch loop", "loop"),
    pytest.param("transformers", "bert", marks=needs_accelerate),
    pytest.param("Lightning", "digits", marks=needs_lightning),
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("title", "name"), PAGES)
def test_a_sweep_of_the_page_ends_with_the_same_record_when_it_was_killed(
    title: str, name: str, tmp_path: Path
) -> None:
    train, tune = section(title)
    assert len(tune.strip().splitlines()) <= 14
    compare_with_a_killed_one(tmp_path, {"train.py": train, "tune.py": tune}, name, kill_after=5)


@pytest.mark.slow
def test_the_rest_of_the_page_runs_as_printed(tmp_path: Path) -> None:
    """A generator; and a notebook's cell, which has no file and whose function is nowhere but there."""
    (tmp_path / "tune.py").write_text(section("A function")[1])
    done = run_script("tune.py", "--simulate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (cell,) = section("A notebook")
    assert cell.count("num_samples=4)") == 1
    done = subprocess.run(
        [sys.executable], input=cell.replace("num_samples=4)", "num_samples=1), simulate=True"), cwd=tmp_path, text=True,
        capture_output=True, timeout=120, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "distance=" in done.stdout


@pytest.mark.slow
@needs_accelerate
def test_the_lines_that_a_trainer_of_transformers_prints_are_read_without_a_callback(tmp_path: Path) -> None:
    """Its numbers are printed as text, in a Python dict, among progress bars."""
    train, _ = section("transformers")
    for words in (
        "    callbacks=[TransformersCallback()],\n",
        "from orchestrator import TransformersCallback, resumed_from\n",
    ):
        assert words in train
        train = train.replace(words, "")
    train = train.replace("trainer.train(resume_from_checkpoint=resumed_from())", "trainer.train()")
    (tmp_path / "train.py").write_text(train.replace("rows[:480]", "rows[:64]"))
    command = (
        f"{sys.executable} {tmp_path / 'train.py'} --eval_strategy epoch --num_train_epochs 2 --report_to none "
        f"--output_dir {tmp_path / 'out'}"
    )
    workload = Script(command, metric="eval_accuracy", mode="max", horizon=2, metrics=("eval_loss",))
    run = carry_out(
        workload, None, Assignment(0, {"learning_rate": 1e-3}, 7, until=2, folder=tmp_path / "trial" / "checkpoints")
    )
    found = [item for item in run if item is not None and item.kind == "report"]
    assert [item.step for item in found] == [1, 2]
    assert all(0 <= item.metrics["eval_accuracy"] <= 1 < item.metrics["eval_loss"] for item in found)
