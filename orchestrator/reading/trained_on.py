"""How to train a recorded trial again or on: a command, or a call where a notebook made the run, whose sweep no file has."""

from __future__ import annotations

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.record.ledger import Ledger

IN_NOTEBOOK = "In the notebook that made this run, after the cell that builds the sweep."


def is_of_notebook(ledger: Ledger) -> bool:
    """Whether a notebook or a prompt made the run."""
    latest = ledger.sweep()
    return not latest["command"] and not latest["code"].get("program")


def train_again(ledger: Ledger, trial: int) -> str:
    """What trains the trial again and compares it with the record."""
    if is_of_notebook(ledger):
        return f"Result({str(ledger.folder.absolute())!r}).replay(sweep, {trial})"
    return orchestrator_line("replay", ledger.folder, trial)


def train_on(ledger: Ledger, trial: int, step: int) -> str | None:
    """The command that trains the trial on to `step`; None for a notebook's run."""
    return None if is_of_notebook(ledger) else orchestrator_line("replay", ledger.folder, trial, "--go-on", step)
