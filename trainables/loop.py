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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from search.records import Config
from search.work import Progress
from trainables import gradients
from trainables.base import Action, Averaging, Knobs, Policy, Signals, Workload
from trainables.device import autocast, compute_device, measure, placed
from trainables.group import Alone
from trainables.onednn import Guard
from trainables.order import Order
from trainables.randomness import read_streams, seed_streams, write_streams
from trainables.replicas import Replicas, gathered, own
from trainables.signals import Gradient

_KNOB_OF = {"lr": "learning_rate", "momentum": "momentum", "weight_decay": "weight_decay"}


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
        self.policy = policy
        self.config = config
        self.until = workload.horizon if until is None else until
        self.device = compute_device()
        self._on_gpu = self.device.type == "cuda"

        self.knobs = workload.knobs(config)
        self._onednn = Guard()
        with self._onednn:
            self.model = placed(workload.model(config, prepared), workload.execution, self.device)
        self._parameters: list[Tensor] = [*self.model.parameters()]  # a walk through the modules takes its time
        self.optimizer = workload.optimizer(self.model, config)
        self.scaler = workload.scaler(config)
        self._clip_norm = workload.clip_norm(config)
        self._model = self.model  # the same weights
        if workload.execution.compile:
            self._model = cast("torch.nn.Module", torch.compile(self.model))
        watched = frozenset() if policy is None else policy.watches
        self._watches_loss, self._watches_gradient = "loss" in watched, "gradient" in watched
        self._shared = self.group.wrapped(self._model, self._watches_gradient)  # … whose gradients are those of all
        self._multiples = [_multiples(group, self.knobs) for group in self.optimizer.param_groups]
        self.replicas: Replicas | None = None  # that are trained in place of the model, which is their average

        self.step = 0  # evaluations finished
        self.cursor = 0  # samples into the next epoch
        self.accumulated = 0  # of the next update, whose gradients are added up already
        self.samples = 0  # seen since the start
        self.diverged = False
        self._seed = seed
        self._loss_sum: float | Tensor = 0.0  # over the samples of this epoch that …
        self._kept = 0  # … no rewind has undone, so many
        self._last_loss: float | Tensor = math.inf  # of the last update outside an exploration, or the first in one
        self._share_sum: float | Tensor = 0.0  # over what is accumulated
        self._part_squares: list[tuple[float | Tensor, float]] = []  # |gradient|^2 and share of each part accumulated
        self._seconds = 0.0  # since the last report
        self._policy_state: Any = None
        self._mark: dict[str, Any] | None = None
        self._sharing = False  # the replicas are spread over the workers
        self._exploring = False  # the next rewind undoes what is done now
        self._undone = 0  # samples that were seen, and undone since
        self._decisions: list[Progress] = []  # not told yet
        self._told_knobs = self.knobs  # as recorded, but for what was only tried
        self._size = workload.samples()
        self._order = Order(seed, self._size, self.device)
        self._start()

    def __iter__(self) -> Iterator[Progress | None]:
        if self.group.size > 1:
            state = self.group.told(self.state())  # where the first of them stands
            self._sharing = True
            self.load(state)
            self.accumulated, self._share_sum, self._part_squares = 0, 0.0, []  # what one worker had begun begins anew
        while True:
            while self._decisions:
                yield self._decisions.pop(0)
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
    def place(self) -> tuple[int, int]:
        """Evaluations finished, and samples of the next epoch that a backward pass has seen."""
        return self.step, self.cursor + self.accumulated

    @property
    def position(self) -> int:
        """Samples that went into the weights which an evaluation would measure: without what was undone or is tried."""
        if self._exploring:
            assert self._mark is not None
            return int(self._mark["position"])
        return self.samples - self._undone

    def _attend(self, *, until_ended: bool = False) -> None:
        """Take part in as many calls of the first worker's `state` as there are before it goes on."""
        if self._scattered and not (until_ended and self.group.rank == 0):
            while self.group.total(torch.zeros(1, device=self.device)) or until_ended:
                self._gathered()

    @property
    def _scattered(self) -> bool:
        """Whether no worker has all of what the training depends on."""
        marked = self._mark is not None and "replicas" in self._mark["weights"]
        return self._sharing and (self.replicas is not None or marked)

    def _gathered(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The weights and the mark, with the replicas of all workers."""
        cpu = torch.device("cpu")
        weights, mark = _copied(self._weights(), cpu), _copied(self._mark, cpu)
        if self._sharing:
            weights = gathered(weights, self.group)
            mark = mark and {**mark, "weights": gathered(mark["weights"], self.group)}
        return weights, mark

    def state(self) -> dict[str, Any]:
        """A copy of everything that the rest of the training depends on; ask between two items only.

        Of several workers the first is asked, and the others answer it when they come to their next update.
        """
        if self._scattered:
            self.group.total(torch.ones(1, device=self.device))
        weights, mark = self._gathered()
        return {
            "step": self.step,
            "cursor": self.cursor,
            "accumulated": self.accumulated,
            "gradients": _copied(self._gradients(), torch.device("cpu")) if self.accumulated else None,
            "samples": self.samples,
            "order_seed": self._order.seed,
            "behind": self._order.behind,
            "loss_sum": float(self._loss_sum),
            "kept": self._kept,
            "last_loss": float(self._last_loss),
            "part_squares": [(float(square), share) for square, share in self._part_squares],
            "exploring": self._exploring,
            "undone": self._undone,
            "told_knobs": asdict(self._told_knobs),
            "decisions": [asdict(decision) for decision in self._decisions],
            "share_sum": float(self._share_sum),
            "seconds": self._seconds,
            "knobs": asdict(self.knobs),
            "policy": self._policy_state,
            "weights": weights,
            "mark": mark,
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "threads": torch.get_num_threads(),
            "streams": read_streams(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`, which a training of the same workload, policy, configuration and seed gave."""
        self.step, self.cursor, self.samples = state["step"], state["cursor"], state["samples"]
        self._order.seed = state["order_seed"]
        self._loss_sum = state["loss_sum"]
        self._order.behind = state.get("behind", 0)  # earlier checkpoints have none of these eight
        self._kept = state.get("kept", self.cursor)
        self._last_loss = state.get("last_loss", math.inf)
        self._part_squares = [(square, share) for square, share in state.get("part_squares", ())]
        self._exploring = state.get("exploring", False)
        self._undone = state.get("undone", 0)
        self._told_knobs = Knobs(**state.get("told_knobs", state["knobs"]))
        self._decisions = [Progress(**decision) for decision in state.get("decisions", ())]
        self._seconds = state["seconds"]
        self.knobs = Knobs(**state["knobs"])
        self._policy_state = state["policy"]
        weights, mark = state["weights"], _copied(state["mark"])
        if self._sharing:
            weights = own(weights, self.group)
            mark = mark and {**mark, "weights": own(mark["weights"], self.group)}
        self._put_weights(weights)
        self._mark = mark
        self.accumulated = state.get("accumulated", 0)  # earlier checkpoints have none of these three
        self._share_sum = state.get("share_sum", 0.0)
        if (added := state.get("gradients")) is not None:
            for parameter, gradient in zip(self._parameters, added, strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        torch.set_num_threads(state["threads"])
        write_streams(state["streams"])

    def fork(self, state: dict[str, Any]) -> None:
        """Go on from another configuration's `state`, with own knobs, and the own policy from its start."""
        groups = self.optimizer.state_dict()["param_groups"]
        weights = measured_weights(state)
        weights = {**weights, "optimizer": {"state": weights["optimizer"]["state"], "param_groups": groups}}
        fresh = {"mark": None, "exploring": False, "decisions": (), "seconds": 0.0, "behind": 0}
        self.load({**state, **fresh, "weights": weights})
        if self.cursor == 0:
            self._order.end_epoch()
        self._average(Averaging(1))  # the own policy says how many
        self._start()

    def _start(self) -> None:
        """The configuration's knobs, and what the policy makes of them before the first update."""
        self.knobs = self._told_knobs = self.workload.knobs(self.config)
        self._turn()
        if self.policy is not None:
            signals = Signals(self.samples, self._size, self.step, self.workload.horizon, self.knobs)
            self._policy_state, action = self.policy.start(signals)
            self._do(action, 0.0)
            self._tell_schedule()

    def _advance(self) -> Mapping[str, float] | None:
        """One update; or, when the epoch's samples are used up, its evaluation."""
        if self.cursor >= self._size:
            return self._evaluate()
        if not self.model.training:  # it was measured
            self.model.train()
        end = self.cursor + self.knobs.batch_size
        left = self._size - end
        if 0 < left < self.knobs.batch_size and left < self._fewest():
            end = self._size
        total = min(end, self._size) - self.cursor
        replicas = None if self.replicas is None else self.replicas.averaging.replicas
        share = self.group.share(self._order.drawn(self.samples, total), replicas)
        whole = len(share)
        self.group.reseed(self._seed, self.samples - self._order.behind)
        while self.accumulated < whole:
            self._backward(share, whole, total)
            if self.group.size == 1:  # several workers have no common place within a batch
                break
        if self.accumulated == whole:
            self._update(total)
        return None

    def _fewest(self) -> int:
        """Samples that a batch must have: batch normalisation cannot do with a single one, in no replica."""
        replicas = 1 if self.replicas is None else self.replicas.averaging.replicas
        return replicas * min(2, self.knobs.batch_size // replicas)

    def _backward(self, share: Tensor, whole: int, total: int) -> None:
        """Add the gradients of the next part of this worker's `share`, `whole` of a batch of `total` samples."""
        if self.accumulated == 0:
            for parameter in self._parameters:  # as zero_grad does; it would look for a profiler first, in 12 us
                parameter.grad = None
        count = self._part_size(whole - self.accumulated, whole)
        indices = share if count == whole else share[self.accumulated : self.accumulated + count]
        weight = self.group.weight(count, total)
        before = gradients.set_aside(self._parameters) if self._watches_parts and self.accumulated else []
        with self.group.adding(self._shared, is_last=self.accumulated + count == whole):
            with autocast(self.workload.execution, self.device):
                if self.replicas is None:
                    loss = self.workload.loss(self._shared, indices)
                    descended = loss if weight == 1 else loss * weight
                else:
                    descended, loss = self.replicas.loss(indices, total)
            scaled = descended if self.scaler is None else self.scaler.scale(descended)
            scaled.backward()  # type: ignore[no-untyped-call]
        if self._watches_parts:
            self._part_squares.append((gradients.square(self._parameters), weight))
            if before:
                gradients.put_back(self._parameters, before)
        # A GPU is not waited for; on a CPU the plain number is ten times cheaper than a tensor.
        self._share_sum += (loss.detach().double() if self._on_gpu else loss.item()) * (count if weight else 0)
        self.accumulated += count

    def _part_size(self, left: int, whole: int) -> int:
        """How many of the samples that are left of a batch are computed next; as even as can be."""
        size = self.workload.execution.micro_batch or left
        if self._watches_parts and whole >= 4:
            # Noise shows between two parts at least; batch normalisation cannot do with a single sample.
            size = min(size, math.ceil(whole / 2))
        if self.replicas is None or size >= left:
            return math.ceil(left / math.ceil(left / size))
        replicas = len(self.replicas.own)
        rows = max(1, size // replicas)  # of one sample for each
        rows = math.ceil(left / replicas / math.ceil(left / replicas / rows))
        return left if left - rows * replicas < replicas else rows * replicas

    @property
    def _watches_parts(self) -> bool:
        """Whether the gradients of parts of a batch are measured here; workers and replicas are parts by themselves."""
        return self._watches_gradient and self.group.size == 1 and self.replicas is None

    def _update(self, total: int) -> None:
        """Move the weights by the gradients that were added up over `total` samples."""
        gradient = self._gradient(total) if self._watches_gradient else None
        if self._clip_norm is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            if self.replicas is None:
                torch.nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
            else:
                self.replicas.clip(self._clip_norm)
        if self.replicas is None:
            self._descend()
        else:
            self.replicas.step(self._descend)
        summed = self.group.total(self._share_sum)
        self._loss_sum += summed
        self._kept += total
        if not self._exploring or self._last_loss == math.inf:
            self._last_loss = summed / total
        if self._mark is not None and self._mark.get("loss") is None:
            self._mark["loss"] = float(summed) / total
        self._share_sum = 0.0
        self.cursor += total
        self.samples += total
        self.accumulated = 0
        if self.policy is not None:
            self._ask(Signals(
                self.samples, self._size, self.step, self.workload.horizon, self.knobs,
                loss=float(summed) / total if self._watches_loss else None, gradient=gradient,
            ))  # fmt: skip

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
            whole = gradients.square(self._parameters)
            if self.group.size > 1:
                parts = self.group.parts()
        scale = 1.0 if self.scaler is None else float(self.scaler.get_scale()) ** 2
        measured = gradients.norms(total, whole, parts, scale)
        self._part_squares = []
        return measured

    def _evaluate(self) -> Mapping[str, float]:
        """Close the epoch: measure, and let the policy see it."""
        train_loss = self._train_loss()
        self._loss_sum, self._kept = 0.0, 0
        self.step += 1
        self.cursor = 0
        self._order.end_epoch()
        if not math.isfinite(train_loss):
            self.diverged = True
            return {**dict.fromkeys(self.workload.metrics, math.nan), "train_loss": train_loss}
        metrics = {**self._measured(), "train_loss": train_loss}
        tuned = metrics.get(self.workload.metric)
        self.diverged = isinstance(tuned, float) and not math.isfinite(tuned)
        if self.diverged or self.policy is None:
            return metrics
        self._ask(Signals(
            self.samples, self._size, self.step, self.workload.horizon, self.knobs,
            train_loss=train_loss, metrics=metrics,
        ))  # fmt: skip
        self._tell_schedule()
        return metrics

    def _train_loss(self) -> float:
        """Mean over the samples of this epoch that count; if none does, what the weights returned to have lost."""
        loss_sum, kept = self._loss_sum, self._kept
        if self._exploring:
            assert self._mark is not None
            loss_sum, kept = self._counted_at_mark()
        return float(loss_sum) / kept if kept else float(self._last_loss)

    def _counted_at_mark(self) -> tuple[float, int]:
        """Loss sum and samples of this epoch, as they were at the mark."""
        assert self._mark is not None
        return (self._mark["loss_sum"], self._mark["kept"]) if self._mark["step"] == self.step else (0.0, 0)

    def _measured(self) -> Mapping[str, float]:
        """What the weights are worth on "valid"; those at the mark, while others are tried."""
        if not self._exploring:
            return self._measured_now()
        assert self._mark is not None
        tried = _copied({key: self._weights()[key] for key in ("model", "buffers")})
        put_model(self.model, self._mark["weights"])
        measured = self._measured_now()
        put_model(self.model, tried)
        return measured

    def _measured_now(self) -> Mapping[str, float]:
        measured = measure(self.workload, self._model, "valid") if self.group.rank == 0 else {}
        return cast("Mapping[str, float]", self.group.told(measured))

    def _report(self, metrics: Mapping[str, float]) -> Progress:
        declared = self.workload.cost_seconds(self.config, self.step)
        cost_seconds = self._seconds if declared is None else declared
        self._seconds = 0.0
        return Progress("report", self.step, metrics, cost_seconds)

    def _ask(self, signals: Signals) -> None:
        assert self.policy is not None
        begun = time.perf_counter()
        self._policy_state, action = self.policy.act(self._policy_state, signals)
        self._do(action, time.perf_counter() - begun)
        if action.measure:
            metrics = self._measured_now()
            self._ask(replace(signals, knobs=self.knobs, metrics=metrics, train_loss=None, loss=None, gradient=None))

    def _do(self, action: Action, cost_seconds: float) -> None:
        if action.rewind:
            self._rewind(action.replay)
        if action.mark or (action.explore and not action.rewind):
            self._mark = {
                "weights": _copied(self._weights()), "step": self.step, "position": self.samples - self._undone,
                "loss_sum": float(self._loss_sum), "kept": self._kept, "loss": None,
                "drawn": self.samples - self._order.behind, "streams": read_streams(),
                "scaler": None if self.scaler is None else self.scaler.state_dict(),
            }  # fmt: skip
        if action.mark or action.rewind or action.explore:
            self._exploring = action.explore
        before = self.knobs
        if action.knobs is not None:
            self.knobs = action.knobs
        if action.knobs is not None or action.rewind:  # the mark has the knobs of its own time
            self._turn()
        averaged = self._averaged(action, before)
        if why := "; ".join(filter(None, (action.why, averaged))):
            begun = None if not averaged else Averaging(1) if self.replicas is None else self.replicas.averaging
            self._tell(why, before if self._exploring else self._told_knobs, action.evidence, cost_seconds, begun)
        if action.stop:
            self._give_up()

    def _give_up(self) -> None:
        """Close the epoch as one whose training loss is no number: a report says so, and nothing follows."""
        self._exploring = False
        self._loss_sum, self._kept, self.cursor = math.nan, 1, self._size

    def _rewind(self, replay: bool) -> None:
        if self._mark is None:
            raise ValueError(f"{self.policy!r} asks to rewind, but it has not marked anything before")
        self._put_weights(self._mark["weights"])
        if self.scaler is not None:
            self.scaler.load_state_dict(self._mark["scaler"])
        self._loss_sum, self._kept = self._counted_at_mark()
        self._undone = self.samples - self._mark["position"]
        if replay:
            self._order.behind = self.samples - self._mark["drawn"]
            write_streams(self._mark["streams"])
        if self._mark.get("loss") is not None:  # that of the weights undone may be no number
            self._last_loss = self._mark["loss"]

    def _averaged(self, action: Action, before: Knobs) -> str:
        """Begin to average, or end, or begin again; answers what was done."""
        averaging = action.average
        if self.replicas is not None and action.why and self.knobs.learning_rate != before.learning_rate:
            averaging = averaging or self.replicas.averaging  # a restart, as Crossbow does when the rate drops
        how = "" if averaging is None else self._average(averaging)
        if self.replicas is not None and min(self.knobs.batch_size, self._size) < self.replicas.averaging.replicas:
            raise ValueError(
                f"{self.replicas.averaging}: batch_size={self.knobs.batch_size} of {self._size} samples is less than "
                "one for each replica; make the batch larger, or the replicas fewer."
            )
        return how

    def _average(self, averaging: Averaging) -> str:
        """Train so many replicas from here on; answers how they are computed."""
        obstacle = None
        if self.replicas is not None:
            obstacle = self.replicas.losses.obstacle
            self.replicas.leave()
            self.replicas, self._parameters = None, [*self.model.parameters()]
        if averaging.replicas == 1:
            return "one model"
        self._replicate(averaging, obstacle)
        assert self.replicas is not None
        obstacle = self.replicas.losses.obstacle
        how = "all at once" if not obstacle else f"one after the other ({obstacle})"
        if self.group.size > 1:
            how = f"on {self.group.size} workers"
        return f"{averaging.replicas} replicas, {how}"

    def _replicate(self, averaging: Averaging, obstacle: str | None) -> None:
        if averaging.replicas < self.group.size:
            raise ValueError(
                f"{averaging}: each of {self.group.size} workers needs a replica; make it replicas={self.group.size} "
                "or more, or train with fewer workers."
            )
        with autocast(self.workload.execution, self.device):
            group = self.group if self._sharing else None
            self.replicas = Replicas(self.workload, self.model, self.optimizer, averaging, obstacle, group)
        self._parameters = list(self.replicas.parameters.values())

    def _tell(
        self,
        why: str,
        before: Knobs,
        evidence: Mapping[str, float],
        cost_seconds: float,
        begun: Averaging | None = None,
    ) -> None:
        """Record that the knobs are no longer what they were `before`, or which averaging has `begun`."""
        self._decisions.append(Progress(
            "decision", self.step, dict(evidence), cost_seconds, text=why, samples=self.samples,
            position=None if self._exploring else self.position,
            before=asdict(before), after=asdict(self.knobs) | ({"averaging": asdict(begun)} if begun else {}),
        ))  # fmt: skip
        if not self._exploring:
            self._told_knobs = self.knobs

    def _tell_schedule(self) -> None:
        """What a policy turns bit by bit, now and then."""
        if not self._exploring and self._told_knobs != self.knobs:
            self._tell("schedule", self._told_knobs, {}, 0.0)

    def _turn(self) -> None:
        """Bring the knobs into the optimiser."""
        for group, multiples in zip(self.optimizer.param_groups, self._multiples, strict=True):
            for key, multiple in multiples.items():
                group[key] = multiple * getattr(self.knobs, _KNOB_OF[key])

    def _gradients(self) -> list[Tensor | None]:
        return [parameter.grad for parameter in self._parameters]

    def _weights(self) -> dict[str, Any]:
        """The live tensors of model and optimiser; buffers that PyTorch would not save are among them."""
        model = dict(self.model.state_dict())
        buffers = {name: value for name, value in self.model.named_buffers() if name not in model}
        weights = {"model": model, "buffers": buffers, "optimizer": self.optimizer.state_dict()}
        return weights if self.replicas is None else {**weights, "replicas": self.replicas.state()}

    def _put_weights(self, weights: dict[str, Any]) -> None:
        self._average(Averaging(1))
        put_model(self.model, weights)
        if (replicas := weights.get("replicas")) is not None:
            self._replicate(Averaging(**replicas["averaging"]), replicas["obstacle"])
            assert self.replicas is not None
            self.replicas.load(replicas)
        self.optimizer.load_state_dict(_copied(weights["optimizer"]))  # it would share them


def measured_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """The weights that an evaluation in this state measures: those at the mark, while others are tried."""
    weights = state["mark"]["weights"] if state.get("exploring") else state["weights"]
    return cast("dict[str, Any]", weights)


def put_model(model: torch.nn.Module, weights: dict[str, Any]) -> None:
    model.load_state_dict(weights["model"])
    buffers = dict(model.named_buffers())
    for name, value in weights["buffers"].items():
        buffers[name].copy_(value)


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
