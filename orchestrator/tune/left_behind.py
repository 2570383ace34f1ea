"""Find a checkpoint that does not travel: a training on another node reported it outside of its trial's folder."""

from __future__ import annotations

from pathlib import Path

from orchestrator.reporting import last_checkpoint
from orchestrator.tune.file_sync import FileSync
from search.work import SCRIPT


def left_behind(checkpoints: Path, sync: FileSync) -> str:
    """The path of the last reported checkpoint if it is on this node's disk only; else empty.

    `checkpoints`: the trial's. A path that the driver's machine has, too, is taken for a shared disk's.
    """
    own = checkpoints / SCRIPT
    last = last_checkpoint(own)
    return "" if last is None or last.is_relative_to(own) or sync.is_there(str(last)) else str(last)
