"""A policy in the Trainer of transformers: `Control` as a callback.

    arguments = TrainingArguments("out", lr_scheduler_type="constant", eval_strategy="epoch", save_strategy="epoch", …)
    trainer = Trainer(model, arguments, …, callbacks=[TransformersControl(LrSchedule("cosine"))])
    trainer.train(resume_from_checkpoint=…)

The policy turns the initial values of TrainingArguments or of the optimizer. The training loss is the one that the
model returns; the metrics are those of the Trainer's evaluation at the end of each epoch, under its names
("eval_loss"). During an exploration an evaluation measures the weights at the snapshot. The Trainer saves the control's
state beside each checkpoint, in control.pt. With `gradient_accumulation_steps` a policy sees the gradient noise between
micro-batches.

Refused, each with its remedy: a policy that changes the batch size, averages or replays; a schedule of the Trainer's own;
gradient clipping if the policy needs the gradient; several processes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from search.wording import instance, shown
from trainables.contract import Policy
from trainables.training.control import Control
from trainables.training.needs import refuse_unmeasured

FILE = "control.pt"


class TransformersControl(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Lets `policy` control the training of a Trainer.

    `measure()`: the metrics of the present weights, for a policy that asks for them between two epochs or keeps averages
    of the weights; `probe()`: those on a fixed part of the data, for the first (None: `measure`). `metric`: the training
    ends when it is not finite; in the direction `mode` it chooses between the averages, and a validation is of the chosen
    one. `control`, with its `decisions`, exists once the training has begun.

    >>> trainer = Trainer(model, arguments, callbacks=[TransformersControl(Warmup(1.0))])  # doctest: +SKIP
    """

    def __init__(
        self,
        policy: Policy[Any],
        *,
        measure: Callable[[], Mapping[str, float]] | None = None,
        probe: Callable[[], Mapping[str, float]] | None = None,
        metric: str = "eval_loss",
        mode: str = "min",
    ) -> None:
        instance("TransformersControl", Policy, policy=policy)
        if "batch_size" in policy.writes:
            raise ValueError(
                f"{shown(policy)} changes the batch size, but the Trainer takes it from its TrainingArguments; write a loop "
                "with Control and BatchSampler, or choose a policy that leaves the batch alone."
            )
        self.policy, self.control = policy, None
        refuse_unmeasured(policy, measure)
        self._measure, self._probe, self._metric, self._mode = measure, probe, metric, mode
        self._batches: list[tuple[int, Any]] = []  # samples and loss of each forward pass of the batch
        self._evaluation = contextlib.ExitStack()
        self._epoch_ends = False

    control: Control | None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        _refuse(args, self.policy)
        model, optimizer, loader = (kwargs[name] for name in ("model", "optimizer", "train_dataloader"))
        parts = args.gradient_accumulation_steps
        self.control = Control(
            self.policy, model, getattr(optimizer, "optimizer", optimizer), batch_size=args.train_batch_size * parts,
            samples=len(loader.dataset), epochs=math.ceil(state.num_train_epochs), measure=self._measure,
            probe=self._probe, metric=self._metric, mode=self._mode, parts=parts, scaler=getattr(optimizer, "scaler", None),
            rewritten=True,
        )  # fmt: skip
        if state.global_step:
            saved = Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE
            if not saved.is_file():
                raise ValueError(
                    f"the Trainer resumes from step {state.global_step}, but {saved} is missing; start over."
                )
            self.control.load_state_dict(torch.load(saved, weights_only=True))
        self._scale = parts
        self._hook = model.register_forward_hook(self._see, with_kwargs=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._hook.remove()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.control is not None
        if self.control.epoch != math.floor((state.epoch or 0) + 1e-6):
            raise ValueError(
                f"checkpoint-{state.global_step} was written after the last update of an epoch but before its evaluation, which "
                "the Trainer skips when it resumes; resume from another checkpoint, and use save_strategy='epoch'."
            )

    def _see(self, model: torch.nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        """Record a forward pass; the Trainer passes keyword arguments to the model."""
        if not model.training:
            return
        loss = output["loss"] if isinstance(output, Mapping) else output[0]
        samples = next(
            len(value) for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor) and value.ndim
        )
        if kwargs.get("num_items_in_batch") is not None:  # the losses of the parts add up to the batch's
            loss = loss * self._scale
        self._batches.append((samples, loss.detach()))

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.control is not None
        samples, loss = self._batches.pop()
        self.control.part(samples, loss)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.on_substep_end(args, state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.control is not None
        before = self.control.batch_size
        self.control.turn()  # the Trainer's own scheduler has just written the initial rate
        self.control.update()
        if self.control.batch_size != before:
            raise ValueError(
                f"{shown(self.policy)} changed the batch size, which is missing in its `writes`; add it there."
            )
        self._look_around(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.control is not None
        if control.should_evaluate:
            self._epoch_ends = True
            self._look_around(control)
        else:
            self._end_epoch({}, control)

    def _look_around(self, control: Any) -> None:
        """Let the pending evaluation measure the right weights; end the training if the policy has given up."""
        assert self.control is not None
        if control.should_evaluate:
            self._evaluation.enter_context(self.control.evaluating())
        if self.control.done:
            control.should_training_stop = True

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        self._evaluation.close()
        if self._epoch_ends:
            self._epoch_ends = False
            self._end_epoch({name: value for name, value in (metrics or {}).items() if name != "epoch"}, control)

    def _end_epoch(self, metrics: Mapping[str, float], control: Any) -> None:
        assert self.control is not None
        self.control.end_epoch(metrics if self.control.keeps_averages else lambda: metrics)
        if self.control.done:
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.control is not None
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        torch.save(self.control.state_dict(), folder / FILE)


def _refuse(args: Any, policy: Policy[Any]) -> None:
    """Raise ValueError if `policy` cannot work with these arguments of the Trainer."""
    if args.lr_scheduler_type != "constant" and "learning_rate" in policy.writes:
        raise ValueError(
            f"TrainingArguments(lr_scheduler_type={str(args.lr_scheduler_type.value)!r}): it would change the learning rate at the same time as "
            f"{shown(policy)}; use lr_scheduler_type='constant', and Warmup(…), LrSchedule(…) as the policy."
        )
    if args.world_size > 1 or args.n_gpu > 1:
        raise ValueError(
            f"{shown(policy)} in a Trainer of {max(args.world_size, args.n_gpu)} devices: only one works; write a loop with Control."
        )
    if "gradient" in policy.needs and args.max_grad_norm:
        raise ValueError(
            f"TrainingArguments(max_grad_norm={args.max_grad_norm}): the Trainer clips before {shown(policy)} sees the gradient; "
            "use max_grad_norm=0."
        )
