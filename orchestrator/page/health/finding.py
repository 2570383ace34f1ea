"""A finding of a health check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["serious", "advice", "note"]
SEVERITIES: tuple[Severity, ...] = ("serious", "advice", "note")
"""The result is in doubt; the next sweep can do better; good to know."""


@dataclass(frozen=True)
class Finding:
    """What a check found: one sentence, the numbers behind it, and what to do about it."""

    key: str  # of the check: "edge", "noise", …
    sentence: str
    evidence: str
    remedy: str
    severity: Severity
    about: str = ""  # the parameter, task or trial that it is about

    def as_dict(self) -> dict[str, str]:
        return asdict(self)
