"""A policy's control of a training, in any loop: turn the knobs, take snapshots, roll back, try, measure, record.

    control = Control(AutoLrs(low=1e-4, high=0.3), model, optimizer, batch_size=64, samples=len(data), epochs=20)
    while not control.done:
        for inputs, targets in batches(control.batch_size):
            loss = step(model, optimizer, inputs, targets)
            control.update(loss, len(inputs))  # after the optimizer's step
        control.end_epoch(lambda: {"valid_loss": evaluate(model)})

It needs neither Ray nor a sweep. Save `control.state_dict()` beside the model's and the optimizer's; load it last.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, cast

import torch
from torch import Tensor

from trainables.contract import Policy
from trainables.estimates.noise_scale import Gradient
from trainables.training.accounting import LossAccount, counted_at
from trainables.training.data_order import DataOrder
from trainables.training.decisions import Decisions
from trainables.training.knobs import knobs_of, multiples_of, turn
from trainables.training.model_state import ModelState, Weights, copied, put_model
from trainables.training.needs import refuse_unmet
from trainables.training.parts import Parts
from trainables.training.randomness import read_streams, write_streams
from trainables.training.workers import Alone, joined
from trainables.values import Action, Averaging, Knobs, Signals

Metrics = Mapping[str, float]


class Control:
    """`policy` in control of a training of `epochs` epochs of `samples` samples, in batches of `batch_size` at first.

    The learning rate, momentum and weight decay at the start are the arguments that the optimizer was built with; a
    parameter group with a multiple of one keeps it; no LR scheduler may write there too. `measure()` returns the metrics of the model on validation data.
    `metric` names the one that tells of divergence: the training is over when it is not finite. `parts`: backward
    passes for each batch, each followed by `part`. `sampler`: a BatchSampler that the data come from. `scaler`: the
    gradient scaler of fp16. `weights` and `knobs` are for loops that train something else than `model` as it is. `forked`:
    the first state that is loaded is another configuration's (`fork`).

    Raises ValueError if the policy needs what is not given here (`trainables.training.needs`).

    >>> import torch
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> control = Control(Warmup(1.0), model, optimizer, batch_size=16, samples=160, epochs=3)
    >>> for batch in range(10):  # forward, backward and optimizer.step() come first
    ...     control.update(loss=0.5, samples=16)
    >>> control.end_epoch({"valid_loss": 0.4})["train_loss"]
    0.5
    """

    def __init__(
        self,
        policy: Policy[Any] | None,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        batch_size: int,
        samples: int,
        epochs: int,
        measure: Callable[[], Metrics] | None = None,
        metric: str = "",
        parts: int = 1,
        sampler: DataOrder | None = None,
        scaler: torch.amp.GradScaler | None = None,
        weights: Weights | None = None,
        knobs: Knobs | None = None,
        forked: bool = False,
    ) -> None:
        self.policy, self.model, self.scaler = policy, model, scaler
        self._optimizer, self._size, self._epochs = optimizer, samples, epochs
        self._measure, self._metric, self._order, self._forked = measure, metric, sampler, forked
        self._group = joined() if weights is None else Alone()
        watched = frozenset() if policy is None else policy.needs
        self.watches_loss, self.watches_gradient = "loss" in watched, "gradient" in watched
        if policy is not None and weights is None:
            refuse_unmet(
                policy, averages=False, rolls_back=sampler is not None, measures=measure is not None,
                parts=max(parts, self._group.size),
            )  # fmt: skip
        self._weights = ModelState(model, optimizer) if weights is None else weights
        self._parts = Parts(model, parts, self._group, watches=weights is None and self.watches_gradient)
        self._initial = knobs_of(optimizer, batch_size) if knobs is None else knobs
        self._multiples = [multiples_of(each, self._initial) for each in optimizer.param_groups]

        self.knobs = self._initial
        self.epoch = 0  # epochs finished
        self.samples = 0  # seen since the start
        self.stopped = False  # the policy gave the training up
        self.diverged = False
        self.decisions = Decisions(self.knobs)
        self._account = LossAccount()
        self._policy_state: Any = None
        self._snapshot: dict[str, Any] | None = None
        self._exploring = False  # the next rollback undoes what is done now
        self._undone = 0  # samples that were seen, and undone since
        self._evaluating = False  # the model has the weights to be measured, or had them since the last update
        self.start()

    # What a loop reads

    @property
    def batch_size(self) -> int:
        """Samples of the next update."""
        return self.knobs.batch_size

    @property
    def done(self) -> bool:
        """Whether the training is over: all epochs, divergence, or the policy gave it up."""
        return self.stopped or self.diverged or self.epoch >= self._epochs

    @property
    def snapshot(self) -> dict[str, Any] | None:
        """The weights marked, live, and where the training stood then; None before the first snapshot."""
        return self._snapshot

    @property
    def position(self) -> int:
        """Samples that went into the weights which an evaluation would measure: none undone, none of an exploration."""
        if self._exploring:
            assert self._snapshot is not None
            return int(self._snapshot["position"])
        return self.samples - self._undone

    def part_sizes(self, count: int, at_most: int | None = None) -> list[int]:
        """The sizes of the parts of a batch of `count` samples, `at_most` so many at once: `batch.split(sizes)`."""
        return self._parts.sizes(count, at_most)

    # What a loop tells

    def part(self, samples: int, loss: float | Tensor) -> None:
        """After each backward pass of a batch of several: its samples, and their mean loss.

        Each pass adds its share of the gradient: scale its loss by samples / samples of the batch.
        """
        self._parts.add(samples, loss, self.scaler)

    def update(self, loss: float | Tensor | None = None, samples: int | None = None) -> None:
        """After the optimizer's step: the batch's mean loss and its samples; neither if `part` was told all of them.

        On several DDP ranks each tells of its own share. The policy may turn knobs or roll back before this returns.
        """
        if loss is not None and samples is not None:
            if self.watches_gradient:
                raise ValueError(
                    f"control.update(loss, {samples}): {self.policy} watches the gradient; call control.part(samples, loss) "
                    "after each backward pass, before gradients are clipped, and then control.update()."
                )
            self._parts.add(samples, loss, self.scaler)
        self.updated(*self._parts.taken())

    def updated(self, loss_sum: float | Tensor, samples: int, gradient: Gradient | None) -> None:
        """An update over `samples` samples, those of all parts and workers."""
        self._evaluating = False
        self._account.add(loss_sum, samples, exploring=self._exploring)
        if self._snapshot is not None and self._snapshot["loss"] is None:
            self._snapshot["loss"] = float(loss_sum) / samples
        self.samples += samples
        if self._order is not None:
            self._order.follow(self.samples, self.knobs.batch_size)
        if self.policy is not None:
            self._ask(Signals(
                self.samples, self._size, self.epoch, self._epochs, self.knobs,
                loss=float(loss_sum) / samples if self.watches_loss else None, gradient=gradient,
            ))  # fmt: skip

    def end_epoch(self, metrics: Metrics | Callable[[], Metrics] | None = None) -> dict[str, float]:
        """Close the epoch: measure, and ask the policy. Returns the metrics with the epoch's "train_loss".

        Give the metrics, or a function that measures them (None: `measure`). During an exploration the weights at the
        snapshot count: a function finds them in the model; whoever measures before does so within `evaluating`.
        """
        self._refuse_unmeasured(metrics)
        train_loss = self._account.mean(self._snapshot if self._exploring else None, self.epoch)
        self._account.put(0.0, 0)
        self.epoch += 1
        if self._order is not None:
            self._order.end_epoch()
        if not math.isfinite(train_loss):
            self.diverged = True
            return {self._metric: math.nan, "train_loss": train_loss} if self._metric else {"train_loss": train_loss}
        found = {**self._measured(metrics), "train_loss": train_loss}
        tuned = found.get(self._metric)
        self.diverged = isinstance(tuned, float) and not math.isfinite(tuned)
        if not self.diverged and self.policy is not None:
            self._ask(Signals(
                self.samples, self._size, self.epoch, self._epochs, self.knobs, train_loss=train_loss, metrics=found,
            ))  # fmt: skip
            self._tell_schedule()
        return found

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within it the model has the weights that an evaluation must measure: during an exploration those at the snapshot."""
        self._evaluating = True
        if not self._exploring:
            yield
            return
        assert self._snapshot is not None
        live = self._weights.read()
        tried = copied({key: live[key] for key in ("model", "buffers")})
        put_model(self.model, self._snapshot["weights"])
        try:
            yield
        finally:
            put_model(self.model, tried)

    def turn(self) -> None:
        """Bring the knobs into the optimizer and the data order; again after somebody else has written there."""
        turn(self._optimizer, self._multiples, self.knobs)
        if self._order is not None:
            self._order.follow(self.samples, 0 if self.stopped else self.knobs.batch_size)

    # Its own state

    def state_dict(self) -> dict[str, Any]:
        """A copy of what the control depends on: plain data and tensors. Ask between two updates only."""
        if self._parts.is_amid:
            raise ValueError("control.state_dict(): a batch has been told of in part; save after control.update().")
        snapshot = self._snapshot and {**self._snapshot, "weights": self._weights.gathered(self._snapshot["weights"])}
        return {
            "epoch": self.epoch,
            "samples": self.samples,
            "stopped": self.stopped,
            "diverged": self.diverged,
            "account": self._account.state_dict(),
            "decisions": self.decisions.state_dict(),
            "exploring": self._exploring,
            "undone": self._undone,
            "knobs": asdict(self.knobs),
            "multiples": [dict(multiples) for multiples in self._multiples],
            "policy": self._policy_state,
            "snapshot": snapshot,
            "order": None if self._order is None else self._order.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, of a control with the same policy; load the model's and the optimizer's before."""
        if self._forked:
            self._forked = False
            if state["exploring"]:  # the weights at the snapshot are those that were measured
                self._weights.write(state["snapshot"]["weights"])
            self.fork(state)
            return
        self.epoch, self.samples = state["epoch"], state["samples"]
        self.stopped, self.diverged = state["stopped"], state["diverged"]
        self._account.load_state_dict(state["account"])
        self.decisions.load_state_dict(state["decisions"])
        self._exploring, self._undone = state["exploring"], state["undone"]
        self.knobs, self._policy_state = Knobs(**state["knobs"]), state["policy"]
        self._multiples = [*state["multiples"]]  # the optimizer may have been loaded before this control was made
        snapshot = copied(state["snapshot"])
        self._snapshot = snapshot and {**snapshot, "weights": self._weights.own(snapshot["weights"])}
        if self._order is not None and state["order"] is not None:
            self._order.load_state_dict(state["order"])
        self.turn()

    def fork(self, state: dict[str, Any]) -> None:
        """Go on from another configuration's `state`, with the knobs of this one, and its policy from the start."""
        self.load_state_dict({**state, "snapshot": None, "exploring": False, "multiples": self._multiples})
        self.decisions = Decisions(self._initial)
        if self._order is not None:
            self._order.behind = 0
        self.start()

    def start(self) -> None:
        """The configuration's knobs, and what the policy makes of them before the next update."""
        self.knobs = self.decisions.told_knobs = self._initial
        self.turn()
        if self.policy is not None:
            signals = Signals(self.samples, self._size, self.epoch, self._epochs, self.knobs)
            self._policy_state, action = self.policy.start(signals)
            self.do(action, 0.0)
            self._tell_schedule()

    # What the policy wants

    def _ask(self, signals: Signals) -> None:
        assert self.policy is not None
        begun = time.perf_counter()
        self._policy_state, action = self.policy.act(self._policy_state, signals)
        self.do(action, time.perf_counter() - begun)
        if action.measure:
            metrics = self._measured_now()
            self._ask(replace(signals, knobs=self.knobs, metrics=metrics, train_loss=None, loss=None, gradient=None))

    def do(self, action: Action, cost_seconds: float) -> None:
        """Carry out what a policy decided in that many seconds."""
        if action.roll_back:
            self._roll_back(action.replay)
        if action.snapshot or (action.explore and not action.roll_back):
            behind = 0 if self._order is None else self._order.behind
            self._snapshot = {
                "weights": copied(self._weights.read()), "epoch": self.epoch, "position": self.samples - self._undone,
                **self._account.sums(), "loss": None, "drawn": self.samples - behind, "streams": read_streams(),
                "scaler": None if self.scaler is None else self.scaler.state_dict(),
            }  # fmt: skip
        if action.snapshot or action.roll_back or action.explore:
            self._exploring = action.explore
        before = self.knobs
        if action.knobs is not None:
            self.knobs = action.knobs
        if action.knobs is not None or action.roll_back:  # the snapshot has the knobs of its own time
            self.turn()
        averaged = self._averaged(action, before)
        if why := "; ".join(filter(None, (action.why, averaged))):
            begun = self._weights.averaging or Averaging(1) if averaged else None
            before = before if self._exploring else self.decisions.told_knobs
            self._tell(why, before, action.evidence, cost_seconds, begun)
        if action.stop:  # the epoch closes as one whose training loss is no number; nothing follows
            self.stopped, self._exploring = True, False
            self._account.put(math.nan, 1)
            self.turn()

    def _roll_back(self, replay: bool) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            raise ValueError(f"{self.policy!r} asks to roll back, but has taken no snapshot before")
        self._weights.write(snapshot["weights"])
        if self.scaler is not None:
            self.scaler.load_state_dict(snapshot["scaler"])
        self._account.put(*counted_at(snapshot, self.epoch))
        self._undone = self.samples - snapshot["position"]
        if replay:
            if self._order is None:
                raise ValueError(f"{self.policy!r} replays samples; give Control(…, sampler=BatchSampler(…)).")
            self._order.behind = self.samples - snapshot["drawn"]
            write_streams(snapshot["streams"])
        if snapshot["loss"] is not None:  # that of the weights undone may be no number
            self._account.last = snapshot["loss"]

    def _averaged(self, action: Action, before: Knobs) -> str:
        """Begin to average, or end, or begin again; returns what was done."""
        averaging, present = action.average, self._weights.averaging
        if present is not None and action.why and self.knobs.learning_rate != before.learning_rate:
            averaging = averaging or present  # a restart, as Crossbow does when the rate drops
        how = "" if averaging is None else self._weights.average(averaging)
        present = self._weights.averaging
        if present is not None and min(self.knobs.batch_size, self._size) < present.replicas:
            raise ValueError(
                f"{present}: batch_size={self.knobs.batch_size} of {self._size} samples is less than one for each replica; "
                "make the batch larger, or the replicas fewer."
            )
        return how

    def _tell(
        self, why: str, before: Knobs, evidence: Metrics, cost_seconds: float, begun: Averaging | None = None
    ) -> None:
        position = None if self._exploring else self.position
        self.decisions.tell(
            why, self.epoch, self.samples, position, before, self.knobs, evidence, cost_seconds, begun
        )  # fmt: skip

    def _tell_schedule(self) -> None:
        """What a policy turns bit by bit, now and then."""
        if not self._exploring and self.decisions.told_knobs != self.knobs:
            self._tell("schedule", self.decisions.told_knobs, {}, 0.0)

    def _refuse_unmeasured(self, metrics: Metrics | Callable[[], Metrics] | None) -> None:
        """Raise ValueError if nothing, or the wrong weights, were measured at the end of an epoch."""
        if metrics is None and self._measure is None:
            raise ValueError("control.end_epoch(): no metrics; give them, or Control(…, measure=evaluate).")
        if isinstance(metrics, Mapping) and self._exploring and not self._evaluating:
            raise ValueError(
                f"control.end_epoch({dict(metrics)}): {self.policy} is trying other weights now, and those at the snapshot must be "
                "measured; give the function, control.end_epoch(lambda: evaluate(model)), or measure within "
                "`with control.evaluating():`."
            )

    def _measured(self, metrics: Metrics | Callable[[], Metrics] | None) -> Metrics:
        """At the end of an epoch: what the first rank measured; the weights at the snapshot during an exploration."""
        if isinstance(metrics, Mapping):
            return cast("Metrics", self._group.told(metrics))
        with self.evaluating():
            return self._measured_now() if metrics is None else cast("Metrics", self._group.told(metrics()))

    def _measured_now(self) -> Metrics:
        """The model as it is, left in the modes in which it was."""
        if self._measure is None:
            raise ValueError(f"{self.policy!r} asks for metrics; give Control(…, measure=evaluate).")
        modes = [(module, module.training) for module in self.model.modules()]
        metrics = self._measure()
        for module, training in modes:
            module.training = training
        return cast("Metrics", self._group.told(metrics))
