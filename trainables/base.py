"""The contracts of trainables/: a workload is what is trained, a policy decides from inside the training.

Nothing here imports torch, so that a command line can name a workload without paying for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from search.records import Config
from search.settings import one_of, whole
from search.work import Assignment
from trainables.signals import Gradient

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.parallel import ParallelRun
    from trainables.run import Run

S = TypeVar("S")


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
    """What a policy wants: new knobs, a mark on the present weights, or a return to the mark.

    `explore` marks too, and what follows until the next rewind is a trial: an evaluation that falls into it
    measures the weights at the mark, and the epoch's training loss leaves it out.
    `average`: train so many replicas from here on (one: the model alone). They start afresh, all where the central model
    is, and again whenever a decision turns the learning rate.
    `why` makes the change a decision, which is recorded with its `evidence`; a schedule that turns a knob after
    every update gives none.
    """

    knobs: Knobs | None = None
    mark: bool = False
    rewind: bool = False  # weights and optimiser only: knobs stay as they are, the data goes on
    replay: bool = False  # with a rewind: the same samples and random numbers come again as after the mark
    explore: bool = False
    measure: bool = False  # ask at once again, with `signals.metrics` of the present weights on "valid"
    stop: bool = False  # give the training up as diverged
    average: Averaging | None = None  # None: as before
    why: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)


NOTHING = Action()


class Policy(ABC, Generic[S]):
    """Decides from inside the training: two pure functions and a state that is plain data.

    The state must consist of None, bool, int, float, str, tuples, lists and dicts: it is part of the
    checkpoint.

    `resumable`: a training of some epochs is the beginning of one of more. False for a policy that looks at
    `signals.horizon` (cosine, polynomial decay, warm-up as a share of the whole): a short training is then
    another one than a long training cut short, and cannot go on as it. Such a class says `resumable = False`
    (no annotation: it is no setting); a policy around another has a property that answers for both.

    `turns`: the knobs that it writes, "mark" if it marks or explores, "replay" if samples come again, "average" if it
    averages. `watches`: "loss", "gradient", what the loop measures for it after every update, "metrics" if it asks for a
    measurement between two epochs; each costs a little.
    """

    resumable: bool = True
    turns: frozenset[str] = frozenset()
    watches: frozenset[str] = frozenset()

    @abstractmethod
    def start(self, signals: Signals) -> tuple[S, Action]:
        """The first state, and what to change before the first update; a fork begins amid a training."""

    @abstractmethod
    def act(self, state: S, signals: Signals) -> tuple[S, Action]:
        """The next state, and what to change now."""


class Workload(ABC):
    """What is trained: model, data, loss, evaluation. Settings are the fields of a frozen dataclass.

    The methods below import torch themselves; the one loop (`trainables.loop`) calls them in this order:
    `knobs`, `model`, `optimizer`, `clip_norm`, `scaler`, `samples`, then `loss` for each update and `evaluate` for each
    epoch. The model is moved to the GPU if there is one, `indices` too: `loss` and `evaluate` bring the data
    to where the model is. A workload keeps nothing between calls except data that never change.
    """

    metric: ClassVar[str]  # the name in `evaluate`'s answer that is tuned
    mode: ClassVar[str]  # "min" | "max"
    metrics: ClassVar[tuple[str, ...]]  # all names that `evaluate` answers
    horizon: int  # steps (evaluations, usually epochs) of a full training
    baseline: ClassVar[Config | None] = None  # what a careful user would run without tuning
    execution: Execution = Execution()

    def check(self) -> None:  # noqa: B027 - most workloads need nothing
        """Raise ValueError if its data or weights are not there or not of the right kind.

        Called where the sweep is started, before anything expensive; so it should take a second at most.
        """

    def reads(self, policy_for: Callable[[Config], Any], configs: Sequence[Config], names: set[str]) -> set[str] | None:
        """The parameters that it or its policy asks for, looking for `names`; None if that cannot be told."""
        if type(self).run is not Workload.run:
            return None  # it trains in a way of its own
        from trainables.reads import asked_for

        return asked_for(self, policy_for, configs, names)

    @abstractmethod
    def knobs(self, config: Config) -> Knobs:
        """The knobs at the start. Also the place that names every parameter which the workload reads."""

    @abstractmethod
    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module: ...

    @abstractmethod
    def optimizer(self, model: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
        """The optimiser at the start, with the values of `knobs` in its parameter groups.

        A group may have a multiple of a knob (a head with three times the learning rate, biases with no
        weight decay); it keeps that multiple when a policy turns the knob.
        """

    def clip_norm(self, config: Config) -> float | None:
        """The largest norm that the gradient of an update may have; longer ones are shortened to it. None: any."""
        return None

    def scaler(self, config: Config) -> torch.amp.GradScaler | None:
        """Of the loss, so that its gradients do not vanish in fp16; None: not needed."""
        if self.execution.precision != "fp16":
            return None
        import torch

        return torch.amp.GradScaler("cuda" if torch.cuda.is_available() else "cpu")

    @abstractmethod
    def samples(self) -> int:
        """Training samples in an epoch."""

    @abstractmethod
    def loss(self, model: torch.nn.Module, indices: Tensor) -> Tensor:
        """Mean training loss of the samples with these indices (long, (batch,)); differentiable.

        Each sample counts the same, so that the parts of a batch add up. What is drawn at random (augmentation,
        masks) comes from torch's global stream, which is part of the state.
        """

    @abstractmethod
    def evaluate(self, model: torch.nn.Module, part: str) -> Mapping[str, float]:
        """The metrics on "valid" (decisions are made from it) or on "test" (asked once, at the end)."""

    def cost_seconds(self, config: Config, step: int) -> float | None:
        """What this step is declared to cost, for a simulated clock; None: what it took is reported."""
        return None

    def prepare(self, folder: Path) -> None:  # noqa: B027 - most workloads need nothing
        """Make what all trials of all tasks share (a pre-trained model), once a sweep; must be deterministic."""

    @classmethod
    def smallest(cls) -> Workload:
        """The smallest sensible size, for tests and `--smoke`: seconds."""
        return cls()

    def run(
        self, policy: Policy[Any] | None, assignment: Assignment, should_pause: Callable[[], bool] | None = None
    ) -> Run | ParallelRun:
        """Carry out an assignment, in this process (policy None: the knobs stay fixed). Iterating trains::

            run = workload.run(policy, assignment, should_pause)
            for progress in run:
                if progress is None:
                    continue  # one more update was made: a place to look around
                if progress.kind == "report" and record(progress) is STOP:
                    record(run.save())  # a "checkpoint"; nothing is written twice
                    break

        A report is yielded before the checkpoint of its step is written: who records it before asking for the
        next item never has a checkpoint beyond the record. Up to `assignment.recorded`, steps may be reported
        again, with the same metrics. The iteration ends at `until`, after "paused", or with a report of a
        metric that is not finite. It may be left at any item without harm.
        """
        if assignment.workers > 1:
            from trainables.parallel import ParallelRun

            return ParallelRun(self, policy, assignment, should_pause)
        from trainables.loop import Training  # torch is loaded where training happens, not where it is described
        from trainables.run import Run

        def begin() -> Training:
            return Training(
                self, policy, assignment.config, seed=assignment.seed, until=assignment.until, prepared=assignment.prepared
            )  # fmt: skip

        return Run(begin, assignment, should_pause)

    def test(self, assignment: Assignment) -> Mapping[str, float]:
        """Metrics on "test" of the newest checkpoint at a step <= `assignment.recorded`."""
        from trainables.run import test

        return test(self, assignment)
