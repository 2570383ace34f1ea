"""The contracts of trainables/: a workload is a training that can be tuned; a policy decides while it runs.

Nothing here imports torch, so the command line can name a workload without loading it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from search.records import Config
from search.work import Assignment, Progress
from trainables.values import Action, Execution, Knobs, Predictions, Signals, knob_objection

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from search.space import Space


S = TypeVar("S")

WRITES = ("learning_rate", "batch_size", "momentum", "weight_decay", "snapshot", "replay", "average", "averages")
NEEDS = ("loss", "gradient", "metrics", "momentum")
NO_KNOB = "your training sets all else itself (docs/policies.md#settings-that-are-no-knobs)"


class Policy(ABC, Generic[S]):
    """Decides while a model trains: two pure functions and a state of plain data.

    The state becomes part of the checkpoint, so it may contain only None, bool, int, float, str, bytes, tuples, lists,
    sets, dicts, NumPy's numbers and arrays, and tensors.

    `resumable`: whether a short training equals the beginning of a longer one. False for a policy that reads
    `signals.horizon` or `signals.progress` (cosine, polynomial decay, a warm-up given as a share of the training): its
    short training differs from a long one that was cut short, and cannot be extended into it. Such a class sets
    `resumable = False`, without an annotation, which would make it a setting. A policy around another one defines a
    property that answers for both.

    `writes`: the knobs that the policy turns; also "snapshot" if it takes snapshots or explores, "replay" if it replays
    samples, "average" if it averages replicas, "averages" if it keeps averages of the weights over time. `needs`: "loss" or
    "gradient", which the loop then measures after every update, and "metrics" if the policy asks for a measurement between
    two epochs (each costs a little time); "momentum" if the optimizer must have one.

    `finds_rate`: whether its trainings report the learning rate that it found (`FOUND_RATE`); None: unknown. Each class
    answers for itself, because a class derived from it may report one: what a class does not say is None.
    """

    resumable: bool = True
    writes: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    finds_rate: bool | None = None

    def __init_subclass__(cls, **given: Any) -> None:
        """Raises ValueError for a `writes` or `needs` with a name that means nothing to the loop."""
        super().__init_subclass__(**given)
        if "finds_rate" not in vars(cls):
            cls.finds_rate = None
        for attribute, known in (("writes", WRITES), ("needs", NEEDS)):
            _refuse_unknown(cls, attribute, known)

    def __setattr__(self, name: str, value: Any) -> None:
        """Raises TypeError, unless the class is a frozen dataclass, which sets its fields in its own way."""
        raise TypeError(
            f"{type(self).__name__}.{name} = {value!r}: a policy keeps nothing on itself, because no checkpoint would have it; make the "
            "class a frozen dataclass, `@dataclass(frozen=True)`, with its settings as fields, and keep what changes in the "
            "state that `start` and `act` return."
        )

    @abstractmethod
    def start(self, signals: Signals) -> tuple[S, Action]:
        """Return the first state and the changes before the first update; a fork starts in mid-training."""

    @abstractmethod
    def act(self, state: S, signals: Signals) -> tuple[S, Action]:
        """Return the next state and the changes to make now."""


def _refuse_unknown(kind: type[Policy[Any]], attribute: str, known: tuple[str, ...]) -> None:
    names = vars(kind).get(attribute, frozenset())
    if hasattr(names, "__get__"):  # a property, which answers for an inner policy
        return
    place = f"{kind.__name__}: {attribute} = {names!r}"
    if not isinstance(names, (frozenset, set)):
        raise ValueError(f"{place}: must be a set of names; write {attribute} = frozenset({{{known[0]!r}}}).")
    if unknown := sorted(map(str, names - set(known))):
        raise ValueError(
            f"{place}: no policy can name {unknown[0]!r} there; choose from {', '.join(map(repr, known))}"
            f"{f'; {NO_KNOB}' if attribute == 'writes' else ''}."
        )


class Abilities:
    """The questions that a sweep asks any training, with the usual answers."""

    takes_policy: bool = True  # whether a policy can reach the knobs
    policy_remedy: str = "leave out policy, and tune the settings of your schedule as parameters; WeightAverages works in a script, too."  # if none can
    forks: bool = True  # whether a trial can take over the state of another …
    why_no_forks: str = "hands over no state"  # … and if not, what it does instead
    has_own_process: bool = False  # whether each stretch of a trial starts a process, which imports and compiles anew

    def check(self) -> None:
        """Raise ValueError if the data or weights are missing or of the wrong kind.

        The sweep calls this at its start, before any expensive work, so it should take a second at most.
        """

    def check_space(self, space: Space) -> None:
        """Raise ValueError for a space with a parameter that the training cannot be given."""

    def doubt(self) -> str:
        """Why it may fail on this machine, though not on others, with the remedy; the dry run says so. "": no doubt."""
        return ""

    def space_doubt(self, space: Space) -> str:
        """Why a parameter of the space may be without effect, though nothing refuses it; the dry run says so. "": no doubt."""
        return ""

    def reads(self, policy_for: Callable[[Config], Any], configs: Sequence[Config], names: set[str]) -> set[str] | None:
        """The parameters that it or its policy reads; may stop once `names` are among them. None if that is unknown."""
        return None

    def prepare(self, folder: Path) -> None:
        """Make what all trials of all tasks share (a pre-trained model), once per sweep; must be deterministic."""

    @classmethod
    def smallest(cls) -> Any:
        """The smallest sensible size, for tests and `--smoke`: it trains in seconds. None: there is no such size."""
        return None


class OwnTraining(Abilities, ABC):
    """A training that runs in its own way: a script, the user's function, a table of recorded curves."""

    metric: str  # the metric to tune, by its name in the reports
    mode: str  # "min" | "max"
    metrics: tuple[str, ...]  # the names of all metrics that it reports
    horizon: int  # steps (evaluations, usually epochs) of a full training
    baseline: Config | None = None  # the configuration that a careful user would run without tuning

    @abstractmethod
    def run(
        self, policy: Any, assignment: Assignment, should_pause: Callable[[], bool] | None = None
    ) -> Iterator[Progress | None]:
        """Train as `trainables.carry_out` says; a `search.work.Run`, or any iterator if there is nothing to save."""

    def test(self, assignment: Assignment) -> Mapping[str, float]:
        """Metrics on data that no decision used, of the newest checkpoint at a step <= `assignment.recorded`."""
        raise NotImplementedError(f"{type(self).__name__} has no test")


class CommandLine(OwnTraining):
    """A training that is a command with the parameters in its words."""

    command: str

    @abstractmethod
    def arguments(self, config: Config, places: Mapping[str, Any] | None = None) -> list[str]:
        """The words of the command for a configuration.

        `places`: the trial's own {"folder": …, "seed": …} and, if the command takes one, {"config": its file}; None: these
        stay placeholders, for the record.
        """

    @abstractmethod
    def warnings(self, space: Space, resources: Mapping[str, Any], max_concurrent: int | None) -> list[str]:
        """What may go wrong in a trial, or be recorded wrongly, with the remedy: told at the start, too."""

    @abstractmethod
    def files(self) -> Sequence[Path]:
        """The user's own files that it starts, and the config files that it starts from, as far as they are known and there."""

    @property
    @abstractmethod
    def ignores_seed(self) -> bool:
        """Whether nothing in the command and its script mentions the trial's seed; False if that is not known."""


class Workload(Abilities, ABC):
    """A training that can be tuned: model, data, loss, evaluation. Its settings are the fields of a frozen dataclass.

    The methods import torch themselves. The training loop (`trainables.training.loop`) calls them in this order:
    `knobs`, `model`, `optimizer`, `clip_norm`, `scaler`, `samples`, then `loss` for each update and `evaluate` for each
    epoch. The loop moves the model and `indices` to the GPU if there is one; `loss` and `evaluate` move the data to the
    model's device. Between calls a workload keeps only data that never change.
    """

    metric: ClassVar[str]  # the metric to tune, by its name in the result of `evaluate`
    mode: ClassVar[str]  # "min" | "max"
    metrics: ClassVar[tuple[str, ...]]  # all names that `evaluate` returns
    horizon: int  # steps (evaluations, usually epochs) of a full training
    baseline: ClassVar[Config | None] = None  # the configuration that a careful user would run without tuning
    execution: Execution = Execution()

    def reads(self, policy_for: Callable[[Config], Any], configs: Sequence[Config], names: set[str]) -> set[str] | None:
        from trainables.reads import asked_for

        return asked_for(self, policy_for, configs, names)

    @abstractmethod
    def knobs(self, config: Config) -> Knobs:
        """The knobs at the start. Also name every other parameter here that the workload reads."""

    @abstractmethod
    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module: ...

    @abstractmethod
    def optimizer(self, model: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
        """The optimiser at the start, with the values of `knobs` in its parameter groups.

        A group may have a multiple of a knob (three times the learning rate for a head, no weight decay for biases).
        It keeps that multiple when a policy turns the knob.
        """

    def clip_norm(self, config: Config) -> float | None:
        """The largest gradient norm of an update; longer gradients are clipped to it. None: no clipping."""
        return None

    def scaler(self, config: Config) -> torch.amp.GradScaler | None:
        """The loss scaler, which keeps fp16 gradients from vanishing; None: not needed."""
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

        Weight all samples equally, so that the parts of a batch add up. Draw random numbers (augmentation, masks) from
        torch's global stream, which is part of the state.
        """

    @abstractmethod
    def evaluate(self, model: torch.nn.Module, part: str) -> Mapping[str, float]:
        """The metrics on "valid", which decisions rest on, or on "test", measured once at the end."""

    def probe(self, model: torch.nn.Module, samples: int) -> Mapping[str, float]:
        """The metrics of `evaluate` on about so many samples of "valid", always the same; in mid-training, for policies.

        Without it they wait for the whole of "valid". A class that overrides `evaluate` overrides this, too.
        """
        return self.evaluate(model, "valid")

    def predictions(self, model: torch.nn.Module, part: str) -> Predictions | None:
        """The answers to each example of "valid" or "test", always in the same order; None: it is no classifier.

        `orchestrator predictions RUN` compares the baseline with the best trial by them.
        """
        return None

    def cost_seconds(self, config: Config, step: int) -> float | None:
        """The declared cost of this step, for a simulated clock; None: report the time that it took."""
        return None

    @classmethod
    def smallest(cls) -> Workload:
        return cls()


def objection_to_knobs(workload: Workload, config: Config, knobs: Any) -> str:
    """What is wrong with `knobs`, which the workload returned for `config`; "" if a training can use them."""
    place = f"{type(workload).__name__}.knobs returned"
    if not isinstance(knobs, Knobs):
        return f"{place} {knobs!r}; return Knobs(learning_rate=…, batch_size=…), which `trainables` offers."
    for name, value in vars(knobs).items():
        if objection := knob_objection(name, value):
            return f"{place} {name}={value!r} for {dict(config)!r}: {objection}"
    return ""


Trainable = Workload | OwnTraining
"""Anything that a sweep can tune."""
