"""The messages between an engine and its workers: all that orchestrator/ and trainables/ share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from search.records import Config

if TYPE_CHECKING:
    from pathlib import Path

CONFIG, FOLDER, SEED = "config", "folder", "seed"  # {config}, {folder}, {seed} in a script's command: the trial's own
FUNCTIONS = "functions"  # in the run's folder: what the process of each trial of a function loads
SCRIPT = "script"  # in the folder of a trial's checkpoints: a script's own folder
PASSED = "the script went past the horizon"  # why a trial ended


@dataclass(frozen=True)
class Assignment:
    """An engine's order to a worker: train this configuration in this folder, from its last checkpoint to `until`.

    `recorded` is the last step in the ledger: the worker ignores later checkpoints, so that no step is missing.
    """

    trial: int
    config: Config
    seed: int
    until: int  # last step to train
    folder: Path  # checkpoints of this trial
    task: str = "full"
    recorded: int = 0
    threads: int = 1  # CPUs granted to each of its workers
    workers: int = 1  # processes that share every batch
    gpu: float = 0.0  # GPUs granted to the trial; a fraction: that share of one GPU's memory
    checkpoint_seconds: float = 5.0  # the least time between two, which take at most 2 % of all; 0: after each step
    pinned: tuple[int, ...] = ()  # steps whose checkpoints stay beside the newest, because others may fork from them
    parent: Path | None = None  # fork: the folder of the trial whose state to take over …
    parent_step: int = 0  # … at this step
    parent_config: Config | None = None  # … and the configuration that it was trained with
    prepared: Path | None = None  # the folder that `prepare` filled
    digests: Mapping[str, str] = field(default_factory=dict)  # checkpoint's path → recorded SHA-256 of its manifest


@dataclass(frozen=True)
class Reported:
    """The evaluation at `step`; `metrics` are its own, and "train_loss", the mean over the epoch.

    If the training loss is NaN or infinite, the other metrics are NaN, because the scores of a diverged model mean
    nothing. After a report in which the tuned metric is not finite, nothing follows.
    """

    kind: ClassVar[Literal["report"]] = "report"
    step: int
    metrics: Mapping[str, float]
    cost_seconds: float = 0.0


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written; `sha256` is that of its manifest."""

    kind: ClassVar[Literal["checkpoint"]] = "checkpoint"
    step: int
    path: str
    sha256: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class Decision:
    """After `samples` samples the policy changed the knobs `before` to `after`, for the reason `text`.

    `cost_seconds`: the time to decide. `after` contains "averaging" if averaging begins or restarts there. `position`:
    the same place, counting only samples that no roll-back has undone; None during an exploration. `warns`: the text says
    what the policy cannot do here, and the user should see it.
    """

    kind: ClassVar[Literal["decision"]] = "decision"
    step: int
    samples: int
    position: int | None
    text: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    metrics: Mapping[str, float]  # the evidence
    cost_seconds: float = 0.0
    warns: bool = False


@dataclass(frozen=True)
class Notice:
    """Something to know: a damaged checkpoint was passed over, …"""

    kind: ClassVar[Literal["notice"]] = "notice"
    text: str
    step: int = 0
    once: bool = False  # told once in a sweep, although numbers and paths differ


@dataclass(frozen=True)
class Ended:
    """The training ended by itself, as `text` says (early stopping, a patience rule), after at least one report.

    It is complete, although `step` is before `until`; nothing follows. `advice`: what the user should do if it was not meant
    to end there, where the training knows more than that its horizon is too long.
    """

    kind: ClassVar[Literal["ended"]] = "ended"
    text: str
    step: int = 0
    advice: str = ""


@dataclass(frozen=True)
class Paused:
    """The training paused on request, after a checkpoint."""

    kind: ClassVar[Literal["paused"]] = "paused"
    step: int


@dataclass(frozen=True)
class Placed:
    """The training runs on the GPU of this name; nothing comes before."""

    kind: ClassVar[Literal["device"]] = "device"
    text: str
    step: int = 0


@dataclass(frozen=True)
class Hosted:
    """The training runs on the machine of this name; told first, in a cluster."""

    kind: ClassVar[Literal["node"]] = "node"
    text: str
    step: int = 0


Progress = Reported | Saved | Decision | Notice | Ended | Paused | Placed | Hosted
"""A worker's message."""


class ProcessError(RuntimeError):
    """An error of a process that a training runs: its traceback is in the trial's log, and ours would not explain it."""


class Killed(ProcessError):
    """A process that a training runs was ended from outside: the trial goes on as after the loss of its worker."""


class Run(Iterator["Progress | None"]):
    """A running training whose state can be saved: iterate for its progress (None: one more update, nothing to report).

    `writing_seconds`: the time that checkpoints took. An engine that sends them elsewhere adds its own. `told_at_end`:
    notices for the user from `close`, after which nothing is yielded.
    """

    writing_seconds: float = 0.0
    told_at_end: tuple[str, ...] = ()

    @abstractmethod
    def save(self) -> Progress:
        """Write a checkpoint of the present state now."""

    def close(self) -> None:
        """End what it has started, without saving."""
