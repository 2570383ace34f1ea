"""The environment in which a trial's script starts."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from search.work import Assignment
from trainables.ranks import without_ranks
from trainables.scripts.runners import without_our_own
from trainables.scripts.trial_folder import FOLDER, ID, METRICS, RANKS, RUNNER, TrialFolder

STARTUP = Path(__file__).resolve().parent / "startup" / "any_python"  # its sitecustomize follows what the script logs


def environment_of(
    folder: TrialFolder, assignment: Assignment, command: str, metrics: Sequence[str], horizon: int, token: str
) -> dict[str, str]:
    """Our own environment as `command` needs it, and the trial's; `token` tells the run from others of its name."""
    run = folder.trial.parent.parent.name
    name = f"{run}-{assignment.trial}"
    alone = without_our_own(without_ranks(os.environ), command)
    return {
        "WANDB_RUN_GROUP": run,
        "WANDB_NAME": name,
        **alone,
        FOLDER: str(folder.path),
        "TRIAL_SEED": str(assignment.seed),
        "TRIAL_STEPS": str(assignment.until),
        ID: f"{name}-{token}",
        METRICS: json.dumps(list(metrics)),
        "TRIAL_HORIZON": str(horizon),
        RUNNER: f"{socket.gethostname()}:{os.getpid()}",
        "PYTHONPATH": with_startup(),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(assignment.threads),
        **{rank: "0" for rank in RANKS if rank in alone},
    }


def with_startup(*places: str) -> str:
    """The PYTHONPATH of a process whose logging is followed: our folder, `places`, and our own PYTHONPATH."""
    return os.pathsep.join([str(STARTUP), *places, *filter(None, [os.environ.get("PYTHONPATH")])])
