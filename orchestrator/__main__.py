"""python -m orchestrator: the same as the command `orchestrator`."""

from orchestrator.commands import app

app(prog_name="orchestrator")
