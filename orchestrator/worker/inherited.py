"""Tell that a trial begins with a global value that an earlier trial of its process has changed.

Trials share a process, and with it the globals of their training: data that one has loaded serve the next. But a table, a
number or a network that one changes is no longer what the next expects.

Compared     numbers, texts, and lists, dicts, tuples and sets of them; tensors and networks of torch, by the counters of their
             changes; small arrays.
No change    what was loaded where there was None, and a container that now holds other objects: caches. What has the name of a
             parameter of this trial: the training sets it again (`CONF.update(config)`).
"""

from __future__ import annotations

import collections
import copy
import sys
from collections.abc import Mapping
from textwrap import shorten
from typing import Any

from search.work import Notice
from trainables.contract import OwnTraining, Trainable
from trainables.global_values import Global, globals_of, is_network

LARGEST = 1000  # items of a container; larger ones are not compared
LARGEST_ARRAY = 2**20  # bytes
_TABLES = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
_CONTAINERS = (list, tuple, set, frozenset, collections.deque)
LARGE, NOTHING = ("large",), ("plain", type(None), None)  # marks
REMEDY = "make it inside the training function"


class Inherited:
    """The globals as the process got them, before its first trial; a training in processes of its own has none here."""

    def __init__(self, workload: Trainable) -> None:
        self._first: list[tuple[Global, Any]] = []
        if not (isinstance(workload, OwnTraining) and workload.has_own_process):
            found, _ = globals_of(getattr(workload, "train", type(workload)))
            marks = [(each, _mark(each.read())) for each in found]
            self._first = [(each, mark) for each, mark in marks if mark not in (None, LARGE)]

    def notices(self, config: Mapping[str, Any]) -> list[Notice]:
        """For a trial that begins now with this configuration: what another has changed, each told once."""
        told, same = [], []
        for each, mark in self._first:
            value = each.read()
            now = _mark(value)
            is_loaded = mark == NOTHING and not isinstance(value, (int, float))
            if now is None or now == mark or is_loaded or _is_set_again(each, mark, value, config):
                same.append((each, mark))
            else:
                told.append(Notice(text=_words(each.name, value), once=True))
        self._first = same
        return told


def _is_set_again(each: Global, mark: Any, value: Any, config: Mapping[str, Any]) -> bool:
    """Whether only what has the name of a parameter has changed. One that another trial alone has is not set again."""
    if isinstance(value, dict) and isinstance(mark[-1], dict):
        before = mark[-1]
        return all(
            key in config for key in value.keys() | before.keys() if value.get(key, before) != before.get(key, value)
        )
    return each.name.rpartition(".")[2] in config


def _words(name: str, value: Any) -> str:
    shown = "" if _is_torchs(value) else f", `{shorten(repr(value), 60, placeholder=' …')}`"
    return f"it began with {name} as an earlier trial had left it{shown}: {REMEDY}"


def _mark(value: Any) -> Any:
    """What differs once the value has changed; None for a value that is not compared."""
    left = [LARGEST]
    if _is_plain(value, left):
        return ("plain", type(value), copy.deepcopy(value)) if left[0] >= 0 else LARGE
    if is_network(value):
        return "versions", [each._version for each in (*value.parameters(), *value.buffers())]
    if _is_torchs(value):
        return "version", value._version
    numpy = sys.modules.get("numpy")
    if (
        numpy is not None
        and type(value) is numpy.ndarray
        and value.nbytes <= LARGEST_ARRAY
        and not value.dtype.hasobject
    ):
        return "array", value.tobytes()
    return None


def _is_torchs(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return is_network(value) or (torch is not None and isinstance(value, torch.Tensor) and not value.is_inference())


def _is_plain(value: Any, left: list[int]) -> bool:
    """Whether it consists of numbers and texts, as far as looked at: `left` items, negative if there are more."""
    left[0] -= 1
    if left[0] < 0:
        return True
    if type(value) in _TABLES:
        return all(_is_plain(each, left) for pair in value.items() for each in pair)
    if type(value) in _CONTAINERS:
        return all(_is_plain(each, left) for each in value)
    return value is None or isinstance(value, (bool, int, float, str, bytes))
