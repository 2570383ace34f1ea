"""Wsd: when a step is cooled, what it reports, and that the trunk never feels it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from trainables.contract import Policy
from trainables.policies.wsd import State, Wsd
from trainables.training.control import Control
from trainables.training.loop import Training, train
from trainables.training.model_state import measured_weights, put_model
from trainables.values import NOTHING, PRESENT, Action, Knobs, Signals
from trainables.workloads.quadratic import Quadratic

pytestmark = pytest.mark.usefixtures("one_thread")

UPDATES = 100  # in an epoch
Played = tuple[State, Action, Signals]


def play(policy: Wsd, epochs: int) -> Iterator[Played]:
    """Each state and action after an update or an epoch; batches of 16."""
    size, knobs = UPDATES * 16, Knobs(0.1, 16)
    state, action = policy.start(Signals(0, size, 0, epochs, knobs))
    for update in range(1, epochs * UPDATES + 1):
        knobs = action.knobs or knobs
        signals = Signals(update * 16, size, (update - 1) // UPDATES, epochs, knobs)
        state, action = policy.act(state, signals)
        yield state, action, signals
        knobs = action.knobs or knobs
        if update % UPDATES == 0:
            ended = replace(signals, knobs=knobs, train_loss=1.0, metrics={"loss": 1.0})
            state, action = policy.act(state, ended)
            yield state, action, ended


def branches(policy: Wsd, epochs: int) -> list[tuple[int, int | None]]:
    """The updates after which a cool-down begins and ends."""
    begun, ended = [], []
    for _, action, signals in play(policy, epochs):
        begun += [signals.samples // 16] if action.explore else []
        ended += [signals.samples // 16] if action.roll_back else []
    return [(start, ended[number] if number < len(ended) else None) for number, start in enumerate(begun)]


def test_a_rung_is_cooled_for_a_fifth_of_what_its_weights_have_seen() -> None:
    (one, back), (four, again), (end, never) = branches(Wsd(), 9)
    assert (one, back) == (80, 101)
    trunk = four - 21  # without the cool-down for step 1
    assert (400 - four) / (trunk + 400 - four) == pytest.approx(0.2, abs=0.005)
    assert again == 401
    assert (900 - end) / (end - 21 - (401 - four) + 900 - end) == pytest.approx(0.2, abs=0.005)
    assert never is None, "the last cool-down is the training's own end"


def test_the_rungs_are_the_named_steps_and_the_horizon() -> None:
    assert [step for _, step in _rungs(Wsd(rungs=(2, 5)), 9)] == [2, 5, 9]
    assert [step for _, step in _rungs(Wsd(), 20)] == [1, 4, 16, 20]
    assert [step for _, step in _rungs(Wsd(rungs=(2, 5, 40)), 4)] == [2, 4]


def _rungs(policy: Wsd, epochs: int) -> list[tuple[int, int]]:
    return [(signals.samples, state["step"]) for state, action, signals in play(policy, epochs) if action.explore]


def test_dense_rungs_leave_half_of_the_time_to_the_trunk() -> None:
    found = branches(Wsd(rungs=tuple(range(1, 10))), 9)
    assert len(found) == 9
    assert all(begun - 100 * number >= 48 for number, (begun, _) in enumerate(found[4:], 4))


def test_the_rate_falls_in_a_line_to_zero_and_is_back_after_one_update() -> None:
    rates = _rates(Wsd())
    assert rates[80] == rates[102] == 0.1
    assert [rates[update] for update in (81, 91, 100)] == pytest.approx([0.1, 0.05, 0.005])
    warm = _rates(Wsd(warm_up=0.5))
    assert [warm[update] for update in (1, 25, 50, 51)] == pytest.approx([0.002, 0.05, 0.1, 0.1])


def _rates(policy: Wsd) -> dict[int, float]:
    """The rate of each update."""
    return {
        signals.samples // 16: signals.knobs.learning_rate
        for _, _, signals in play(policy, 9)
        if signals.train_loss is None
    }


def test_a_cool_down_reports_the_present_weights_and_tells_why() -> None:
    told = [action for _, action, _ in play(Wsd(data="replay"), 2) if action.why]
    assert [action.why for action in told] == [
        "cools down for step 1", "back to the trunk after the cool-down for step 1", "cools down for step 2",
    ]  # fmt: skip
    assert [action.reports for action in told] == [PRESENT, "", PRESENT]
    assert told[1].roll_back
    assert told[1].replay
    assert told[1].evidence["undone_samples"] == 21 * 16


def test_the_same_signals_give_the_same_decisions() -> None:
    for (before, _, _), (after, action, signals) in pairwise(play(Wsd(warm_up=0.3), 5)):
        assert Wsd(warm_up=0.3).act(before, signals) == (after, action)


@pytest.mark.parametrize(("settings", "words"), [
    ({"cool": 1.0}, r"Wsd\(cool=1.0\): must be a share"),
    ({"rungs": (4, 1)}, "rising steps"),
    ({"rungs": (0, 1)}, "rising steps"),
    ({"rungs": (0.5,)}, "rising steps"),
    ({"warm_up": -1}, "must be a number, 0 or more"),
    ({"data": "old"}, "must be one of 'fresh', 'replay'"),
])  # fmt: skip
def test_wrong_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Wsd(**settings)


# In a training

CONFIG = {"learning_rate": 0.5, "momentum": 0.0, "batch_size": 4}


def test_the_trunk_with_replayed_samples_is_the_training_without_cool_downs() -> None:
    """Bit for bit: its weights after each cool-down are those of a constant rate, after as many samples."""
    workload = Quadratic(horizon=6)
    constant = Training(workload, None, CONFIG, seed=1)
    expected = {}
    for item in constant:
        if item is None:
            expected[constant.control.samples] = constant.model.state_dict()["point"].clone()
    training, compared = Training(workload, Wsd(rungs=(1, 3), data="replay"), CONFIG, seed=1), 0
    for item in training:
        if item is None and not training.control.state_dict()["exploring"]:
            assert torch.equal(training.model.state_dict()["point"], expected[training.control.position])
            compared += 1
    assert compared > 50


def test_a_rung_reports_less_noise_than_the_trunk_has_and_its_checkpoint_holds_those_weights() -> None:
    workload, config = Quadratic(horizon=6, spread=3.0, noise=1.0), {**CONFIG, "batch_size": 1}
    training = Training(workload, Wsd(rungs=(3,)), config, seed=1)
    plain = [item.metrics["loss"] for item in train(workload, None, config, seed=1)]
    reports = []
    for item in training:
        if item is not None and item.kind == "report":
            reports.append(item.metrics["loss"])
            model = workload.model(config, None)
            put_model(model, measured_weights(training.state()))
            assert workload.evaluate(model, "valid")["loss"] == item.metrics["loss"]
    assert reports[2] < plain[2]
    assert reports[5] < plain[5]


def test_a_promoted_training_goes_on_with_the_trunk() -> None:
    workload, policy = Quadratic(horizon=9), Wsd(rungs=(3,))
    whole = [item.metrics for item in train(workload, policy, CONFIG, seed=1)]
    first = Training(workload, policy, CONFIG, seed=1, until=3)
    assert [item.metrics for item in first if item is not None and item.kind == "report"] == whole[:3]
    rest = train(workload, policy, CONFIG, seed=1, state=first.state())
    assert [item.metrics for item in rest] == whole[3:]


def test_in_a_loop_of_ones_own_the_model_has_the_cooled_weights_at_the_epochs_end() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    control = Control(Wsd(rungs=(1,), cool=0.5), model, optimizer, batch_size=8, samples=64, epochs=3)
    for update in range(8):
        with torch.no_grad():
            model.weight.fill_(float(update))
        control.update(1.0, 8)
    assert control.knobs.learning_rate == 0
    assert control.end_epoch({"valid_loss": 1.0})["valid_loss"] == 1.0, (
        "metrics of the present weights are the right ones"
    )
    assert model.weight.mean() == 7
    control.update(1.0, 8)
    assert model.weight.mean() == 3, "the trunk"
    assert (control.samples, control.position, control.knobs.learning_rate) == (72, 32, 0.1)


@dataclass(frozen=True)
class Forgetful(Policy[None]):
    """Reports a mark that it never sets."""

    def start(self, signals: Signals) -> tuple[None, Action]:
        return None, Action(explore=True, reports="best")

    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, NOTHING


def test_a_mark_that_is_reported_must_have_been_set() -> None:
    reports = train(Quadratic(), Forgetful(), CONFIG)
    with pytest.raises(ValueError, match=r"reports='best': the policy has set only the marks \[\]"):
        next(reports)
