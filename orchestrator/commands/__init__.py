"""The `orchestrator` command: a file for each group of commands, listed in the order of `--help`."""

from orchestrator.commands import runs, inspect, export, mirror, again  # isort: skip
from orchestrator.commands.app import app

__all__ = ["again", "app", "export", "inspect", "mirror", "runs"]
