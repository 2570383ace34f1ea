"""Find a checkpoint that does not travel: a training on another node reported it outside of its trial's folder."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from orchestrator.reporting import PLACE, REPORTS
from orchestrator.tune.file_sync import FileSync


def left_behind(checkpoints: Path, sync: FileSync) -> str:
    """Of the last reported checkpoint, its path if it is on this node's disk only; else empty.

    `checkpoints`: the trial's. A path that the driver's machine has, too, is taken for a shared disk's.
    """
    last = _last_reported(checkpoints / "script" / PLACE / REPORTS)
    is_outside = os.path.isabs(last)  # `report` writes a path in the trial's folder relative to that
    return last if is_outside and os.path.exists(last) and not sync.is_there(last) else ""


def _last_reported(reports: Path) -> str:
    with contextlib.suppress(FileNotFoundError):  # it reports in another way
        for line in reversed(reports.read_bytes().splitlines()):
            with contextlib.suppress(ValueError, TypeError, KeyError):  # half a line
                if path := json.loads(line)["checkpoint"]:
                    return str(path)
    return ""
