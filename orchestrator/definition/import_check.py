"""Load search/ and trainables/ from beside this package, even if a search.py lies beside the user's script.

Python looks in the script's folder first, so such a file would hide ours, and our imports would fail. Import this module
before anything of those two packages. A training script that only reports its metrics does not need it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _take_our_own(name: str) -> None:
    known = sys.modules.get(name)
    if known is None:
        sys.path.insert(0, str(ROOT))
        try:
            known = importlib.import_module(name)
        finally:
            sys.path.remove(str(ROOT))
    if str(ROOT / name) not in map(str, getattr(known, "__path__", ())):
        raise ImportError(
            f"{getattr(known, '__file__', name)} hides the package {name!r} of the tuning orchestrator, because it was "
            "imported first; rename it, or import orchestrator before it."
        )


for _package in ("search", "trainables"):
    _take_our_own(_package)
