"""What is said of a sweep that was complete before: nothing was left to do, and whether its code has changed since."""

from __future__ import annotations

import json

from orchestrator.definition.sources import EDITED, Source, edited
from orchestrator.record.ledger import Ledger


def nothing_left_words(ledger: Ledger, *, is_script: bool) -> str:
    """`is_script`: another name is a flag, not an argument of `run`."""
    text = "Nothing was left to do."
    now = ledger.sweep()["description"].get("files", {})
    if not (names := list(edited(_code_of_last_report(ledger), now))):
        return text
    name = f"{ledger.folder.name}-2"
    how = f"--name {name}" if is_script else f"run(sweep, name={name!r})"
    return (
        f"{text} The result is of the code before {', '.join(names)} {'was' if len(names) == 1 else 'were'} edited; another name "
        f"starts a new sweep: {how}."
    )


def _code_of_last_report(ledger: Ledger) -> dict[str, Source]:
    """The files of the training with which the trial that reported last had started."""
    last = ledger.rows("report", "ORDER BY seq DESC LIMIT 1")
    if not last:
        return {}
    begun = [row for row in ledger.sweeps() if row["seq"] < last[0]["seq"]][-1]
    starts = ledger.rows(
        "event", "WHERE kind = :kind AND trial = :trial AND seq > :begun AND seq < :until ORDER BY seq DESC LIMIT 1",
        kind=EDITED, trial=last[0]["trial"], begun=begun["seq"], until=last[0]["seq"],
    )  # fmt: skip
    changed = json.loads(starts[0]["text"]) if starts else {}
    return {**begun["description"].get("files", {}), **changed}
