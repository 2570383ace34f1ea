"""Adam's second moment keeps its half-life in samples when a policy turns the batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from trainables.contract import Policy
from trainables.optim.lamb import Lamb
from trainables.training.control import Control
from trainables.values import NOTHING, Action, Signals

BETA2, BATCH, TURNED = 0.99, 16, (3, 7)  # updates after which the batch doubles
LIKE_ADAM: list[Callable[..., torch.optim.Optimizer]] = [
    torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam, Lamb,
]  # fmt: skip


@dataclass(frozen=True)
class Doubling(Policy[int]):
    """Doubles the batch after some updates, and goes back to the snapshot of the start after `back` of them."""

    back: int = 0
    writes: ClassVar[frozenset[str]] = frozenset({"batch_size", "snapshot"})

    def start(self, signals: Signals) -> tuple[int, Action]:
        return 0, NOTHING

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        state += 1
        if self.back and state == self.back:
            return state, Action(roll_back=True, knobs=replace(signals.knobs, batch_size=BATCH))
        if state not in TURNED:
            return state, Action(snapshot=state == 2)
        return state, Action(knobs=replace(signals.knobs, batch_size=2 * signals.knobs.batch_size))


def line(kind: Callable[..., torch.optim.Optimizer], **given: Any) -> tuple[nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(1)
    model = nn.Linear(3, 1, bias=False)
    return model, kind(model.parameters(), lr=0.01, **given)


def control_of(model: nn.Module, optimizer: torch.optim.Optimizer, policy: Policy[Any] | None = None) -> Control:
    return Control(policy or Doubling(), model, optimizer, batch_size=BATCH, samples=10**6, epochs=1)


def update(model: nn.Linear, optimizer: torch.optim.Optimizer, control: Control, gradient: Tensor) -> None:
    model.weight.grad = gradient.clone()
    optimizer.step()
    control.update(0.5, control.batch_size)


def gradients(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(1, 3, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("kind", LIKE_ADAM)
def test_the_half_life_stays_in_samples_and_the_mean_unbiased(kind: Callable[..., torch.optim.Optimizer]) -> None:
    """The moment of gradients whose squares are all 1, corrected for its start as the optimizer does, is always 1."""
    model, optimizer = line(kind, betas=(0.9, BETA2))
    control = control_of(model, optimizer)
    for count in range(1, 13):
        decay = BETA2 ** (control.batch_size / BATCH)
        assert optimizer.param_groups[0]["betas"] == (0.9, pytest.approx(decay, rel=1e-12))
        update(model, optimizer, control, torch.ones(1, 3))
        moment = optimizer.state[model.weight]["exp_avg_sq"] / (1 - optimizer.param_groups[0]["betas"][1] ** count)
        assert torch.allclose(moment, torch.ones(1, 3), rtol=1e-5)
    assert control.batch_size == 4 * BATCH


def test_the_largest_moment_of_amsgrad_follows() -> None:
    model, optimizer = line(torch.optim.Adam, betas=(0.9, BETA2), amsgrad=True)
    control = control_of(model, optimizer)
    for _ in range(TURNED[0]):
        update(model, optimizer, control, torch.ones(1, 3))
    state = optimizer.state[model.weight]
    assert torch.equal(state["exp_avg_sq"], state["max_exp_avg_sq"])


def test_a_roll_back_to_another_batch_restores_its_decay_and_moment() -> None:
    model, optimizer = line(torch.optim.AdamW, betas=(0.9, BETA2))
    control, seen = control_of(model, optimizer, Doubling(back=5)), gradients(5)
    for gradient in seen[:2]:
        update(model, optimizer, control, gradient)
    before = optimizer.state[model.weight]["exp_avg_sq"].clone()
    for gradient in seen[2:]:
        update(model, optimizer, control, gradient)
    assert optimizer.param_groups[0]["betas"] == (0.9, BETA2)
    assert torch.equal(optimizer.state[model.weight]["exp_avg_sq"], before)


@pytest.mark.parametrize("loads_first", [False, True])
def test_a_loaded_training_goes_on_with_the_same_bits(loads_first: bool) -> None:
    whole, cut = line(torch.optim.AdamW, betas=(0.9, BETA2)), line(torch.optim.AdamW, betas=(0.9, BETA2))
    seen = gradients(9)
    control, again = control_of(*whole), control_of(*cut)
    for gradient in seen[:5]:
        update(*whole, control, gradient)
    state = control.state_dict()
    if not loads_first:
        again = control_of(*cut)
    cut[0].load_state_dict(whole[0].state_dict())
    cut[1].load_state_dict(copy.deepcopy(whole[1].state_dict()))
    if loads_first:
        again = control_of(*cut)
    again.load_state_dict(state)
    for gradient in seen[5:]:
        update(*whole, control, gradient)
        update(*cut, again, gradient)
    assert torch.equal(whole[0].weight, cut[0].weight)
    assert whole[1].param_groups[0]["betas"] == cut[1].param_groups[0]["betas"] == (0.9, BETA2**4)


def test_without_another_batch_and_for_other_optimizers_nothing_changes() -> None:
    class Lion(torch.optim.SGD):
        """Its second beta is not that of a second moment."""

    model, optimizer = line(Lion)
    optimizer.param_groups[0]["betas"] = (0.9, BETA2)
    control = control_of(model, optimizer)
    for gradient in gradients(9):
        update(model, optimizer, control, gradient)
    assert optimizer.param_groups[0]["betas"] == (0.9, BETA2)
    model, optimizer = line(torch.optim.Adam)
    control = control_of(model, optimizer)
    control.turn()
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_an_uncorrected_moment_is_left_alone() -> None:
    model, optimizer = line(Lamb, betas=(0.9, BETA2), bias_correction=False)
    control, moment = control_of(model, optimizer), torch.zeros(1, 3)
    for gradient in gradients(9):
        decay = BETA2 ** (control.batch_size / BATCH)
        update(model, optimizer, control, gradient)
        moment = decay * moment + (1 - decay) * gradient**2
    assert torch.allclose(optimizer.state[model.weight]["exp_avg_sq"], moment, rtol=1e-5)
