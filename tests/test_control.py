"""A policy in a loop of one's own: the exam of `Control`, and what it refuses."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from search.work import Progress
from tests.by_hand import ByHand
from tests.support import ROOT
from tests.trainings import (
    POLICIES,
    Everything,
    Exploring,
    Trying,
    Turning,
    begin,
    disturb,
    good,
    numbers,
)  # fmt: skip
from trainables.contract import Policy, Workload
from trainables.policies.adascale import AdaScale
from trainables.policies.autolrs import AutoLrs
from trainables.policies.compose import Compose
from trainables.policies.fixed import Fixed
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.sma import Sma
from trainables.training.batch_sampler import BatchSampler
from trainables.training.control import Control
from trainables.training.model_state import live_weights
from trainables.values import NOTHING, Action, Knobs, Signals
from trainables.workloads.mlp_digits import MlpDigits
from trainables.workloads.quadratic import Quadratic

pytestmark = pytest.mark.usefixtures("one_thread")

ALL = (*POLICIES, Turning(), Exploring(), Trying())
HERE = [policy for policy in ALL if "average" not in policy.writes]
EXAMS = [(workload, policy) for workload in (Everything(), Quadratic.smallest()) for policy in HERE]
EXAMS += [(MlpDigits.smallest(), Trying())]


def exams(some: list[tuple[Workload, Policy[Any]]]) -> pytest.MarkDecorator:
    names = [f"{type(workload).__name__}-{type(policy).__name__}" for workload, policy in some]
    return pytest.mark.parametrize(("workload", "policy"), some, ids=names)


def by_hand(workload: Workload, policy: Policy[Any], folder: Path, **options: Any) -> ByHand:
    return ByHand(workload, policy, good(workload), seed=3, prepared=folder, **options)


def plain(item: Progress | None) -> Any:
    """An item without what it cost, in seconds."""
    return item and replace(item, cost_seconds=0.0)


def weights(training: Any) -> Any:
    return numbers(live_weights(training.model, training.optimizer))


# The exam


@exams(EXAMS)
def test_decisions_losses_and_weights_are_those_of_our_loop(
    workload: Workload, policy: Policy[Any], tmp_path: Path
) -> None:
    ours = begin(workload, policy, tmp_path)
    items = [plain(item) for item in ours if item]
    other = by_hand(workload, policy, tmp_path)  # one at a time: both draw from the process's random streams
    assert [plain(item) for item in other if item] == items
    assert weights(other) == weights(ours)
    assert numbers(other.control.state_dict()["policy"]) == numbers(ours.control.state_dict()["policy"])


@exams(EXAMS)
def test_resume_equals_uninterrupted_at_every_cut(workload: Workload, policy: Policy[Any], tmp_path: Path) -> None:
    """Through files, after every item; some go on to the end, all are cut a second time."""
    training = by_hand(workload, policy, tmp_path)
    items, saved = [], []
    for item in training:
        items.append(plain(item))
        saved.append(training.saved())
    expected = weights(training)
    cuts = range(len(items)) if len(items) < 30 else sorted(random.Random(1).sample(range(len(items)), 30))
    for cut in cuts:
        resumed = by_hand(workload, policy, tmp_path)
        disturb()
        resumed.load(saved[cut])
        following = [plain(item) for _, item in zip(range(3), resumed, strict=False)]
        assert following == items[cut + 1 : cut + 4]
        if cut % 7 == 0:
            again = resumed.saved()  # before another one seeds the streams
            twice = by_hand(workload, policy, tmp_path)
            twice.load(again)
            assert [plain(item) for item in twice] == items[cut + 1 + len(following) :]
            assert weights(twice) == expected


@pytest.mark.parametrize("policy", [p for p in ALL if p not in HERE], ids=repr)
def test_averaging_is_refused_before_it_starts(policy: Policy[Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only our own loop trains; make the model a Workload"):
        by_hand(Everything(), policy, tmp_path)


# Refusals


def small(policy: Policy[Any], **options: Any) -> Control:
    model = nn.Linear(2, 1)
    optimizer = options.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=0.1)
    return Control(policy, model, optimizer, **{"batch_size": 8, "samples": 64, "epochs": 3, **options})


REPLAYING = AutoLrs(low=0.001, high=0.1, stage=1 / 6, trial=0.5, candidates=2, data="replay")


@pytest.mark.parametrize(("policy", "words"), [
    (Sma(replicas=2), "Sma.replicas=2.* averages replicas"),
    (Compose(LrSchedule(), Sma(replicas=2)), "only our own loop"),
    (REPLAYING, r"data order that can go back; pass sampler=, to control.attach"),
    (AdaScale(8), r"AdaScale\(base_batch=8.*control.attach\(…, parts=2\) in a sweep, else to Control"),
    (AutoLrs(low=0.001, high=0.1, stage=1 / 6, trial=0.5, candidates=2, metric="loss"), "measure=evaluate"),
])  # fmt: skip
def test_what_a_policy_lacks_here_is_refused_with_the_remedy(policy: Policy[Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small(policy)


def test_a_gradient_that_nobody_shows_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"call control\.part"):
        small(AdaScale(8), parts=2).update(0.5, 8)
    control = small(AdaScale(8), parts=2)
    with pytest.raises(ValueError, match="no backward pass"):
        control.part(4, 0.5)
    for _ in range(2):
        control.model(torch.ones(4, 2)).sum().backward()
    with pytest.raises(ValueError, match="two or more backward pass"):
        control.part(4, 0.5)


def test_a_batch_told_in_part_cannot_be_saved() -> None:
    control = small(Fixed())
    control.part(4, 0.5)
    with pytest.raises(ValueError, match="only partly done"):
        control.state_dict()
    with pytest.raises(ValueError, match="no samples"):
        small(Fixed()).update()


@dataclass(frozen=True)
class Tries(Policy[int]):
    """Never comes back from a wild exploration."""

    writes: ClassVar[frozenset[str]] = frozenset({"learning_rate", "snapshot"})

    def start(self, signals: Signals) -> tuple[int, Action]:
        return 0, Action(explore=True)

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        return state, NOTHING


def test_an_evaluation_amid_an_exploration_measures_the_mark() -> None:
    control = small(Tries())
    assert isinstance(control.model, nn.Linear)
    marked = control.model.weight.detach().clone()
    with torch.no_grad():
        control.model.weight.add_(1.0)
    control.update(0.5, 8)

    def evaluate() -> dict[str, float]:
        assert torch.equal(control.model.weight, marked)
        return {"valid_loss": 1.0}

    with pytest.raises(ValueError, match=r"end_epoch\(\{'valid_loss': 1.0\}\).*is exploring"):
        control.end_epoch({"valid_loss": 1.0})
    with pytest.raises(ValueError, match="no metrics; pass them"):
        control.end_epoch()
    assert control.epoch == 0
    assert control.end_epoch(evaluate)["valid_loss"] == 1.0
    with control.evaluating():
        found = evaluate()
    assert control.end_epoch(found)["valid_loss"] == 1.0
    assert torch.equal(control.model.weight, marked + 1.0)


def test_groups_keep_their_multiples_and_a_foreign_value_is_turned_back() -> None:
    model = nn.Linear(2, 1)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.3}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    control = Control(LrSchedule("linear"), model, optimizer, batch_size=8, samples=8, epochs=2)
    assert control.knobs == Knobs(0.1, 8, 0.9)
    control.update(1.0, 8)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.15])
    optimizer.param_groups[0]["lr"] = 7.0
    control.turn()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_a_fork_brings_its_own_knobs_and_its_policy_from_the_start() -> None:
    parent = small(LrSchedule("linear"))
    for _ in range(8):
        parent.update(1.0, 8)
    parent.end_epoch({"valid_loss": 1.0})
    child = small(LrSchedule("cosine"), optimizer=torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.7))
    child.fork(parent.state_dict())
    assert (child.epoch, child.samples, child.decisions.take()[0].text) == (1, 64, "schedule")
    assert child.knobs.learning_rate == pytest.approx(0.7 * 0.75)  # a third of a cosine


@dataclass(frozen=True)
class Returns(Policy[int]):
    """Goes back to the start after each update."""

    writes: ClassVar[frozenset[str]] = frozenset({"snapshot"})

    def start(self, signals: Signals) -> tuple[int, Action]:
        return 0, Action(snapshot=True)

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        return state, Action(roll_back=True)


def test_an_average_of_the_users_goes_back_with_the_model_if_it_is_attached_too() -> None:
    """What the page says on policies that roll back; a second average, which is not attached, does not."""
    model = nn.Linear(2, 1)
    attached, apart = torch.optim.swa_utils.AveragedModel(model), torch.optim.swa_utils.AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    control = Control(Returns(), nn.ModuleList([model, attached]), optimizer, batch_size=8, samples=80, epochs=2)
    before = attached.module.weight.clone()
    for _ in range(2):
        with torch.no_grad():
            model.weight.add_(1.0)
        attached.update_parameters(model)
        apart.update_parameters(model)
        place = control.position
        control.update(1.0, 8)
        assert control.position == place  # the page tells by this that the update does not count
    assert torch.equal(attached.module.weight, before)
    assert torch.equal(attached.module.weight, model.weight)
    assert attached.n_averaged == 0
    assert not torch.equal(apart.module.weight, before)


# The batch sampler


@dataclass(frozen=True)
class Growing(Policy[int]):
    """Another batch size after every update."""

    writes: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    def start(self, signals: Signals) -> tuple[int, Action]:
        return 0, NOTHING

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        return state + 1, Action(knobs=replace(signals.knobs, batch_size=3 + 5 * state % 11))


def drawn(sampler: BatchSampler, control: Control, workers: int, batches: int = 10**6) -> list[list[int]]:
    """Train on so many batches, through epochs; those that were trained on."""
    found: list[list[int]] = []
    while not control.done:
        loader = DataLoader(range(100), batch_sampler=sampler, collate_fn=list, num_workers=workers)  # type: ignore[arg-type]
        for batch in loader:
            found.append(batch)
            control.update(1.0, len(batch))
            if len(found) == batches:
                return found
        control.end_epoch({"valid_loss": 1.0})
    return found


def growing() -> tuple[BatchSampler, Control]:
    sampler = BatchSampler(100, seed=5)
    return sampler, small(Growing(), samples=100, sampler=sampler)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_sample_is_lost_or_repeated_whatever_the_batch_size_and_the_cut(workers: int) -> None:
    whole = drawn(*growing(), workers)
    samples = list(chain(*whole))
    assert [sorted(samples[at : at + 100]) for at in (0, 100, 200)] == [list(range(100))] * 3
    assert len({len(batch) for batch in whole}) > 5
    for cut in (1, 2, 5, 9, 14, 30) if workers else range(1, len(whole)):
        sampler, control = growing()
        first = drawn(sampler, control, workers, cut)
        saved = control.state_dict()
        sampler, control = growing()
        control.load_state_dict(saved)
        assert first + drawn(sampler, control, workers) == whole
        assert not workers or saved["order"]["ahead"] or saved["samples"] % 100 in (0, *range(80, 100))


def test_what_the_control_is_told_must_be_what_was_drawn() -> None:
    sampler, control = growing()
    next(iter(sampler))
    with pytest.raises(ValueError, match="an update over 5 samples, but the batch drawn has 8"):
        control.update(1.0, 5)
    with pytest.raises(ValueError, match="no control sets its batch size"):
        next(iter(BatchSampler(100)))
    with pytest.raises(ValueError, match="rank must be from 0 to 1"):
        BatchSampler(100, rank=2, ranks=2)


def test_a_replay_with_batches_drawn_ahead_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_workers=0"):
        for _ in by_hand(Quadratic.smallest(), REPLAYING, tmp_path, loader_workers=1):
            pass


def test_each_rank_has_its_share_of_every_batch() -> None:
    shares = []
    for rank in range(2):
        sampler = BatchSampler(100, seed=5, rank=rank, ranks=2)
        sampler.follow(0, 8)
        shares.append(next(iter(sampler)))
    sampler, _ = growing()
    sampler.follow(0, 8)
    assert sorted(chain(*shares)) == sorted(next(iter(sampler)))


# Several ranks


@pytest.mark.slow
def test_two_ranks_see_the_noise_and_decide_as_one_process_with_two_parts(tmp_path: Path) -> None:
    def started(rank: int, ranks: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.ranks", str(rank), str(ranks), str(tmp_path / "store")]
        environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)

    processes = [started(0, 1), started(0, 2), started(1, 2)]
    (alone, weights), one, other = (json.loads(process.communicate(timeout=120)[0]) for process in processes)
    assert one == other
    assert len(alone) >= 2
    assert [decision[:2] for decision in one[0]] == [decision[:2] for decision in alone]
    for (*_, after, evidence), (*_, expected, measured) in zip(one[0], alone, strict=True):
        assert after == pytest.approx(expected, rel=1e-5)
        assert evidence == pytest.approx(measured, rel=1e-4)
    for found, value in zip(one[1], weights, strict=True):
        torch.testing.assert_close(torch.tensor(found), torch.tensor(value))
