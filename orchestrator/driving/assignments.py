"""The assignment that a worker gets to train a trial."""

from __future__ import annotations

from orchestrator.driving.places import Places
from orchestrator.record.ledger import Ledger
from orchestrator.sweep import Sweep
from search.history import History, Trial
from search.work import Assignment


def assignment(
    trial: Trial, seed: int, pinned: tuple[int, ...], *, sweep: Sweep, history: History, ledger: Ledger, places: Places
) -> Assignment:
    """The next assignment of `trial`; `pinned` are the steps whose checkpoints its worker must not delete."""
    return Assignment(
        trial=trial.number,
        config=dict(trial.config),
        seed=seed,
        until=history.goal(trial),
        folder=places.checkpoints(trial.number),
        task=trial.task,
        recorded=trial.step,
        threads=sweep.threads,
        workers=sweep.workers,
        gpu=float(sweep.resources.get("gpu", 0)),
        # A trial that has lost a worker may lose the next one before a checkpoint is due.
        checkpoint_seconds=0.0 if trial.number in history.run.losses else sweep.checkpoint_seconds,
        pinned=(*pinned, history.goal(trial)) if sweep.searcher.forks else pinned,
        parent=None if trial.parent is None else places.checkpoints(trial.parent),
        parent_step=trial.began,
        parent_config=None if trial.parent is None else dict(history.trials[trial.parent].config),
        prepared=places.shared,
        digests=_digests(trial, ledger, places),
    )


def _digests(trial: Trial, ledger: Ledger, places: Places) -> dict[str, str]:
    """The recorded digests of the checkpoints from which this trial may resume."""
    own = {"trial": trial.number, "parent": trial.number if trial.parent is None else trial.parent}
    saved = ledger.rows("checkpoint", "WHERE trial IN (:trial, :parent) ORDER BY seq", **own)
    return {str(places.folder / row["path"]): row["sha256"] for row in saved}
