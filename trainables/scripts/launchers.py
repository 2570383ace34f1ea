"""Launchers that start several processes for one training: torchrun, accelerate launch, deepspeed, mpirun."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trainables.scripts.shell_scripts import text_of

_LAUNCHER = re.compile(
    r"(?:^|(?<=[\s/;&|(]))(?:torchrun|accelerate[ -]launch|-m\s+torch\.distributed\.(?:run|launch)|deepspeed|mpirun|mpiexec)\s[^\n;&|]*"
)
_COUNT = re.compile(r"(?<!\S)--?(?:nproc[-_]per[-_]node|num[-_]processes|num_gpus|np|n)[=\s]\s*(\d+)\b")
_PORT = re.compile(
    r"(?<!\S)--?(?:master[-_]port|main[-_]process[-_]port|rdzv[-_]endpoint)[=\s]\s*(?:[\w.-]+:)?(?!0\b)(\d+)\b"
)
IN_USE = re.compile(r"\bEADDRINUSE\b|\b[Aa]ddress already in use\b")
PORT = "let the launcher choose the port: leave its option out, or write torchrun --standalone"


def fixed_port(command: str, max_concurrent: int | None) -> str:
    """That trials which train at once would all listen on one port, with the remedy; empty if they do not."""
    found = _PORT.search(_line(command))
    if found is None or max_concurrent == 1:
        return ""
    return f"every trial listens on port {found[1]}, so two at once on a machine fail: {PORT}."


def more_processes(command: str, resources: Mapping[str, Any]) -> str:
    """That a trial starts more processes than it reserves processors or GPUs, with the remedy; empty if it does not."""
    found = _COUNT.search(_line(command))
    count = int(found[1]) if found else 1
    has = max(float(resources.get("cpu", 1)), float(resources.get("gpu", 0)))
    if count <= has:
        return ""
    return (
        f"each trial starts {count} processes and reserves {has:g} CPU: write Sweep(resources={{'cpu': {count}}}), or 'gpu', so that no "
        "more trials run at once than fit, and their cost is right."
    )


def _line(command: str) -> str:
    """The words of the launcher in a command, or in its shell script, up to the training's; empty if there is none."""
    found = _LAUNCHER.search(text_of(command))
    return re.split(r"\s\S+\.py(?!\S)", found[0])[0] if found else ""
