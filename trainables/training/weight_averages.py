"""Averages of a model's weights over time, kept while it trains; with a constant learning rate they replace its decay.

With exponent γ, the weights after t samples count in proportion to t^γ. The average takes in the present weights by

    average ← β average + (1 - β) weights,    β = (t' / t)^(γ + 1),    t': samples at the pass before

which needs no horizon: a training can be prolonged at any time. The average reaches back over about t / (γ + 1)
samples. With equal batches and a pass after each update, β is (1 - 1/n)^(γ + 1) after n updates. Counted in samples, a
larger batch weighs as many smaller ones.

Source     Polyak and Juditsky, 1992; polynomial-decay averaging: Shamir and Zhang, 2013; post-hoc EMA: Karras et al.,
           Analyzing and Improving the Training Dynamics of Diffusion Models, 2024.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

LARGE = 1_000_000  # weights; above, one pass every few updates keeps the cost of a pass below 1 % of an update's
SPARSE = 4  # updates from pass to pass of a large model


class WeightAverages:
    """The averages of `model`'s floating parameters and buffers, one for each of `gammas`; they start at its weights.

    Integer buffers are not averaged: beside an average they have their present values. `every`: updates from one pass
    to the next; None: 1, or 4 for a large model. Takes 4 bytes for each weight and exponent (8 for those in double
    precision), and as much again in each snapshot; an evaluation copies the weights once more. An update that an fp16
    scaler skips counts like others: the weights stand still.

    >>> import torch
    >>> model = torch.nn.Linear(1, 1)
    >>> averages = WeightAverages(model, (4.0, 16.0))
    >>> averages.update(samples=32)  # after each step of the optimizer
    >>> with averages.swapped(16.0):
    ...     prediction = model(torch.ones(1, 1))
    """

    def __init__(self, model: torch.nn.Module, gammas: Sequence[float], every: int | None = None) -> None:
        if (
            not isinstance(gammas, Sequence)
            or not gammas
            or len(set(gammas)) < len(gammas)
            or not all(0 <= gamma < float("inf") for gamma in gammas)
        ):
            raise ValueError(
                f"WeightAverages(gammas={gammas}): must be different finite numbers >= 0; try (4.0, 16.0)."
            )
        self.gammas = tuple(map(float, gammas))
        self._places, self.tied = _places(model)
        live = self._live()
        self.every = every or (SPARSE if sum(tensor.numel() for tensor in live) > LARGE else 1)
        self._samples, self._waiting, self._waiting_samples = 0, 0, 0
        self._converts = any(tensor.dtype != _kind(tensor) for tensor in live)
        self._averages = [[tensor.detach().to(_kind(tensor), copy=True) for tensor in live] for _ in self.gammas]

    def update(self, samples: int) -> None:
        """Take in the present weights, after an update over `samples` samples."""
        self._waiting += 1
        self._waiting_samples += samples
        if self._waiting < self.every:
            return
        before = self._samples
        self._samples += self._waiting_samples
        self._waiting = self._waiting_samples = 0
        with torch.no_grad():
            live = self._live()
            if self._converts:  # not always: for a small model it takes as long as the pass itself
                live = [tensor.to(_kind(tensor)) for tensor in live]
            for gamma, averages in zip(self.gammas, self._averages, strict=True):
                torch._foreach_lerp_(averages, live, 1 - (before / self._samples) ** (gamma + 1))

    @contextlib.contextmanager
    def swapped(self, gamma: float) -> Iterator[None]:
        """A context in which the model has the average with this exponent; then its own weights again, bit by bit."""
        if gamma not in self.gammas:
            raise ValueError(f"swapped({gamma}): no such average is kept; choose one of {self.gammas}.")
        live = self._live()
        kept = [tensor.detach().clone() for tensor in live]
        _put(live, self._averages[self.gammas.index(gamma)])
        try:
            yield
        finally:
            _put(live, kept)

    def values(self, gamma: float) -> dict[str, Tensor]:
        """The live average with this exponent, by the names of the model's tensors."""
        return dict(zip(self._places, self._averages[self.gammas.index(gamma)], strict=True))

    def state_dict(self) -> dict[str, Any]:
        """The live tensors and the place in time."""
        return {
            "gammas": self.gammas, "every": self.every, "samples": self._samples, "waiting": self._waiting,
            "waiting_samples": self._waiting_samples, "tied": dict(self.tied),
            "averages": [self.values(gamma) for gamma in self.gammas],
        }  # fmt: skip

    @classmethod
    def restored(cls, model: torch.nn.Module, state: dict[str, Any]) -> WeightAverages:
        """The averages with this state; they use its tensors without a copy where the device is the model's.

        Raises ValueError if the state is that of another model's averages.
        """
        if "gammas" not in state:
            raise ValueError(
                f"WeightAverages.restored({type(model).__name__}, state): must be what averages.state_dict() returned; this "
                f"has {', '.join(map(repr, state)) or 'nothing'}."
            )
        self = cls.__new__(cls)
        self.gammas, self.every = tuple(state["gammas"]), state["every"]
        self._samples, self._waiting = state["samples"], state["waiting"]
        self._waiting_samples = state["waiting_samples"]
        self._places, self.tied = _places(model)
        self._converts = any(tensor.dtype != _kind(tensor) for tensor in self._live())
        _refuse_others(model, self._places, state["averages"][0])
        devices = {name: table[key].device for name, (table, key) in self._places.items()}
        self._averages = [[values[name].to(devices[name]) for name in self._places] for values in state["averages"]]
        return self

    def _live(self) -> list[Tensor]:
        """The model's tensors now: some modules replace their buffers."""
        return [table[key] for table, key in self._places.values()]


def with_average(weights: dict[str, Any], averages: dict[str, Any], gamma: float) -> dict[str, Any]:
    """`weights` (as in `model_state.live_weights`) with one average of a state of averages in place of the model's."""
    values = averages["averages"][averages["gammas"].index(gamma)]
    values = {**values, **{alias: values[name] for alias, name in averages["tied"].items()}}

    def replaced(table: dict[str, Any]) -> dict[str, Any]:
        return {name: values[name].to(value.dtype) if name in values else value for name, value in table.items()}

    return {**weights, "model": replaced(weights["model"]), "buffers": replaced(weights["buffers"])}


def _places(model: torch.nn.Module) -> tuple[dict[str, tuple[dict[str, Any], str]], dict[str, str]]:
    """Where each floating tensor of the model is, by its name; and further names of the same tensor, each with it."""
    places: dict[str, tuple[dict[str, Any], str]] = {}
    tied: dict[str, str] = {}
    names: dict[int, str] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for table in (module._parameters, module._buffers):
            for key, tensor in table.items():
                name = f"{prefix}.{key}" if prefix else key
                if tensor is None or not tensor.is_floating_point():
                    continue
                if id(tensor) in names:
                    tied[name] = names[id(tensor)]
                else:
                    names[id(tensor)] = name
                    places[name] = (table, key)
    return places, tied


def _refuse_others(
    model: torch.nn.Module, places: dict[str, tuple[dict[str, Any], str]], values: dict[str, Tensor]
) -> None:
    """Raise ValueError if the average `values` is not of this model's tensors."""
    own = {name: tuple(table[key].shape) for name, (table, key) in places.items()}
    saved = {name: tuple(value.shape) for name, value in values.items()}
    for name in {**own, **saved}:
        if own.get(name) != saved.get(name):
            here, there = (f"has shape {has[name]}" if name in has else "is missing" for has in (own, saved))
            raise ValueError(
                f"WeightAverages.restored({type(model).__name__}, state): these are averages of another model: {name!r} "
                f"{here} in the model and {there} in the state. Build the model as it was when they were saved, or start "
                "anew: WeightAverages(model, gammas)."
            )


def _kind(tensor: Tensor) -> torch.dtype:
    """The type of the average: at least float32, because a pass may move it by a hundred thousandth."""
    return torch.promote_types(tensor.dtype, torch.float32)


@torch.no_grad()
def _put(live: list[Tensor], values: list[Tensor]) -> None:
    for tensor, value in zip(live, values, strict=True):
        tensor.copy_(value)
