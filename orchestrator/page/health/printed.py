"""The findings for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.page.health.finding import Finding

if TYPE_CHECKING:
    from rich.console import Console

MOST = 5  # findings; the report shows all


def print_health(found: Sequence[Finding], folder: Path, console: Console) -> None:
    """A paragraph for each finding: what, on which evidence, and what to do. Nothing if there is none."""
    for position, finding in enumerate(found[:MOST]):
        label = "Health" if not position else ""
        console.print(f"{label:<12} {finding.sentence}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"{'':<12} {finding.evidence} {finding.remedy}", highlight=False, markup=False, soft_wrap=True)
    if len(found) > MOST:
        console.print(f"{'':<12} and {len(found) - MOST} more ({orchestrator_line('report', folder)})", highlight=False)
