"""The knobs in an optimizer's parameter groups: read at the start, written whenever the policy turns one.

Adam's second moment v keeps its half-life in samples: with k times the batch of the start, beta2 becomes beta2^k (Marek
et al., Small Batch Size Training for Language Models, 2025). Where that happens amid the training, v is multiplied by
(1 - beta2'^n) / (1 - beta2^n) after n updates, so that Adam's correction of the start's bias stays right.
"""

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
    """This parameter group's multiple of each knob; no entry if the group has a value of its own.

    Of Adam and its relatives also "beta2" and the batch that it is meant for.
    """
    multiples = {}
    for key, name in KNOB_OF.items():
        if key in group:
            knob = getattr(knobs, name)
            if knob != 0:
                multiples[key] = group[key] / knob
            elif group[key] == 0:
                multiples[key] = 1.0
    if _is_adam(group):
        multiples |= {"beta2": group["betas"][1], "beta2_batch": float(knobs.batch_size)}
    return multiples


def turn(
    optimizer: torch.optim.Optimizer, multiples: Sequence[Mapping[str, float]], knobs: Knobs, *, amid: bool = False
) -> None:
    """Write the knobs to the optimizer's groups, each times the group's `multiples`.

    `amid`: the optimizer's state was made with the values that its groups have now.
    """
    for group, times in zip(optimizer.param_groups, multiples, strict=True):
        for key in KNOB_OF.keys() & times.keys():
            group[key] = times[key] * getattr(knobs, KNOB_OF[key])
        if "beta2" in times:
            _turn_beta2(optimizer, group, times["beta2"] ** (knobs.batch_size / times["beta2_batch"]), amid)


def _is_adam(group: Mapping[str, Any]) -> bool:
    """Whether this group's optimizer divides by the root of a second moment, as Lion, which has no eps, does not."""
    betas = group.get("betas", ())
    return "eps" in group and len(betas) == 2 and isinstance(betas[1], float)


def _turn_beta2(optimizer: torch.optim.Optimizer, group: dict[str, Any], beta2: float, amid: bool) -> None:
    beta1, before = group["betas"]
    if beta2 == before:
        return
    group["betas"] = (beta1, beta2)
    if not amid or not group.get("bias_correction", True):
        return
    for parameter in group["params"]:
        state = optimizer.state.get(parameter, {})
        for moment in ("exp_avg_sq", "max_exp_avg_sq"):
            if moment in state:
                updates = float(state["step"])
                state[moment].mul_((1 - beta2**updates) / (1 - before**updates))
