"""What a script, or a function that reports checkpoints, has kept in its own folder."""

from __future__ import annotations

from math import inf
from pathlib import Path

from orchestrator.driving.places import Places
from orchestrator.reporting import PLACE, last_checkpoint, reported_checkpoints


def scripts_own(folder: Path, trial: int, step: float = inf) -> tuple[str | None, str | None]:
    """A script's TRIAL_FOLDER, and its last checkpoint reported up to `step`, each None if it does not exist, or one may not look.

    A script that reports no checkpoint keeps it somewhere in its folder, so the folder stands for it once it holds files.
    """
    own = Places(folder).script(trial)
    try:
        if not own.is_dir():
            return None, None
        reported = last_checkpoint(own, step)
        if reported is None and any(path.name != PLACE for path in own.iterdir()):
            reported = own
    except PermissionError:
        return None, None
    return str(own), None if reported is None else str(reported)


def step_of(own: Path, checkpoint: Path) -> int | None:
    """The step of a checkpoint in a script's TRIAL_FOLDER, by its last report of it; None if it has reported none."""
    return next((step for step, path in reversed(reported_checkpoints(own)) if path == checkpoint), None)
