"""A trial began with global values that an earlier trial of its process had changed."""

from __future__ import annotations

import re

from orchestrator.page.analysis.words import listed
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded

_TOLD = re.compile(r"trial \d+: it began with (?P<name>\S+) as an earlier trial had left it")  # worker/inherited.py


def inherited(run: Recorded) -> list[Finding]:
    """A finding if the worker of a trial has told so."""
    told = [
        found["name"] for row in run.rows["event"] if row["kind"] == "notice" and (found := _TOLD.match(row["text"]))
    ]
    if not told:
        return []
    names = list(dict.fromkeys(told))
    return [
        Finding(
            "inherited",
            f"Trials began with {listed(names)} as earlier trials had left {'it' if len(names) == 1 else 'them'}.",
            "The trials of a process share its globals, so a result may depend on the trials before it.",
            "Make what a trial changes inside the training function, and run the sweep again under another name.",
            "serious",
        )
    ]
