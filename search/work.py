"""What an engine tells a worker, and what the worker answers: all that orchestrator/ and trainables/ share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from search.records import Config

if TYPE_CHECKING:
    from pathlib import Path


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
    threads: int = 1  # CPUs granted to each of its workers
    workers: int = 1  # processes with a share of every batch each
    gpu: float = 0.0  # GPUs granted to the trial; a fraction: that share of one's memory
    checkpoint_seconds: float = 5.0  # at most this often, for at most 2 % of the time; 0: after each step
    pinned: tuple[int, ...] = ()  # checkpoints of these steps are kept beside the newest: others may fork from them
    parent: Path | None = None  # fork: folder of the trial whose state is taken over …
    parent_step: int = 0  # … at this step
    prepared: Path | None = None  # what `prepare` left
    digests: Mapping[str, str] = field(default_factory=dict)  # checkpoint's path → SHA-256 of its manifest on record


@dataclass(frozen=True)
class Progress:
    """What a worker answers: a step was reached, a checkpoint was written, or something is worth telling.

    kind "report": `step`, `metrics` (what was evaluated, and "train_loss", the mean over the epoch), `cost_seconds`.
    If the training loss has become NaN or infinite the other metrics are NaN: what a wrecked model scores is no
    measurement. After a report in which the tuned metric is not finite nothing follows.
    kind "checkpoint": `step`, `path`, `sha256` (of its manifest), `bytes`.
    kind "notice": `text` (a damaged checkpoint was passed over, …).
    kind "ended": the training came to an end of its own (early stopping, a patience rule) at `step`, before `until`, after at
    least one report; `text` says how. It is complete; nothing follows.
    kind "paused": training left off because it was asked to, after a checkpoint.
    kind "decision": the policy turned knobs after `samples` samples: the knobs `before` and `after`, why (`text`), what it
    rests on (`metrics`), what deciding took (`cost_seconds`). `after` says as "averaging" what begins, or begins again, there. `position`: the same place in samples that no rewind
    has undone; None for something that is only tried.
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
    """A training under way: iterate for its progress (None: another update was made, nothing to tell)."""

    def __iter__(self) -> Iterator[Progress | None]: ...

    def __next__(self) -> Progress | None: ...

    def save(self) -> Progress:
        """Write a checkpoint of the present state now."""


class Trainable(Protocol):
    """Whatever a sweep can tune. `trainables.contract.Workload` is one; a table of recorded curves may be another.

    If it has a method `check()`, this is called before anything starts: a ValueError says what is missing.
    """

    metric: str
    mode: str
    metrics: tuple[str, ...]
    horizon: int
    baseline: Config | None

    def prepare(self, folder: Path) -> None: ...

    def run(self, policy: Any, assignment: Assignment, should_pause: Callable[[], bool] | None = None) -> Run: ...

    def test(self, assignment: Assignment) -> Mapping[str, float]: ...
