"""What produced the numbers of a run: program, libraries, machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any


def code() -> dict[str, Any]:
    """What produced the numbers: program, libraries, machine."""
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
        "versions": versions,
    }
