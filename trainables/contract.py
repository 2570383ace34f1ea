"""The contracts of trainables/: a workload is what is trained, a policy decides from inside the training.

Nothing here imports torch, so that a command line can name a workload without paying for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from search.records import Config
from trainables.values import Action, Execution, Knobs, Signals

if TYPE_CHECKING:
    import torch
    from torch import Tensor


S = TypeVar("S")


class Policy(ABC, Generic[S]):
    """Decides from inside the training: two pure functions and a state that is plain data.

    The state must consist of None, bool, int, float, str, tuples, lists and dicts: it is part of the
    checkpoint.

    `resumable`: a training of some epochs is the beginning of one of more. False for a policy that looks at
    `signals.horizon` (cosine, polynomial decay, warm-up as a share of the whole): a short training is then
    another one than a long training cut short, and cannot go on as it. Such a class says `resumable = False`
    (no annotation: it is no setting); a policy around another has a property that answers for both.

    `writes`: the knobs that it writes, "snapshot" if it takes snapshots or explores, "replay" if samples come again, "average" if it
    averages. `needs`: "loss", "gradient", what the loop measures for it after every update, "metrics" if it asks for a
    measurement between two epochs; each costs a little.
    """

    resumable: bool = True
    writes: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()

    @abstractmethod
    def start(self, signals: Signals) -> tuple[S, Action]:
        """The first state, and what to change before the first update; a fork begins amid a training."""

    @abstractmethod
    def act(self, state: S, signals: Signals) -> tuple[S, Action]:
        """The next state, and what to change now."""


class Workload(ABC):
    """What is trained: model, data, loss, evaluation. Settings are the fields of a frozen dataclass.

    The methods below import torch themselves; the one loop (`trainables.training.loop`) calls them in this order:
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
        if hasattr(self, "run"):
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
