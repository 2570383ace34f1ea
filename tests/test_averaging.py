"""Replicas that are trained together and averaged do what the formulas of synchronous model averaging say."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from search.records import Config
from search.work import Decision
from tests.averaged import CONFIG, Acting, Small, after, replicas_of, training, weights
from tests.trainings import timeless
from trainables.contract import Policy
from trainables.estimates.noise_scale import Gradient
from trainables.policies.adaptive_sync import AdaptiveSync
from trainables.policies.compose import Compose
from trainables.policies.fixed import Fixed
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.sma import Sma
from trainables.policies.warmup import Warmup
from trainables.training.loop import Training
from trainables.training.replicas import Replicas
from trainables.training.workers import Alone
from trainables.values import NOTHING, Action, Averaging, Knobs, Signals
from trainables.workloads.quadratic import Quadratic


def still() -> None:
    """In place of the optimiser's step: no gradients."""


# The rule


def scattered(averaging: Averaging, draw: Callable[..., Tensor] = torch.randn) -> tuple[Replicas, Tensor, nn.Parameter]:
    """Replicas of a point somewhere, their stack, and the central point somewhere else."""
    model = nn.Linear(5, 1, bias=False).double()
    replicas = Replicas(Quadratic(), model, torch.optim.SGD(model.parameters(), lr=0.1), averaging, obstacle="")
    (stack,) = replicas.parameters.values()
    with torch.no_grad():
        stack.copy_(draw(stack.shape))
        model.weight.copy_(draw(model.weight.shape))
        replicas.load({**copy.deepcopy(replicas.state()), "before": {"model.weight": model.weight.clone()}})
    return replicas, stack, model.weight


averagings = st.builds(
    lambda k, share: Averaging(k, alpha=share * 2 / (1 + k), momentum=0.0), st.integers(2, 9), st.floats(0.05, 0.95)
)


@given(averaging=averagings, seed=st.integers(0, 99), rounds=st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_without_gradients_nothing_is_lost_and_the_gap_shrinks_by_its_factor(
    averaging: Averaging, seed: int, rounds: int
) -> None:
    torch.manual_seed(seed)
    replicas, stack, z = scattered(averaging)
    total, gap = stack.sum(0) + z, stack.mean(0) - z
    for _ in range(rounds):
        replicas.step(still)
    factor = (1 - averaging.pull * (1 + averaging.replicas)) ** rounds
    assert torch.allclose(stack.sum(0) + z, total, rtol=0, atol=1e-12)
    assert torch.allclose(stack.mean(0) - z, factor * gap, rtol=0, atol=1e-12)


@pytest.mark.parametrize("replicas", [2, 4, 16])
def test_with_one_kth_the_central_model_is_exactly_the_mean_of_the_old_replicas(replicas: int) -> None:
    torch.manual_seed(1)
    whole = lambda shape: torch.randint(-64, 64, shape).double()  # noqa: E731 - no rounding
    averaged, stack, z = scattered(Averaging(replicas, momentum=0.0), whole)
    old = stack.detach().mean(0)
    averaged.step(lambda: stack.data.add_(1.0))  # the gradient step comes too late to matter
    assert torch.equal(z, old)


def test_replicas_at_the_limit_of_alpha_or_beyond_are_refused() -> None:
    for k in (2, 5, 16):
        Averaging(k, alpha=0.999 * 2 / (1 + k))
        with pytest.raises(ValueError, match="or the replicas diverge; try alpha=None"):
            Averaging(k, alpha=2 / (1 + k))


@given(averaging=averagings, momentum=st.floats(0, 0.99), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
@pytest.mark.slow
def test_left_alone_they_come_together_with_any_momentum(averaging: Averaging, momentum: float, seed: int) -> None:
    torch.manual_seed(seed)
    replicas, stack, z = scattered(replace(averaging, momentum=momentum))
    begun = float((stack - z).detach().abs().max())
    for _ in range(3000):
        replicas.step(still)
    assert float((stack - z).detach().abs().max()) < 0.01 * begun


def test_the_order_of_the_replicas_does_not_matter() -> None:
    """Other places for replicas and samples: the same central model."""
    order = torch.tensor([2, 0, 3, 1])
    one, other = (after(training(Averaging(4)), 3) for _ in range(2))
    assert other.weights.replicas is not None
    with torch.no_grad():
        for stack in other.weights.replicas.parameters.values():
            stack.copy_(stack[order])
            other.optimizer.state[stack]["momentum_buffer"].copy_(
                other.optimizer.state[stack]["momentum_buffer"][order]
            )
    batch = torch.arange(12)
    for each, indices in ((one, batch), (other, batch.view(3, 4)[:, order].flatten())):
        assert each.weights.replicas is not None
        descended, _ = each.weights.replicas.loss(indices, 12)
        each.optimizer.zero_grad()
        descended.backward()
        each.weights.replicas.step(each.optimizer.step)
    assert torch.allclose(replicas_of(one)[order], replicas_of(other), rtol=0, atol=1e-12)
    assert torch.allclose(weights(one), weights(other), rtol=0, atol=1e-12)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize("period", [1, 2])
def test_rounds_are_what_separate_models_with_separate_optimisers_make(
    name: str, clip: float | None, period: int
) -> None:
    """By the formulas, with batches that three replicas cannot share evenly."""
    workload, averaging = Small(clip=clip), Averaging(3, alpha=0.3, momentum=0.6, period=period)
    config = {**CONFIG, "optimizer": name}
    for rounds in range(5):
        expected = by_hand(workload, averaging, config, training(averaging, workload, optimizer=name).model, rounds)
        found = weights(after(training(averaging, workload, optimizer=name), rounds))
        assert torch.allclose(found, expected, rtol=0, atol=1e-10)


def by_hand(workload: Small, averaging: Averaging, config: Config, z: nn.Module, rounds: int) -> Tensor:
    k, order = averaging.replicas, torch.from_numpy(np.random.default_rng((3, 0)).permutation(workload.samples()))
    models = [copy.deepcopy(z) for _ in range(k)]
    optimizers = [workload.optimizer(model, config) for model in models]
    before = [copy.deepcopy(list(z.parameters()))]
    for round_, batch in enumerate(order.split(config["batch_size"])[:rounds], start=1):
        corrections = [[averaging.pull * (w - c).detach() for w, c in paired(model, z)] for model in models]
        for j, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            optimizer.zero_grad()
            workload.loss(model, batch[j::k]).backward()
            if workload.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), workload.clip)
            optimizer.step()
        if round_ % averaging.period:
            continue
        before.append(copy.deepcopy(list(z.parameters())))
        with torch.no_grad():
            for i, (c, old) in enumerate(zip(z.parameters(), before[-2], strict=True)):
                c += sum(of[i] for of in corrections) + averaging.momentum * (c - old)
            for model, of in zip(models, corrections, strict=True):
                for w, correction in zip(model.parameters(), of, strict=True):
                    w -= correction
    return torch.cat([p.detach().flatten() for p in z.parameters()])


def paired(one: nn.Module, other: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(one.parameters(), other.parameters(), strict=True)


# The outer momentum


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize(("replicas", "period"), [(3, 1), (3, 2), (2, 4), (1, 3)])
def test_an_outer_momentum_makes_the_rounds_of_its_formula(name: str, replicas: int, period: int) -> None:
    """DiLoCo by hand; with one replica SNOO, or Lookahead with a momentum. The inner optimisers keep their states."""
    workload = Small()
    averaging = Averaging(replicas, momentum=0.8, period=period, outer="nesterov", outer_rate=0.6)
    for rounds in range(5):
        z = training(averaging, workload, optimizer=name).model
        expected = outer_by_hand(workload, averaging, {**CONFIG, "optimizer": name}, z, rounds)
        found = weights(after(training(averaging, workload, optimizer=name), rounds))
        assert torch.allclose(found, expected, rtol=0, atol=1e-10)


def outer_by_hand(workload: Small, averaging: Averaging, config: Config, z: nn.Module, rounds: int) -> Tensor:
    k, order = averaging.replicas, torch.from_numpy(np.random.default_rng((3, 0)).permutation(workload.samples()))
    models = [copy.deepcopy(z) for _ in range(k)]
    optimizers = [workload.optimizer(model, config) for model in models]
    velocity = [torch.zeros_like(c) for c in z.parameters()]
    for round_, batch in enumerate(order.split(config["batch_size"])[:rounds], start=1):
        for j, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            optimizer.zero_grad()
            workload.loss(model, batch[j::k]).backward()
            optimizer.step()
        if round_ % averaging.period:
            continue
        with torch.no_grad():
            for c, u, *replicas in zip(
                z.parameters(), velocity, *(model.parameters() for model in models), strict=True
            ):
                way = sum((w - c for w in replicas), torch.zeros_like(c)) / k
                u.mul_(averaging.momentum).add_(way)
                c.add_(averaging.outer_rate * (way + averaging.momentum * u))
                for w in replicas:
                    w.copy_(c)
    return torch.cat([p.detach().flatten() for p in z.parameters()])


def test_an_outer_rate_of_one_without_momentum_is_the_mean_of_local_trainings() -> None:
    plain = after(training(None), 4)
    local = after(training(Averaging(1, momentum=0.0, period=2, outer="nesterov", outer_rate=1.0)), 4)
    assert torch.allclose(weights(local), weights(plain), rtol=0, atol=1e-12)


def test_a_decision_about_the_rate_does_not_restart_an_outer_momentum() -> None:
    """A restart would lose the way since the last period."""
    averaging = Averaging(2, period=4, outer="nesterov")
    turned = Acting(((0, Action(average=averaging)), (2, Action(knobs=Knobs(0.05, 13, 0.5, 0.01), why="lower"))))
    trained = after(Training(Small(), turned, CONFIG, seed=3), 3)
    assert trained.weights.replicas is not None
    assert not torch.allclose(replicas_of(trained), weights(trained).expand(2, -1))
    assert [decision.text for decision in trained.control.decisions.waiting][-1:] in ([], ["lower"])


# Refusals


def test_what_replicas_cannot_do_is_refused_in_words() -> None:
    class Layerwise(torch.optim.SGD):
        """Might use norms of whole tensors."""

    @dataclass(frozen=True)
    class Large(Small):
        def optimizer(self, model: nn.Module, config: Config) -> torch.optim.Optimizer:
            return Layerwise(model.parameters(), lr=0.1)

    several = Alone()
    several.size = 3
    with pytest.raises(ValueError, match="Layerwise may use norms of whole tensors"):
        Training(Large(), Sma(2), CONFIG)
    with pytest.raises(ValueError, match="each of 3 workers needs a replica; use replicas=3 or more"):
        Training(Small(), Sma(2), CONFIG, group=several)
    with pytest.raises(ValueError, match="batch_size=13 of 60 samples leaves some replica without any"):
        Training(Small(), Sma(14), CONFIG)
    outer = {"replicas": 2, "outer": "nesterov"}
    for wrong in (
        {"replicas": 0}, {"replicas": 2, "momentum": 1.0}, {"replicas": 2, "period": 0}, {"replicas": 2, "outer": "adam"},
        {**outer, "outer_rate": 0.0}, {**outer, "momentum": 1.0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="must be"):
            Averaging(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="an outer momentum has no alpha; leave it out"):
        Sma(2, alpha=0.5, outer="nesterov")
    for settings_ in ({"replicas": 1}, {"share": 1.0}, {"patience": 0}, {"decay": 1.0}, {"alpha": 1.0}):
        with pytest.raises(ValueError, match="must be"):
            AdaptiveSync(**{"replicas": 4, **settings_})  # type: ignore[arg-type]


# Watching, and the switch


def test_watched_gradients_of_replicas_are_those_that_they_descend_on() -> None:
    seen: list[Gradient] = []

    @dataclass(frozen=True)
    class Watching(Sma):
        needs = frozenset({"gradient"})

        def act(self, state: None, signals: Signals) -> tuple[None, Action]:
            seen.extend([signals.gradient] if signals.gradient is not None else [])
            return None, NOTHING

    workload = Small()
    watching = Training(workload, Watching(3), CONFIG, seed=3)
    model = copy.deepcopy(watching.model)  # where all replicas are in the first round
    after(watching, 1)
    batch = torch.from_numpy(np.random.default_rng((3, 0)).permutation(60))[:13]
    parts = [squared_gradient(workload, model, batch[j::3]) for j in range(3)]
    (gradient,) = seen
    assert gradient.square == pytest.approx(squared_gradient(workload, model, batch), rel=1e-9)
    assert gradient.part_norms == pytest.approx([math.sqrt(part) for part in parts], rel=1e-6)
    assert gradient.part_square == pytest.approx((5 * parts[0] + 4 * parts[1] + 4 * parts[2]) / 13, rel=1e-6)
    assert timeless(after(watching, 4).state()) == timeless(
        after(Training(workload, Sma(3), CONFIG, seed=3), 5).state()
    )


def squared_gradient(workload: Small, model: nn.Module, indices: Tensor) -> float:
    gradients = torch.autograd.grad(workload.loss(model, indices), list(model.parameters()))
    return float(sum(gradient.square().sum() for gradient in gradients))


def switches(policy: AdaptiveSync, noise: list[float], batch_size: int = 64) -> list[int]:
    """The evaluations at which it goes back to one model; `noise`: the noise scale in each epoch of four updates."""
    knobs = Knobs(0.1, batch_size)
    state, action = policy.start(Signals(0, 256, 0, len(noise), knobs))
    assert action.average == Averaging(policy.replicas)
    found = []
    for epoch, scale in enumerate(noise, start=1):
        part = batch_size / policy.replicas
        gradient = Gradient(batch_size, part, 1 + scale / batch_size, 1 + scale / part)
        for update in range(1, 6):
            signals = Signals(epoch * 4 * 64 - max(0, 4 - update) * 64, 256, epoch - 1, len(noise), knobs)
            signals = (
                replace(signals, gradient=gradient) if update < 5 else replace(signals, step=epoch, train_loss=1.0)
            )
            state, action = policy.act(state, signals)
            if action != NOTHING:
                assert action.average == Averaging(1)
                assert action.why
                assert all(map(math.isfinite, action.evidence.values()))
                found.append(epoch)
    return found


def test_one_model_goes_on_once_the_noise_has_stayed_above_the_batch() -> None:
    policy = AdaptiveSync(4, share=None, patience=2, decay=0.0)
    assert switches(policy, [10, 30, 90, 50, 90, 100, 10, 500, 500]) == [6]
    assert switches(policy, [63] * 9) == []
    assert switches(replace(policy, patience=1), [10, 65]) == [2]
    assert policy.resumable
    assert policy.needs == {"gradient"}


@pytest.mark.parametrize(("schedule", "switched"), [
    (LrSchedule("steps", at=(0.5,), factor=0.5), 2), (Fixed(), None), (Warmup(2.0), None),
])  # fmt: skip
def test_one_model_goes_on_when_the_learning_rate_comes_down(schedule: Policy[Any], switched: int | None) -> None:
    policy = Compose(schedule, AdaptiveSync(2, share=None, patience=99))
    training = Training(Small(horizon=4), policy, CONFIG)
    told = [
        item
        for item in training
        if isinstance(item, Decision) and item.text.startswith("the learning rate has come down")
    ]
    assert [item.samples // training.workload.samples() for item in told] == ([] if switched is None else [switched])
    assert (training.weights.replicas is None) == (switched is not None)
    for item in told:
        assert item.metrics == {"learning_rate": 0.05, "highest": 0.1}


def test_one_model_goes_on_after_its_share_of_the_training() -> None:
    policy = AdaptiveSync(4, share=0.5)
    assert switches(policy, [1000] * 8) == [4]
    assert not policy.resumable
    assert policy.needs == frozenset()


def test_averaging_goes_together_with_a_schedule_and_not_with_other_averaging() -> None:
    policy = Compose(Sma(2), LrSchedule("cosine"))
    training = Training(Quadratic.smallest(), policy, Quadratic.baseline or {})
    items = iter(training)
    next(items)
    assert training.weights.replicas is not None
    list(items)
    assert training.control.knobs.learning_rate < 0.01
    with pytest.raises(ValueError, match="both turn average"):
        Compose(Sma(2), AdaptiveSync(2))
