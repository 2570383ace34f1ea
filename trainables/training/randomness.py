"""The process's random streams as plain data: torch on CPU and GPUs, NumPy, Python."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_streams(seed: int) -> None:
    torch.manual_seed(seed)  # the GPUs too
    np.random.seed(seed % 2**32)  # NumPy takes 32 bits
    random.seed(seed)


def read_streams() -> dict[str, Any]:
    numpy = np.random.get_state(legacy=False)
    numpy["state"]["key"] = numpy["state"]["key"].tolist()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": numpy,
        "python": random.getstate(),
    }


def write_streams(streams: dict[str, Any]) -> None:
    torch.set_rng_state(streams["torch"])
    for device, state in enumerate(streams["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, device)
    numpy = streams["numpy"]
    key = np.array(numpy["state"]["key"], dtype=np.uint32)
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": key}})
    random.setstate(streams["python"])
