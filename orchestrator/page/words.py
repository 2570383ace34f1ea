"""Numbers, durations and configurations as the page writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

from orchestrator.console.own_commands import is_by_name


def number(value: float | None) -> str:
    """Four digits; a dash where there is no finite number."""
    return "–" if value is None or not isfinite(value) else f"{value:.4g}"


def brief(value: float) -> str:
    """One decimal below 10, else none, and never an exponent."""
    return f"{value:,.{1 if abs(value) < 9.95 else 0}f}"


def setting(value: object) -> str:
    """A parameter's value."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def settings(config: Mapping[str, Any]) -> str:
    """A configuration in one line."""
    return ", ".join(f"{name} {setting(value)}" for name, value in config.items())


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> duration(7.73e-05), duration(4.43), duration(9000)
    ('under 1 ms', '4.43 s', '2.5 h')
    """
    if 0 < seconds < 0.001:
        return "under 1 ms"
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"


def moment(time: str) -> datetime:
    """A time of the record."""
    return datetime.fromisoformat(time)


def place(folder: Path) -> str:
    """A folder as one would type it here: below the working folder without the way to that.

    On a page that others read, another folder is named as from the one above the runs.
    """
    here = Path.cwd()
    if folder.is_relative_to(here) and folder != here:
        return str(folder.relative_to(here))
    return str(Path(folder.parent.name, folder.name)) if is_by_name() else str(folder)
