"""Nested Python data ↔ JSON plus named tensors, exactly: tuples stay tuples, int keys ints, NaN NaN.

JSON has no tuples, no keys but strings, no NaN and no tensors; these are written as an object with one key
that starts with "$". A dict which has such keys itself is written as pairs, so nothing is ambiguous.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def pack(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """JSON-ready data, and the tensors it refers to by name. Raises TypeError for any other kind of value."""
    packer = _Packer()
    return packer.pack(value, ()), packer.tensors


def unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `pack`. Tensors that shared memory come back as one tensor."""
    if isinstance(packed, list):
        return [unpack(item, tensors) for item in packed]
    if not isinstance(packed, dict):
        return packed
    if "$tensor" in packed:
        return tensors[packed["$tensor"]]
    if "$float" in packed:
        return float(packed["$float"])
    if "$tuple" in packed:
        return tuple(unpack(item, tensors) for item in packed["$tuple"])
    if "$pairs" in packed:
        return {unpack(key, tensors): unpack(item, tensors) for key, item in packed["$pairs"]}
    return {key: unpack(item, tensors) for key, item in packed.items()}


class _Packer:
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[tuple[Any, ...], str] = {}  # where a tensor lies in memory → its name
        self._storages: set[int] = set()
        self._alive: list[Tensor] = []  # an address means something only while its tensor lives

    def pack(self, value: Any, path: tuple[str, ...]) -> Any:
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if kind is list:
            return [self.pack(item, (*path, str(i))) for i, item in enumerate(value)]
        if kind is tuple:
            return {"$tuple": [self.pack(item, (*path, str(i))) for i, item in enumerate(value)]}
        if kind is dict:
            return self._pack_dict(value, path)
        if isinstance(value, Tensor):
            return {"$tensor": self._name(value.detach(), path)}
        raise TypeError(
            f"state at {'/'.join(path) or 'the top'} is a {kind.__module__}.{kind.__qualname__}; "
            "a checkpoint holds None, bool, int, float, str, list, tuple, dict and tensors only"
        )

    def _pack_dict(self, value: dict[Any, Any], path: tuple[str, ...]) -> Any:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self.pack(item, (*path, key)) for key, item in value.items()}
        pairs = [[self.pack(k, (*path, "key")), self.pack(v, (*path, str(k)))] for k, v in value.items()]
        return {"$pairs": pairs}

    def _name(self, tensor: Tensor, path: tuple[str, ...]) -> str:
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if place in self._names and tensor.numel():
            return self._names[place]
        name = free = "/".join(path).encode("ascii", "backslashreplace").decode()
        while free in self.tensors or free in ("", "__metadata__"):  # the latter is safetensors' own
            free = f"{name}#{len(self.tensors)}"
        self._names[place] = free
        self._alive.append(tensor)
        self.tensors[free] = self._alone(tensor)
        return free

    def _alone(self, tensor: Tensor) -> Tensor:
        """On the CPU, contiguous, and overlapping with no other tensor, as the file format asks."""
        tensor = tensor.cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        if storage in self._storages:
            return tensor.clone(memory_format=torch.contiguous_format)
        self._storages.add(storage)
        return tensor
