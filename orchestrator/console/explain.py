"""Tell people why a command failed, in one message; the traceback of a fault of ours goes to a file."""

from __future__ import annotations

import traceback
from pathlib import Path

import typer

from orchestrator.definition.bad_input import of_own_code
from orchestrator.errors import Interrupted, OrchestratorError


def explain(error: BaseException) -> int:
    """Print what went wrong; returns the exit code."""
    if isinstance(error, Exception) and not isinstance(error, OrchestratorError):
        error = of_own_code(error) or error
    if isinstance(error, OrchestratorError):
        typer.secho(f"{'' if isinstance(error, Interrupted) else 'error: '}{error}", err=True)
        return error.exit_code
    log = Path("orchestrator-fault.log")
    text = "".join(traceback.format_exception(error))
    try:
        log.write_text(text)
        where = f"; the traceback is in {log}"
    except OSError:
        where = f"\n{text}"
    typer.secho(f"error: a fault in the orchestrator: {type(error).__name__}: {error}{where}", err=True)
    return 1
