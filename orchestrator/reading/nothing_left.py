"""What is said of a sweep that was complete before: nothing was left to do, and whether its code has changed since."""

from __future__ import annotations

from orchestrator.definition.sources import edited
from orchestrator.reading.codes import codes_of_record, present_code
from orchestrator.reading.summary import glance
from orchestrator.record.ledger import Ledger


def nothing_left_words(ledger: Ledger, *, is_script: bool) -> str:
    """`is_script`: another name is a flag, not an argument of `run`."""
    text = "Nothing was left to do."
    best = glance(ledger)["best"]
    code = codes_of_record(ledger).last_of(best["trial"] if best else None)
    if not (names := list(edited(code, present_code(ledger.sweeps())))):
        return text
    name = f"{ledger.folder.name}-2"
    how = f"--name {name}" if is_script else f"run(sweep, name={name!r})"
    return (
        f"{text} The result is of the code before {', '.join(names)} {'was' if len(names) == 1 else 'were'} edited; another name "
        f"starts a new sweep: {how}."
    )
