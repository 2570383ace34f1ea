"""What a script, or a function that reports checkpoints, has kept in its own folder."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from orchestrator.reporting import PLACE, REPORTS


def scripts_own(folder: Path, trial: int) -> tuple[str | None, str | None]:
    """A script's TRIAL_FOLDER, and its last reported checkpoint, each None if it does not exist.

    A script that reports no checkpoint keeps it somewhere in its folder, so the folder stands for it once it holds files.
    """
    own = folder / "trials" / f"{trial:05d}" / "checkpoints" / "script"
    if not own.is_dir():
        return None, None
    reported = None
    if (reports := own / PLACE / REPORTS).is_file():
        for line in reports.read_bytes().splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # a truncated line
                path = json.loads(line)["checkpoint"]
                reported = str(own / path) if path is not None and (own / path).exists() else reported
    if reported is None and any(path.name != PLACE for path in own.iterdir()):
        reported = str(own)
    return str(own), reported
