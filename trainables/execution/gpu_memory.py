"""Limit a trial that shares a GPU with others to its share of the memory, and check that the share is free.

A trial that takes more than its share gets PyTorch's OutOfMemoryError; its neighbours do not notice.
"""

from __future__ import annotations

import torch

ENOUGH = 0.5  # of the share must be free at the start; the neighbours' CUDA contexts also take some of it


class GpuTaken(RuntimeError):
    """Another process uses the memory that the trial was granted."""


def claim(share: float) -> None:
    """Limit this process to `share` of its GPU's memory; a whole GPU, or none, has no limit.

    Raises GpuTaken if another process already uses most of the share.
    """
    if not 0 < share < 1 or not torch.cuda.is_available():
        return
    torch.cuda.set_per_process_memory_fraction(share)
    free, total = torch.cuda.mem_get_info()
    check_room(share, free + torch.cuda.memory_reserved(), total)


def check_room(share: float, free: int, total: int) -> None:
    """`free`: bytes that are free, or used by this process itself; `total`: bytes of the GPU."""
    if free < ENOUGH * share * total:
        raise GpuTaken(
            f"the trial was granted {share:g} of a GPU, {share * total / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB of "
            f"{total / 2**30:.1f} are free: end the other process that uses it (nvidia-smi), or grant more with "
            "resources={'gpu': …}."
        )
