"""Refuse a fork whose optimizer trains with the values of its parent's configuration instead of its own.

`optimizer.load_state_dict` brings back the parent's learning rate, weight decay, momentum …; a training must then set its
own again. Without that, its record would name values that it never used.

A value counts that nothing has written since the state was loaded: loading keeps the very objects of the state. So a
schedule or a scaling rule of the training's own is no mistake, even where it leads to the parent's number. A learning rate
that is written again and again counts too, if it is the parent's in every group at every update, in the parent's state as
well, and the fork's own is nowhere: so trains a loaded object that sets the rate itself, as in Stable-Baselines3.

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
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

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


@dataclass
class _Differing:
    """A parameter for which the fork's configuration has another value than its parent's."""

    name: str
    keys: tuple[str, ...]  # of a parameter group; the first one takes the value
    own: Any
    parents: Any
    saved: list[Any] = field(default_factory=list)  # the objects that the groups of loaded states have there
    overwritten: list[tuple[Optimizer, int]] = field(default_factory=list)  # groups that had the own value until a load
    is_only_parents: bool = True  # whether every group has had the parent's value at every step, and none the own


class ParentsValues:
    """Looks at the steps of each optimizer after a fork, until the fork's first report."""

    def __init__(self, config: Config, parent: Config, state: Any = None) -> None:
        """`state`: what the parent's training yielded."""
        self._differing = [
            _Differing(name, keys, config[name], parent[name])
            for name in config
            if (keys := GROUP_KEYS.get(name.rpartition(".")[2])) and name in parent and config[name] != parent[name]
        ]
        self.note_loaded(state)
        self._seen: list[Optimizer] = []
        self._suspects: list[tuple[Optimizer, _Differing]] = []

    def note_load(self, optimizer: Optimizer, state: Any) -> None:
        """Note that `optimizer` is going to load `state`."""
        self.note_loaded(state)
        for it in self._differing:
            key = it.keys[0]
            it.overwritten += [
                (optimizer, index)
                for index, group in enumerate(optimizer.param_groups)
                if key in group and _equal(group[key], it.own)
            ]

    def note_loaded(self, state: Any) -> None:
        """Note the values in a state of the parent's."""
        for group in _groups(state):
            for it in self._differing:
                it.saved.extend(group[key] for key in it.keys if key in group)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """A context that looks at every optimizer."""
        if not self._differing:
            yield
            return
        load, handle = _note_loads(self), register_optimizer_step_pre_hook(self.before_step)
        try:
            yield
        finally:
            handle.remove()
            Optimizer.load_state_dict = load  # type: ignore[method-assign]

    def refuse(self) -> None:
        """Raise ValueError if an optimizer has begun with a value of the parent's and still has it."""
        if why := self.objection():
            raise ValueError(why)
        self._seen, self._suspects, self._differing = [], [], []  # so that nothing keeps the optimizers alive

    def objection(self) -> str:
        """That an optimizer has begun with a value of the parent's and still has it; empty if none has."""
        for optimizer, it in self._suspects:
            if _has_parents(optimizer, it) and (
                _is_built_with(optimizer, it, it.own)
                or _is_overwritten(optimizer, it)
                or self._nobody_has_own(optimizer, it)
            ):
                key = it.keys[0]
                return (
                    f"this trial continues from another one's state with {it.name}={it.own!r}, but its {type(optimizer).__name__} "
                    f"still trains with {it.parents!r}, the other trial's value, which the state brought back, as load_state_dict does; after loading "
                    f"it, write: {_groups_to_set(optimizer, it)}[{key!r}] = config[{it.name!r}]{_scheduled(optimizer, it)}"
                )
        for it in self._differing:
            if self._seen and it.keys is RATES and it.is_only_parents and _is_in_state(it):
                return (
                    f"this trial continues from another one's state with {it.name}={it.own!r}, but its {type(self._seen[0]).__name__} has "
                    f"{it.parents!r}, the other trial's value, at every update, as something that was loaded sets it each time; give "
                    f"that this trial's values when you load it, in Stable-Baselines3 all that are tuned: PPO.load(path, env=env, "
                    f"learning_rate=…, ent_coef=…)"
                )
        return ""

    def before_step(self, optimizer: Optimizer, _: Any, __: Any) -> None:
        for it in self._differing:
            it.is_only_parents &= not _has_own(optimizer, it) and all(
                _equal(group.get(it.keys[0]), it.parents) for group in optimizer.param_groups
            )
        if any(optimizer is seen for seen in self._seen):
            return
        self._seen.append(optimizer)
        self._suspects += [
            (optimizer, it) for it in self._differing if _has_parents(optimizer, it) and _is_as_saved(optimizer, it)
        ]

    def _nobody_has_own(self, optimizer: Optimizer, it: _Differing) -> bool:
        """Whether no optimizer knows the fork's learning rate, and the other trial's is no constant of this one."""
        known = any(_has_own(each, it) or _is_built_with(each, it, it.own) for each in self._seen)
        return it.keys is RATES and not known and not _is_built_with(optimizer, it, it.parents)


def watch(config: Config, parent: Config, file: str) -> None:
    """Keep the objection to this process's optimizers in `file`: it is empty while there is none, and missing before a step."""
    values, told = ParentsValues(config, parent), None
    _note_loads(values)

    def before_step(optimizer: Optimizer, *_: Any) -> None:
        nonlocal told
        values.before_step(optimizer, None, None)
        before, told = told, values.objection()
        if told != before and (
            told or before or not os.path.exists(file)
        ):  # another process of it may have an objection
            unfinished = f"{file}.{os.getpid()}"
            with open(unfinished, "w", encoding="utf-8") as output:
                output.write(told)
            os.replace(unfinished, file)

    register_optimizer_step_pre_hook(before_step)


def _note_loads(values: ParentsValues) -> Any:
    """Let `values` note what every optimizer loads; returns the method that stands there without it."""
    load = Optimizer.load_state_dict

    @functools.wraps(load)
    def load_state_dict(optimizer: Optimizer, state: Any, *more: Any, **named: Any) -> Any:
        values.note_load(optimizer, state)
        return load(optimizer, state, *more, **named)

    Optimizer.load_state_dict = load_state_dict  # type: ignore[method-assign, assignment]
    return load


def _has_parents(optimizer: Optimizer, it: _Differing) -> bool:
    """Whether some group has the parent's value, and none the fork's own."""
    return not _has_own(optimizer, it) and any(_equal(value, it.parents) for value in _values(optimizer, it))


def _has_own(optimizer: Optimizer, it: _Differing) -> bool:
    return any(_equal(value, it.own) for value in _values(optimizer, it))


def _values(optimizer: Optimizer, it: _Differing) -> list[Any]:
    return [group[key] for group in optimizer.param_groups for key in it.keys if key in group]


def _is_as_saved(optimizer: Optimizer, it: _Differing) -> bool:
    """Whether nothing has written the value since the state was loaded, but perhaps an LR scheduler from its base rate."""
    key, *bases = it.keys
    return any(
        any(group[key] is saved for saved in it.saved)
        or any(group.get(base) is saved and _equal(group[key], saved) for base in bases for saved in it.saved)
        for group in optimizer.param_groups
        if key in group
    )


def _is_built_with(optimizer: Optimizer, it: _Differing, value: Any) -> bool:
    """Whether this value was an argument of the optimizer."""
    return _equal(optimizer.defaults.get(it.keys[0]), value)


def _is_overwritten(optimizer: Optimizer, it: _Differing) -> bool:
    """Whether loading has put the parent's value in place of the own one, in some group."""
    key, groups = it.keys[0], optimizer.param_groups
    return any(optimizer is each and _equal(groups[index].get(key), it.parents) for each, index in it.overwritten)


def _groups_to_set(optimizer: Optimizer, it: _Differing) -> str:
    """The code before `[key] = value` that sets all groups, or those alone that had the own value."""
    had = [index for each, index in it.overwritten if each is optimizer]
    if len(set(had)) in (0, len(optimizer.param_groups)):
        return "for group in optimizer.param_groups: group"
    return f"for index in {sorted(set(had))}: optimizer.param_groups[index]"


def _is_in_state(it: _Differing) -> bool:
    """Whether the parent's optimizer had the parent's value, so nothing has scaled it."""
    return any(_equal(saved, it.parents) for saved in it.saved)


def _scheduled(optimizer: Optimizer, it: _Differing) -> str:
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
