"""Part of a GPU for a trial that is packed with others: how much memory it may take, and whether that is there.

A trial that takes more than its share gets PyTorch's OutOfMemoryError, and its neighbours nothing of it.
"""

from __future__ import annotations

import torch

ENOUGH = 0.5  # of the share must be free at the start: the neighbours' CUDA contexts take some of it, too


class GpuTaken(RuntimeError):
    """Somebody else has the memory that was granted."""


def claim(share: float) -> None:
    """Keep this process to `share` of the memory of its GPU; a whole one, or none, has no limit.

    Raises GpuTaken if somebody else has most of it already.
    """
    if not 0 < share < 1 or not torch.cuda.is_available():
        return
    torch.cuda.set_per_process_memory_fraction(share)
    free, total = torch.cuda.mem_get_info()
    check_room(share, free + torch.cuda.memory_reserved(), total)


def check_room(share: float, free: int, total: int) -> None:
    """`free`: bytes that nobody has, or this process itself; `total`: of the GPU."""
    if free < ENOUGH * share * total:
        raise GpuTaken(
            f"the trial was granted {share:g} of a GPU, {share * total / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of "
            f"{total / 2**30:.1f} are free: end the other process that has it (nvidia-smi), or grant more with "
            "resources={'gpu': …}."
        )
