"""A baseline that the space does not hold: it is trained, but no search will come back to its value."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def warning(sweep: Sweep) -> str:
    """What to know before the start; empty without a baseline, and if the space holds it."""
    baseline = sweep.baseline_config
    why = None if baseline is None else sweep.space.why_not(baseline)
    return f"the baseline is outside of the space, where no trial will come near it: {why.rstrip('.')}" if why else ""
