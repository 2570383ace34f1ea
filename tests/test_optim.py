"""LARS and LAMB: their algebra, what is left out of it, and what others make of the same gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trainings import Exploring, Turning, timeless
from trainables.contract import Policy, Workload
from trainables.execution import checkpoint
from trainables.execution.store import Store
from trainables.optim.by_name import configured, optimizer
from trainables.optim.lamb import Lamb
from trainables.optim.lars import MOMENTUM_FORMS, Lars
from trainables.training.loop import Training, train
from trainables.values import Knobs
from trainables.workloads.bert_classify import BertClassify
from trainables.workloads.bert_mlm import BertMlm
from trainables.workloads.lstm_lm import LstmLm
from trainables.workloads.lstm_mnist import LstmMnist
from trainables.workloads.resnet_finetune import ResNetFinetune
from trainables.workloads.resnet_pretrain import ResNetPretrain

SHAPES = [(4, 3), (5,), (2, 3, 3, 3), (7, 1), (), (1, 1)]
MATRICES = [shape for shape in SHAPES if len(shape) > 1]
VECTORS = [shape for shape in SHAPES if len(shape) <= 1]
Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def weights(shapes: list[Any] = SHAPES, seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]


def gradients(shapes: list[Any], updates: int, scale: float = 1.0) -> Iterator[list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        yield [scale * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def moved(make: Make, shapes: list[Any] = SHAPES, updates: int = 20, **options: Any) -> list[Tensor]:
    """The weights after so many random gradients. `rates`: a learning rate for each update, in turn."""
    rates = options.pop("rates", ())
    parameters = weights(shapes)
    made = make(parameters)
    for number, given_now in enumerate(gradients(shapes, updates, **options)):
        for group in made.param_groups:
            group["lr"] = rates[number % len(rates)] if rates else group["lr"]
        for parameter, gradient in zip(parameters, given_now, strict=True):
            parameter.grad = gradient.clone()  # some libraries write into it
        made.step()
    return [parameter.detach() for parameter in parameters]


def step_lengths(make: Make, shapes: list[Any], scale: float = 1.0) -> Iterator[tuple[float, float]]:
    """Of each tensor: how far the first update moves it, and its norm before."""
    for after, before in zip(moved(make, shapes, 1, scale=scale), weights(shapes), strict=True):
        yield (after - before).norm().item(), before.norm().item()


def are_equal(ours: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ours, others, strict=True))


def are_close(ours: list[Tensor], others: list[Tensor], tolerance: float = 1e-12) -> bool:
    return all(torch.allclose(one, other, tolerance, tolerance) for one, other in zip(ours, others, strict=True))


# Algebra


@given(scale=st.floats(1e-6, 1e6), form=st.sampled_from(MOMENTUM_FORMS))
@settings(max_examples=30, deadline=None)
def test_the_first_step_of_lars_is_a_share_of_the_weights_norm_whatever_the_gradients_scale(
    scale: float, form: str
) -> None:
    def make(some: list[nn.Parameter]) -> Lars:
        return Lars(some, lr=3.0, weight_decay=0.0, momentum_form=form)

    for length, norm in step_lengths(make, MATRICES, scale):
        assert length == pytest.approx(3.0 * 0.001 * norm)


@given(scale=st.floats(1e-3, 1e6), corrects=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_step_of_lamb_is_a_share_of_the_weights_norm_whatever_the_gradient(scale: float, corrects: bool) -> None:
    for length, norm in step_lengths(lambda some: Lamb(some, lr=0.2, bias_correction=corrects), MATRICES, scale):
        assert length == pytest.approx(0.2 * norm)


def test_lars_counts_weight_decay_in_the_denominator_and_measures_the_gradient_without_it() -> None:
    weight, gradient = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.6, 0.8]])
    parameter = nn.Parameter(weight.clone())
    parameter.grad = gradient
    Lars([parameter], lr=2.0, weight_decay=0.1, trust_coefficient=0.5, eps=1.0).step()
    ratio = 0.5 * 5 / (1 + 0.1 * 5 + 1)
    assert torch.allclose(parameter, weight - 2.0 * ratio * (gradient + 0.1 * weight))


def test_lamb_counts_a_large_weight_as_its_limit() -> None:
    for length, norm in step_lengths(lambda some: Lamb(some, lr=0.2, norm_limit=1.5), MATRICES):
        assert length == pytest.approx(0.2 * min(norm, 1.5))
    assert any(norm > 1.5 for _, norm in step_lengths(lambda some: Lamb(some), MATRICES))


def test_lars_keeps_ratio_and_step_within_their_limits() -> None:
    def largest(**limits: Any) -> float:
        after = moved(lambda some: Lars(some, lr=1.0, weight_decay=0.0, **limits), MATRICES, 1)
        return max((one - two).abs().max().item() for one, two in zip(after, weights(MATRICES), strict=True))

    assert largest(ratio_limits=(2.0, 2.0), step_limit=0.1) == pytest.approx(0.2)
    assert largest(step_limit=0.1) < largest() < 0.1


def test_the_momentum_forms_agree_while_rate_and_ratio_stay_the_same() -> None:
    def end(form: str, nesterov: bool, rates: tuple[float, ...]) -> list[Tensor]:
        options: dict[str, Any] = {"momentum_form": form, "nesterov": nesterov, "ratio_limits": (0.1, 0.1)}
        return moved(lambda some: Lars(some, lr=0.1, **options), rates=rates)

    for nesterov in (False, True):
        ends = [end(form, nesterov, (0.1,)) for form in MOMENTUM_FORMS]
        assert are_close(ends[0], ends[1])
        assert are_close(ends[0], ends[2])
    unscaled, scaled, ratio = (end(form, False, (0.1, 0.01)) for form in MOMENTUM_FORMS)
    assert are_close(unscaled, ratio)
    assert not are_close(unscaled, scaled, 1e-3)


def test_the_momentum_forms_differ_where_the_ratio_does() -> None:
    unscaled, scaled, ratio = (moved(lambda some, f=form: Lars(some, 9.0, momentum_form=f)) for form in MOMENTUM_FORMS)  # type: ignore[misc]
    assert are_close(scaled, ratio)
    assert not are_close(unscaled[:1], scaled[:1], 1e-3)


@pytest.mark.parametrize("make", [lambda some: Lars(some, 0.1), lambda some: Lamb(some, weight_decay=0.1)])
@pytest.mark.parametrize("nothing", ["weights", "gradients", "both"])
def test_zeros_give_a_ratio_of_one(make: Make, nothing: str) -> None:
    parameter = nn.Parameter(torch.zeros(2, 2) if nothing != "gradients" else torch.ones(2, 2))
    made = make([parameter])
    before = parameter.detach().clone()
    parameter.grad = torch.ones(2, 2) if nothing == "weights" else torch.zeros(2, 2)
    made.step()
    assert parameter.isfinite().all()
    if nothing == "both":
        assert torch.equal(parameter, before)
    elif isinstance(made, Lars):
        gradient_and_decay = parameter.grad + 1e-4 * before
        assert torch.allclose(parameter, before - 0.1 * gradient_and_decay)
    elif nothing == "weights":
        assert torch.allclose(parameter, before - 1e-3)
    else:
        assert torch.allclose(
            parameter, before * (1 - 1e-3)
        )  # the step is weight decay alone, and |w| / |step| its inverse


# What is left out


@pytest.mark.parametrize("nesterov", [False, True])
def test_vectors_in_lars_are_plain_momentum_sgd_without_weight_decay_to_the_bit(nesterov: bool) -> None:
    ours = moved(lambda some: Lars(some, 0.1, weight_decay=0.3, nesterov=nesterov), VECTORS)
    assert are_equal(ours, moved(lambda some: torch.optim.SGD(some, 0.1, 0.9, nesterov=nesterov), VECTORS))


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_group_of_lars_that_does_not_adapt_is_momentum_sgd_to_the_bit(nesterov: bool) -> None:
    ours = moved(lambda some: Lars(some, 0.1, 0.8, 0.3, nesterov=nesterov, adapt=False), MATRICES)
    theirs = moved(lambda some: torch.optim.SGD(some, 0.1, 0.8, weight_decay=0.3, nesterov=nesterov), MATRICES)
    assert are_equal(ours, theirs)


def test_vectors_in_lamb_are_adam_without_weight_decay_to_the_bit() -> None:
    ours = moved(lambda some: Lamb(some, 0.1, weight_decay=0.3), VECTORS)
    assert are_equal(ours, moved(lambda some: torch.optim.Adam(some, 0.1, eps=1e-6), VECTORS))


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("shapes", [MATRICES, SHAPES], ids=["matrices", "all"])
def test_lamb_with_a_ratio_of_one_is_adamw_to_the_bit(foreach: bool, shapes: list[Any]) -> None:
    ours = moved(lambda some: Lamb(some, 0.1, weight_decay=0.3, adapt=False, exclude_vectors=False), shapes)
    theirs = moved(lambda some: torch.optim.AdamW(some, 0.1, eps=1e-6, weight_decay=0.3, foreach=foreach), shapes)
    assert are_equal(ours, theirs)


@pytest.mark.parametrize("kind", [Lars, Lamb])
def test_vectors_adapt_when_asked(kind: Any) -> None:
    some = [shape for shape in VECTORS if shape]
    (length, norm), (longer, _) = (
        next(iter(step_lengths(lambda p, e=exclude: kind(p, lr=0.5, weight_decay=0.0, exclude_vectors=e), some)))  # type: ignore[misc]
        for exclude in (False, True)
    )
    assert length == pytest.approx(0.5 * norm * (1e-3 if kind is Lars else 1))
    assert longer != pytest.approx(length)


@pytest.mark.parametrize("kind", [Lars, Lamb])
def test_a_weight_without_a_gradient_stays_and_counts_no_update(kind: Any) -> None:
    still, trained = weights([(3, 3), (3, 3)])
    made = kind([still, trained], lr=0.1)
    before = still.detach().clone()
    trained.grad = torch.ones_like(trained)
    made.step()
    assert torch.equal(still, before)
    assert still not in made.state
    still.grad = torch.ones_like(still)
    made.step()
    if kind is Lamb:
        assert (made.state[still]["step"], made.state[trained]["step"]) == (1, 2)
        assert (still - before).norm().item() == pytest.approx(0.1 * before.norm().item())


# Others, over many steps


def test_lars_is_that_of_pytorch_optimizer() -> None:
    theirs = pytest.importorskip("pytorch_optimizer", reason="pip install pytorch-optimizer: LARS to compare with")
    for nesterov in (False, True):
        ours = moved(
            lambda some, n=nesterov: Lars(some, 1.0, 0.8, 0.05, momentum_form="ratio", nesterov=n),  # type: ignore[misc]
            updates=200, rates=(9.0, 3.0, 5.0),
        )  # fmt: skip
        other = moved(
            lambda some, n=nesterov: theirs.LARS(some, 1.0, 0.05, 0.8, nesterov=n),  # type: ignore[misc]
            updates=200, rates=(9.0, 3.0, 5.0),
        )  # fmt: skip
        assert are_close(ours, other)


def test_lars_is_that_of_torch_optimizer() -> None:
    theirs = pytest.importorskip("torch_optimizer", reason="pip install torch-optimizer: LARS to compare with")
    options = {"momentum_form": "ratio", "eps": 1e-8, "trust_coefficient": 0.01, "exclude_vectors": False}
    ours = moved(lambda some: Lars(some, 1.0, 0.9, 0.05, **options), updates=200, rates=(2.0, 1.0))  # type: ignore[arg-type]
    other = moved(lambda some: theirs.LARS(some, 1.0, 0.9, weight_decay=0.05), updates=200, rates=(2.0, 1.0))
    assert are_close(ours, other)


def test_lamb_is_that_of_pytorch_optimizer() -> None:
    theirs = pytest.importorskip("pytorch_optimizer", reason="pip install pytorch-optimizer: LAMB to compare with")
    options: dict[str, Any] = {"bias_correction": False, "norm_limit": 10.0, "exclude_vectors": False}
    ours = moved(lambda some: Lamb(some, 0.01, weight_decay=0.1, **options), updates=200, rates=(0.01, 0.02))
    other = moved(
        lambda some: theirs.Lamb(some, 0.01, weight_decay=0.1, weight_decouple=False, adam_debias=True),
        updates=200,
        rates=(0.01, 0.02),
    )
    assert are_close(ours, other, 1e-4)  # 1e-6 of each step: they add eps to |step| as well
    assert not are_close(ours, weights(), 0.1)


@pytest.mark.parametrize("adam", [False, True])
def test_lamb_is_that_of_torch_optimizer(adam: bool) -> None:
    theirs = pytest.importorskip("torch_optimizer", reason="pip install torch-optimizer: LAMB to compare with")
    options: dict[str, Any] = {"bias_correction": False, "norm_limit": 10.0, "exclude_vectors": False}
    decay = 0.0 if adam else 0.1  # their Adam adds it to the step, AdamW takes it off first
    ours = moved(lambda some: Lamb(some, 0.01, weight_decay=decay, adapt=not adam, **options), updates=200)
    other = moved(lambda some: theirs.Lamb(some, 0.01, weight_decay=decay, adam=adam), updates=200)
    assert are_close(ours, other)


# State


@pytest.mark.parametrize(
    "make",
    [
        lambda some: Lars(some, 3.0, nesterov=True),
        lambda some: Lars(some, 3.0, momentum_form="scaled"),
        lambda some: Lamb(some, weight_decay=0.1),
    ],
)
def test_an_optimiser_with_the_state_of_another_goes_on_like_it(make: Make) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    first = make(list(model.parameters()))
    inputs = torch.randn(20, 3)

    def update(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (model(inputs) - inputs.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()

    for _ in range(5):
        update(model, first)
    clone = copy.deepcopy(model)
    second = make(list(clone.parameters()))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(5):
        update(model, first)
        update(clone, second)
    assert are_equal(list(model.parameters()), list(clone.parameters()))


@pytest.mark.parametrize("policy", [Turning(), Exploring()])
@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_a_training_goes_on_from_a_checkpoint_to_the_bit(name: str, policy: Policy[Any], tmp_path: Path) -> None:
    config = {"optimizer": name, "learning_rate": 0.02, "batch_size": 200, "momentum": 0.9, "weight_decay": 0.01}

    def begin() -> Training:
        return Training(LstmMnist(horizon=2, hidden=16), policy, config, seed=3)

    whole = begin()
    for number, _ in enumerate(whole):
        if number == 7:
            saved = Store(tmp_path).save(whole.state(), step=0)
    resumed = begin()
    assert saved.path is not None
    resumed.load(checkpoint.load(Path(saved.path)))
    assert len(list(resumed)) > 1
    assert timeless(resumed.state()) == timeless(whole.state())
    if name == "lars" and isinstance(policy, Turning):
        assert whole.optimizer.param_groups[0]["momentum"] == 0.5


# Trainings


@pytest.mark.parametrize("name", ["lars", "lamb"])
@pytest.mark.parametrize(
    ("workload", "rates"),
    [
        (LstmMnist.smallest(), (0.05, 0.03)),
        (LstmLm.smallest(), (0.3, 0.1)),
        (BertMlm.smallest(), (0.3, 0.1)),
        (BertClassify.smallest(), (0.3, 0.03)),
        (ResNetPretrain.smallest(), (0.3, 0.03)),
        (ResNetFinetune.smallest(), (0.3, 0.03)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_workload_learns_with_both(
    workload: Workload, rates: tuple[float, float], name: str, tmp_path: Path
) -> None:
    assert workload.baseline is not None
    workload.prepare(tmp_path)
    config = {"momentum": 0.9, **workload.baseline, "optimizer": name, "learning_rate": rates[name == "lamb"]}
    config |= {"trust_coefficient": 0.1, "batch_size": 16}
    losses = [report.metrics["train_loss"] for report in train(workload, None, config, prepared=tmp_path)]
    assert losses[-1] < 0.95 * losses[0]


def test_both_come_by_name_with_the_knobs() -> None:
    knobs = Knobs(0.1, 8, momentum=0.7, weight_decay=0.01)
    lars, lamb = (optimizer(name, nn.Linear(2, 2).parameters(), knobs) for name in ("lars", "lamb"))
    assert isinstance(lars, Lars)
    assert isinstance(lamb, Lamb)
    (group,) = lars.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.7, 0.01)
    assert group["trust_coefficient"] == 0.001
    model = nn.Linear(2, 2)
    (group,) = configured(
        {"optimizer": "lars", "trust_coefficient": 0.02}, "sgd", model.parameters(), knobs
    ).param_groups
    assert group["trust_coefficient"] == 0.02
    (group,) = lamb.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.01)


def test_a_step_answers_the_loss_of_its_closure() -> None:
    for kind in (Lars, Lamb):
        (parameter,) = weights([(2, 2)])
        made = kind([parameter], lr=0.1)

        def closure(made: Any = made, parameter: Tensor = parameter) -> float:
            made.zero_grad()
            loss = parameter.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.item()

        assert made.step(closure) > made.step(closure) > 0


def test_bad_settings_are_refused() -> None:
    for wrong in ({"lr": -1.0}, {"lr": 0.1, "eps": -1.0}, {"lr": 0.1, "trust_coefficient": float("nan")}):
        with pytest.raises(ValueError, match="must be 0 or more"):
            Lars(weights(), **wrong)
    with pytest.raises(ValueError, match="'paper': must be one of 'unscaled', 'scaled', 'ratio'"):
        Lars(weights(), 0.1, momentum_form="paper")
    with pytest.raises(ValueError, match=r"betas=\(0\.9, 1\.0\)"):
        Lamb(weights(), betas=(0.9, 1.0))
    with pytest.raises(ValueError, match=r"weight_decay=-0\.1"):
        Lamb(weights(), weight_decay=-0.1)
