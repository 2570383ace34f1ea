"""Report from Lightning's Trainer after each validation, with a checkpoint from which the trial resumes exactly.

    trainer = Trainer(max_epochs=20, callbacks=[LightningCallback()])
    trainer.fit(module, data, ckpt_path=resumed_from())

Metrics are those that the module logs (`self.log("valid_loss", …)`), under the same names. The step is the epoch, counted
from 1, if validation ends an epoch, else (`val_check_interval`) the Trainer's `global_step`; count the sweep's horizon in
the same unit. Checkpoints lie in the trial's folder, one for each validated epoch; the newest two are kept. On one device
a resumed training equals an uninterrupted one; on several the random streams start anew. Outside a sweep the callback
does nothing. It leaves the Trainer's other callbacks and checkpoints alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.reporting import FOLDER, announce, report
from trainables.training.randomness import read_streams, write_streams

if TYPE_CHECKING or "pytorch_lightning" not in sys.modules or "lightning.pytorch" in sys.modules:
    try:
        from lightning.pytorch.callbacks import Callback, Checkpoint
    except ModuleNotFoundError as error:
        raise ImportError(f"LightningCallback needs Lightning ({error}): pip install lightning") from None
else:  # the same library under its other name
    from pytorch_lightning.callbacks import Callback, Checkpoint

KEY = "tuning-orchestrator"  # names our part of a checkpoint
KEPT = 2  # checkpoints; the newest might be half written when the machine dies


class LightningCallback(Callback):  # type: ignore[misc, unused-ignore]
    """Reports each validation to the sweep, and stops the Trainer when the sweep needs no more of this trial.

    >>> trainer = lightning.Trainer(max_epochs=20, callbacks=[LightningCallback()])  # doctest: +SKIP
    """

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Report after all other callbacks: the checkpoint must hold what EarlyStopping has counted."""
        if FOLDER in os.environ and stage == "fit":
            others = [callback for callback in trainer.callbacks if not isinstance(callback, _Reports)]
            trainer.callbacks = [*others, _Reports(Path(os.environ[FOLDER]) / "lightning")]
            announce()


class _Reports(Checkpoint):  # type: ignore[misc, unused-ignore]
    """A `Checkpoint` only for its place in the order: Lightning calls those last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._validated = self._saving = self._over = False
        self._late: dict[int, float] = {}

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking or self._over:
            return
        self._validated = True
        if not trainer.is_last_batch:  # Lightning cannot resume exactly from within an epoch
            self._tell(trainer, None)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._validated and not self._over:
            path = self.folder / f"step-{_step(trainer)}.ckpt"
            self._saving = True
            trainer.save_checkpoint(path)  # by all ranks
            self._saving = False
            self._tell(trainer, path)
            if trainer.is_global_zero:
                for old in sorted(self.folder.glob("step-*.ckpt"), key=os.path.getmtime)[:-KEPT]:
                    old.unlink()

    def _tell(self, trainer: Any, checkpoint: Path | None) -> None:
        self._validated = False
        go_on = True
        if trainer.is_global_zero:
            go_on = report(_step(trainer), trainer.callback_metrics, checkpoint=checkpoint)
        if not trainer.strategy.broadcast(go_on):
            self._over = trainer.should_stop = True

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self._saving:
            streams = read_streams() if trainer.world_size == 1 else None
            checkpoint[KEY] = {"streams": streams, "late": _late(trainer)}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        ours = checkpoint.get(KEY)
        if ours is not None:
            self._late = ours["late"]
            if ours["streams"] is not None and trainer.world_size == 1:
                write_streams(ours["streams"])

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Step ReduceLROnPlateau with the metric of the last epoch, which Lightning omits when it resumes."""
        for number, value in self._late.items():
            trainer.lr_scheduler_configs[number].scheduler.step(value)
        self._late = {}


def _step(trainer: Any) -> int:
    """An interval of 1.0 is an epoch, one of 1 a batch."""
    by_epoch = isinstance(trainer.val_check_interval, float) and trainer.val_check_interval == 1.0
    return int(trainer.current_epoch + 1 if by_epoch else trainer.global_step)


def _late(trainer: Any) -> dict[int, float]:
    """The monitored metrics of schedulers that Lightning steps only after its last hook of this epoch."""
    measured, epochs = trainer.callback_metrics, trainer.current_epoch + 1
    return {
        number: float(measured[each.monitor])
        for number, each in enumerate(trainer.lr_scheduler_configs)
        if each.reduce_on_plateau
        and each.interval == "epoch"
        and epochs % each.frequency == 0
        and each.monitor in measured
    }
