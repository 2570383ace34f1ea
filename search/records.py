"""The frozen records that all other parts exchange; the history is the fold of them.

A sweep is a sequence of records. Searchers and schedulers decide from three kinds: a `Suggestion` (a decision to run
something), a `Report` (a trial reached a step) and an `End` (a trial came to rest). The others tell how the run itself
went: `Began`, `Judged`, `Lost`, `Over`, `Retry`, `Tested` and `Used`. Inside the project *loss is minimised*: a metric
that the user maximises changes its sign once, where the ledger is read (`Goal`).
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

BASELINE = "baseline"  # origin of the configuration to compare the others with
FINALIST = "finalist"  # origin of a repetition, on a fresh seed, of one of the best configurations
FALLBACK = (
    "fallback"  # origin of a substitute, where the searcher failed or the parent of a fork has lost its checkpoint
)


class Status(str, Enum):
    """The state of a trial."""

    RUNNING = "running"  # suggested, no end recorded: a worker has it, or had it when the driver died
    STOPPED = "stopped"  # stopped before the horizon; it keeps its checkpoint and may be resumed
    COMPLETED = "completed"  # reached the horizon, or ended by itself before
    DIVERGED = "diverged"  # its loss became NaN or infinite; final
    FAILED = "failed"  # an error, and no retries left; final unless the user asks for another try

    @property
    def is_failure(self) -> bool:
        """Whether it is FAILED or DIVERGED."""
        return self in (Status.FAILED, Status.DIVERGED)


@dataclass(frozen=True)
class Suggestion:
    """One decision to run something: start a configuration, resume a stopped trial, or fork one.

    Build it with `start`, `resume` or `fork`. `trial` is the number of the trial to run; None until the history numbers
    it (a start or a fork always makes a new trial).
    """

    kind: str  # "start" | "resume" | "fork"
    config: Config
    trial: int | None = None
    until: int | None = None  # train to this step; None: to the horizon
    task: str = "full"
    origin: str = "model"  # who proposed it: "point", "initial", "model", "random", "grid", "promotion", "fallback", …
    evidence: str = ""  # one line for people: why (for a fallback: what failed)
    memo: str = ""  # the searcher's note to itself, which it finds again in the history: its model's settings
    parent: int | None = None  # fork: the trial whose state it takes over …
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
    """Resume a stopped trial from its checkpoint and train to the step `until` (None: to the horizon)."""
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
    """Returned by a searcher instead of a suggestion to end the search: nothing new is worth its cost."""

    reason: str


@dataclass(frozen=True)
class Report:
    """Trial `trial` reached `step` (counted from 1; usually an epoch) with this loss.

    `cost_seconds` is the cost of this step alone. `metrics` holds all measurements, with the user's sign.
    """

    trial: int
    step: int
    loss: float
    cost_seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """Trial `trial` ended, or stopped before its horizon."""

    trial: int
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Judged:
    """The scheduler stops trial `trial`; its `End` follows."""

    trial: int
    scheduler: str = ""  # the scheduler's settings, as text


@dataclass(frozen=True)
class Lost:
    """Trial `trial` lost its worker at its last recorded step."""

    trial: int
    reason: str = ""


@dataclass(frozen=True)
class Retry:
    """The user asks for another try of trial `trial`, which has failed."""

    trial: int


@dataclass(frozen=True)
class Over:
    """The search is over: only repetitions of the finalists still start."""

    reason: str


@dataclass(frozen=True)
class Tested:
    """Trial `trial` was measured on the test part."""

    trial: int


@dataclass(frozen=True)
class Began:
    """The user started or resumed the sweep. `change`: what they changed; then a search that was over continues."""

    change: str = ""
    device: str = "cpu"  # what a trial holds: CPU cores, or GPUs ("gpu") …
    devices: float = 1.0  # … and how many


@dataclass(frozen=True)
class Used:
    """Seconds for which a worker held its devices and which no report counts.

    what "start": until the first step began. "lost": work since the last report of a worker that died, and steps
    repeated after a loss. "beside": checkpoints, messages. "test" and "prepare": these jobs. "device": no seconds; the
    trial is on `device` from here on.
    """

    trial: int | None
    seconds: float
    what: str
    device: str = ""  # its name, as its driver gives it; empty: as before


OfTrial = Suggestion | Report | End | Judged | Lost | Retry | Tested
OfRun = Over | Began | Used
Record = OfTrial | OfRun


@dataclass(frozen=True)
class Goal:
    """The metric to optimise and its direction: only this class knows its sign.

    >>> Goal("accuracy", "max").loss(0.9)
    -0.9
    """

    metric: str = "loss"
    mode: str = "min"  # or "max"

    def loss(self, value: float) -> float:
        """Convert the user's metric to the loss, which is minimised."""
        return -value if self.mode == "max" else value

    def value(self, loss: float) -> float:
        """Convert a loss back to the user's metric."""
        return -loss if self.mode == "max" else loss


LOSS = Goal()  # for a loop that reports a loss

FOUND = "found_"
"""Before the name of a parameter: the metric, in a report, with the value that the training itself found for it."""


SHORT = {"learning_rate": "lr"}
"""The other name that a configuration may have for what a policy finds."""


def found_in(metrics: Mapping[str, float], config: Config) -> dict[str, float]:
    """Parameter → the value that the training itself found for it, by the metrics of a report.

    The names are those of `config`; what it has under no name keeps the name in the report.

    >>> found_in({"found_learning_rate": 0.06, "loss": 1.0}, {"lr": 0.0003})
    {'lr': 0.06}
    """
    found = {}
    for metric, value in metrics.items():
        if metric.startswith(FOUND):
            name = metric[len(FOUND) :]
            short = SHORT.get(name, name)
            found[short if name not in config and short in config else name] = value
    return found
