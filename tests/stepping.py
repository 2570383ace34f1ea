"""A script whose trials take one step after the other."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support import ROOT
from tests.warm import run_script

SCRIPT = ROOT / "tests" / "sweeps" / "steady.py"


def steady(cwd: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_script(SCRIPT, "--simulate", *flags, cwd=cwd, PYTHONPATH=str(ROOT), SLEEP="0", **environment)
