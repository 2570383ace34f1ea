"""The training's own files were edited while the sweep was under way, so its results are of different code."""

from __future__ import annotations

from itertools import pairwise

from orchestrator.console.plurals import plural
from orchestrator.definition.sources import edited as edited_files
from orchestrator.page.analysis.words import listed
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded


def edited(run: Recorded) -> list[Finding]:
    """A finding if the command started again with other code, after a trial had reported."""
    names: dict[str, None] = {}
    first = None
    for before, after in pairwise(run.rows["sweep"]):
        found = edited_files(before["description"].get("files", {}), after["description"].get("files", {}))
        if found and any(row["seq"] < after["seq"] for row in run.rows["report"]):
            names |= dict.fromkeys(found)
            first = after["seq"] if first is None else first
    if first is None:
        return []
    earlier = {row["trial"] for row in run.rows["suggestion"] if row["seq"] < first}
    later = {row["trial"] for table in ("suggestion", "report") for row in run.rows[table] if row["seq"] > first}
    return [
        Finding(
            "edited",
            f"{listed(list(names))} {'was' if len(names) == 1 else 'were'} edited while the sweep was under way.",
            f"{plural(len(earlier - later), 'trial')} trained only before, {_after(run, earlier, later)}; the sweep compares "
            f"them{', and the baseline,' if run.baseline is not None else ''} although their code differs.",
            "If the edit changes results, run the new code under another name.",
            "serious",
        )
    ]


def _after(run: Recorded, earlier: set[int], later: set[int]) -> str:
    """How many trials trained after the edit: those begun then, retried or continued; and whether the best is one."""
    both = earlier & later
    begun = f" ({'it' if len(later) == 1 else len(both)} had begun before)" if both else ""
    best = ", the best among them" if run.best is not None and run.best.number in later and len(later) > 1 else ""
    return f"{len(later)} after{begun}{best}"
