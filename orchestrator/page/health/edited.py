"""The training's own files were edited while the sweep was under way, so its results are of different code."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from orchestrator.console.plurals import plural
from orchestrator.definition.sources import EDITED, Source
from orchestrator.definition.sources import edited as edited_files
from orchestrator.page.analysis.words import listed
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded

Code = Mapping[str, Source]


def edited(run: Recorded) -> list[Finding]:
    """A finding if trials have trained with other code than the first that reported."""
    codes = _codes(run)
    if not codes:
        return []
    first = codes[0][1]
    names: dict[str, None] = {}
    earlier, later = set[int](), set[int]()
    for trial, code in codes:
        found = edited_files(first, code)
        names |= dict.fromkeys(found)
        (later if found else earlier).add(trial)
    if not names:
        return []
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


def _codes(run: Recorded) -> list[tuple[int, Code]]:
    """The trial of each report, and the files with which its training had started; then the same of the trials that were
    begun after the first report and have not reported. Empty if nothing was edited."""
    reports, sweeps = run.rows["report"], run.rows["sweep"]
    starts: dict[int, list[tuple[int, Code]]] = {}
    for row in run.rows["event"]:
        if row["kind"] == EDITED:
            starts.setdefault(row["trial"], []).append((row["seq"], json.loads(row["text"])))
    files = [(each["seq"], each["description"].get("files", {})) for each in sweeps]
    if not reports or not (starts or any(edited_files(files[0][1], each) for _, each in files)):
        return []
    reported = {row["trial"] for row in reports}
    silent = [row for row in run.rows["suggestion"] if row["trial"] not in reported and row["seq"] > reports[0]["seq"]]
    found = []
    for row in [*reports, *silent]:
        begun, code = next(each for each in reversed(files) if each[0] < row["seq"])
        until = row["seq"] if row["trial"] in reported else math.inf
        own = [changed for seq, changed in starts.get(row["trial"], []) if begun < seq < until]
        found.append((row["trial"], {**code, **own[-1]} if own else code))
    return found


def _after(run: Recorded, earlier: set[int], later: set[int]) -> str:
    """How many trials trained after the edit: those begun then, retried or continued; and whether the best is one."""
    both = earlier & later
    begun = f" ({'it' if len(later) == 1 else len(both)} had begun before)" if both else ""
    best = ", the best among them" if run.best is not None and run.best.number in later and len(later) > 1 else ""
    return f"{len(later)} after{begun}{best}"
