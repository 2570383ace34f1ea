"""The frozen records that all other parts speak; the history is folded from them.

A sweep is a sequence of records. From three kinds the searchers and schedulers decide: a `Suggestion` (somebody decided
to run something), a `Report` (a trial reached a step) and an `End` (a trial came to rest). The others say how the run
itself went: `Began`, `Judged`, `Lost`, `Over` and `Tested`. Inside the project *loss is minimised*: a metric that the
user maximises is negated once, where the ledger is read (`Goal`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from search.task import FULL

if TYPE_CHECKING:
    from search.history import Trial

Config = Mapping[str, Any]
"""Parameter name → plain Python value (int, float, bool, str, None), active parameters only."""

BASELINE = "baseline"  # origin of the configuration that the others are compared with
FINALIST = "finalist"  # origin of a repetition, on a fresh seed, of one of the best configurations
FALLBACK = (
    "fallback"  # origin of what runs instead, where the searcher broke or a fork's parent has lost its checkpoint
)


class Status(str, Enum):
    """Where a trial stands."""

    RUNNING = "running"  # suggested, no end recorded: a worker has it, or had it when the driver died
    STOPPED = "stopped"  # left at a step before the horizon; it rests at its checkpoint and may be resumed
    COMPLETED = "completed"  # reached the horizon, or came to an end of its own before
    DIVERGED = "diverged"  # its loss became NaN or infinite; final
    FAILED = "failed"  # an error, retries used up; final


@dataclass(frozen=True)
class Suggestion:
    """One decision of what to run: start a configuration, resume a resting trial, or fork one.

    Build with `start`, `resume` or `fork`. `trial` is the number of the trial that runs; None until the
    history numbers it (a start or a fork always makes a new trial).
    """

    kind: str  # "start" | "resume" | "fork"
    config: Config
    trial: int | None = None
    until: int | None = None  # train to this step; None: to the horizon
    task: str = "full"
    origin: str = "model"  # who proposed it: "point", "initial", "model", "random", "grid", "promotion", "fallback", …
    evidence: str = ""  # one line for people: why (for a fallback: what failed)
    memo: str = ""  # what the searcher wants to find again in the history: the settings of its model
    parent: int | None = None  # fork: the trial whose state is taken over …
    parent_step: int | None = None  # … and at which step
    replaces: int | None = None  # the trial whose place in a population this one takes


def start(
    config: Config,
    *,
    origin: str = "model",
    until: int | None = None,
    task: str = FULL,
    evidence: str = "",
    memo: str = "",
) -> Suggestion:
    """Train a new configuration from scratch."""
    return Suggestion("start", config, until=until, task=task, origin=origin, evidence=evidence, memo=memo)


def resume(
    trial: Trial, *, until: int | None = None, origin: str = "promotion", evidence: str = "", memo: str = ""
) -> Suggestion:
    """Take a resting trial on, from its checkpoint, to the step `until` (None: to the horizon)."""
    return Suggestion("resume", trial.config, trial.number, until, trial.task, origin, evidence, memo)


def fork(
    parent: Trial,
    step: int,
    config: Config,
    *,
    origin: str = "model",
    until: int | None = None,
    evidence: str = "",
    replaces: int | None = None,
) -> Suggestion:
    """Start a new trial with another configuration from `parent`'s checkpoint at `step`."""
    return Suggestion(
        "fork", config, until=until, task=parent.task, origin=origin, evidence=evidence,
        parent=parent.number, parent_step=step, replaces=replaces,
    )  # fmt: skip


@dataclass(frozen=True)
class Enough:
    """What a searcher answers instead of a suggestion to end the search: nothing new is worth its cost."""

    reason: str


@dataclass(frozen=True)
class Report:
    """Trial `trial` reached `step` (counted from 1; usually an epoch) with this loss.

    `cost_seconds` is what this step alone cost. `metrics` holds all that was measured, with the user's sign.
    """

    trial: int
    step: int
    loss: float
    cost_seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """Trial `trial` came to rest."""

    trial: int
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Judged:
    """The scheduler stops trial `trial`; its `End` follows."""

    trial: int
    scheduler: str = ""  # its settings, as text


@dataclass(frozen=True)
class Lost:
    """Trial `trial` lost its worker at its last recorded step."""

    trial: int
    reason: str = ""


@dataclass(frozen=True)
class Over:
    """The search is over: no configuration is started any more but those of the finalists."""

    reason: str


@dataclass(frozen=True)
class Tested:
    """Trial `trial` was measured on the test part."""

    trial: int


@dataclass(frozen=True)
class Began:
    """Somebody took the sweep up, for the first time or again. `change`: what they changed; a search that was over goes on."""

    change: str = ""


OfTrial = Suggestion | Report | End | Judged | Lost | Tested
OfRun = Over | Began
Record = OfTrial | OfRun


@dataclass(frozen=True)
class Goal:
    """Which metric counts, and which way: the one place that knows its sign."""

    metric: str = "loss"
    mode: str = "min"  # or "max"

    def loss(self, value: float) -> float:
        """The user's metric as the loss that is minimised inside."""
        return -value if self.mode == "max" else value

    def value(self, loss: float) -> float:
        """The inverse of `loss`."""
        return -loss if self.mode == "max" else loss


LOSS = Goal()  # of a loop that tells a loss
