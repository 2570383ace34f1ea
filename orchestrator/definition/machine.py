"""The resources of this machine, found without Ray and without torch, so that a mistake shows before Ray starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from orchestrator.definition.control_groups import ControlGroups
from orchestrator.money.devices import asked

GROUPS = ControlGroups()


def cpus(groups: ControlGroups = GROUPS) -> int:
    """The CPUs that this process may use; of a share of one, one. Slurm grants some of a node's, and not every cluster
    hides the others; a container has a limit, and sees all of the host."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has none
    granted = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return int(max(1, min(seen, int(granted) if granted.isdigit() else seen, groups.cpus())))


def gpus() -> int:
    """The GPUs of this machine that CUDA_VISIBLE_DEVICES allows."""
    there = _nvidia() or _amd()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    named = [word for word in visible.split(",") if word.strip()]
    named = named[: named.index("-1")] if "-1" in named else named  # CUDA stops reading there
    return min(len(named), there)


def memory(groups: ControlGroups = GROUPS) -> int:
    """Bytes of main memory that this process may use."""
    return int(min(psutil.virtual_memory().total, groups.memory()))


# By the names of Sweep(resources=).
HAVE: Mapping[str, Callable[[], int]] = {"cpu": cpus, "gpu": gpus, "memory": memory}


def _nvidia() -> int:
    found = sum(line.startswith("GPU ") for line in asked("-L"))
    return found or len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def _amd() -> int:
    """GPUs as ROCm's kernel driver lists them; its other nodes are processors, with the number 0."""
    nodes = Path("/sys/class/kfd/kfd/topology/nodes").glob("*/gpu_id")
    return sum(_text(node) not in ("", "0") for node in nodes)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
