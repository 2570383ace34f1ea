"""The parts of the page: a file for each, with one function `section(run) -> Section | None`, and their order."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import TypeAlias

from orchestrator.page.charts import Section
from orchestrator.page.recorded import Recorded

Maker: TypeAlias = Callable[[Recorded], Section | None]

ORDER = (
    "answer",
    "health",
    "progress",
    "tasks_cost",
    "correlation",
    "importance",
    "parameters",
    "decisions",
    "population",
    "examples",
    "origins",
    "failures",
    "workers",
    "bill",
    "trials",
)
"""The names of the files, in the order of the page; a file that is not named here comes after them."""


def makers() -> list[tuple[str, Maker]]:
    """Name and function of every part, in the order of the page."""
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    ranked = sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return [(name, import_module(f"{__name__}.{name}").section) for name in ranked]
