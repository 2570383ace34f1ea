"""What produced the numbers of a run: program, libraries, machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.console.typed_command import recorded_command
from orchestrator.definition.sources import Source, sources_of_code
from orchestrator.secrets import masked_words

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def code() -> dict[str, Any]:
    """What produced the numbers: program, libraries, machine.

    "program": its file; empty in a notebook or at a prompt. "typed": the command that began it.
    """
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    program = str(Path(main).absolute()) if main and Path(main).is_file() else ""
    names = ("tuning-orchestrator", "ray", "torch", "optuna", "numpy", "scikit-learn")
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "folder": os.getcwd(),
        "program": program,
        "typed": masked_words(recorded_command()) if program else [],
        "versions": versions,
    }


def deciders(sweep: Sweep) -> dict[str, Source]:
    """The source of the user's own searcher and scheduler; empty for ours."""
    return sources_of_code(type(sweep.searcher)) | sources_of_code(type(sweep.scheduler))
