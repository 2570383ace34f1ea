"""`FromFound` in a sweep in which nothing finds a value, as far as that is known before the start.

Our own workloads report what the policy finds, and nothing else. A function of the user's may report a value itself,
or hold a `Control` of its own: nobody can know that before it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import BadInput
from search.contract import Around
from search.records import FOUND
from search.searchers.found import FromFound
from search.wording import shown
from trainables.contract import Policy, Workload

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def refuse(sweep: Sweep) -> None:
    """Raise BadInput where nothing can find the value."""
    learner = _learner(sweep)
    if learner is None or not isinstance(sweep.workload, Workload):
        return
    what = type(sweep.workload).__name__
    nothing = f"Sweep(searcher={shown(sweep.searcher)}): nothing finds {learner.parameter!r} in a training of {what}"
    if sweep.policy is None:
        raise BadInput(f"{nothing}; add policy=RateRace(rungs=1).")
    if isinstance(sweep.policy, Policy) and sweep.policy.finds_rate is False:
        raise BadInput(f"{nothing}, not {shown(sweep.policy)} either; write policy=RateRace(rungs=1).")


def warning(sweep: Sweep) -> str:
    """What to say before the start where the policy finds nothing, with the remedy; else empty."""
    learner = _learner(sweep)
    if learner is None or sweep.policy is None or FOUND + learner.reported in sweep.workload.metrics:
        return ""
    if any(policy.finds_rate is not False for policy in sweep.example_policies):
        return ""
    policy = shown(sweep.policy) if isinstance(sweep.policy, Policy) else "the policy"
    return (
        f"{policy} finds no learning rate, so no trial will report {FOUND + learner.reported!r}, and {shown(learner)} does "
        f"nothing more than {shown(learner.searcher)}; write policy=RateRace(rungs=1), or report the value yourself."
    )


def _learner(sweep: Sweep) -> FromFound | None:
    inside = sweep.searcher
    while isinstance(inside, Around) and not isinstance(inside, FromFound):
        inside = inside.inner
    return inside if isinstance(inside, FromFound) else None
