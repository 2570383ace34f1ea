"""The classes that CONTRIBUTING shows, each in a module of its own: they sit the exams, as whoever copies them does."""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support import ROOT

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
_folder = tempfile.TemporaryDirectory()  # another process can import them, too
sys.path.append(_folder.name)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def example(name: str) -> Any:
    """The class `name` that CONTRIBUTING shows."""
    (code,) = (code for code in blocks(CONTRIBUTING, "python") if f"class {name}(" in code)
    module = f"contributed_{name.lower()}"
    Path(_folder.name, f"{module}.py").write_text(code)
    importlib.invalidate_caches()
    return getattr(importlib.import_module(module), name)
