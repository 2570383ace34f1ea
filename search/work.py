"""The messages between an engine and its workers: all that orchestrator/ and trainables/ share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from search.records import Config

if TYPE_CHECKING:
    from pathlib import Path


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
    prepared: Path | None = None  # the folder that `prepare` filled
    digests: Mapping[str, str] = field(default_factory=dict)  # checkpoint's path → recorded SHA-256 of its manifest


@dataclass(frozen=True)
class Progress:
    """A worker's message: it reached a step, wrote a checkpoint, or has something else to say.

    kind "report": `step`, `metrics` (the evaluation's, and "train_loss", the mean over the epoch), `cost_seconds`.
    If the training loss is NaN or infinite, the other metrics are NaN, because the scores of a diverged model mean
    nothing. After a report in which the tuned metric is not finite, nothing follows.
    kind "checkpoint": `step`, `path`, `sha256` (of its manifest), `bytes`.
    kind "device": `text`, the name of the GPU on which the training runs.
    kind "notice": `text` (a damaged checkpoint was passed over, …).
    kind "ended": the training ended by itself (early stopping, a patience rule) at `step`, before `until`, after at
    least one report; `text` says how. It is complete; nothing follows.
    kind "paused": the training paused on request, after a checkpoint.
    kind "decision": after `samples` samples the policy changed the knobs `before` to `after`. `text` gives the reason,
    `metrics` the evidence, `cost_seconds` the time to decide. `after` contains "averaging" if averaging begins or
    restarts there. `position`: the same place, counting only samples that no roll-back has undone; None during an
    exploration.
    """

    kind: str
    step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost_seconds: float = 0.0
    path: str = ""
    sha256: str = ""
    bytes: int = 0
    text: str = ""
    samples: int = 0
    position: int | None = None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


class Run(Protocol):
    """A running training: iterate for its progress (None: one more update, nothing to report)."""

    def __iter__(self) -> Iterator[Progress | None]: ...

    def __next__(self) -> Progress | None: ...

    def save(self) -> Progress:
        """Write a checkpoint of the present state now."""


class Trainable(Protocol):
    """Anything that a sweep can tune: a `trainables.contract.Workload`, or for instance a table of recorded curves.

    If it has a method `check()`, the sweep calls it before anything starts; a ValueError says what is missing.
    """

    metric: str
    mode: str
    metrics: tuple[str, ...]
    horizon: int
    baseline: Config | None

    def prepare(self, folder: Path) -> None: ...

    def run(self, policy: Any, assignment: Assignment, should_pause: Callable[[], bool] | None = None) -> Run: ...

    def test(self, assignment: Assignment) -> Mapping[str, float]: ...
