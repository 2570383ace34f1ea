"""The values that a workload, a policy and the training loop exchange: knobs, signals, actions, execution settings.

Nothing here imports torch, so the command line can name a workload without loading it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.domain.scalars import plain_scalar
from search.records import FOUND
from search.settings import number, one_of, whole
from trainables.estimates.noise_scale import Gradient


@dataclass(frozen=True)
class Knobs:
    """The values that a policy may change while the model trains."""

    learning_rate: float
    batch_size: int  # samples per optimiser update
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) not in (float, int):  # NumPy's and PyTorch's numbers cannot be recorded
                object.__setattr__(self, name, plain_scalar(value))


def knob_objection(name: str, value: Any) -> str:
    """What is wrong with this value of a knob, with the remedy; "" if a training can use it.

    >>> knob_objection("batch_size", 35.2)
    'must be a whole number, 1 or more; write round(…).'
    """
    if name == "batch_size":
        is_whole = isinstance(value, (int, Integral))  # NumPy's, too
        if is_whole and value >= 1:
            return ""
        return f"must be a whole number, 1 or more{'' if is_whole else '; write round(…)'}."
    is_real = isinstance(value, (float, int)) or hasattr(value, "__float__")
    return "" if is_real and 0 <= value < math.inf else "must be a finite number, 0 or more."


PRECISIONS = ("float32", "bf16", "fp16")


@dataclass(frozen=True)
class Execution:
    """How to compute a training: affects speed and memory but, except for rounding, not the result.

    `precision`: "float32", or "bf16" or "fp16" for an autocast forward pass (fp16 with loss scaling).
    `micro_batch`: the largest number of samples computed at once. A larger batch takes several passes, whose gradients
    add up; only batch normalisation notices the difference. None: the whole batch.
    `compile`: use torch.compile. The first steps take long, so it pays for trainings of minutes or more.
    `channels_last`: store image tensors with the channels innermost, which speeds up convolutions.

    >>> execution = Execution(precision="bf16", micro_batch=64)
    """

    precision: str = "float32"
    micro_batch: int | None = None
    compile: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        one_of("Execution", PRECISIONS, precision=self.precision)
        if self.micro_batch is not None:
            whole("Execution", 1, micro_batch=self.micro_batch)


@dataclass(frozen=True)
class Signals:
    """What a policy sees after each update and after each evaluation (which fills `metrics`)."""

    samples: int  # samples seen since the start of the trial
    samples_per_epoch: int
    step: int  # evaluations (epochs) finished
    horizon: int  # steps of a full training
    knobs: Knobs
    train_loss: float | None = None  # mean over the epoch, at its end; None during it
    metrics: Mapping[str, float] = field(default_factory=dict)
    loss: float | None = None  # mean over the batch of this update; if the policy needs "loss"
    gradient: Gradient | None = None  # of this update, unclipped; if the policy needs "gradient"
    each: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """With `metrics`, while weights are averaged: the metrics of the "last" weights and of each average ("γ=4", …)."""
    tuned: str = ""  # the metric that counts in the end; "": the loop was not told

    @property
    def epochs(self) -> float:
        """Samples seen, as a number of epochs."""
        return self.samples / self.samples_per_epoch

    @property
    def whole(self) -> int:
        """Samples of the full training."""
        return self.horizon * self.samples_per_epoch

    @property
    def progress(self) -> float:
        """The share of the full training that is done, 0 to 1."""
        return min(1.0, self.epochs / self.horizon)


AVERAGED = "averaged"
"""The metric, in each report while averages of the weights are kept, that names the reported one; 0: the last weights."""


def of_last(metric: str) -> str:
    """The name in these reports of the tuned metric of the last weights."""
    return f"last_{metric}"


FOUND_RATE = f"{FOUND}learning_rate"
"""The metric, in each report after a race of rates, that gives the winner; `search.searchers.found` starts from it."""


@dataclass(frozen=True)
class Averaging:
    """Train `replicas` copies of the model, each on its share of every batch, tied together by a central model.

    `alpha`: the share of its distance to the central model that each replica gives up in a round; None: 1 / replicas.
    `momentum`: the central model's; each replica also has the optimiser's momentum. `period`: rounds from one
    correction to the next. One replica, without `outer`, is the model itself: plain training.

    `outer`: in place of corrections, Nesterov's momentum moves the central model along the replicas' mean displacement
    since the last period, at the rate `outer_rate`, and all replicas restart there (DiLoCo; SNOO with one replica).
    """

    replicas: int
    alpha: float | None = None
    momentum: float = 0.9
    period: int = 1
    outer: str | None = None
    outer_rate: float = 0.7

    def __post_init__(self) -> None:
        whole("Averaging", 1, replicas=self.replicas, period=self.period)
        if self.alpha is not None and not 0 < self.alpha < 2 / (1 + self.replicas):
            limit = f"2 / (1 + replicas) = {2 / (1 + self.replicas):.3g}"
            raise ValueError(f"{self}: alpha must be > 0 and < {limit}, or the replicas diverge; try alpha=None")
        number("Averaging", "[0, 1)", momentum=self.momentum)
        if self.outer is None:
            return
        one_of("Averaging", ("nesterov",), outer=self.outer)
        number("Averaging", "(0, inf)", outer_rate=self.outer_rate)
        if self.alpha is not None:
            raise ValueError(f"{self}: an outer momentum has no alpha; leave it out.")

    @property
    def is_plain(self) -> bool:
        """Whether it is plain training: the model alone."""
        return self.replicas == 1 and self.outer is None

    @property
    def pull(self) -> float:
        """The value of `alpha`, with its default filled in."""
        return 1 / self.replicas if self.alpha is None else self.alpha


PRESENT = "present"
"""For `Action.reports`: an evaluation during the exploration measures the weights as they are then."""


@dataclass(frozen=True)
class Action:
    """A policy's request: new knobs, a snapshot of the weights, or a roll-back to the snapshot.

    `explore` also takes a snapshot and starts an exploration, which ends at the next roll-back. An evaluation during an
    exploration measures the weights at the snapshot, and the epoch's training loss leaves the exploration out; `reports`
    names other weights to measure: those of a mark, or PRESENT, whose exploration is then part of the loss.
    `mark` keeps the present weights under a name (before a roll-back of the same action); `roll_back_to` is the name
    that a roll-back returns to. A roll-back that ends an exploration drops all names.
    `averages`: keep averages of the weights over time with these exponents γ (`trainables.training.weight_averages`).
    `average`: train this many replicas from here on (one: the model alone). They start from the central model, and
    start from it again whenever a decision turns the learning rate.
    `why` makes the change a decision, which the ledger records with its `evidence`; leave it empty in a schedule that
    turns a knob after every update. `warns`: it says what the policy cannot do here, so the user is told, once.
    `found`: metrics that each report has from here on: what the policy has found out, see `FOUND_RATE`.
    """

    knobs: Knobs | None = None
    snapshot: bool = False
    roll_back: bool = False  # weights and optimiser only; the knobs stay, and the data continue
    mark: str = ""
    roll_back_to: str = ""  # "": the snapshot
    replay: bool = False  # with a roll-back: repeat the samples and random numbers that followed the snapshot
    explore: bool = False
    reports: str = ""  # with `explore`
    measure: bool = False  # call `act` again at once, with the present weights' metrics on a fixed part of "valid"
    stop: bool = False  # give up the training as diverged
    average: Averaging | None = None  # None: no change
    averages: tuple[float, ...] | None = None  # None: no change; (): none from here on
    why: str = ""
    warns: bool = False
    evidence: Mapping[str, float] = field(default_factory=dict)
    found: Mapping[str, float] = field(default_factory=dict)


NOTHING = Action()


@dataclass(frozen=True, eq=False)
class Predictions:
    """A classifier's answers, example by example, in the order of the data; n examples.

    `images` are bytes, (n, height, width) or (n, height, width, 3); or `texts`, one for each example.
    """

    labels: NDArray[np.int64]  # (n,): the right classes
    predicted: NDArray[np.int64]  # (n,)
    confidence: NDArray[np.float64]  # (n,): the probability that the model gives to its answer
    images: NDArray[np.uint8] | None = None
    texts: Sequence[str] = ()
    classes: Sequence[str] = ()  # their names; empty: the numbers
