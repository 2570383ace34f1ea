"""The `orchestrator` command: a file for each group of commands, listed in the order of `--help`."""

from orchestrator.commands import inspect, report, compare, export, again  # isort: skip
from orchestrator.commands.app import app

__all__ = ["again", "app", "compare", "export", "inspect", "report"]
