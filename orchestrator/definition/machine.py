"""The resources of this machine, found without Ray and without torch, so that a mistake shows before Ray starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import psutil

PATIENCE = 20.0  # seconds for nvidia-smi, which is slow on a machine with many GPUs


def cpus() -> int:
    """The CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def gpus() -> int:
    """The GPUs of this machine that CUDA_VISIBLE_DEVICES allows."""
    there = _nvidia() or _amd()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    named = [word for word in visible.split(",") if word.strip()]
    named = named[: named.index("-1")] if "-1" in named else named  # CUDA stops reading there
    return min(len(named), there)


def gpu_models() -> tuple[str, ...]:
    """The models of the GPUs that this process may use, as their driver names them; empty if it does not tell."""
    return _models(os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("PATH"))


@lru_cache(maxsize=1)
def _models(visible: str | None, _path: str | None) -> tuple[str, ...]:
    named = None if visible is None else [word.strip() for word in visible.split(",") if word.strip()]
    rows = [line.split(", ") for line in _asked("--query-gpu=index,uuid,name", "--format=csv,noheader")]
    found = [(index, uuid, name) for index, uuid, name in (row for row in rows if len(row) == 3)]
    chosen = [name for index, uuid, name in found if named is None or any(_is(index, uuid, each) for each in named)]
    return tuple(chosen or _from_kernel())


def device_name(kind: str) -> str:
    """The name of the device that a trial on this machine holds: "cpu", or the model of the first GPU, or "gpu"."""
    return next(iter(gpu_models()), kind) if kind == "gpu" else kind


def memory() -> int:
    """Bytes of main memory."""
    return int(psutil.virtual_memory().total)


def _nvidia() -> int:
    found = sum(line.startswith("GPU ") for line in _asked("-L"))
    return found or len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def _asked(*options: str) -> list[str]:
    """The lines that nvidia-smi answers; none if it is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        said = subprocess.run([program, *options], capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return said.stdout.splitlines() if said.returncode == 0 else []


def _is(index: str, uuid: str, named: str) -> bool:
    return named == index or (not named.isdigit() and uuid.startswith(named))


def _from_kernel() -> list[str]:
    """The models that the kernel's drivers of NVIDIA and AMD know."""
    told = [_text(path) for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    models = [
        line.partition(":")[2].strip() for text in told for line in text.splitlines() if line.startswith("Model:")
    ]
    return models or [
        text for path in Path("/sys/class/drm").glob("card*/device/product_name") if (text := _text(path))
    ]


def _amd() -> int:
    """GPUs as ROCm's kernel driver lists them; its other nodes are processors, with the number 0."""
    nodes = Path("/sys/class/kfd/kfd/topology/nodes").glob("*/gpu_id")
    return sum(_text(node) not in ("", "0") for node in nodes)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
