"""The one training loop.

    for each epoch:
        for each batch of the epoch's permutation:
            for each part of it that fits into memory: add up the gradients; yield None
            update the weights; ask the policy
        evaluate; ask the policy; yield a report

`Training` is that loop with all of its state in the open: between two items `state()` is everything that the
rest of the training depends on, and `load(state)` makes another process go on with the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from search.trial import Config
from search.work import Progress
from trainables.base import Action, Execution, Knobs, Policy, Signals, Workload
from trainables.group import Alone
from trainables.randomness import read_streams, seed_streams, write_streams

_KNOB_OF = {"lr": "learning_rate", "momentum": "momentum", "weight_decay": "weight_decay"}
_NO_METRICS: Mapping[str, float] = {}


def train(
    workload: Workload,
    policy: Policy[Any] | None,
    config: Config,
    *,
    seed: int = 0,
    until: int | None = None,
    prepared: Path | None = None,
    state: dict[str, Any] | None = None,
) -> Iterator[Progress]:
    """Train from scratch, or on from `state`, to the step `until` (None: the horizon); yields the reports."""
    training = Training(workload, policy, config, seed=seed, until=until, prepared=prepared)
    if state is not None:
        training.load(state)
    return (item for item in training if item is not None)


class Training:
    """One training; iterating carries it on. It owns the process's random streams: one at a time.

    Yields None after each backward pass (the last of a batch has updated the weights as well), and a report after
    each evaluation. With no policy the knobs stay as they are.
    """

    def __init__(
        self,
        workload: Workload,
        policy: Policy[Any] | None,
        config: Config,
        *,
        seed: int = 0,
        until: int | None = None,
        prepared: Path | None = None,
        group: Alone | None = None,
    ) -> None:
        seed_streams(seed)
        self.group = group or Alone()
        self.workload = workload
        self.policy = policy
        self.config = config
        self.until = workload.horizon if until is None else until
        self.device = compute_device()
        self._on_gpu = self.device.type == "cuda"

        self.knobs = workload.knobs(config)
        self.model = placed(workload.model(config, prepared), workload.execution, self.device)
        self.optimizer = workload.optimizer(self.model, config)
        self.scaler = workload.scaler(config)
        self._clip_norm = workload.clip_norm(config)
        self._model = self.model  # the same weights
        if workload.execution.compile:
            self._model = cast("torch.nn.Module", torch.compile(self.model))
        self._shared = self.group.wrapped(self._model)  # … whose gradients are those of all workers
        self._multiples = [_multiples(group, self.knobs) for group in self.optimizer.param_groups]

        self.step = 0  # evaluations finished
        self.cursor = 0  # samples into the next epoch
        self.accumulated = 0  # of the next update, whose gradients are added up already
        self.samples = 0  # seen since the start
        self.diverged = False
        self._seed = seed
        self._order_seed = seed  # of this epoch's permutation; a fork finishes its parent's
        self._order: Tensor | None = None  # this permutation, once it is needed
        self._loss_sum: float | Tensor = 0.0  # over this epoch
        self._share_sum: float | Tensor = 0.0  # over what is accumulated
        self._seconds = 0.0  # since the last report
        self._policy_state: Any = None
        self._mark: dict[str, Any] | None = None
        self._size = workload.samples()
        self._start()

    def __iter__(self) -> Iterator[Progress | None]:
        if self.group.size > 1:
            self.load(self.group.told(self.state()))  # where the first of them stands
            self.accumulated, self._share_sum = 0, 0.0  # a batch that one worker had begun begins anew
        while self.step < self.until and not self.diverged:
            begun = time.perf_counter()  # the time that the consumer takes between two items is not ours
            torch.set_flush_denormal(True)  # a saturated network trains four times slower on denormals
            try:
                metrics = self._advance()
            finally:
                torch.set_flush_denormal(False)  # it would change the consumer's Python floats as well
            self._seconds += time.perf_counter() - begun
            yield None if metrics is None else self._report(metrics)

    @property
    def place(self) -> tuple[int, int]:
        """Evaluations finished, and samples of the next epoch that a backward pass has seen."""
        return self.step, self.cursor + self.accumulated

    def state(self) -> dict[str, Any]:
        """A copy of everything that the rest of the training depends on; ask between two items only."""
        return {
            "step": self.step,
            "cursor": self.cursor,
            "accumulated": self.accumulated,
            "gradients": _copied(self._gradients(), torch.device("cpu")) if self.accumulated else None,
            "samples": self.samples,
            "order_seed": self._order_seed,
            "loss_sum": float(self._loss_sum),
            "share_sum": float(self._share_sum),
            "seconds": self._seconds,
            "knobs": asdict(self.knobs),
            "policy": self._policy_state,
            "weights": _copied(self._weights(), torch.device("cpu")),
            "mark": _copied(self._mark, torch.device("cpu")),
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "threads": torch.get_num_threads(),
            "streams": read_streams(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`, which a training of the same workload, policy, configuration and seed gave."""
        self.step, self.cursor, self.samples = state["step"], state["cursor"], state["samples"]
        self._order_seed, self._order = state["order_seed"], None
        self._loss_sum = state["loss_sum"]
        self._seconds = state["seconds"]
        self.knobs = Knobs(**state["knobs"])
        self._policy_state = state["policy"]
        self._put_weights(state["weights"])
        self.accumulated = state.get("accumulated", 0)  # earlier checkpoints have none of these three
        self._share_sum = state.get("share_sum", 0.0)
        if (gradients := state.get("gradients")) is not None:
            for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)
        self._mark = _copied(state["mark"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        torch.set_num_threads(state["threads"])
        write_streams(state["streams"])

    def fork(self, state: dict[str, Any]) -> None:
        """Go on from another configuration's `state`, with own knobs, and the own policy from its start."""
        groups = self.optimizer.state_dict()["param_groups"]
        optimizer = {"state": state["weights"]["optimizer"]["state"], "param_groups": groups}
        weights = {**state["weights"], "optimizer": optimizer}
        self.load({**state, "weights": weights, "mark": None, "seconds": 0.0})
        if self.cursor == 0:
            self._order_seed = self._seed
        self._start()

    def _start(self) -> None:
        """The configuration's knobs, and what the policy makes of them before the first update."""
        self.knobs = self.workload.knobs(self.config)
        self._turn()
        if self.policy is not None:
            self._policy_state, action = self.policy.start(self.knobs)
            self._do(action)

    def _advance(self) -> Mapping[str, float] | None:
        """One update; or, when the epoch's samples are used up, its evaluation."""
        if self.cursor >= self._size:
            return self._evaluate()
        if self._order is None:
            # A function of seed and epoch: nothing but the cursor needs to be kept.
            order = np.random.default_rng((self._order_seed, self.step)).permutation(self._size)
            self._order = torch.from_numpy(order).to(self.device)
            self.model.train()
        end = self.cursor + self.knobs.batch_size
        if self._size - end == 1 and self.knobs.batch_size > 1:
            end = self._size  # batch normalisation cannot do with a single sample
        batch = self._order[self.cursor : end]
        share = self.group.share(batch)
        self.group.reseed(self._seed, self.samples)
        while self.accumulated < len(share):
            self._backward(share, len(batch))
            if self.group.size == 1:  # several workers have no common place within a batch
                break
        if self.accumulated == len(share):
            self._update(len(batch))
        return None

    def _backward(self, share: Tensor, total: int) -> None:
        """Add the gradients of the next part of this worker's `share` of a batch of `total` samples."""
        if self.accumulated == 0:
            self.optimizer.zero_grad(set_to_none=True)
        execution = self.workload.execution
        indices = share[self.accumulated :]
        if execution.micro_batch is not None:
            parts = math.ceil(len(indices) / execution.micro_batch)
            indices = indices[: math.ceil(len(indices) / parts)]  # as even as can be
        count = indices.shape[0]
        with self.group.adding(self._shared, is_last=self.accumulated + count == len(share)):
            with autocast(execution, self.device):
                loss = self.workload.loss(self._shared, indices)
            scaled = loss if self.scaler is None else self.scaler.scale(loss)
            weight = self.group.weight(count, total)
            (scaled if weight == 1 else scaled * weight).backward()  # type: ignore[no-untyped-call]
        # A GPU is not waited for; on a CPU the plain number is ten times cheaper than a tensor.
        self._share_sum += (loss.detach().double() if self._on_gpu else loss.item()) * (count if weight else 0)
        self.accumulated += count

    def _update(self, total: int) -> None:
        """Move the weights by the gradients that were added up over `total` samples."""
        if self._clip_norm is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self._loss_sum += self.group.total(self._share_sum)
        self._share_sum = 0.0
        self.cursor += total
        self.samples += total
        self.accumulated = 0
        self._ask(None, _NO_METRICS)

    def _evaluate(self) -> Mapping[str, float]:
        """Close the epoch: measure, and let the policy see it."""
        train_loss = float(self._loss_sum) / self._size
        self._loss_sum = 0.0
        self.step += 1
        self.cursor = 0
        self._order_seed, self._order = self._seed, None
        if not math.isfinite(train_loss):
            self.diverged = True
            return {**dict.fromkeys(self.workload.metrics, math.nan), "train_loss": train_loss}
        measured = measure(self.workload, self._model, "valid") if self.group.rank == 0 else {}
        metrics = {**self.group.told(measured), "train_loss": train_loss}
        tuned = metrics.get(self.workload.metric)
        self.diverged = isinstance(tuned, float) and not math.isfinite(tuned)
        if not self.diverged:
            self._ask(train_loss, metrics)
        return metrics

    def _report(self, metrics: Mapping[str, float]) -> Progress:
        declared = self.workload.cost_seconds(self.config, self.step)
        cost_seconds = self._seconds if declared is None else declared
        self._seconds = 0.0
        return Progress("report", self.step, metrics, cost_seconds)

    def _ask(self, train_loss: float | None, metrics: Mapping[str, float]) -> None:
        if self.policy is None:
            return
        signals = Signals(self.samples, self._size, self.step, self.workload.horizon, self.knobs, train_loss, metrics)
        self._policy_state, action = self.policy.act(self._policy_state, signals)
        self._do(action)

    def _do(self, action: Action) -> None:
        if action.mark:
            self._mark = _copied(self._weights())
        if action.rewind:
            if self._mark is None:
                raise ValueError(f"{self.policy!r} asks to rewind, but it has not marked anything before")
            self._put_weights(self._mark)
        if action.knobs is not None:
            self.knobs = action.knobs
        if action.knobs is not None or action.rewind:  # the mark has the knobs of its own time
            self._turn()

    def _turn(self) -> None:
        """Bring the knobs into the optimiser."""
        for group, multiples in zip(self.optimizer.param_groups, self._multiples, strict=True):
            for key, multiple in multiples.items():
                group[key] = multiple * getattr(self.knobs, _KNOB_OF[key])

    def _gradients(self) -> list[Tensor | None]:
        return [parameter.grad for parameter in self.model.parameters()]

    def _weights(self) -> dict[str, Any]:
        """The live tensors of model and optimiser; buffers that PyTorch would not save are among them."""
        model = dict(self.model.state_dict())
        buffers = {name: value for name, value in self.model.named_buffers() if name not in model}
        return {"model": model, "buffers": buffers, "optimizer": self.optimizer.state_dict()}

    def _put_weights(self, weights: dict[str, Any]) -> None:
        put_model(self.model, weights)
        self.optimizer.load_state_dict(_copied(weights["optimizer"]))  # it would share them


def measure(workload: Workload, model: torch.nn.Module, part: str) -> Mapping[str, float]:
    model.eval()
    with torch.no_grad(), autocast(workload.execution, next(model.parameters()).device):
        return workload.evaluate(model, part)


def placed(model: torch.nn.Module, execution: Execution, device: torch.device) -> torch.nn.Module:
    model = model.to(device)
    if execution.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def autocast(execution: Execution, device: torch.device) -> AbstractContextManager[None]:
    if execution.precision == "float32":
        return nullcontext()
    kind = torch.bfloat16 if execution.precision == "bf16" else torch.float16
    return torch.autocast(device.type, kind)


def put_model(model: torch.nn.Module, weights: dict[str, Any]) -> None:
    model.load_state_dict(weights["model"])
    buffers = dict(model.named_buffers())
    for name, value in weights["buffers"].items():
        buffers[name].copy_(value)


def compute_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _multiples(group: Mapping[str, Any], knobs: Knobs) -> dict[str, float]:
    """How much of each knob the workload gave to this parameter group; none of those it set on its own."""
    multiples = {}
    for key, name in _KNOB_OF.items():
        if key in group:
            knob = getattr(knobs, name)
            if knob != 0:
                multiples[key] = group[key] / knob
            elif group[key] == 0:
                multiples[key] = 1.0
    return multiples


def _copied(value: Any, device: torch.device | None = None) -> Any:
    """A deep copy, with all tensors on `device` (None: each where it is; optimisers keep some on the CPU)."""
    if isinstance(value, Tensor):
        return value.detach().to(device or value.device, copy=True)
    if isinstance(value, dict):
        return {key: _copied(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(item, device) for item in value)
    return value
