"""The values that a workload, a policy and the training loop exchange: knobs, signals, actions, and how to compute.

Nothing here imports torch, so that a command line can name a workload without paying for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from search.settings import one_of, whole
from trainables.estimates.noise_scale import Gradient


@dataclass(frozen=True)
class Knobs:
    """What a policy may turn while the model trains."""

    learning_rate: float
    batch_size: int  # samples per optimiser update
    momentum: float = 0.0
    weight_decay: float = 0.0


PRECISIONS = ("float32", "bf16", "fp16")


@dataclass(frozen=True)
class Execution:
    """How a training is computed: what changes speed and memory and, up to rounding, nothing else.

    `precision`: "float32", or "bf16" or "fp16" for an autocast forward pass (fp16 with loss scaling).
    `micro_batch`: so many samples at once; a larger batch is made of several passes whose gradients add up (only
    batch normalisation sees the difference). None: the whole batch.
    `compile`: through torch.compile; pays when a training takes minutes, as the first steps take long.
    `channels_last`: image tensors with the channels innermost, which convolutions like.

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
    """What a policy may look at; after each update, and after each evaluation (then `metrics` is filled)."""

    samples: int  # samples seen since the start of the trial
    samples_per_epoch: int
    step: int  # evaluations (epochs) finished
    horizon: int  # … of so many
    knobs: Knobs
    train_loss: float | None = None  # mean over the epoch, at its end; None within it
    metrics: Mapping[str, float] = field(default_factory=dict)
    loss: float | None = None  # mean over the batch of this update; for a policy that watches "loss"
    gradient: Gradient | None = None  # of this update, unclipped; for a policy that watches "gradient"

    @property
    def epochs(self) -> float:
        """Samples seen, in epochs."""
        return self.samples / self.samples_per_epoch

    @property
    def progress(self) -> float:
        """The share of the whole training that is behind, 0 to 1."""
        return min(1.0, self.epochs / self.horizon)


@dataclass(frozen=True)
class Averaging:
    """So many replicas of the model, each with its share of every batch, held together by a central model.

    `alpha`: how much of its distance to the central model each replica gives up in a round; None: 1 / replicas.
    `momentum`: of the central model; that of the optimiser is each replica's own. `period`: rounds between two of the
    corrections. One replica is the model itself: plain training.
    """

    replicas: int
    alpha: float | None = None
    momentum: float = 0.9
    period: int = 1

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise ValueError(f"{self}: replicas must be 1 or more; try replicas=8")
        if self.alpha is not None and not 0 < self.alpha < 2 / (1 + self.replicas):
            limit = f"2 / (1 + replicas) = {2 / (1 + self.replicas):.3g}"
            raise ValueError(f"{self}: alpha must be > 0 and < {limit}, or the replicas part; try alpha=None")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"{self}: momentum must be >= 0 and < 1; try momentum=0.9")
        if self.period < 1:
            raise ValueError(f"{self}: period must be 1 or more; try period=1")

    @property
    def pull(self) -> float:
        """alpha, as a number."""
        return 1 / self.replicas if self.alpha is None else self.alpha


@dataclass(frozen=True)
class Action:
    """What a policy wants: new knobs, a snapshot of the weights, or a return to it.

    `explore` takes a snapshot too, and what follows until the next roll-back is a trial: an evaluation that falls into it
    measures the weights at the snapshot, and the epoch's training loss leaves it out.
    `average`: train so many replicas from here on (one: the model alone). They start afresh, all where the central model
    is, and again whenever a decision turns the learning rate.
    `why` makes the change a decision, which is recorded with its `evidence`; a schedule that turns a knob after
    every update gives none.
    """

    knobs: Knobs | None = None
    snapshot: bool = False
    roll_back: bool = False  # weights and optimiser only: knobs stay as they are, the data goes on
    replay: bool = False  # with a roll-back: the same samples and random numbers come again as after the snapshot
    explore: bool = False
    measure: bool = False  # ask at once again, with `signals.metrics` of the present weights on "valid"
    stop: bool = False  # give the training up as diverged
    average: Averaging | None = None  # None: as before
    why: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)


NOTHING = Action()
