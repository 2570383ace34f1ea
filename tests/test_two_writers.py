"""Who writes the learning rate of a training with a `Control`: the policy, an LR scheduler of the user's, or a loaded state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from trainables.contract import Policy
from trainables.policies.averaged import Averaged
from trainables.policies.batch_ramp import BatchRamp
from trainables.policies.compose import Compose
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.noise_scale import NoiseScaleBatch
from trainables.policies.warmup import Warmup
from trainables.policies.watchdog import Watchdog
from trainables.training.attach import Unattached
from trainables.training.control import Control
from trainables.training.model_state import copied
from trainables.values import Action, Signals

pytestmark = pytest.mark.usefixtures("one_thread")

SAMPLES, BATCH, EPOCHS = 32, 8, 4
METRICS = {"valid_loss": 1.0}

Scheduler = Callable[[torch.optim.Optimizer], Any]


def warm_up(optimizer: torch.optim.Optimizer) -> Any:
    return lr_scheduler.LambdaLR(optimizer, lambda update: min(1.0, (update + 1) / 10))


def cosine(optimizer: torch.optim.Optimizer) -> Any:
    return lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * SAMPLES // BATCH)


class Loop:
    """A training of one weight; its second parameter group has three times the learning rate and no weight decay."""

    def __init__(
        self, policy: Policy[Any] | None, rate: float = 0.1, *, kind: Any = torch.optim.SGD, scheduler: Scheduler | None = None,
        state: dict[str, Any] | None = None, order: str = "attach first", forked: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        torch.manual_seed(0)
        self.model = nn.Linear(2, 1)
        groups = [
            {"params": [self.model.weight]},
            {"params": [self.model.bias], "lr": 3 * rate, "weight_decay": 0.0},
        ]
        self.optimizer = kind(groups, lr=rate, weight_decay=0.01, **options)
        self.scheduler = scheduler and scheduler(self.optimizer)
        if state and order == "load first":
            self._load(state)
        self.control = Unattached(policy, epochs=EPOCHS, metric="valid_loss", forked=forked).attach(
            self.model, self.optimizer, batch_size=BATCH, samples=SAMPLES, parts=2
        )
        if state:
            if order == "attach first":
                self._load(state)
            self.control.load_state_dict(state["control"])

    def _load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])

    def updates(self, count: int) -> list[list[float]]:
        """Train so many updates; returns the learning rates of the groups in each."""
        used = []
        for _ in range(count):
            self.optimizer.zero_grad()
            for factor in (1.0, 2.0):
                loss = (self.model(torch.full((4, 2), factor)) - 1).square().mean()
                (loss / 2).backward()
                self.control.part(4, loss.detach())
            used.append([group["lr"] for group in self.optimizer.param_groups])
            self.optimizer.step()
            if self.scheduler:
                self.scheduler.step()
            self.control.update()
            if self.control.samples % SAMPLES == 0:
                self.control.end_epoch(lambda: METRICS)
        return used

    def state(self) -> Any:
        state = {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "control": self.control.state_dict(),
            "scheduler": self.scheduler and self.scheduler.state_dict(),
        }  # fmt: skip
        return copied(state)


ORDERS = pytest.mark.parametrize("order", ["attach first", "load first"])
OPTIMIZERS = pytest.mark.parametrize(
    ("kind", "options"),
    [(torch.optim.SGD, {}), (torch.optim.SGD, {"momentum": 0.9}), (torch.optim.AdamW, {})],
    ids=["SGD", "momentum", "AdamW"],
)
POLICIES = [None, Warmup(0.5), Watchdog(LrSchedule("linear")), BatchRamp((0.4,), decay=None, growth=2, most=16)]
LEAVES_RATE = [None, Averaged(), NoiseScaleBatch(most=16), BatchRamp((0.4,), decay=None, growth=2, most=16)]
TURNS_RATE = [
    Warmup(0.5),
    LrSchedule("cosine"),
    Watchdog(LrSchedule("linear")),
    NoiseScaleBatch(scaling="sqrt"),
    BatchRamp((0.4,), most=16),
]


@ORDERS
@OPTIMIZERS
@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_a_forked_trial_trains_at_its_own_rate_whether_it_attaches_or_loads_first(
    policy: Policy[Any] | None, kind: Any, options: dict[str, Any], order: str
) -> None:
    parent = Loop(policy, 0.1, kind=kind, **options)
    parent.updates(6)
    child = Loop(policy, 0.02, kind=kind, state=parent.state(), order=order, forked=True, **options)
    fresh = Loop(policy, 0.02, kind=kind, **options)
    fresh.control.samples, fresh.control.epoch = 48, 1  # where the parent was
    fresh.control.start()
    expected = [{key: group[key] for key in ("lr", "weight_decay")} for group in fresh.optimizer.param_groups]
    found = [{key: group[key] for key in ("lr", "weight_decay")} for group in child.optimizer.param_groups]
    assert [pytest.approx(each) for each in expected] == found
    assert child.control.knobs.learning_rate == pytest.approx(found[0]["lr"])
    child.updates(2)


def test_a_fork_finds_the_momentum_that_its_parent_did_not_have() -> None:
    parent = Loop(Warmup(0.5), momentum=0.0)
    parent.updates(6)
    child = Loop(Warmup(0.5), state=parent.state(), order="load first", forked=True, momentum=0.9)
    assert [group["momentum"] for group in child.optimizer.param_groups] == [0.9, 0.9]


def test_a_fork_whose_groups_nobody_can_know_is_refused_with_the_remedy() -> None:
    parent = Loop(None, momentum=0.9)
    parent.updates(6)
    parent.optimizer.param_groups[1]["lr"] = 0.007  # by hand, as the user's loop may with no policy
    with pytest.raises(ValueError, match=r"forks with learning_rate 0\.02.*parameter group 0.*'lr' 0\.1; attach first"):
        Loop(None, 0.02, state=parent.state(), order="load first", forked=True, momentum=0.9)


@ORDERS
@OPTIMIZERS
@pytest.mark.parametrize(
    ("policy", "scheduler"),
    [(policy, None) for policy in POLICIES] + [(policy, each) for policy in LEAVES_RATE for each in (warm_up, cosine)],
)
def test_a_resumed_training_goes_on_as_if_uninterrupted_whether_it_attaches_or_loads_first(
    policy: Policy[Any] | None, kind: Any, options: dict[str, Any], order: str, scheduler: Scheduler | None
) -> None:
    whole = Loop(policy, kind=kind, scheduler=scheduler, **options)
    used = whole.updates(10)
    begun = Loop(policy, kind=kind, scheduler=scheduler, **options)
    begun.updates(6)
    rest = Loop(policy, kind=kind, scheduler=scheduler, state=begun.state(), order=order, **options)
    assert rest.updates(4) == used[6:]
    assert torch.equal(rest.model.weight, whole.model.weight)


@dataclass(frozen=True)
class Returns(Policy[int]):
    """Goes back to the start after each third update."""

    writes = frozenset({"snapshot"})

    def start(self, signals: Signals) -> tuple[int, Action]:
        return 0, Action(snapshot=True)

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        return state, Action(roll_back=signals.samples % (3 * BATCH) == 0)


@pytest.mark.parametrize("scheduler", [warm_up, cosine])
@pytest.mark.parametrize("policy", [*LEAVES_RATE, Returns()], ids=repr)
def test_a_scheduler_keeps_the_rate_that_no_policy_turns(policy: Policy[Any] | None, scheduler: Scheduler) -> None:
    loop = Loop(policy, scheduler=scheduler)
    used = loop.updates(12)
    alone = torch.optim.SGD([{"params": loop.model.weight}, {"params": loop.model.bias, "lr": 0.3}], lr=0.1)
    steps, expected = scheduler(alone), []
    for _ in used:
        expected.append([group["lr"] for group in alone.param_groups])
        alone.step()
        steps.step()
    assert used == [pytest.approx(rates, rel=1e-12) for rates in expected]


@pytest.mark.parametrize("scheduler", [warm_up, cosine])
@pytest.mark.parametrize("policy", TURNS_RATE, ids=repr)
def test_a_scheduler_beside_a_policy_that_turns_the_rate_is_refused(policy: Policy[Any], scheduler: Scheduler) -> None:
    words = rf"{type(policy).__name__}\(.*sets the learning rate, and so does an LR scheduler.*Leave the scheduler out"
    with pytest.raises(ValueError, match=words):
        Loop(policy, scheduler=scheduler)
    late = Loop(policy)
    late.scheduler = scheduler(late.optimizer)
    with pytest.raises(ValueError, match=words):
        late.updates(1)


def test_a_rate_that_other_code_writes_is_told_at_the_next_update() -> None:
    """ReduceLROnPlateau and a line of the user's leave no "initial_lr"."""
    loop = Loop(Warmup(0.5))
    loop.updates(3)
    loop.optimizer.param_groups[1]["lr"] = 7.0
    with pytest.raises(
        ValueError,
        match=r"Warmup\(epochs=0\.5\) sets 'lr', and.*wrote 0\.3 to parameter group 1.*now has 7",
    ):
        loop.updates(1)


def test_a_momentum_that_nobody_turns_may_be_cycled() -> None:
    loop = Loop(Warmup(0.5), momentum=0.9)
    for group in loop.optimizer.param_groups:
        group["momentum"] = 0.85
    loop.updates(3)
    assert loop.optimizer.param_groups[0]["momentum"] == 0.85


@ORDERS
def test_a_fork_whose_scheduler_goes_on_from_the_parents_rate_is_told(order: str) -> None:
    parent = Loop(Averaged(), scheduler=cosine)
    parent.updates(6)
    with pytest.warns(UserWarning, match=r"scheduler starts from 0\.1, the learning rate of the trial.*from 0\.02"):
        Loop(Averaged(), 0.02, scheduler=cosine, state=parent.state(), order=order, forked=True).updates(1)


def test_a_fork_with_a_policy_may_come_from_a_trial_with_a_scheduler() -> None:
    parent = Loop(None, scheduler=cosine)
    parent.updates(6)
    child = Loop(Warmup(0.5), 0.02, state=parent.state(), forked=True)
    assert child.updates(2) == [pytest.approx([0.02, 0.06])] * 2


def test_a_parameter_group_that_comes_later_is_refused() -> None:
    loop = Loop(Warmup(0.5))
    loop.optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1})
    with pytest.raises(ValueError, match=r"has 3 parameter groups, but had 2.*add all groups first"):
        loop.updates(1)


def test_the_policies_that_leave_the_rate_alone_go_with_one_that_sets_it() -> None:
    policy = Compose(LrSchedule("cosine"), NoiseScaleBatch())
    assert policy.writes == {"learning_rate", "batch_size"}


def test_a_second_control_in_one_training_is_refused() -> None:
    unattached = Unattached(LrSchedule("cosine"), epochs=EPOCHS, metric="valid_loss")
    for attached in (0, 1):
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if attached:
            with pytest.raises(ValueError, match=r"attached a control already.*attach one of them.*ModuleList"):
                unattached.attach(model, optimizer, batch_size=BATCH, samples=SAMPLES)
        else:
            unattached.attach(model, optimizer, batch_size=BATCH, samples=SAMPLES)


def test_one_optimizer_may_train_both_models_of_a_gan_in_turns() -> None:
    """As the error and the page say: the gradients of the model that is not trained now are None, so it stays as it is."""
    torch.manual_seed(0)
    generator, critic = nn.Linear(1, 1), nn.Linear(1, 1)
    both = [{"params": generator.parameters()}, {"params": critic.parameters(), "lr": 0.4}]
    optimizer = torch.optim.Adam(both, lr=0.1)
    pair = nn.ModuleList([generator, critic])
    control = Control(LrSchedule("linear"), pair, optimizer, batch_size=8, samples=16, epochs=2)
    noise = torch.ones(8, 1)
    for trained, other, loss in (
        (critic, generator, lambda: critic(generator(noise).detach()).square().mean()),
        (generator, critic, lambda: critic(generator(noise)).square().mean()),
    ):
        before, still = trained.weight.clone(), other.weight.clone()
        optimizer.zero_grad()
        other.requires_grad_(False)
        loss().backward()
        optimizer.step()
        other.requires_grad_(True)
        assert not torch.equal(trained.weight, before)
        assert torch.equal(other.weight, still)
    control.update(1.0, 8)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.075, 0.3])
