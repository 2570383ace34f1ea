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
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from search.records import Config
from search.work import Progress
from trainables.contract import Policy, Workload
from trainables.estimates.noise_scale import Gradient
from trainables.training import gradients
from trainables.training.control import Control
from trainables.training.data_order import SampleOrder, batch_count
from trainables.training.device import autocast, compute_device, measure, placed
from trainables.training.model_state import copied, measured_weights
from trainables.training.onednn import Guard
from trainables.training.randomness import read_streams, seed_streams, write_streams
from trainables.training.replicas import Replicas
from trainables.training.replicated import ReplicatedState
from trainables.training.workers import Alone
from trainables.values import Averaging, Knobs


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
    return (item for item in training if item is not None and item.kind == "report")


class Training:
    """One training; iterating carries it on. It owns the process's random streams: one at a time.

    Yields None after each backward pass (the last of a batch has updated the weights as well), a report after each
    evaluation; after either, what the policy decided. With no policy the knobs stay as they are.
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
        self.config = config
        self.until = workload.horizon if until is None else until
        self.device = compute_device()
        self._on_gpu = self.device.type == "cuda"

        knobs = workload.knobs(config)
        self._onednn = Guard()
        with self._onednn:
            self.model = placed(workload.model(config, prepared), workload.execution, self.device)
        self.optimizer = workload.optimizer(self.model, config)
        self.scaler = workload.scaler(config)
        self._clip_norm = workload.clip_norm(config)
        self._model = self.model  # the same weights
        if workload.execution.compile:
            self._model = cast("torch.nn.Module", torch.compile(self.model))
        watches_gradient = policy is not None and "gradient" in policy.needs
        self._shared = self.group.wrapped(self._model, watches_gradient)  # … whose gradients are those of all

        self.cursor = 0  # samples into the next epoch
        self.accumulated = 0  # of the next update, whose gradients are added up already
        self._seed = seed
        self._share_sum: float | Tensor = 0.0  # over what is accumulated
        self._part_squares: list[tuple[float | Tensor, float]] = []  # |gradient|^2 and share of each part accumulated
        self._seconds = 0.0  # since the last report
        self._size = workload.samples()
        self._order = SampleOrder(seed, self._size, self.device)
        self._weights = ReplicatedState(workload, self.model, self.optimizer, self.group)
        self.control = Control(
            policy, self.model, self.optimizer, batch_size=knobs.batch_size, samples=self._size, epochs=workload.horizon,
            measure=self._measured, metric=workload.metric, sampler=self._order, scaler=self.scaler, weights=self._weights,
            knobs=knobs,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Progress | None]:
        if self.group.size > 1:
            state = self.group.told(self.state())  # where the first of them stands
            self._weights.share()
            self.load(state)
            self.accumulated, self._share_sum, self._part_squares = 0, 0.0, []  # what one worker had begun begins anew
        while True:
            while self.control.decisions.waiting:
                yield self.control.decisions.waiting.pop(0)
            if self.step >= self.until or self.diverged:
                self._attend(until_ended=True)
                return
            self._attend()
            begun = time.perf_counter()  # the time that the consumer takes between two items is not ours
            torch.set_flush_denormal(True)  # a saturated network trains four times slower on denormals
            try:
                with self._onednn:
                    metrics = self._advance()
            finally:
                torch.set_flush_denormal(False)  # it would change the consumer's Python floats as well
            self._seconds += time.perf_counter() - begun
            yield None if metrics is None else self._report(metrics)

    @property
    def step(self) -> int:
        """Evaluations finished."""
        return self.control.epoch

    @property
    def samples(self) -> int:
        """Samples seen since the start."""
        return self.control.samples

    @property
    def diverged(self) -> bool:
        return self.control.diverged

    @property
    def knobs(self) -> Knobs:
        return self.control.knobs

    @property
    def replicas(self) -> Replicas | None:
        """Those trained in place of the model, which is their average."""
        return self._weights.replicas

    @property
    def place(self) -> tuple[int, int]:
        """Evaluations finished, and samples of the next epoch that a backward pass has seen."""
        return self.step, self.cursor + self.accumulated

    @property
    def position(self) -> int:
        """Samples that went into the weights which an evaluation would measure: without what was undone or is tried."""
        return self.control.position

    def _attend(self, *, until_ended: bool = False) -> None:
        """Take part in as many calls of the first worker's `state` as there are before it goes on."""
        if self._weights.is_scattered(self.control.snapshot) and not (until_ended and self.group.rank == 0):
            while self.group.total(torch.zeros(1, device=self.device)) or until_ended:
                self._weights.gathered(self._weights.read())
                self.control.state_dict()

    def state(self) -> dict[str, Any]:
        """A copy of everything that the rest of the training depends on; ask between two items only.

        Of several workers the first is asked, and the others answer it when they come to their next update.
        """
        if self._weights.is_scattered(self.control.snapshot):
            self.group.total(torch.ones(1, device=self.device))
        added = [parameter.grad for parameter in self._weights.parameters] if self.accumulated else None
        return {
            "weights": self._weights.gathered(self._weights.read()),
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
        """Go on from `state`, which a training of the same workload, policy, configuration and seed gave."""
        self._put(state, state["weights"])
        self.control.load_state_dict(state["control"])

    def fork(self, state: dict[str, Any]) -> None:
        """Go on from another configuration's `state`, with own knobs, and the own policy from its start."""
        groups = self.optimizer.state_dict()["param_groups"]
        weights = measured_weights(state)
        self._put(state, {**weights, "optimizer": {"state": weights["optimizer"]["state"], "param_groups": groups}})
        self._seconds = 0.0
        self._weights.average(Averaging(1))  # the own policy says how many
        self.control.fork(state["control"])
        if self.cursor == 0:
            self._order.end_epoch()

    def _put(self, state: dict[str, Any], weights: dict[str, Any]) -> None:
        self.cursor, self.accumulated = state["cursor"], state["accumulated"]
        self._share_sum, self._seconds = state["share_sum"], state["seconds"]
        self._part_squares = [(square, share) for square, share in state["part_squares"]]
        self._weights.write(self._weights.own(weights))
        if (added := state["gradients"]) is not None:
            for parameter, gradient in zip(self._weights.parameters, added, strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        torch.set_num_threads(state["threads"])
        write_streams(state["streams"])

    def _advance(self) -> Mapping[str, float] | None:
        """One update; or, when the epoch's samples are used up, its evaluation."""
        if self.cursor >= self._size or self.control.stopped:
            return self._evaluate()
        if not self.model.training:  # it was measured
            self.model.train()
        averaging, samples = self._weights.averaging, self.control.samples
        replicas = None if averaging is None else averaging.replicas
        total = batch_count(self.cursor, self._size, self.control.knobs.batch_size, replicas or 1)
        share = self.group.share(self._order.drawn(samples, total), replicas)
        whole = len(share)
        self.group.reseed(self._seed, samples - self._order.behind)
        while self.accumulated < whole:
            self._backward(share, whole, total)
            if self.group.size == 1:  # several workers have no common place within a batch
                break
        if self.accumulated == whole:
            self._update(total)
        return None

    def _backward(self, share: Tensor, whole: int, total: int) -> None:
        """Add the gradients of the next part of this worker's `share`, `whole` of a batch of `total` samples."""
        parameters, replicas, watches = self._weights.parameters, self._weights.replicas, self._watches_parts
        if self.accumulated == 0:
            for parameter in parameters:  # as zero_grad does; it would look for a profiler first, in 12 us
                parameter.grad = None
        count = self._part_size(whole - self.accumulated, whole)
        indices = share if count == whole else share[self.accumulated : self.accumulated + count]
        weight = self.group.weight(count, total)
        before = gradients.set_aside(parameters) if watches and self.accumulated else []
        with self.group.adding(self._shared, is_last=self.accumulated + count == whole):
            with autocast(self.workload.execution, self.device):
                if replicas is None:
                    loss = self.workload.loss(self._shared, indices)
                    descended = loss if weight == 1 else loss * weight
                else:
                    descended, loss = replicas.loss(indices, total)
            scaled = descended if self.scaler is None else self.scaler.scale(descended)
            scaled.backward()  # type: ignore[no-untyped-call]
        if watches:
            self._part_squares.append((gradients.square(parameters), weight))
            if before:
                gradients.put_back(parameters, before)
        # A GPU is not waited for; on a CPU the plain number is ten times cheaper than a tensor.
        self._share_sum += (loss.detach().double() if self._on_gpu else loss.item()) * (count if weight else 0)
        self.accumulated += count

    def _part_size(self, left: int, whole: int) -> int:
        """How many of the samples that are left of a batch are computed next; as even as can be."""
        size = self.workload.execution.micro_batch or left
        if self._watches_parts and whole >= 4:
            # Noise shows between two parts at least; batch normalisation cannot do with a single sample.
            size = min(size, math.ceil(whole / 2))
        if self._weights.replicas is None or size >= left:
            return math.ceil(left / math.ceil(left / size))
        replicas = len(self._weights.replicas.own)
        rows = max(1, size // replicas)  # of one sample for each
        rows = math.ceil(left / replicas / math.ceil(left / replicas / rows))
        return left if left - rows * replicas < replicas else rows * replicas

    @property
    def _watches_parts(self) -> bool:
        """Whether the gradients of parts of a batch are measured here; workers and replicas are parts by themselves."""
        return self.control.watches_gradient and self.group.size == 1 and self._weights.replicas is None

    def _update(self, total: int) -> None:
        """Move the weights by the gradients that were added up over `total` samples."""
        gradient = self._gradient(total) if self.control.watches_gradient else None
        replicas = self._weights.replicas
        if self._clip_norm is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            if replicas is None:
                torch.nn.utils.clip_grad_norm_(self._weights.parameters, self._clip_norm)
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
        """The norms of the gradients that were added up over `total` samples, and of their parts."""
        parts: gradients.Parts = self._part_squares
        whole: float | Tensor
        if self.replicas is not None:
            parts, whole = self.replicas.gradient_parts(total)
        else:
            whole = gradients.square(self._weights.parameters)
            if self.group.size > 1:
                parts = self.group.parts()
        scale = 1.0 if self.scaler is None else float(self.scaler.get_scale()) ** 2
        measured = gradients.norms(total, whole, parts, scale)
        self._part_squares = []
        return measured

    def _evaluate(self) -> Mapping[str, float]:
        """Close the epoch: measure, and let the policy see it."""
        self.cursor = 0
        metrics = self.control.end_epoch(self._measured)
        return {**dict.fromkeys(self.workload.metrics, math.nan), **metrics} if self.diverged else metrics

    def _measured(self) -> Mapping[str, float]:
        measured = measure(self.workload, self._model, "valid") if self.group.rank == 0 else {}
        return cast("Mapping[str, float]", self.group.told(measured))

    def _report(self, metrics: Mapping[str, float]) -> Progress:
        declared = self.workload.cost_seconds(self.config, self.step)
        cost_seconds = self._seconds if declared is None else declared
        self._seconds = 0.0
        return Progress("report", self.step, metrics, cost_seconds)
