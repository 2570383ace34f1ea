"""A fork of a generator that trains with its parent's values, because the optimizer's state brought them back, is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, OneCycleLR
from torch.optim.optimizer import register_optimizer_step_pre_hook

from orchestrator.errors import TrialsFailed
from orchestrator.main import run
from orchestrator.sweep import Sweep
from search.searchers.pbt import PopulationBasedTraining
from search.space import Space, loguniform
from tests.support import recorded
from trainables.execution.generator import Yielding
from trainables.policies.lr_schedule import LrSchedule

PARENT, CHILD = {"lr": 0.1, "weight_decay": 0.0}, {"lr": 0.05, "weight_decay": 0.01}
Config = dict[str, Any]
Train = Callable[..., Iterator[Any]]


def fork_of(train: Train, parent: Config = PARENT, child: Config = CHILD, policy: Any = None) -> Iterator[Any]:
    """The items of a fork after the parent's second step."""

    def training(config: Config, **options: Any) -> Yielding:
        return Yielding(train, "loss", config, seed=0, until=4, policy=policy, **options)

    before = training(parent)
    for item in before:
        if item.kind == "report" and item.step == 2:
            break
    after = training(child, parent_config=parent)
    after.fork(before.state())
    return iter(after)


def step_hooks() -> int:
    """How many hooks watch the steps of all optimizers, this one included."""
    handle = register_optimizer_step_pre_hook(lambda *_: None)
    count = len(handle.hooks_dict_ref() or ())
    handle.remove()
    return count


def steps(
    model: torch.nn.Module, optimizer: Optimizer, state: Callable[[], Any], scheduler: Any = None
) -> Iterator[Any]:
    while True:
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).square().sum()
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        yield {"loss": loss.item()}, state()


def naive(config: Config, state: Any, control: Any) -> Iterator[Any]:
    model = torch.nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    if state:
        optimizer.load_state_dict(state["optimizer"])
    yield from steps(model, optimizer, lambda: {"optimizer": optimizer.state_dict()})


def only_lr(config: Config, state: Any, control: Any) -> Iterator[Any]:
    model = torch.nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    if state:
        optimizer.load_state_dict(state)
        for group in optimizer.param_groups:
            group["lr"] = config["lr"]
    yield from steps(model, optimizer, optimizer.state_dict)


def scheduled(config: Config, state: Any, control: Any) -> Iterator[Any]:
    model = torch.nn.Linear(2, 1)
    optimizer = Adam(model.parameters(), lr=config["lr"])
    scheduler = LambdaLR(optimizer, lambda step: 1 - step / 10)
    if state:
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
    yield from steps(
        model,
        optimizer,
        lambda: {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()},
        scheduler,
    )


def in_groups(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """The rate is no argument of the optimizer, only of its groups."""
    model = torch.nn.Linear(2, 1)
    rates = [{"params": [model.weight], "lr": config["lr"]}, {"params": [model.bias], "lr": 2 * config["lr"]}]
    optimizer = SGD(rates)
    if state:
        optimizer.load_state_dict(state)
    yield from steps(model, optimizer, optimizer.state_dict)


def one_cycle(config: Config, state: Any, control: Any) -> Iterator[Any]:
    model = torch.nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=1.0, momentum=0.9)
    scheduler = OneCycleLR(optimizer, max_lr=config["lr"], total_steps=20)
    if state:
        optimizer.load_state_dict(state[0])
        scheduler.load_state_dict(state[1])
    yield from steps(model, optimizer, lambda: [optimizer.state_dict(), scheduler.state_dict()], scheduler)


def with_control_first(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """The control sets the fork's own rate before the optimizer's state is loaded."""
    model = torch.nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=config["lr"])
    control = control.attach(model, optimizer, batch_size=1, samples=1)
    if state:
        control.load_state_dict(state["control"])
        optimizer.load_state_dict(state["optimizer"])
    for metrics, _ in steps(model, optimizer, dict):
        control.update(metrics["loss"], 1)
        yield control.end_epoch(metrics), {"optimizer": optimizer.state_dict(), "control": control.state_dict()}


def two_groups(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """As in nanoGPT: no decay for biases, and a schedule by hand that writes the rate alone."""
    model = torch.nn.Linear(2, 1)
    groups = [
        {"params": [model.weight], "weight_decay": config["weight_decay"]},
        {"params": [model.bias], "weight_decay": 0.0},
    ]
    optimizer = AdamW(groups, lr=config["lr"])
    if state:
        optimizer.load_state_dict(state)
    for epoch in range(9):
        for group in optimizer.param_groups:
            group["lr"] = config["lr"] / (1 + epoch)
        yield next(steps(model, optimizer, optimizer.state_dict))


def loads_its_rate(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """As PPO.load of Stable-Baselines3: the loaded object has a schedule, which writes the rate before each update."""
    model = torch.nn.Linear(2, 1)
    rate = float(repr(state["rate"])) if state else config["lr"]  # another object than that of the optimizer's state
    optimizer = Adam(model.parameters(), lr=rate)
    if state:
        optimizer.load_state_dict(state["optimizer"])
    while True:
        for group in optimizer.param_groups:
            group["lr"] = rate
        metrics, loaded = next(steps(model, optimizer, optimizer.state_dict))
        yield metrics, {"rate": rate, "optimizer": loaded}


@pytest.mark.parametrize(
    ("train", "told"),
    [
        (
            two_groups,
            r"weight_decay=0\.01, but its AdamW still trains with 0\.1, .* for index in \[0\]: .*\[index\]\['weight_decay'\] = c",
        ),
        (
            loads_its_rate,
            r"lr=0\.05, but its Adam has 0\.1, .* at every update, .*PPO\.load\(path, env=env, learning_rate=…, ent",
        ),
        (naive, r"lr=0\.05, but its SGD still trains with 0\.1, .* group\['lr'\] = config\['lr'\]$"),
        (only_lr, r"weight_decay=0\.01, but its SGD still trains with 0\.0, .* group\['weight_decay'\]"),
        (
            scheduled,
            r"its Adam still trains with 0\.1, .* and the same for 'initial_lr', before you make or load the LR sch",
        ),
        (in_groups, r"lr=0\.05, but its SGD still trains with 0\.1"),
        (one_cycle, r"lr=0\.05, but its SGD .* and the same for 'initial_lr' and 'max_lr'"),
        (with_control_first, r"lr=0\.05, but its SGD still trains with 0\.1"),
    ],
)
def test_a_fork_that_trains_with_its_parents_values_fails_at_its_first_report(train: Train, told: str) -> None:
    hooks, load = step_hooks(), Optimizer.load_state_dict
    parent = PARENT | ({"weight_decay": 0.1} if train is two_groups else {})
    with pytest.raises(ValueError, match=told):
        list(fork_of(train, parent))
    assert (step_hooks(), Optimizer.load_state_dict) == (hooks, load)


def right(config: Config, state: Any, control: Any) -> Iterator[Any]:
    model = torch.nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    if state:
        optimizer.load_state_dict(state)
        for group in optimizer.param_groups:
            group["lr"], group["weight_decay"] = config["lr"], config["weight_decay"]
    yield from steps(model, optimizer, optimizer.state_dict)


def scheduled_on(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """A schedule that multiplies the rate goes on from the fork's own; the parent's first rate stays in the group."""
    model = torch.nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=config["lr"])
    if state:
        optimizer.load_state_dict(state)
        for group in optimizer.param_groups:
            group["lr"] = config["lr"] * 0.9**2
    yield from steps(model, optimizer, optimizer.state_dict, ExponentialLR(optimizer, 0.9))


def groups_of_its_own(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """A fork sets the decay of one group again; the other one is without, as its parent is."""
    model = torch.nn.Linear(2, 1)
    decays = [config["weight_decay"] / config["lr"], 0.0]
    groups = [{"params": [part], "weight_decay": decay} for part, decay in zip(model.parameters(), decays, strict=True)]
    optimizer = AdamW(groups, lr=config["lr"])
    if state:
        optimizer.load_state_dict(state)
        optimizer.param_groups[0].update(lr=config["lr"], weight_decay=decays[0])
    yield from steps(model, optimizer, optimizer.state_dict)


def by_hand(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """The penalty is part of the loss, and the optimizer has no decay, as the parent's configuration has none."""
    model = torch.nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=config["lr"])
    if state:
        optimizer.load_state_dict(state)
        optimizer.param_groups[0]["lr"] = config["lr"]
    yield from steps(model, optimizer, optimizer.state_dict)


def warmed_up(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """A warm-up by hand begins at the parent's rate, in an optimizer that is built with that."""
    model = torch.nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=0.1)
    if state:
        optimizer.load_state_dict(state)
    while True:
        for part in (0.0, 0.5):
            optimizer.param_groups[0]["lr"] = 0.1 + part * (config["lr"] - 0.1)
            made = next(steps(model, optimizer, optimizer.state_dict))
        yield made


def halved_to_the_parents(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """A schedule by hand that leads to the value of the parent's configuration."""
    model = torch.nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=config["lr"])
    if state:
        optimizer.load_state_dict(state)
    for _ in range(9):
        for group in optimizer.param_groups:
            group["lr"] = config["lr"] / 2
        yield next(steps(model, optimizer, optimizer.state_dict))


def beside_another(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """A second optimizer has a rate and a weight decay of its own, which happen to be the parent's."""
    model, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    second = SGD(other.parameters(), lr=PARENT["lr"], weight_decay=PARENT["weight_decay"])
    first = SGD(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    for _ in range(9):
        other(torch.ones(1, 2)).sum().backward()
        second.step()
        yield {**next(steps(model, first, dict))[0]}, {"second": second.state_dict()}


def with_control(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """A policy sets the fork's own rate."""
    model = torch.nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=config["lr"])
    control = control.attach(model, optimizer, batch_size=1, samples=1)
    if state:
        optimizer.load_state_dict(state["optimizer"])
        control.load_state_dict(state["control"])
    for metrics, _ in steps(model, optimizer, dict):
        control.update(metrics["loss"], 1)
        yield control.end_epoch(metrics), {"optimizer": optimizer.state_dict(), "control": control.state_dict()}


@pytest.mark.parametrize(
    ("train", "parent", "child", "policy"),
    [
        (right, PARENT, CHILD, None),
        (naive, PARENT, PARENT, None),
        (scheduled_on, PARENT, CHILD, None),
        (groups_of_its_own, PARENT, {"lr": 0.05, "weight_decay": 0.02}, None),
        (by_hand, PARENT, CHILD, None),
        (warmed_up, PARENT, CHILD, None),
        (halved_to_the_parents, {"lr": 0.1}, {"lr": 0.2}, None),
        (beside_another, PARENT, CHILD, None),
        (with_control, {"lr": 0.1}, {"lr": 0.05}, LrSchedule("cosine")),
        (with_control, {"lr": 0.1}, {"lr": 0.05}, None),
    ],
)
def test_a_fork_that_sets_its_own_values_goes_on(train: Train, parent: Config, child: Config, policy: Any) -> None:
    hooks = step_hooks()
    assert [item.step for item in fork_of(train, parent, child, policy) if item.kind == "report"] == [3, 4]
    assert step_hooks() == hooks


def test_a_population_tells_that_its_forks_train_with_their_parents_values(tmp_path: Path) -> None:
    """The most natural generator loads the optimizer's state, and the sweep must not record rates that were never used."""

    def train(config: Config, state: Any) -> Iterator[Any]:
        model = torch.nn.Linear(2, 1)
        optimizer = SGD(model.parameters(), lr=config["model.lr"])
        if state:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        yield from steps(model, optimizer, lambda: {"model": model.state_dict(), "optimizer": optimizer.state_dict()})

    sweep = Sweep(
        "naive", train, Space({"model.lr": loguniform(1e-3, 0.3)}), minimize="loss", steps=6,
        searcher=PopulationBasedTraining(population=3, interval=2, quantile=0.34), num_samples=3,
    )  # fmt: skip
    with pytest.raises(TrialsFailed, match=r"write: for group in .*: group\['lr'\] = config\['model.lr'\]"):
        run(sweep, runs=tmp_path, simulate=True)
    forks = {row["trial"] for row in recorded(tmp_path / "naive", "suggestion") if row["kind"] == "fork"}
    failed = {row["trial"] for row in recorded(tmp_path / "naive", "ending") if row["status"] == "failed"}
    assert forks
    assert failed == forks
