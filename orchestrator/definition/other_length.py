"""A scheduler's `max_t` that is not the length of a full training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.wording import shown

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def warning(sweep: Sweep) -> str:
    """What to know before the start; empty if `max_t` is not set or is the horizon."""
    most, horizon = getattr(sweep.scheduler, "max_t", None), sweep.workload.horizon
    if most is None or most == horizon:
        return ""
    if most > horizon:
        return (
            f"{shown(sweep.scheduler)}: max_t has no effect, as a full training ends at step {horizon}; leave it out, or set "
            f"the sweep's steps (the horizon) to {most}"
        )
    return (
        f"{shown(sweep.scheduler)} lets no trial train beyond step {most}, so none reaches step {horizon}, the end of a full "
        f"training; leave out max_t, or set the sweep's steps (the horizon) to {most}"
    )
