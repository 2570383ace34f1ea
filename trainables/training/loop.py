"""The one training loop.

    for each epoch:
        for each batch of the epoch's permutation:
            for each part of it that fits into memory: accumulate the gradients; yield None
            update the weights; ask the policy
        evaluate; ask the policy; yield a report

`Training` is that loop with all of its state exposed. Between two items, `state()` returns everything that the rest of
the training depends on; after `load(state)`, another process continues with identical bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from search.records import Config
from search.wording import instance
from search.work import Decision, Reported
from trainables.contract import Policy, Workload, objection_to_knobs
from trainables.estimates.noise_scale import Gradient
from trainables.training import gradients, returned
from trainables.training.codec import refuse_unsavable
from trainables.training.control import Control
from trainables.training.data_order import SampleOrder, batch_count
from trainables.training.device import autocast, compute_device, measure, placed, probe
from trainables.training.model_state import copied, last_weights
from trainables.training.onednn import Guard
from trainables.training.randomness import read_streams, seed_streams, write_streams
from trainables.training.replicated import ReplicatedState
from trainables.training.workers import Alone
from trainables.values import Averaging


def train(
    workload: Workload,
    policy: Policy[Any] | None,
    config: Config,
    *,
    seed: int = 0,
    until: int | None = None,
    prepared: Path | None = None,
    state: dict[str, Any] | None = None,
) -> Iterator[Reported]:
    """Train from scratch, or continue from `state`, to the step `until` (None: the horizon); yields the reports."""
    training = Training(workload, policy, config, seed=seed, until=until, prepared=prepared)
    if state is not None:
        training.load(state)
    return (item for item in training if item is not None and item.kind == "report")


class Training:
    """One training; iterate to run it. It uses the process's random streams, so only one may run at a time.

    Yields None after each backward pass (the last of a batch also updates the weights), a report after each evaluation,
    and after either of them the policy's decisions. Without a policy the knobs stay as they are.
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
        if policy is not None:
            instance("train", Policy, policy=policy)
        seed_streams(seed)
        self.group = group or Alone()
        self.workload = workload
        self.config = config
        self.until = workload.horizon if until is None else until
        self.device = compute_device()
        self._on_gpu = self.device.type == "cuda"

        knobs = workload.knobs(config)
        if objection := objection_to_knobs(workload, config, knobs):
            raise ValueError(objection)
        self._onednn = Guard()
        with self._onednn:
            self.model = placed(returned.model_of(workload, config, prepared), workload.execution, self.device)
        self.optimizer = returned.optimizer_of(workload, self.model, config, knobs)
        self.scaler = workload.scaler(config)
        self._clip_norm = workload.clip_norm(config)
        self._model = self.model  # compiled, if the workload says so; the same weights
        if workload.execution.compile:
            self._model = cast("torch.nn.Module", torch.compile(self.model))
        watches_gradient = policy is not None and "gradient" in policy.needs
        self._shared = self.group.wrapped(self._model, watches_gradient)  # its gradients cover all workers

        self.cursor = 0  # samples into the present epoch
        self.accumulated = 0  # samples of the next update whose gradients are accumulated already
        self._seed = seed
        self._share_sum: float | Tensor = 0.0  # the loss sum over the accumulated samples
        self._part_squares: list[tuple[float | Tensor, float]] = []  # |gradient|^2 and share of each accumulated part
        self._seconds = 0.0  # since the last report
        self._size = returned.samples_of(workload)
        self._order = SampleOrder(seed, self._size, self.device)
        self.weights = ReplicatedState(workload, self.model, self.optimizer, self.group)
        self.control = Control(
            policy, self.model, self.optimizer, batch_size=knobs.batch_size, samples=self._size, epochs=workload.horizon,
            measure=self._measured, probe=self._probed, metric=workload.metric, mode=workload.mode, sampler=self._order, scaler=self.scaler, weights=self.weights,
            knobs=knobs,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Reported | Decision | None]:
        if self.group.size > 1:
            state = self.group.told(self.state())  # all start from the first worker's state
            self.weights.share()
            self.load(state)
            self.accumulated, self._share_sum, self._part_squares = 0, 0.0, []  # restart a batch that one worker began
        while True:
            while self.control.decisions.waiting:
                yield self.control.decisions.waiting.pop(0)
            if self.step >= self.until or self.diverged:
                self._attend(until_ended=True)
                return
            self._attend()
            begun = time.perf_counter()  # do not count the consumer's time between two items
            torch.set_flush_denormal(True)  # denormals make a saturated network train four times slower
            try:
                with self._onednn:
                    metrics = self._advance()
            finally:
                torch.set_flush_denormal(False)  # it would also change the consumer's Python floats
            self._seconds += time.perf_counter() - begun
            yield None if metrics is None else self._report(metrics)

    @property
    def step(self) -> int:
        """Evaluations finished."""
        return self.control.epoch

    @property
    def diverged(self) -> bool:
        return self.control.diverged

    @property
    def place(self) -> tuple[int, int]:
        """Finished evaluations, and samples of the next epoch that a backward pass has seen."""
        return self.step, self.cursor + self.accumulated

    def _attend(self, *, until_ended: bool = False) -> None:
        """Take part in each of the first worker's calls of `state` until it continues."""
        if self.weights.is_scattered(self.control.snapshots.weights) and not (until_ended and self.group.rank == 0):
            while self.group.total(torch.zeros(1, device=self.device)) or until_ended:
                self.weights.gathered(self.weights.read())
                self.control.state_dict()

    def state(self) -> dict[str, Any]:
        """A copy of everything that the rest of the training depends on; call it between two items only.

        Of several workers, call it in the first; the others take part when they come to their next update.
        """
        if self.weights.is_scattered(self.control.snapshots.weights):
            self.group.total(torch.ones(1, device=self.device))
        weights = self.weights.gathered(self.weights.read())
        refuse_unsavable(self.workload, "optimizer", weights["optimizer"])
        refuse_unsavable(self.workload, "model", {**weights, "optimizer": None})
        added = [parameter.grad for parameter in self.weights.parameters] if self.accumulated else None
        return {
            "weights": weights,
            "control": self.control.state_dict(),
            "step": self.step,
            "cursor": self.cursor,
            "accumulated": self.accumulated,
            "gradients": copied(added, torch.device("cpu")),
            "part_squares": [(float(square), share) for square, share in self._part_squares],
            "share_sum": float(self._share_sum),
            "seconds": self._seconds,
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "threads": torch.get_num_threads(),
            "streams": read_streams(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`, saved by a training of the same workload, policy, configuration and seed."""
        self._put(state, state["weights"])
        self.control.load_state_dict(state["control"])

    def fork(self, state: dict[str, Any]) -> None:
        """Continue from another configuration's last weights, with this one's knobs and its policy from the start."""
        groups = self.optimizer.state_dict()["param_groups"]
        weights = last_weights(state)
        self._put(state, {**weights, "optimizer": {"state": weights["optimizer"]["state"], "param_groups": groups}})
        self._seconds = 0.0
        self.weights.average(Averaging(1))  # this one's policy decides whether to average
        self.control.fork(state["control"])
        if self.cursor == 0:
            self._order.end_epoch()

    def _put(self, state: dict[str, Any], weights: dict[str, Any]) -> None:
        self.cursor, self.accumulated = state["cursor"], state["accumulated"]
        self._share_sum, self._seconds = state["share_sum"], state["seconds"]
        self._part_squares = [(square, share) for square, share in state["part_squares"]]
        self.weights.write(self.weights.own(weights))
        if (added := state["gradients"]) is not None:
            for parameter, gradient in zip(self.weights.parameters, added, strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        torch.set_num_threads(state["threads"])
        write_streams(state["streams"])

    def _advance(self) -> Mapping[str, float] | None:
        """Make one update, or evaluate when the epoch's samples are used up."""
        if self.cursor >= self._size or self.control.stopped:
            return self._evaluate()
        if not self.model.training:  # an evaluation came before
            self.model.train()
        averaging, samples = self.weights.averaging, self.control.samples
        replicas = None if averaging is None else averaging.replicas
        total = batch_count(self.cursor, self._size, self.control.knobs.batch_size, replicas or 1)
        share = self.group.share(self._order.drawn(samples, total), replicas)
        whole = len(share)
        self.group.reseed(self._seed, samples - self._order.behind)
        while self.accumulated < whole:
            self._backward(share, whole, total)
            if self.group.size == 1:  # several workers stop only between batches
                break
        if self.accumulated == whole:
            self._update(total)
        return None

    def _backward(self, share: Tensor, whole: int, total: int) -> None:
        """Add up the gradients of the next part of this worker's `share`, `whole` of the batch's `total` samples."""
        parameters, replicas, watches = self.weights.parameters, self.weights.replicas, self._watches_parts
        if self.accumulated == 0:
            for parameter in parameters:  # like zero_grad, without its look for a profiler, which takes 12 us
                parameter.grad = None
        count = self._part_size(whole - self.accumulated, whole)
        indices = share if count == whole else share[self.accumulated : self.accumulated + count]
        weight = self.group.weight(count, total)
        before = gradients.set_aside(parameters) if watches and self.accumulated else []
        with self.group.adding(self._shared, is_last=self.accumulated + count == whole):
            with autocast(self.workload.execution, self.device):
                if replicas is None:
                    loss = self.workload.loss(self._shared, indices)
                    if not (isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1):
                        returned.refuse_loss(self.workload, loss)
                    descended = loss if weight == 1 else loss * weight
                else:
                    descended, loss = replicas.loss(indices, total)
            scaled = descended if self.scaler is None else self.scaler.scale(descended)
            scaled.backward()  # type: ignore[no-untyped-call]
        if watches:
            self._part_squares.append((gradients.square(parameters), weight))
            if before:
                gradients.put_back(parameters, before)
        # Do not wait for a GPU; on a CPU a plain number is ten times cheaper than a tensor.
        self._share_sum += (loss.detach().double() if self._on_gpu else loss.item()) * (count if weight else 0)
        self.accumulated += count

    def _part_size(self, left: int, whole: int) -> int:
        """The size of the next part, as even as possible; `left` of the batch's `whole` samples remain."""
        size = self.workload.execution.micro_batch or left
        if self._watches_parts and whole >= 4:
            # Noise shows only between two parts or more; batch normalisation needs two samples or more.
            size = min(size, math.ceil(whole / 2))
        if self.weights.replicas is None or size >= left:
            return math.ceil(left / math.ceil(left / size))
        replicas = len(self.weights.replicas.here)
        rows = max(1, size // replicas)  # samples for each replica
        rows = math.ceil(left / replicas / math.ceil(left / replicas / rows))
        return left if left - rows * replicas < replicas else rows * replicas

    @property
    def _watches_parts(self) -> bool:
        """Whether to measure the parts of a batch here; workers and replicas are parts by themselves."""
        return self.control.watches_gradient and self.group.size == 1 and self.weights.replicas is None

    def _update(self, total: int) -> None:
        """Update the weights with the gradients accumulated over `total` samples."""
        gradient = self._gradient(total) if self.control.watches_gradient else None
        replicas = self.weights.replicas
        if self._clip_norm is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            if replicas is None:
                torch.nn.utils.clip_grad_norm_(self.weights.parameters, self._clip_norm)
            else:
                replicas.clip(self._clip_norm)
        if replicas is None:
            self._descend()
        else:
            replicas.step(self._descend)
        summed = self.group.total(self._share_sum)
        self._share_sum = 0.0
        self.cursor += total
        self.accumulated = 0
        self.control.updated(summed, total, gradient)

    def _descend(self) -> None:
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def _gradient(self, total: int) -> Gradient:
        """The norms of the gradients accumulated over `total` samples, and of their parts."""
        parts: gradients.Parts = self._part_squares
        whole: float | Tensor
        if self.weights.replicas is not None:
            parts, whole = self.weights.replicas.gradient_parts(total)
        else:
            whole = gradients.square(self.weights.parameters)
            if self.group.size > 1:
                parts = self.group.parts()
        scale = 1.0 if self.scaler is None else float(self.scaler.get_scale()) ** 2
        measured = gradients.norms(total, whole, parts, scale)
        self._part_squares = []
        return measured

    def _evaluate(self) -> Mapping[str, float]:
        """Close the epoch: measure, and ask the policy."""
        self.cursor = 0
        metrics = self.control.end_epoch(self._measured)
        return {**dict.fromkeys(self.workload.metrics, math.nan), **metrics} if self.diverged else metrics

    def _measured(self) -> Mapping[str, float]:
        measured = measure(self.workload, self._model, "valid") if self.group.rank == 0 else {}
        return cast("Mapping[str, float]", self.group.told(measured))

    def _probed(self) -> Mapping[str, float]:
        return probe(self.workload, self._model) if self.group.rank == 0 else {}

    def _report(self, metrics: Mapping[str, float]) -> Reported:
        declared = self.workload.cost_seconds(self.config, self.step)
        cost_seconds = self._seconds if declared is None else declared
        self._seconds = 0.0
        return Reported(self.step, metrics, cost_seconds)
