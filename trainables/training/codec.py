"""Convert nested Python data to JSON plus named tensors and back, exactly: tuples stay tuples, int keys ints, NaN NaN.

JSON has no tuples, sets or bytes, only string keys, no NaN and no tensors; we write each as an object with one key that
starts with "$". A dict that has such keys itself is written as pairs, so nothing is ambiguous. NumPy's arrays and
scalars are stored as tensors and come back unchanged, except those of texts, objects, dates and records, which are
refused. An array of another library that can be read as NumPy's, such as one of JAX, comes back as NumPy's.
"""

from __future__ import annotations

import base64
import importlib
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SMALL = "ml_dtypes"  # the module of NumPy's bfloat16 and smaller numbers


def pack(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """JSON-ready data, and the tensors that it names. Raises TypeError for any other kind of value."""
    packer = _Packer()
    return packer.pack(value, ()), packer.tensors


def check(value: Any) -> None:
    """Raise TypeError with the place and the type if `value` cannot be packed; copies nothing."""
    _Packer(copies=False).pack(value, ())


class Unsavable(TypeError):
    """A part of a training's state cannot be in a checkpoint; the message names who made it. Trying again is useless."""


def refuse_unsavable(maker: object, method: str, value: Any) -> None:
    """Raise Unsavable if `value`, a state that `maker` (a policy, a workload) made in `method`, cannot be packed."""
    try:
        check(value)
    except TypeError as error:
        raise Unsavable(
            f"{type(maker).__name__}.{method} made a state that cannot be saved: {error}. Keep plain data in the state, and make "
            "other objects from them where they are needed."
        ) from None


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
    if "$array" in packed or "$scalar" in packed:
        array = tensors[packed.get("$array") or packed["$scalar"]].numpy()
        if "of" in packed:
            array = array.view(getattr(importlib.import_module(_SMALL), packed["of"]))
        return array if "$array" in packed else array[()]
    if "$bytes" in packed:
        return base64.b64decode(packed["$bytes"])
    if "$size" in packed:
        return torch.Size(packed["$size"])
    if "$set" in packed:
        return {unpack(item, tensors) for item in packed["$set"]}
    if "$frozenset" in packed:
        return frozenset(unpack(item, tensors) for item in packed["$frozenset"])
    if "$tuple" in packed:
        return tuple(unpack(item, tensors) for item in packed["$tuple"])
    if "$pairs" in packed:
        return {unpack(key, tensors): unpack(item, tensors) for key, item in packed["$pairs"]}
    return {key: unpack(item, tensors) for key, item in packed.items()}


class _Packer:
    def __init__(self, *, copies: bool = True) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._copies = copies
        self._names: dict[tuple[Any, ...], str] = {}  # a tensor's place in memory → its name
        self._storages: set[int] = set()
        self._alive: list[Tensor] = []  # keeps tensors alive, so that no address is used twice

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
            if value.layout is not torch.strided or value.dtype is torch.complex128:
                raise _refused(f"tensor of {value.dtype}, {value.layout}", path)
            return {"$tensor": self._name(value.detach(), path)}
        if isinstance(value, (np.ndarray, np.generic)):
            return self._pack_array(value, path)
        if hasattr(value, "__array_namespace__"):
            return self._pack_array(_as_numpy(value, path), path)
        if kind is bytes:
            return {"$bytes": base64.b64encode(value).decode()}
        if kind in (set, frozenset):
            return {f"${kind.__name__}": [self.pack(item, (*path, "item")) for item in sorted(value, key=repr)]}
        if kind is torch.Size:
            return {"$size": list(value)}
        raise _refused(kind.__module__ + "." + kind.__qualname__, path)

    def _pack_array(self, value: Any, path: tuple[str, ...]) -> Any:
        array, small = np.asarray(value), {}
        if array.dtype.type.__module__ == _SMALL:  # of which torch knows the bits only
            small, array = {"of": array.dtype.name}, array.view(f"i{array.itemsize}")
        try:
            if array.dtype.byteorder not in "=|" or array.dtype == np.complex128:
                raise TypeError
            tensor = torch.from_numpy(np.array(array, order="C") if self._copies else np.empty(0, array.dtype))
        except TypeError:
            raise _refused(f"NumPy {type(value).__name__} of {array.dtype}", path) from None
        return {"$array" if isinstance(value, np.ndarray) else "$scalar": self._name(tensor, path), **small}

    def _pack_dict(self, value: dict[Any, Any], path: tuple[str, ...]) -> Any:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self.pack(item, (*path, key)) for key, item in value.items()}
        pairs = [[self.pack(k, (*path, "key")), self.pack(v, (*path, str(k)))] for k, v in value.items()]
        return {"$pairs": pairs}

    def _name(self, tensor: Tensor, path: tuple[str, ...]) -> str:
        if not self._copies:
            return ""
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if place in self._names and tensor.numel():
            return self._names[place]
        name = free = "/".join(path).encode("ascii", "backslashreplace").decode()
        while free in self.tensors or free in ("", "__metadata__"):  # safetensors reserves the latter
            free = f"{name}#{len(self.tensors)}"
        self._names[place] = free
        self._alive.append(tensor)
        self.tensors[free] = self._alone(tensor)
        return free

    def _alone(self, tensor: Tensor) -> Tensor:
        """A copy on the CPU, contiguous, sharing memory with no other tensor, as the file format demands."""
        tensor = tensor.cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        if storage in self._storages:
            return tensor.clone(memory_format=torch.contiguous_format)
        self._storages.add(storage)
        return tensor


def _as_numpy(value: Any, path: tuple[str, ...]) -> Any:
    try:
        return np.asarray(value)
    except (TypeError, RuntimeError) as error:  # a key of JAX, or an array that was donated
        kind = type(value)
        raise _refused(f"{kind.__module__}.{kind.__qualname__} ({str(error).rstrip('.')})", path) from None


def _refused(kind: str, path: tuple[str, ...]) -> TypeError:
    return TypeError(
        f"state at {'/'.join(path) or 'the top'} is a {kind}; a checkpoint holds None, bool, int, float, str, bytes, list, "
        "tuple, set, dict, tensors, and NumPy's numbers and arrays of numbers only"
    )
