"""Every policy in a Lightning module: the decisions of our loop, or a refusal with the remedy."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from tests.lines import BATCH, CONFIG, POLICIES, SEED, TRAIN, VALID, Line, Lines, Rows, Shuffled, decided
from tests.trainings import numbers
from trainables.callbacks.lightning import LightningControl
from trainables.contract import Policy
from trainables.policies.adascale import AdaScale
from trainables.policies.fixed import Fixed
from trainables.policies.lr_schedule import LrSchedule
from trainables.training.device import measure
from trainables.training.loop import Training

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),  # of Lightning with this torch
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]

HERE = [policy for policy in POLICIES if not {"batch_size", "average", "replay"} & policy.writes]


class Module(LightningModule):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.line = Line()

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        loss: Tensor = self.line(**batch)["loss"]
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        self.log("eval_loss", self.line(**batch)["loss"])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.line.parameters(), lr=CONFIG["learning_rate"], momentum=0.9)


def fitted(
    policy: Policy[Any], folder: Path, module: Module | None = None, ckpt_path: Path | None = None, **changes: Any
) -> tuple[Module, LightningControl]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module = module or Module()
    parts = 2 if "gradient" in policy.needs else 1
    callback = LightningControl(policy, measure=lambda: measure(Lines(), module.line, "valid"), metric="eval_loss")
    saving = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    trainer = Trainer(**{
        "max_epochs": 3, "accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False,
        "enable_model_summary": False, "accumulate_grad_batches": parts, "callbacks": [callback, saving],
        "default_root_dir": folder, **changes,
    })  # fmt: skip
    loader = DataLoader(Rows(TRAIN), batch_size=BATCH // parts, sampler=Shuffled())
    trainer.fit(module, loader, DataLoader(Rows(VALID), batch_size=64), ckpt_path=ckpt_path, weights_only=True)
    return module, callback


@pytest.mark.parametrize("policy", HERE, ids=repr)
def test_the_decisions_are_those_of_our_loop(policy: Policy[Any], tmp_path: Path) -> None:
    ours = Training(Lines(), policy, CONFIG, seed=SEED)
    items = list(ours)
    module, callback = fitted(policy, tmp_path)
    assert callback.control is not None
    assert decided(callback.control.decisions.waiting) == decided(items)
    assert numbers(dict(module.line.state_dict())) == numbers(dict(ours.model.state_dict()))
    assert numbers(callback.control.state_dict()["policy"]) == numbers(ours.control.state_dict()["policy"])
    reported = [item.metrics for item in items if item is not None and item.kind == "report"]
    assert float(module.trainer.callback_metrics["eval_loss"]) == reported[-1]["eval_loss"]


@pytest.mark.parametrize("policy", HERE, ids=repr)
@pytest.mark.parametrize("epoch", [0, 1])
def test_lightning_goes_on_from_its_checkpoints_with_its_policy(
    epoch: int, policy: Policy[Any], tmp_path: Path
) -> None:
    whole, callback = fitted(policy, tmp_path / "whole")
    resumed, again = fitted(policy, tmp_path / "again", ckpt_path=tmp_path / "whole" / f"epoch={epoch}.ckpt")
    assert callback.control is not None
    assert again.control is not None
    assert numbers(dict(resumed.line.state_dict())) == numbers(dict(whole.line.state_dict()))
    assert decided(again.control.decisions.waiting) == decided(callback.control.decisions.waiting)
    assert again.control.knobs == callback.control.knobs


@pytest.mark.parametrize("policy", [p for p in POLICIES if p not in HERE], ids=repr)
def test_what_lightning_cannot_do_is_refused(policy: Policy[Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"changes the batch size|only our own loop|data order that can go back"):
        fitted(policy, tmp_path)


class ReplayedSchedule(Module):
    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class Manual(Module):
    automatic_optimization = False


@pytest.mark.parametrize(("policy", "module", "changes", "words"), [
    (LrSchedule("cosine"), ReplayedSchedule, {}, "configure_optimizers returns StepLR"),
    (Fixed(), Manual, {"accumulate_grad_batches": 1}, "optimizes manually; make a Control"),
    (Fixed(), Module, {"max_epochs": -1, "max_steps": 5}, "needs the number of epochs"),
    (AdaScale(8), Module, {"accumulate_grad_batches": 1}, "needs the gradient noise"),
])  # fmt: skip
def test_trainings_that_a_policy_cannot_control_are_refused(
    policy: Policy[Any], module: type[Module], changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        fitted(policy, tmp_path, module(), **changes)
