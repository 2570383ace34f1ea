"""Report from the Trainer of transformers after each evaluation, with the checkpoint from which the trial resumes.

    trainer = Trainer(model, arguments, ..., callbacks=[TransformersCallback()])
    trainer.train(resume_from_checkpoint=resumed_from())

Metrics are those of the evaluation, `eval_loss` and what `compute_metrics` adds, under the same names. The step is the
epoch with `eval_strategy="epoch"`, else the Trainer's `global_step`; count the sweep's horizon in the same unit. After
each evaluation the Trainer saves a checkpoint at the same step, whatever `save_steps` says; with `save_strategy="no"` it
saves none, and an interrupted trial starts over. An `output_dir` that all trials would share is moved into the trial's
own folder. Outside a sweep the callback does nothing. The Trainer itself needs accelerate: pip install accelerate.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from orchestrator.reporting import FOLDER, announce, report

NOISE = 1e-6  # of an epoch: the Trainer adds up fractions


class TransformersCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Reports each evaluation to the sweep, and stops the Trainer when the sweep needs no more of this trial.

    >>> trainer = Trainer(model, arguments, train_dataset=data, callbacks=[TransformersCallback()])  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._measured: dict[str, float] = {}  # of several evaluations, if there are several data sets
        self._trains = False

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        own = os.environ.get(FOLDER)
        if own is not None and not Path(args.output_dir).resolve().is_relative_to(Path(own).resolve()):
            args.output_dir = str(Path(own) / (Path(args.output_dir).name or "output"))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.on_init_end(args, state, control)  # for a callback that was added later
        self._trains = FOLDER in os.environ
        announce()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        if self._trains and state.global_step > 0:  # 0: `eval_on_start`, a check that evaluation works
            self._measured |= {name: value for name, value in (metrics or {}).items() if name != "epoch"}
            control.should_save = args.save_strategy != "no"  # "best" decides later by itself

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._measured and args.world_size > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()  # each rank has written its part of the checkpoint
        self._tell(args, state, control, Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell(args, state, control, None)  # an evaluation after which nothing was saved

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell(args, state, control, None)
        self._trains = False

    def _tell(self, args: Any, state: Any, control: Any, checkpoint: Path | None) -> None:
        measured, self._measured = self._measured, {}
        if not measured:
            return
        by_epoch = args.eval_strategy == "epoch"
        step = math.ceil(state.epoch - NOISE) if by_epoch else state.global_step
        if not report(step, measured, checkpoint=checkpoint):
            control.should_training_stop = True
            self._trains = False
