"""Keep oneDNN away from convolutions whose gradient it computes wrongly: it overwrites memory or returns wrong numbers.

    with Guard() as guard:   # once for each training, entered for each stretch of it
        ...                  # build the model, train

The fault  On x86 CPUs, in the weight gradient of a convolution with a 1 x 1 kernel, a stride, no padding and fewer
           input channels than a vector holds numbers (8 with AVX2, 16 with AVX-512), float32 or bfloat16, if images
           or weights lie in memory with the channels last. oneDNN allocates working memory for the actual channels,
           but addresses it as if there were 8 (16). With one thread it writes past the end (a crash, now or later);
           with more threads it writes into the memory of other threads, so the gradient is silently wrong.
           Such layers are the shortcuts of narrow residual networks.
Source     https://github.com/uxlfoundation/oneDNN/issues/6035, open in September 2026; oneDNN 3.12 is in torch 2.13.0.
           We assume that all versions have the fault; once one does not, check for older ones here.
Seen       torch 2.13.0+cpu on an AMD EPYC with AVX-512, also as AVX2 (`ONEDNN_MAX_CPU_ISA`), each shape in a process of
           its own whose allocations end at protected pages. Wrong: 2 to 5 input channels of 8 x 8 pixels with AVX2,
           4 to 15 of 128 x 128 with AVX-512. Correct there: 8 to 36 (16 to 24) channels, stride 1, 3 x 3 kernels,
           padding, groups, other layouts, one and three dimensions, transposed ones, forward, the image gradient.
Remedy     Switch oneDNN off while a training with such a layer computes. The whole model takes up to 1.7 times as long
           (`ResNet` of 8, 16 and 32 channels; of 4 and 8, no longer). We do so on every CPU, so the digits agree.
Not for    a layer that was built before its training, or a call of `functional.conv2d`; a script in a process of its
           own, where torch has the fault with and without us. As a workaround set `ONEDNN_MAX_CPU_ISA=AVX` there.
"""

from __future__ import annotations

import logging
import platform
from typing import Any

import torch
from torch.nn.modules.module import register_module_module_registration_hook

CHANNELS = 16  # float32 numbers in the widest vector: with this many channels or more, every CPU computes correctly


class Guard:
    """Leaves oneDNN as it is until the training builds a layer that oneDNN computes wrongly; then keeps it off.

    Each training has its own guard, so several trainings may take turns in a process.
    """

    def __init__(self) -> None:
        self.off = False
        self._before: list[tuple[bool, Guard | None]] = []

    def __enter__(self) -> Guard:
        global _watching
        self._before.append((bool(torch.backends.mkldnn.enabled), _watching))
        _watching = self
        if self.off:
            _switch(False)
        return self

    def __exit__(self, *_: object) -> None:
        global _watching
        enabled, _watching = self._before.pop()
        if self.off:  # otherwise keep the setting of the training's own code
            _switch(enabled)

    def see(self, layer: torch.nn.Module) -> None:
        if self.off or not torch.backends.mkldnn.enabled or not is_miscomputed(layer):
            return
        self.off = True
        _switch(False)
        if not torch.cuda.is_available():
            _log.warning(
                "oneDNN is off in this training: it computes the gradient of %s wrongly on x86 CPUs "
                "(github.com/uxlfoundation/oneDNN/issues/6035); with %d or more input channels it would stay on.",
                layer, CHANNELS,
            )  # fmt: skip


def is_miscomputed(layer: torch.nn.Module) -> bool:
    """Whether oneDNN may compute this layer's gradient wrongly on the CPU of this machine, in some layout and size."""
    return (
        isinstance(layer, torch.nn.Conv2d)
        and layer.in_channels < CHANNELS
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.padding in ((0, 0), "valid", "same")
        and platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


def _switch(on: bool) -> None:
    torch.backends.mkldnn.enabled = on  # type: ignore[assignment]  # the stub describes the descriptor


def _registered(_parent: torch.nn.Module, _name: str, layer: Any) -> None:
    if _watching is not None and isinstance(layer, torch.nn.Module):
        _watching.see(layer)


_log = logging.getLogger(__name__)
_watching: Guard | None = None
register_module_module_registration_hook(_registered)
