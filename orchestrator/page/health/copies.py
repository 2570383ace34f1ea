"""The repetitions of finalists are copies of earlier runs: they cost a training each and confirm nothing."""

from __future__ import annotations

from orchestrator.console.plurals import plural
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from orchestrator.reading.spending import USE_THE_SEED
from search.rules.finalists import confirmed


def copies(run: Recorded) -> list[Finding]:
    """A finding if the fresh runs of all finalists have exactly the values of an earlier run."""
    if run.accounts["depends_on_seed"] is not False:
        return []
    again = [len(finalist.losses) for finalist in confirmed(run.history) if finalist.losses]
    return [
        Finding(
            "copies",
            "The repetitions are copies: the result does not depend on the seed.",
            f"{plural(sum(again), 'repetition')} of {plural(len(again), 'configuration')} had the values of an earlier run "
            "at every step, to the last digit.",
            USE_THE_SEED,
            "serious",
        )
    ]
