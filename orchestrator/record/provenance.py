"""What produced the numbers of a run: program, libraries, machine."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Mapping
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
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "folder": os.getcwd(),
        "program": program,
        "typed": masked_words(recorded_command()) if program else [],
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    """Package → version, of those that are installed and matter most for the numbers."""
    found = {}
    for name in ("tuning-orchestrator", "ray", "torch", "optuna", "numpy", "scikit-learn"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def other_packages(before: Mapping[str, Any]) -> str:
    """The packages whose versions differ from those of the recorded `code`, in words; empty if none do."""
    old, new = before.get("versions", {}), _versions()
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {old.get(name, 'none')} → {new.get(name, 'none')}" for name in changed)


def deciders(sweep: Sweep) -> dict[str, Source]:
    """The source of the user's own searcher and scheduler; empty for ours."""
    return sources_of_code(type(sweep.searcher)) | sources_of_code(type(sweep.scheduler))
