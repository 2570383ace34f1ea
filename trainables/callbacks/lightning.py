"""A policy in Lightning's Trainer: `Control` as a callback.

    control = LightningControl(LrSchedule("cosine"))
    Trainer(max_epochs=20, callbacks=[control]).fit(module, data, ckpt_path=…)

The module must use automatic optimization, with one optimizer and no scheduler; the policy turns the arguments that the
optimizer was built with. The training loss is the one that `training_step` returns; the metrics are those that the
validation logs at the end of each epoch. During an exploration a validation measures the weights at the snapshot.
Lightning's checkpoints contain the control's state; resume from one written at the end of an epoch. With
`accumulate_grad_batches` a policy sees the gradient noise between batches, before clipping.

Refused, each with its remedy: a policy that changes the batch size, averages or replays; several optimizers or processes;
schedulers; manual optimization.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from search.wording import instance, shown
from trainables.contract import Policy
from trainables.training.control import Control
from trainables.training.needs import refuse_unmeasured

if TYPE_CHECKING or "pytorch_lightning" not in sys.modules or "lightning.pytorch" in sys.modules:
    try:
        from lightning.pytorch.callbacks import Callback
    except ModuleNotFoundError as error:
        raise ImportError(f"LightningControl needs Lightning ({error}): pip install lightning") from None
else:  # the same library under its other name
    from pytorch_lightning.callbacks import Callback


class LightningControl(Callback):  # type: ignore[misc, unused-ignore]
    """Lets `policy` control the training of a module.

    `measure()`: the metrics of the present weights, for a policy that asks for them between two epochs or keeps averages
    of the weights; `probe()`: those on a fixed part of the data, for the first (None: `measure`). `metric`: the training
    ends when it is not finite; in the direction `mode` it chooses between the averages, and a validation is of the chosen
    one. `control`, with its `decisions`, exists once the training has begun.

    >>> trainer = lightning.Trainer(max_epochs=3, callbacks=[LightningControl(Warmup(1.0))])  # doctest: +SKIP
    """

    def __init__(
        self, policy: Policy[Any], *, measure: Callable[[], Mapping[str, float]] | None = None,
        probe: Callable[[], Mapping[str, float]] | None = None, metric: str = "", mode: str = "min",
    ) -> None:  # fmt: skip
        instance("LightningControl", Policy, policy=policy)
        if "batch_size" in policy.writes:
            raise ValueError(
                f"{shown(policy)} changes the batch size, but Lightning takes its batches from the DataLoader; write a loop with Control "
                "and BatchSampler, or choose a policy that leaves the batch alone."
            )
        self.policy = policy
        self.control: Control | None = None
        refuse_unmeasured(policy, measure)
        self._measure, self._probe, self._metric, self._mode = measure, probe, metric, mode
        self._saved: dict[str, Any] | None = None
        self._samples = 0  # of the batch in progress
        self._loss: Any = None
        self._has_stepped = self._has_ended = False
        self._validation = contextlib.ExitStack()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.control is None else self.control.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict or None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        _refuse(trainer, pl_module, self.policy)
        loader, parts = trainer.train_dataloader, trainer.accumulate_grad_batches
        self.control = Control(
            self.policy, pl_module, trainer.optimizers[0], batch_size=loader.batch_size * parts,
            samples=len(loader.dataset), epochs=trainer.max_epochs, measure=self._measure, probe=self._probe,
            metric=self._metric, mode=self._mode, parts=parts,
            scaler=getattr(trainer.precision_plugin, "scaler", None),
        )  # fmt: skip
        if self._saved is not None:
            self.control.load_state_dict(self._saved)
            self._saved = None

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._has_ended = False

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._samples = _samples(batch)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: torch.Tensor) -> None:
        self._loss = loss.detach() * trainer.accumulate_grad_batches  # Lightning has divided by it

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        assert self.control is not None
        self.control.part(self._samples, self._loss)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._has_stepped = True

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert self.control is not None
        if not self._has_stepped:
            return
        self._has_stepped = False
        before = self.control.batch_size
        self.control.update()
        if self.control.batch_size != before:
            raise ValueError(
                f"{shown(self.policy)} changed the batch size, which is missing in its `writes`; add it there."
            )
        trainer.should_stop |= self.control.stopped

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self.control is not None and not trainer.sanity_checking:
            self._validation.enter_context(self.control.evaluating())

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Lightning writes checkpoints after this, so they contain the control as of the end of the epoch."""
        self._validation.close()
        if not trainer.sanity_checking and trainer.is_last_batch:
            self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self.control is None or self._has_ended:
            return
        self._has_ended = True
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.control.end_epoch(metrics if self.control.keeps_averages else lambda: metrics)
        trainer.should_stop |= self.control.stopped or self.control.diverged


def _samples(batch: Any) -> int:
    """The number of samples in a batch: the length of its first tensor."""
    if isinstance(batch, torch.Tensor):
        return len(batch)
    inner = batch.values() if isinstance(batch, Mapping) else batch
    return _samples(next(iter(inner)))


def _refuse(trainer: Any, module: Any, policy: Policy[Any]) -> None:
    """Raise ValueError if `policy` cannot control this training."""
    if not module.automatic_optimization:
        raise ValueError(
            f"{type(module).__name__} optimizes manually; make a Control(…) in it, and call control.update in training_step."
        )
    if len(trainer.optimizers) != 1:
        raise ValueError(
            f"{type(module).__name__} has {len(trainer.optimizers)} optimizers; {shown(policy)} controls one."
        )
    if trainer.lr_scheduler_configs and "learning_rate" in policy.writes:
        kinds = ", ".join(type(each.scheduler).__name__ for each in trainer.lr_scheduler_configs)
        raise ValueError(
            f"{type(module).__name__}.configure_optimizers returns {kinds}, which would change the learning rate at the same time as {shown(policy)}; "
            "return the optimizer alone, and use Warmup(…), LrSchedule(…) as the policy."
        )
    if trainer.world_size > 1:
        raise ValueError(
            f"{shown(policy)} in a Lightning Trainer of {trainer.world_size} processes: only one works; write a loop with Control."
        )
    if not trainer.max_epochs or trainer.max_epochs < 0:
        raise ValueError(
            f"Trainer(max_epochs={trainer.max_epochs}): {shown(policy)} needs the number of epochs; give max_epochs=20."
        )
    if not isinstance(getattr(trainer.train_dataloader, "batch_size", None), int):
        raise ValueError(
            f"{shown(policy)} needs one DataLoader with a batch_size; there is {trainer.train_dataloader!r}."
        )
