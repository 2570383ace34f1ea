"""Let a policy control a training in any loop: turn knobs, take snapshots, roll back, explore, measure, record.

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
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from search.settings import one_of
from search.wording import instance, shown
from trainables.answers import asked, refuse_changed
from trainables.contract import Policy
from trainables.estimates.noise_scale import Gradient
from trainables.training.accounting import LossAccount
from trainables.training.averaging import averaged
from trainables.training.codec import refuse_unsavable
from trainables.training.data_order import DataOrder
from trainables.training.decisions import Decisions
from trainables.training.knobs import KnobWriter, knobs_of
from trainables.training.measuring import Measuring, Metrics
from trainables.training.model_state import ModelState, Weights, copied, reported_snapshot
from trainables.training.needs import refuse_unmet, refuse_without_momentum
from trainables.training.parts import Parts
from trainables.training.snapshots import Snapshots
from trainables.training.weight_averages import WeightAverages
from trainables.training.workers import Alone, joined
from trainables.values import Action, Averaging, Knobs, Signals


class Control:
    """Lets `policy` control a training of `epochs` epochs of `samples` samples; `batch_size` is the first batch size.

    The learning rate, momentum and weight decay at the start are the arguments that the optimizer was built with. A
    parameter group with a multiple of one keeps it. No LR scheduler may write what the policy turns. `measure()` returns the
    model's metrics on validation data, `probe()` those on a fixed part of them, which a policy compares in mid-training
    (None: `measure`). `metric` names the metric to tune: if it is not finite, the training has
    diverged and ends; in the direction `mode` ("min" or "max") it chooses between the last weights and their averages.
    `parts`: backward passes for each batch, each followed by `part`. `sampler`: the BatchSampler that the data come
    from. `scaler`: the gradient scaler of fp16. `weights` and `knobs`: for loops that do not train `model` itself.
    `forked`: the first state to be loaded belongs to another configuration (see `fork`). `rewritten`: a trainer's scheduler
    writes to the optimizer, too, and the loop calls `turn` after it.

    Raises ValueError if the policy needs an argument that is missing (`trainables.training.needs`), or if an LR scheduler
    writes the learning rate, too; `update` also does.

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
        self, policy: Policy[Any] | None, model: torch.nn.Module, optimizer: torch.optim.Optimizer, *,
        batch_size: int, samples: int, epochs: int,
        measure: Callable[[], Metrics] | None = None, probe: Callable[[], Metrics] | None = None,
        metric: str = "", mode: str = "min", parts: int = 1,
        sampler: DataOrder | None = None, scaler: torch.amp.GradScaler | None = None,
        weights: Weights | None = None, knobs: Knobs | None = None, forked: bool = False, rewritten: bool = False,
    ) -> None:  # fmt: skip
        self.policy, self.model, self.scaler, self.is_loaded = policy, model, scaler, False
        self._size, self._epochs = samples, epochs
        self._metric, self._order, self._forked = metric, sampler, forked
        one_of("Control", ("min", "max"), mode=mode)
        self._group = joined() if weights is None else Alone()
        if policy is not None:
            instance("Control", Policy, policy=policy)
            refuse_without_momentum(policy, optimizer)
        watched = frozenset() if policy is None else policy.needs
        self.watches_loss, self.watches_gradient = "loss" in watched, "gradient" in watched
        if policy is not None and weights is None:
            refuse_unmet(
                policy, averages=False, rolls_back=sampler is not None, measures=measure is not None,
                parts=max(parts, self._group.size), metric=metric,
            )  # fmt: skip
        self._weights = ModelState(model, optimizer) if weights is None else weights
        self._measuring = Measuring(model, self._weights, self._group, measure, probe, metric, mode)
        self._parts = Parts(model, parts, self._group, watches=weights is None and self.watches_gradient)
        self._initial = knobs_of(optimizer, batch_size) if knobs is None else knobs
        self._writer = KnobWriter(optimizer, self._initial, policy, alone=weights is None and not rewritten)

        self.knobs = self._initial
        self.epoch = 0  # epochs finished
        self.samples = 0  # seen since the start
        self.stopped = False  # whether the policy gave up the training
        self.diverged = False
        self.decisions = Decisions(self.knobs)
        self._account = LossAccount()
        self._policy_state: Any = None
        self._settings = repr(policy)
        self.snapshots = Snapshots(self._weights, self._account, sampler, scaler)
        self.chosen = 0.0  # the average that the last epoch's end found best, by its exponent; 0: the last weights
        self._averages: WeightAverages | None = None
        self._exploring = False  # whether the next roll-back undoes the present updates
        self._undone = 0  # samples seen whose updates were rolled back
        self._evaluating = False  # whether the model had the weights to measure at some time since the last update
        self.start()

    # For the loop to read

    @property
    def batch_size(self) -> int:
        """Samples of the next update."""
        return self.knobs.batch_size

    @property
    def done(self) -> bool:
        """Whether the training is over: all epochs done, diverged, or given up by the policy."""
        return self.stopped or self.diverged or self.epoch >= self._epochs

    @property
    def position(self) -> int:
        """Samples behind the weights that an evaluation would measure: without undone and exploratory updates."""
        return self.samples - self._undone if self._reported is None else int(self._reported["position"])

    @property
    def _reported(self) -> dict[str, Any] | None:
        """The snapshot that an evaluation measures; None: the present weights."""
        return self.snapshots.reported if self._exploring else None

    @property
    def keeps_averages(self) -> bool:
        """Whether averages of the weights are kept now."""
        return self._averages is not None

    def part_sizes(self, count: int, at_most: int | None = None) -> list[int]:
        """Split a batch of `count` samples into parts of at most `at_most`: `batch.split(sizes)`."""
        return self._parts.sizes(count, at_most)

    # For the loop to call

    def part(self, samples: int, loss: float | Tensor) -> None:
        """Call after each of several backward passes of a batch, with the pass's samples and their mean loss.

        The gradients of the passes add up, so scale each loss by the pass's share of the batch's samples.
        """
        self._parts.add(samples, loss, self.scaler)

    def update(self, loss: float | Tensor | None = None, samples: int | None = None) -> None:
        """Call after the optimizer's step, with the batch's mean loss and samples; without them if you called `part`.

        On several DDP ranks each passes its own share. The policy may turn knobs or roll back before this returns.
        """
        if loss is not None and samples is not None:
            if self.watches_gradient:
                raise ValueError(
                    f"control.update(loss, {samples}): {shown(self.policy)} needs the gradient; call control.part(samples, loss) "
                    "after each backward pass, before gradients are clipped, and then control.update()."
                )
            self._parts.add(samples, loss, self.scaler)
        self.updated(*self._parts.taken())

    def updated(self, loss_sum: float | Tensor, samples: int, gradient: Gradient | None) -> None:
        """Record an update over `samples` samples, over all parts and workers, and ask the policy."""
        self._writer.refuse_other_writers(self.knobs)
        if why := self._writer.scheduled_for_another():
            self._tell(why, self.decisions.told_knobs, {}, 0.0, warns=True)
        self._evaluating, self._measuring.found = False, None
        self._account.add(loss_sum, samples, exploring=self._exploring)
        self.snapshots.told(self._account.latest)
        self.samples += samples
        if self._averages is not None:
            self._averages.update(samples)
        if self._order is not None:
            self._order.follow(self.samples, self.knobs.batch_size)
        if self.policy is not None:
            self._ask(Signals(
                self.samples, self._size, self.epoch, self._epochs, self.knobs,
                loss=float(loss_sum) / samples if self.watches_loss else None, gradient=gradient, tuned=self._metric,
            ))  # fmt: skip

    def end_epoch(self, metrics: Metrics | Callable[[], Metrics] | None = None) -> dict[str, float]:
        """Close the epoch: measure, and ask the policy. Returns the metrics with the epoch's "train_loss".

        Pass the metrics, or a function that measures them (None: `measure`). During an exploration, the weights at the
        snapshot must be measured: the function finds them in the model; to measure earlier, do so within `evaluating`.
        """
        if not self.samples and not self.stopped:
            raise ValueError("control.end_epoch(): no update yet; call control.update(loss, samples) after each.")
        is_unmeasured = self._reported is not None and not self._evaluating
        self._measuring.refuse(metrics, self.policy, exploring=is_unmeasured, averages=self.keeps_averages)
        train_loss = self._account.mean(self._reported, self.epoch)
        self._account.put(0.0, 0)
        self.epoch += 1
        if self._order is not None:
            self._order.end_epoch()
        if not math.isfinite(train_loss):
            self.diverged = True
            return {self._metric: math.nan, "train_loss": train_loss} if self._metric else {"train_loss": train_loss}
        self._evaluating = True
        values, each, self.chosen = self._measuring.place(metrics, self._reported, self._averages)
        found = {**values, "train_loss": train_loss}
        tuned = found.get(self._metric)
        self.diverged = isinstance(tuned, float) and not math.isfinite(tuned)
        if not self.diverged and self.policy is not None:
            self._ask(Signals(
                self.samples, self._size, self.epoch, self._epochs, self.knobs, train_loss=train_loss, metrics=found,
                each=each, tuned=self._metric,
            ))  # fmt: skip
            refuse_unsavable(self.policy, "act", self._policy_state)
            refuse_changed(self.policy, self._settings)
            self._tell_schedule()
        return {**found, **self.decisions.found}

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """A context in which the model has the weights that count, for an evaluation or to save them for later use.

        During an exploration those at the snapshot. Of the last weights and their averages the better, by `measure`; if
        there is none, as chosen at the last epoch's end.
        """
        self._evaluating = True
        if self.keeps_averages and self._measuring.is_possible:
            self.chosen = self._measuring.place(None, self._reported, self._averages).chosen
        with self._measuring.chosen(self.chosen, self._reported, self._averages):
            yield

    def turn(self, *, amid: bool = False) -> None:
        """Write the knobs to the optimizer and the data order; call it again after other code has written there."""
        self._writer.write(self.knobs, amid=amid)
        if self._order is not None:
            self._order.follow(self.samples, 0 if self.stopped else self.knobs.batch_size)

    # Saving and loading

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that the control depends on: plain data and tensors. Call it between two updates only."""
        if self._parts.is_amid:
            raise ValueError("control.state_dict(): a batch is only partly done; save after control.update().")
        refuse_unsavable(self.policy, "act", self._policy_state)
        return {
            "epoch": self.epoch,
            "samples": self.samples,
            "stopped": self.stopped,
            "diverged": self.diverged,
            "account": self._account.state_dict(),
            "decisions": self.decisions.state_dict(),
            "exploring": self._exploring,
            "reports": self.snapshots.reports,
            "undone": self._undone,
            "knobs": asdict(self.knobs),
            "multiples": [dict(multiples) for multiples in self._writer.multiples],
            "policy": copied(self._policy_state),  # `act` may change its state in place
            "snapshots": self.snapshots.state_dict(),
            "averages": self._averages and copied(self._averages.state_dict(), torch.device("cpu")),
            "chosen": self.chosen,
            "order": None if self._order is None else self._order.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, saved with the same policy; load the model and the optimizer first."""
        self.is_loaded, self._measuring.found = True, None
        if self._forked:
            self._forked = False
            if (reported := reported_snapshot(state)) is not None:  # the other trial's metrics are of these weights
                self._weights.write(reported["weights"])
            self.fork(state)
            return
        self.epoch, self.samples = state["epoch"], state["samples"]
        self.stopped, self.diverged = state["stopped"], state["diverged"]
        self._account.load_state_dict(state["account"])
        self.decisions.load_state_dict(state["decisions"])
        self._exploring, self._undone = state["exploring"], state["undone"]
        self.knobs, self._policy_state = Knobs(**state["knobs"]), copied(state["policy"])
        self._writer.multiples = [*state["multiples"]]  # the optimizer may have been loaded before `attach`
        self.snapshots.load_state_dict(state["snapshots"])
        self.snapshots.reports = state["reports"]
        averages, self.chosen = copied(state["averages"]), state["chosen"]
        self._averages = averages and WeightAverages.restored(self.model, averages)
        if self._order is not None and state["order"] is not None:
            self._order.load_state_dict(state["order"])
        self.turn()

    def fork(self, state: dict[str, Any]) -> None:
        """Continue from another configuration's last weights, with this one's knobs and its policy from the start."""
        self._writer.fork(state["multiples"], Knobs(**state["knobs"]))
        mine = {"exploring": False, "averages": None, "chosen": 0.0, "snapshots": dict[str, Any]()}
        self.load_state_dict({**state, **mine, "multiples": self._writer.multiples})
        self.decisions = Decisions(self._initial)
        if self._order is not None:
            self._order.behind = 0
        self.start()

    def start(self) -> None:
        """Set the configuration's knobs, and let the policy change them before the next update."""
        self.knobs = self.decisions.told_knobs = self._initial
        self.turn()
        if self.policy is not None:
            signals = Signals(self.samples, self._size, self.epoch, self._epochs, self.knobs, tuned=self._metric)
            self._policy_state, action = asked(self.policy, "start", signals)
            refuse_unsavable(self.policy, "start", self._policy_state)
            self._policy_state = copied(self._policy_state)  # it may belong to the policy, or to all of its class
            self.do(action, 0.0)
            self._tell_schedule()

    # Carrying out the policy's actions

    def _ask(self, signals: Signals) -> None:
        assert self.policy is not None
        begun = time.perf_counter()
        self._policy_state, action = asked(self.policy, "act", signals, self._policy_state)
        self.do(action, time.perf_counter() - begun)
        if action.measure:
            metrics, each, _ = self._measuring.asked(self._averages)
            self._ask(replace(
                signals, knobs=self.knobs, metrics=metrics, each=each, train_loss=None, loss=None, gradient=None,
            ))  # fmt: skip

    def do(self, action: Action, cost_seconds: float) -> None:
        """Carry out an action that took the policy `cost_seconds` to choose."""
        names = [action.mark] if action.mark else []
        ends = action.why and not action.explore and self._reported is not None  # an exploration
        meanwhile = Decisions.meanwhile(self.snapshots.epoch, self.epoch) if ends else ""
        if action.roll_back:
            self._take(names)
            names = []
            self._roll_back(action)
        self._keep_averages(action.averages)  # after a roll-back, which would undo it
        if action.snapshot or (action.explore and not action.roll_back):
            names.append("")
        self._take(names)
        if action.snapshot or action.roll_back or action.explore:
            self._exploring, self.snapshots.reports = action.explore, action.reports
        self.decisions.found |= action.found
        before = self.knobs
        if action.knobs is not None:
            self.knobs = action.knobs
        if action.knobs is not None or action.roll_back:  # the optimizer's state at the snapshot has older knobs
            self.turn(amid=self.samples > 0)
        how = averaged(action, self._weights, before, self.knobs, self._size)
        if why := "; ".join(filter(None, (action.why, how, meanwhile))):
            begun = self._weights.averaging or Averaging(1) if how else None
            before = before if self._exploring else self.decisions.told_knobs
            self._tell(why, before, action.evidence, cost_seconds, begun, warns=action.warns)
        if action.stop:  # give the epoch a NaN training loss; nothing follows
            self.stopped, self._exploring = True, False
            self._account.put(math.nan, 1)
            self.turn()

    def _take(self, names: list[str]) -> None:
        self.snapshots.take(names, self.epoch, self.samples, self.samples - self._undone, self._averages)

    def _roll_back(self, action: Action) -> None:
        with self._writer.keeping():
            snapshot = self.snapshots.restore(
                action.roll_back_to, self.epoch, self.samples, replay=action.replay, why=self.policy
            )
        self._undone, self._measuring.found = self.samples - snapshot["position"], None
        if self._averages is not None:  # which averages are kept stays, as the knobs do
            kept, self._averages = self._averages.gammas, None
            if snapshot["averages"] is not None and snapshot["averages"]["gammas"] == kept:
                self._averages = WeightAverages.restored(self.model, copied(snapshot["averages"]))
            self._keep_averages(kept)
        if self._exploring and not action.explore:
            self.snapshots.drop_marks()

    def _keep_averages(self, gammas: tuple[float, ...] | None) -> None:
        """Keep averages with these exponents; go on with those that are kept already."""
        if gammas is not None and gammas != (() if self._averages is None else self._averages.gammas):
            self._averages = WeightAverages(self.model, gammas) if gammas else None

    def _tell(
        self, why: str, before: Knobs, evidence: Metrics, cost_seconds: float, begun: Averaging | None = None,
        warns: bool = False,
    ) -> None:  # fmt: skip
        at = None if self._exploring else self.position
        self.decisions.tell(why, self.epoch, self.samples, at, before, self.knobs, evidence, cost_seconds, begun, warns)

    def _tell_schedule(self) -> None:
        """Record, once in a while, the knobs that a policy turns gradually."""
        if not self._exploring and self.decisions.told_knobs != self.knobs:
            self._tell("schedule", self.decisions.told_knobs, {}, 0.0)
