"""The `orchestrator` command: a file for each group of commands, listed in the order of `--help`."""

from orchestrator.commands import runs, inspect, report, compare, export, mirror, again  # isort: skip
from orchestrator.commands.app import app

__all__ = ["again", "app", "compare", "export", "inspect", "mirror", "report", "runs"]
