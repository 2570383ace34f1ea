"""The name of the device on which a training in this process runs: what a price is looked up by."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from orchestrator.money.prices import GPU

PATIENCE = 20.0  # seconds for nvidia-smi, which is slow on a machine with many GPUs


def gpu_models() -> tuple[str, ...]:
    """The models of the GPUs that this process may use, as their driver names them; empty if it does not tell."""
    return _models(os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("PATH"))


@lru_cache(maxsize=1)
def _models(visible: str | None, _path: str | None) -> tuple[str, ...]:
    named = None if visible is None else [word.strip() for word in visible.split(",") if word.strip()]
    rows = [line.split(", ") for line in asked("--query-gpu=index,uuid,name", "--format=csv,noheader")]
    found = [(index, uuid, name) for index, uuid, name in (row for row in rows if len(row) == 3)]
    chosen = [name for index, uuid, name in found if named is None or any(_is(index, uuid, each) for each in named)]
    return tuple(chosen or _from_kernel())


def device_name(kind: str) -> str:
    """The name of the device that a trial on this machine holds: "cpu", or the model of the first GPU, or "gpu"."""
    return next(iter(gpu_models()), kind) if kind == GPU else kind


def asked(*options: str) -> list[str]:
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


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
