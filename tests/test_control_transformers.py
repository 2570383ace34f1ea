"""Every policy in the Trainer of transformers: the decisions of our loop, or a refusal with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from tests.lines import BATCH, CONFIG, POLICIES, SEED, TRAIN, VALID, Line, Lines, Rows, Shuffled, decided
from tests.trainings import numbers
from trainables.callbacks.transformers import TransformersControl
from trainables.contract import Policy
from trainables.policies.adascale import AdaScale
from trainables.policies.averaged import Averaged
from trainables.policies.lr_schedule import LrSchedule
from trainables.training.device import measure
from trainables.training.loop import Training

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:'pin_memory' argument is set"),  # where there is no GPU
]

HERE = [policy for policy in POLICIES if not {"batch_size", "average", "replay"} & policy.writes]


class Ordered(Trainer):  # type: ignore[misc]
    """Draws its samples in the order of our loop."""

    def get_train_dataloader(self) -> Any:
        loader = DataLoader(self.train_dataset, batch_size=self._train_batch_size, sampler=Shuffled())
        return self.accelerator.prepare(loader)


def trainer(policy: Policy[Any], folder: Path, **changes: Any) -> tuple[Trainer, TransformersControl]:
    torch.manual_seed(SEED)
    model = Line()
    parts = 2 if "gradient" in policy.needs else 1
    arguments = TrainingArguments(
        **{
            "output_dir": str(folder), "num_train_epochs": 3, "per_device_train_batch_size": BATCH // parts,
            "gradient_accumulation_steps": parts, "per_device_eval_batch_size": 64, "lr_scheduler_type": "constant",
            "eval_strategy": "epoch", "save_strategy": "no", "max_grad_norm": 0.0, "report_to": [], "use_cpu": True,
            "disable_tqdm": True, "learning_rate": 0.05, "seed": SEED, "logging_strategy": "no", **changes,
        }
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=CONFIG["learning_rate"], momentum=0.9)
    callback = TransformersControl(policy, measure=lambda: measure(Lines(), model, "valid"))
    return Ordered(
        model, arguments, train_dataset=Rows(TRAIN), eval_dataset=Rows(VALID), optimizers=(optimizer, None),
        callbacks=[callback],
    ), callback  # fmt: skip


@pytest.mark.parametrize("policy", HERE, ids=repr)
def test_the_decisions_are_those_of_our_loop(policy: Policy[Any], tmp_path: Path) -> None:
    ours = Training(Lines(), policy, CONFIG, seed=SEED)
    items = list(ours)
    other, callback = trainer(policy, tmp_path)
    other.train()
    assert callback.control is not None
    assert decided(callback.control.decisions.waiting) == decided(items)
    assert numbers(dict(other.model.state_dict())) == numbers(dict(ours.model.state_dict()))
    state = callback.control.state_dict()
    assert numbers(state["policy"]) == numbers(ours.control.state_dict()["policy"])
    found = [log["eval_loss"] for log in other.state.log_history if "eval_loss" in log]
    expected = [item.metrics["eval_loss"] for item in items if item is not None and item.kind == "report"]
    assert found == pytest.approx(expected, rel=1e-5)  # the Trainer averages over repeated losses, in 32 bits


@pytest.mark.parametrize("policy", HERE, ids=repr)
@pytest.mark.parametrize("steps", [5, pytest.param(8, marks=pytest.mark.slow)])
def test_a_trainer_goes_on_from_its_checkpoints_with_its_policy(
    steps: int, policy: Policy[Any], tmp_path: Path
) -> None:
    """Within an epoch, and between two."""
    saving = {"save_strategy": "steps", "save_steps": 5} if steps == 5 else {"save_strategy": "epoch"}
    whole, callback = trainer(policy, tmp_path, **saving)
    whole.train()
    resumed, again = trainer(policy, tmp_path, **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{steps}"))
    assert callback.control is not None
    assert again.control is not None
    assert numbers(dict(resumed.model.state_dict())) == numbers(dict(whole.model.state_dict()))
    assert decided(again.control.decisions.waiting) == decided(callback.control.decisions.waiting)
    assert again.control.knobs == callback.control.knobs


@pytest.mark.parametrize("policy", [p for p in POLICIES if p not in HERE], ids=repr)
def test_what_a_trainer_cannot_do_is_refused(policy: Policy[Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"changes the batch size|only our own loop|data order that can go back"):
        trainer(policy, tmp_path)[0].train()


@pytest.mark.parametrize(("policy", "changes", "words"), [
    (LrSchedule("cosine"), {"lr_scheduler_type": "linear"}, r"lr_scheduler_type='linear'.*use lr_scheduler_type='constant'"),
    (AdaScale(8), {"max_grad_norm": 1.0}, r"max_grad_norm=1.0.*use max_grad_norm=0"),
    (AdaScale(8), {"gradient_accumulation_steps": 1}, "needs the gradient noise"),
])  # fmt: skip
def test_arguments_that_do_not_go_with_a_policy_are_refused(
    policy: Policy[Any], changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        trainer(policy, tmp_path, **changes)[0].train()


def test_averages_alone_leave_the_rate_to_the_trainers_schedule(tmp_path: Path) -> None:
    trained, _ = trainer(Averaged(), tmp_path, lr_scheduler_type="linear")
    trained.train()
    assert trained.optimizer.param_groups[0]["lr"] == 0.0


def test_a_checkpoint_before_the_evaluation_of_its_epoch_is_refused(tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 4}
    trainer(LrSchedule("linear"), tmp_path, **saving)[0].train()
    with pytest.raises(ValueError, match="checkpoint-8 was written after the last update of an epoch"):
        trainer(LrSchedule("linear"), tmp_path, **saving)[0].train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-8")
        )
    (tmp_path / "checkpoint-4" / "control.pt").unlink()
    with pytest.raises(ValueError, match=r"resumes from step 4, but .*control\.pt is missing"):
        trainer(LrSchedule("linear"), tmp_path, **saving)[0].train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-4")
        )


def test_a_second_training_of_the_same_trainer_is_seen_once(tmp_path: Path) -> None:
    twice, callback = trainer(LrSchedule("linear"), tmp_path)
    for _ in range(2):
        twice.train()
        assert callback.control is not None
        assert (callback.control.samples, callback.control.epoch) == (3 * 64, 3)
