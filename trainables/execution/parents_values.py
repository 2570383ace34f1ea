"""Refuse a fork whose optimizer trains with the values of its parent's configuration instead of its own.

`optimizer.load_state_dict` brings back the parent's learning rate, weight decay, momentum …; a training must then set its
own again. Without that, its record would name values that it never used.

Only a value counts that nothing has written since the state was loaded: loading keeps the very objects of the state. So a
schedule or a scaling rule of the training's own is no mistake, even where it leads to the parent's number.

A training in a process of its own loads this file by its path (`watch`), so the file needs torch and nothing of ours.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

if TYPE_CHECKING:
    from search.records import Config

RATES = ("lr", "initial_lr", "max_lr")  # of a parameter group; LR schedulers compute the rate from the last two
GROUP_KEYS = {  # by the last part of a parameter's name
    "lr": RATES,
    "learning_rate": RATES,
    "max_lr": RATES,
    "weight_decay": ("weight_decay",),
    "momentum": ("momentum",),
    "betas": ("betas",),
    "eps": ("eps",),
}


@dataclass(frozen=True)
class _Differing:
    """A parameter for which the fork's configuration has another value than its parent's."""

    name: str
    keys: tuple[str, ...]  # of a parameter group; the first one takes the value
    own: Any
    parents: Any
    saved: list[Any] = field(default_factory=list)  # the objects that the groups of loaded states have there


class ParentsValues:
    """Looks at each optimizer at its first step after a fork, and again at the fork's first report."""

    def __init__(self, config: Config, parent: Config, state: Any = None) -> None:
        """`state`: what the parent's training yielded."""
        self._differing = [
            _Differing(name, keys, config[name], parent[name])
            for name in config
            if (keys := GROUP_KEYS.get(name.rpartition(".")[2])) and name in parent and config[name] != parent[name]
        ]
        self.note_loaded(state)
        self._seen: list[torch.optim.Optimizer] = []
        self._suspects: list[tuple[torch.optim.Optimizer, _Differing]] = []

    def note_loaded(self, state: Any) -> None:
        """Note the values in a state of the parent's."""
        for group in _groups(state):
            for it in self._differing:
                it.saved.extend(group[key] for key in it.keys if key in group)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """A context that looks at the first step of every optimizer."""
        if not self._differing:
            yield
            return
        handle = register_optimizer_step_pre_hook(self.before_step)
        try:
            yield
        finally:
            handle.remove()

    def refuse(self) -> None:
        """Raise ValueError if an optimizer has begun with a value of the parent's and still has it."""
        if why := self.objection():
            raise ValueError(why)
        self._seen, self._suspects = [], []  # so that nothing keeps the optimizers alive

    def objection(self) -> str:
        """That an optimizer has begun with a value of the parent's and still has it; empty if none has."""
        for optimizer, it in self._suspects:
            if _has_parents(optimizer, it) and (
                _is_built_with(optimizer, it, it.own) or self._nobody_has_own(optimizer, it)
            ):
                key = it.keys[0]
                return (
                    f"this trial continues from another one's state with {it.name}={it.own!r}, but its {type(optimizer).__name__} "
                    f"still trains with {it.parents!r}, the other trial's value, which the state brought back, as load_state_dict does; after loading "
                    f"it, write: for group in optimizer.param_groups: group[{key!r}] = config[{it.name!r}]{_scheduled(optimizer, it)}"
                )
        return ""

    def before_step(self, optimizer: torch.optim.Optimizer, _: Any, __: Any) -> None:
        if any(optimizer is seen for seen in self._seen):
            return
        self._seen.append(optimizer)
        self._suspects += [
            (optimizer, it) for it in self._differing if _has_parents(optimizer, it) and _is_as_saved(optimizer, it)
        ]

    def _nobody_has_own(self, optimizer: torch.optim.Optimizer, it: _Differing) -> bool:
        """Whether no optimizer knows the fork's learning rate, and the other trial's is no constant of this one."""
        known = any(_has_own(each, it) or _is_built_with(each, it, it.own) for each in self._seen)
        return it.keys is RATES and not known and not _is_built_with(optimizer, it, it.parents)


def watch(optimizers: Any, config: Config, parent: Config, file: str) -> None:
    """Keep the objection to this process's optimizers in `file`, which is there only while there is one.

    `optimizers`: the module torch.optim.optimizer.
    """
    values, told = ParentsValues(config, parent), ""
    load = optimizers.Optimizer.load_state_dict

    @functools.wraps(load)
    def load_state_dict(optimizer: Any, state: Any, *more: Any, **named: Any) -> Any:
        values.note_loaded(state)
        return load(optimizer, state, *more, **named)

    def before_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        nonlocal told
        values.before_step(optimizer, None, None)
        before, told = told, values.objection()
        if told and told != before:
            unfinished = f"{file}.{os.getpid()}"
            with open(unfinished, "w", encoding="utf-8") as output:
                output.write(told)
            os.replace(unfinished, file)
        elif before and not told:
            with contextlib.suppress(OSError):  # another process of this training was first
                os.remove(file)

    optimizers.Optimizer.load_state_dict = load_state_dict
    register_optimizer_step_pre_hook(before_step)


def _has_parents(optimizer: torch.optim.Optimizer, it: _Differing) -> bool:
    """Whether some group has the parent's value, and none the fork's own."""
    return not _has_own(optimizer, it) and any(_equal(value, it.parents) for value in _values(optimizer, it))


def _has_own(optimizer: torch.optim.Optimizer, it: _Differing) -> bool:
    return any(_equal(value, it.own) for value in _values(optimizer, it))


def _values(optimizer: torch.optim.Optimizer, it: _Differing) -> list[Any]:
    return [group[key] for group in optimizer.param_groups for key in it.keys if key in group]


def _is_as_saved(optimizer: torch.optim.Optimizer, it: _Differing) -> bool:
    """Whether nothing has written the value since the state was loaded, but perhaps an LR scheduler from its base rate."""
    key, *bases = it.keys
    return any(
        any(group[key] is saved for saved in it.saved)
        or any(group.get(base) is saved and _equal(group[key], saved) for base in bases for saved in it.saved)
        for group in optimizer.param_groups
        if key in group
    )


def _is_built_with(optimizer: torch.optim.Optimizer, it: _Differing, value: Any) -> bool:
    """Whether this value was an argument of the optimizer."""
    return _equal(optimizer.defaults.get(it.keys[0]), value)


def _scheduled(optimizer: torch.optim.Optimizer, it: _Differing) -> str:
    """What else to write if an LR scheduler computes the rate."""
    others = [key for key in it.keys[1:] if any(key in group for group in optimizer.param_groups)]
    if not others:
        return ""
    return f", and the same for {' and '.join(map(repr, others))}, before you make or load the LR scheduler"


def _equal(value: Any, other: Any) -> bool:
    """Whether they are equal; a tensor is compared at its own precision."""
    if isinstance(value, torch.Tensor) != isinstance(other, torch.Tensor):
        tensor, plain = (value, other) if isinstance(value, torch.Tensor) else (other, value)
        if tensor.numel() != 1 or not isinstance(plain, (int, float)):
            return False
        return bool(tensor.item() == torch.tensor(plain, dtype=tensor.dtype).item())
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(map(_equal, value, other))
    return bool(value == other)


def _groups(state: Any) -> Iterator[Mapping[str, Any]]:
    """The parameter groups of each optimizer's state dict in `state`."""
    if isinstance(state, Mapping):
        found = state.get("param_groups")
        if isinstance(found, (list, tuple)):
            yield from (group for group in found if isinstance(group, Mapping))
        for item in state.values():
            yield from _groups(item)
    elif isinstance(state, (list, tuple)):
        for item in state:
            yield from _groups(item)
