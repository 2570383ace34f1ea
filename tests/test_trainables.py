"""The exam that every workload and every policy sits."""

from __future__ import annotations

import copy
import os
import pickle
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import trainables.policies
import trainables.workloads
from tests.support import assert_listed, concrete
from tests.trainings import (
    CONTRIBUTED,
    POLICIES,
    WORKLOADS,
    Everything,
    Exploring,
    Trying,
    Turning,
    begin,
    each_workload,
    good,
    metrics,
    place,
    resume,
    timeless,
)
from trainables.contract import Policy, Workload
from trainables.execution import checkpoint
from trainables.execution.store import Store
from trainables.policies.fixed import Fixed
from trainables.training.loop import Training
from trainables.values import Execution, Knobs, Signals
from trainables.workloads.lstm_lm import LstmLm
from trainables.workloads.lstm_mnist import LstmMnist
from trainables.workloads.resnet_finetune import ResNetFinetune

pytestmark = pytest.mark.usefixtures("one_thread")

# Each workload with the policies that do all that one may do, each policy with the workload that needs all of the state.
TRAININGS: list[tuple[Workload, Policy[Any]]] = [(workload, Trying()) for workload in WORKLOADS]
TRAININGS += [(Everything(), policy) for policy in (*POLICIES, Turning(), Exploring(), Trying())]
TRAININGS.append(CONTRIBUTED)


def trainings(some: list[tuple[Workload, Policy[Any]]]) -> pytest.MarkDecorator:
    names = [f"{type(workload).__name__}-{type(policy).__name__}" for workload, policy in some]
    return pytest.mark.parametrize(("workload", "policy"), [_marked(*pair) for pair in some], ids=names)


def _marked(workload: Workload, policy: Policy[Any]) -> Any:
    return pytest.param(workload, policy, marks=pytest.mark.slow if isinstance(workload, LstmMnist) else ())


each_training = trainings(TRAININGS)
CUTS = 16  # of a training, at most


# Lists


def test_every_workload_and_policy_sits_the_exam() -> None:
    assert_listed(concrete(trainables.workloads, Workload), WORKLOADS, "WORKLOADS of tests/trainings.py")
    assert_listed(concrete(trainables.policies, Policy), POLICIES, "POLICIES of tests/trainings.py")


# The exam of a workload


@each_workload
def test_naming_a_workload_does_not_load_torch(workload: Workload) -> None:
    module = type(workload).__module__
    code = (
        f"import sys, {module}; sys.exit(bool({{'torch', 'sklearn', 'transformers', 'tokenizers'}} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@each_workload
def test_it_says_what_it_is(workload: Workload, prepared: Path) -> None:
    assert workload.metric in workload.metrics
    assert workload.mode in ("min", "max")
    assert workload.horizon >= 2
    assert type(workload)().knobs(good(workload)).batch_size > 0
    assert pickle.loads(pickle.dumps(workload)) == workload
    names = {type(workload).__name__: type(workload), "Execution": Execution}
    assert eval(repr(workload), names) == workload


@each_workload
def test_the_loss_falls(workload: Workload, prepared: Path) -> None:
    losses = [m["train_loss"] for m in metrics(begin(workload, Fixed(), prepared))]
    assert len(losses) == workload.horizon
    assert losses[-1] < 0.95 * losses[0]


@each_workload
def test_each_sample_is_seen_once_an_epoch_whatever_the_batch_size(workload: Workload, prepared: Path) -> None:
    reference = watch(begin(workload, Fixed(), prepared, until=1))
    for policy in (Turning(every=1), Turning(every=2)):
        for training in (
            begin(workload, policy, prepared, seed=4),
            begin(workload, policy, prepared, seed=5),
        ):
            until = training.until
            seen = watch(training)["train"]
            assert training.control.samples == until * workload.samples() == sum(seen.values())
            assert seen == Counter({row: until * n for row, n in reference["train"].items()})


@each_workload
def test_it_is_measured_on_samples_that_it_was_not_trained_on(workload: Workload, prepared: Path) -> None:
    training = begin(workload, Fixed(), prepared, until=1)
    seen = watch(training)
    assert training.model.training is False
    assert watch_model(training, lambda: workload.evaluate(training.model, "valid")) == seen["valid"]
    test = watch_model(training, lambda: workload.evaluate(training.model, "test"))
    assert not seen["train"] & seen["valid"]
    assert not seen["train"] & test
    assert not seen["valid"] & test
    assert sum(test.values()) >= sum(seen["valid"].values()) > 0


@each_workload
def test_a_probe_measures_a_part_of_the_validation_data_always_the_same(workload: Workload, prepared: Path) -> None:
    training = begin(workload, Fixed(), prepared)
    model, streams = training.model.eval(), torch.get_rng_state()
    with torch.no_grad():
        whole, few = workload.evaluate(model, "valid"), workload.probe(model, 16)
        assert few == workload.probe(model, 16)
        if type(workload).probe is Workload.probe:  # it measures all of them, as the contract allows
            assert few == whole
            return
        assert few != whole == workload.probe(model, 10**6)
        assert set(few) == set(whole)
        seen = watch_model(training, lambda: workload.probe(model, 16))
        valid = watch_model(training, lambda: workload.evaluate(model, "valid"))
    assert torch.equal(torch.get_rng_state(), streams)
    if isinstance(workload, LstmLm):  # the first 16 windows' tokens of the streams, side by side
        assert {len(row) // 8 for row in seen} == {-(-16 * workload.steps // 20)}
    else:
        assert not seen - valid
        assert sum(seen.values()) == 16


@each_workload
def test_it_answers_its_metrics_as_plain_floats(workload: Workload, prepared: Path) -> None:
    for part in ("valid", "test"):
        with torch.no_grad():
            answer = workload.evaluate(begin(workload, Fixed(), prepared).model.eval(), part)
        assert set(answer) == set(workload.metrics)
        assert {type(value) for value in answer.values()} == {float}


@each_workload
def test_preparing_twice_gives_the_same(workload: Workload, prepared: Path, tmp_path: Path) -> None:
    workload.prepare(tmp_path)
    before = place(prepared, workload)
    names = sorted(os.listdir(tmp_path))
    assert names == (sorted(os.listdir(before)) if before.exists() else [])
    assert all((tmp_path / name).read_bytes() == (before / name).read_bytes() for name in names)


def watch(training: Training) -> dict[str, Counter[bytes]]:
    """Carry a training out, and count the samples that its model was shown."""
    seen: dict[str, Counter[bytes]] = {"train": Counter(), "valid": Counter()}

    def look(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen["train" if model.training else "valid"].update(row.numpy().tobytes() for row in inputs[0])

    with training.model.register_forward_pre_hook(look):
        reports = metrics(training)
    epochs = len(reports)
    seen["valid"] = Counter({row: count // epochs for row, count in seen["valid"].items()})
    return seen


def watch_model(training: Training, call: Any) -> Counter[bytes]:
    seen: Counter[bytes] = Counter()
    with training.model.register_forward_pre_hook(
        lambda _, inputs: seen.update(row.numpy().tobytes() for row in inputs[0])
    ):
        call()
    return seen


# The exam of a policy, with every workload


@each_training
def test_the_same_seed_gives_the_same_training(workload: Workload, policy: Policy[Any], prepared: Path) -> None:
    curves, states = [], []
    for seed in (1, 1, 2):
        training = begin(workload, policy, prepared, seed=seed)
        curves.append(metrics(training))
        states.append(timeless(training.state()))
    assert curves[0] == curves[1] != curves[2]
    assert states[0] == states[1] != states[2]


@each_training
def test_resume_equals_uninterrupted_at_every_cut(
    workload: Workload, policy: Policy[Any], prepared: Path, tmp_path: Path
) -> None:
    """Whole states, after an item, through files; some go on to the end, all are cut a second time."""
    training = begin(workload, policy, prepared)
    items, states = [], []
    for item in training:
        items.append(item and item.metrics)
        states.append(training.state())
    expected = [timeless(state) for state in states]
    cuts = range(len(items)) if len(items) < CUTS else sorted(random.Random(1).sample(range(len(items)), CUTS))
    for number, cut in enumerate(cuts):
        path = Path(Store(tmp_path).save(states[cut], step=cut).path)
        resumed = resume(checkpoint.load(path), workload, policy, prepared)
        assert timeless(resumed.state()) == expected[cut]
        following = [item and item.metrics for _, item in zip(range(3), resumed, strict=False)]
        assert following == items[cut + 1 : cut + 4]
        second = cut + len(following)
        twice = resume(resumed.state(), workload, policy, prepared)
        assert timeless(twice.state()) == expected[second]
        if number % 4 == 0:
            assert [item and item.metrics for item in twice] == items[second + 1 :]
            assert timeless(twice.state()) == expected[-1]


@each_training
def test_the_policy_keeps_plain_data_and_is_pure(workload: Workload, policy: Policy[Any], prepared: Path) -> None:
    calls: list[tuple[Any, Signals, Any]] = []

    class Recorded(Policy[Any]):
        needs = policy.needs
        writes = policy.writes

        def start(self, signals: Signals) -> Any:
            return policy.start(signals)

        def act(self, state: Any, signals: Signals) -> Any:
            before = copy.deepcopy(state)
            answer = policy.act(state, signals)
            calls.append((before, signals, copy.deepcopy(answer)))
            return answer

    training = begin(workload, Recorded(), prepared)
    metrics(training)
    for before, signals, answer in calls:
        assert policy.act(before, signals) == answer
    ended = [signals for _, signals, _ in calls if signals.train_loss is not None]
    assert [signals.step for signals in ended] == list(range(1, workload.horizon + 1))
    assert all(workload.metric in signals.metrics for signals in ended)
    assert [s.samples for s in ended] == [step * workload.samples() for step in range(1, workload.horizon + 1)]
    names = {type(known).__name__: type(known) for known in (*POLICIES, policy)}
    assert eval(repr(policy), {**names, "Knobs": Knobs}) == policy


def test_a_share_of_the_data_keeps_the_classes_even_and_the_evaluation_as_it_is() -> None:
    whole = ResNetFinetune(per_class=20)
    small = replace(whole, data_share=0.25)
    assert (whole.samples(), small.samples()) == (100, 25)
    assert Counter(small.split.labels["train"][small.rows("cpu")].tolist()) == dict.fromkeys(range(5), 5)
    assert set(small.rows("cpu").tolist()) < set(whole.rows("cpu").tolist())
    assert small.split is whole.split
    assert replace(whole, data_share=0.001).samples() == 5
