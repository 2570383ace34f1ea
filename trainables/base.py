"""The contracts of trainables/: a workload is what is trained, a policy decides from inside the training.

Nothing here imports torch, so that a command line can name a workload without paying for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from search.trial import Config

if TYPE_CHECKING:
    import torch
    from torch import Tensor

S = TypeVar("S")


@dataclass(frozen=True)
class Assignment:
    """What a worker is told: train this configuration in this folder from where it rests to `until`.

    `recorded` is the last step in the ledger: a checkpoint beyond it is not used, so that no step is missing.
    """

    trial: int
    config: Config
    seed: int
    until: int  # last step to train
    folder: Path  # checkpoints of this trial
    task: str = "full"
    recorded: int = 0
    threads: int = 1  # CPUs granted to the trial
    checkpoint_seconds: float = 5.0  # at most this often, and never for more than 2 % of the time
    parent: Path | None = None  # fork: folder of the trial whose state is taken over …
    parent_step: int = 0  # … at this step
    prepared: Path | None = None  # what `Workload.prepare` left


@dataclass(frozen=True)
class Progress:
    """What a worker answers: a step was reached, a checkpoint was written, or something is worth telling.

    kind "report": `step`, `metrics`, `cost_seconds`. kind "checkpoint": `step`, `path`, `sha256`, `bytes`.
    kind "notice": `text` (a damaged checkpoint was passed over, …). kind "paused": training left off because
    it was asked to, after saving a checkpoint.
    """

    kind: str
    step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost_seconds: float = 0.0
    path: str = ""
    sha256: str = ""
    bytes: int = 0
    text: str = ""


@dataclass(frozen=True)
class Knobs:
    """What a policy may turn while the model trains."""

    learning_rate: float
    batch_size: int  # samples per optimiser update
    momentum: float = 0.0
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Signals:
    """What a policy may look at; after every update, and after every evaluation (then `metrics` is filled)."""

    samples: int  # samples seen since the start of the trial
    samples_per_epoch: int
    step: int  # evaluations (epochs) finished
    horizon: int  # … of so many
    knobs: Knobs
    train_loss: float | None = None  # mean over the epoch, at its end; None within it
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Action:
    """What a policy wants: new knobs, a mark on the present weights, or a return to the mark."""

    knobs: Knobs | None = None
    mark: bool = False
    rewind: bool = False


class Policy(ABC, Generic[S]):
    """Decides from inside the training: two pure functions and a state that is plain data.

    The state must consist of None, bool, int, float, str, tuples, lists and dicts with string keys: it is part
    of the checkpoint.
    """

    @abstractmethod
    def start(self, knobs: Knobs) -> tuple[S, Action]:
        """The first state, and what to change before the first update."""

    @abstractmethod
    def act(self, state: S, signals: Signals) -> tuple[S, Action]:
        """The next state, and what to change now."""


class Workload(ABC):
    """What is trained: model, data, loss, evaluation. Settings are the fields of a frozen dataclass.

    The methods below import torch themselves; the one loop (`trainables.loop`) calls them in this order:
    `model`, `optimizer`, `samples`, then per epoch `batch`/`loss`, then `evaluate`.
    """

    metric: ClassVar[str]  # the name in `evaluate`'s answer that is tuned
    mode: ClassVar[str]  # "min" | "max"
    metrics: ClassVar[tuple[str, ...]]  # all names that `evaluate` answers
    horizon: int  # steps (evaluations, usually epochs) of a full training
    baseline: ClassVar[Config | None] = None  # what a careful user would run without tuning

    @abstractmethod
    def knobs(self, config: Config) -> Knobs:
        """The knobs at the start. Also the place that names every parameter which the workload reads."""

    @abstractmethod
    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module: ...

    @abstractmethod
    def optimizer(self, model: torch.nn.Module, config: Config) -> torch.optim.Optimizer: ...

    @abstractmethod
    def samples(self) -> int:
        """Training samples in an epoch."""

    @abstractmethod
    def loss(self, model: torch.nn.Module, indices: Tensor) -> Tensor:
        """Mean training loss of the samples with these indices (long, (batch,)); differentiable."""

    @abstractmethod
    def evaluate(self, model: torch.nn.Module, part: str) -> Mapping[str, float]:
        """The metrics on "valid" (decisions are made from it) or on "test" (asked once, at the end)."""

    def prepare(self, folder: Path) -> None:  # noqa: B027 - most workloads need nothing
        """Make what all trials share (a pre-trained model), once a sweep; must be deterministic."""

    @classmethod
    def smallest(cls) -> Workload:
        """The smallest sensible size, for tests and `--smoke`: seconds."""
        return cls()

    def run(self, policy: Policy[Any], assignment: Assignment, should_pause: Any = None) -> Iterator[Progress]:
        """Carry out an assignment; see `trainables.loop.run`."""
        from trainables.loop import run  # torch is loaded where training happens, not where it is described

        return run(self, policy, assignment, should_pause)
