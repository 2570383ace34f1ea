"""The knobs in an optimizer's parameter groups: read at the start, written whenever the policy turns one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trainables.values import Knobs

KNOB_OF = {"lr": "learning_rate", "momentum": "momentum", "weight_decay": "weight_decay"}


def knobs_of(optimizer: torch.optim.Optimizer, batch_size: int) -> Knobs:
    """The optimizer's arguments as knobs; 0 for those that it lacks, such as Adam's momentum."""
    given = {name: float(optimizer.defaults.get(key) or 0.0) for key, name in KNOB_OF.items()}
    return Knobs(batch_size=batch_size, **given)


def multiples_of(group: Mapping[str, Any], knobs: Knobs) -> dict[str, float]:
    """This parameter group's multiple of each knob; no entry if the group has a value of its own."""
    multiples = {}
    for key, name in KNOB_OF.items():
        if key in group:
            knob = getattr(knobs, name)
            if knob != 0:
                multiples[key] = group[key] / knob
            elif group[key] == 0:
                multiples[key] = 1.0
    return multiples


def turn(optimizer: torch.optim.Optimizer, multiples: Sequence[Mapping[str, float]], knobs: Knobs) -> None:
    """Write the knobs to the optimizer's groups, each times the group's `multiples`."""
    for group, times in zip(optimizer.param_groups, multiples, strict=True):
        for key, multiple in times.items():
            group[key] = multiple * getattr(knobs, KNOB_OF[key])
