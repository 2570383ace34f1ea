"""Optimisers by name, as a configuration gives it, for a model and its knobs.

    sgd        stochastic gradient descent, with `knobs.momentum` if that is more than 0
    nesterov   the same with Nesterov's momentum
    adam       Adam; weight decay is added to the gradient
    adamw      Adam with decoupled weight decay (Loshchilov & Hutter, 2019)
    lars       momentum SGD with a trust ratio for each matrix (You et al., 2017), with `knobs.momentum`; its learning
               rates for the usual trust coefficient, 0.001, are those of SGD times a hundred
    lamb       AdamW with a trust ratio for each matrix (You et al., 2020)

The last two use neither trust ratio nor weight decay for biases and gains of normalisations. If these do not tolerate a
learning rate that moves the matrices, as in an LSTM, a larger trust coefficient helps lars: 0.02, or 0.1.
A knob that an optimiser lacks (Adam's momentum) has no effect.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from search.records import Config
from trainables.optim.lamb import Lamb
from trainables.optim.lars import Lars
from trainables.values import Knobs

NAMES = ("sgd", "nesterov", "adam", "adamw", "lars", "lamb")
Parameters = Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]]


def configured(config: Config, default: str, parameters: Parameters, knobs: Knobs) -> torch.optim.Optimizer:
    """The optimiser that the configuration names as "optimizer", with its "trust_coefficient" if it has one."""
    settings = {key: config[key] for key in ("trust_coefficient",) if key in config}
    return optimizer(config.get("optimizer", default), parameters, knobs, **settings)


def optimizer(
    name: str, parameters: Parameters, knobs: Knobs, *, trust_coefficient: float = 0.001
) -> torch.optim.Optimizer:
    """The optimiser called `name` for `parameters`, or for groups of them with their own multiples of the knobs.

    Raises ValueError for an unknown name.
    """
    settings: dict[str, Any] = {"lr": knobs.learning_rate, "weight_decay": knobs.weight_decay}
    if name in ("adam", "adamw"):
        kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        return kind(parameters, **settings)
    if name == "lars":
        return Lars(parameters, momentum=knobs.momentum, trust_coefficient=trust_coefficient, **settings)
    if name == "lamb":
        return Lamb(parameters, **settings)
    if name in ("sgd", "nesterov"):
        nesterov = name == "nesterov" and knobs.momentum > 0  # torch refuses it without momentum
        return torch.optim.SGD(parameters, momentum=knobs.momentum, nesterov=nesterov, **settings)
    raise ValueError(f"optimizer {name!r} is not known; there are {', '.join(NAMES)}.")


def without_decay(model: torch.nn.Module, knobs: Knobs) -> list[dict[str, Any]]:
    """Two groups: matrices and convolutions, and tensors that weight decay only harms (biases, gains)."""
    decayed = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": knobs.weight_decay}, {"params": others, "weight_decay": 0.0}]
