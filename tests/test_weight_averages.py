"""Averages of the weights over time: the formula, the choice between them, and what keeps them through a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from search.records import Config
from search.space import Space, uniform
from search.work import Assignment
from tests.by_hand import ByHand
from tests.support import recorded as records
from tests.support import simulated, small_sweep
from tests.trainings import Everything, begin, good, metrics, numbers, told
from trainables.carry_out import carry_out, measured_on_test
from trainables.contract import Policy
from trainables.policies.autolrs import AutoLrs
from trainables.policies.averaged import Averaged
from trainables.policies.compose import Compose
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.sma import Sma
from trainables.policies.warmup import Warmup
from trainables.policies.watchdog import Watchdog
from trainables.training.control import Control
from trainables.training.measuring import measured
from trainables.training.model_state import live_weights, measured_weights
from trainables.training.weight_averages import WeightAverages, with_average
from trainables.values import NOTHING, Action, Signals
from trainables.workloads.callable import FromFunction
from trainables.workloads.mlp_digits import MlpDigits
from trainables.workloads.quadratic import Quadratic

pytestmark = pytest.mark.usefixtures("one_thread")

# The formula


def scalar() -> nn.Module:
    return nn.Linear(1, 1, bias=False)


def put(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def averages_of(values: list[float], samples: list[int], gammas: tuple[float, ...], every: int = 1) -> list[float]:
    model = scalar()
    averages = WeightAverages(model, gammas, every)
    for value, count in zip(values, samples, strict=True):
        put(model, value)
        averages.update(count)
    return [averages.values(gamma)["weight"].item() for gamma in gammas]


VALUES = [3.0, -1.0, 4.0, 1.5, -5.0, 9.0, 2.0]
BATCHES = [8, 8, 8, 2, 16, 16, 16]


def test_an_exponent_of_zero_gives_the_plain_mean() -> None:
    (found,) = averages_of(VALUES, [8] * 7, (0.0,))
    assert found == pytest.approx(sum(VALUES) / 7, rel=1e-6)


def test_a_large_exponent_gives_the_last_weights() -> None:
    (found,) = averages_of(VALUES, [8] * 7, (500.0,))
    assert found == pytest.approx(VALUES[-1], rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 4.0, 16.0])
def test_the_weight_of_an_update_is_the_growth_of_t_to_the_gamma_plus_1(gamma: float) -> None:
    """Whatever the batches: a batch of 16 weighs as two of 8."""
    ends = [end ** (gamma + 1) for end in accumulate(BATCHES, initial=0)]
    shares = [after - before for before, after in pairwise(ends)]
    expected = sum(share * value for share, value in zip(shares, VALUES, strict=True)) / ends[-1]
    assert averages_of(VALUES, BATCHES, (gamma,)) == pytest.approx([expected], rel=1e-5)


def test_a_large_batch_weighs_as_its_parts() -> None:
    parts = averages_of([1.0, 2.0, 2.0], [8, 8, 8], (4.0,))
    assert averages_of([1.0, 2.0], [8, 16], (4.0,)) == pytest.approx(parts, rel=1e-6)


def test_constant_weights_stay_bit_by_bit() -> None:
    assert averages_of([0.1] * 100, [7] * 100, (0.0, 4.0, 16.0)) == [torch.tensor(0.1).item()] * 3


def test_a_pass_every_few_updates_weighs_the_whole_gap() -> None:
    """Updates 4 and 8 count for themselves and for the three before them."""
    found = averages_of([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 3.0, 50.0], [8] * 9, (1.0,), every=4)
    assert found == pytest.approx([(16 * 1.0 + 48 * 3.0) / 64])


def test_a_large_model_is_averaged_every_fourth_update() -> None:
    assert WeightAverages(nn.Linear(1000, 1100), (4.0,)).every == 4
    assert WeightAverages(nn.Linear(1000, 900), (4.0,)).every == 1


def test_exponents_must_be_different_numbers() -> None:
    for wrong in ((4.0, 4.0), (-1.0,), (math.inf,), (math.nan,)):
        with pytest.raises(ValueError, match="different finite numbers"):
            WeightAverages(scalar(), wrong)
    with pytest.raises(ValueError, match=r"gammas=\(0,\)|gammas=0"):
        Averaged(gammas=(0,))
    with pytest.raises(ValueError, match="one number or more"):
        Averaged(gammas=())


# What is averaged


class Tied(nn.Module):
    """Shared weights, half precision, batch normalisation, and a buffer that is replaced and not saved."""

    drift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 2)
        self.decoder = nn.Linear(2, 3)
        self.decoder.weight = self.embedding.weight
        self.norm = nn.BatchNorm1d(3)
        self.halved = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
        self.register_buffer("drift", torch.zeros(2), persistent=False)

    def forward(self, indices: Tensor) -> Tensor:
        self.drift = self.drift + 1
        return self.norm(self.decoder(self.embedding(indices) * self.halved.float()))  # type: ignore[no-any-return]


def trained(model: nn.Module, averages: WeightAverages, updates: int = 3) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(updates):
        optimizer.zero_grad()
        model(torch.tensor([0, 1, 2, 1])).square().sum().backward()
        optimizer.step()
        averages.update(4)


def state_of(model: nn.Module) -> Any:
    weights = live_weights(model, torch.optim.SGD(model.parameters()))
    return [numbers({name: value.double() for name, value in weights[part].items()}) for part in ("model", "buffers")]


def test_swapping_gives_the_model_the_average_and_then_its_own_bits() -> None:
    model = Tied()
    averages = WeightAverages(model, (1.0,))
    trained(model, averages)
    before = state_of(model)
    with averages.swapped(1.0):
        assert model.decoder.weight is model.embedding.weight
        assert torch.equal(model.embedding.weight, averages.values(1.0)["embedding.weight"])
        assert model.drift.tolist() == pytest.approx([(1 * 1 + 3 * 2 + 5 * 3) / 9] * 2)
        assert model.norm.num_batches_tracked == 3
        assert state_of(model) != before
        swapped = state_of(model)
    assert state_of(model) == before
    assert averages.values(1.0)["halved"].dtype == torch.float32
    other = Tied()
    weights = with_average(live_weights(model, torch.optim.SGD(model.parameters())), averages.state_dict(), 1.0)
    other.load_state_dict(weights["model"])
    other.drift = weights["buffers"]["drift"]
    assert state_of(other) == swapped


def test_averages_go_on_from_their_state() -> None:
    torch.manual_seed(1)
    model = Tied()
    averages = WeightAverages(model, (1.0, 4.0), every=2)
    trained(model, averages, 3)
    restored = WeightAverages.restored(model, averages.state_dict())
    for each in (averages, restored):
        each.update(4)
    assert numbers(restored.state_dict()) == numbers(averages.state_dict())


@pytest.mark.parametrize(("other", "words"), [
    (lambda: nn.Linear(2, 3), r"restored\(Linear, state\).*'weight' has shape \(3, 2\) in the model and has shape \(5, 2\) in"),
    (lambda: nn.Sequential(nn.Linear(2, 5)), "'0.weight' has shape .5, 2. in the model and is missing in the state. Build"),
    (lambda: nn.Linear(2, 5, bias=False), "'bias' is missing in the model and has shape .5,. in the state. Build the model as"),
])  # fmt: skip
def test_averages_of_another_model_are_refused_by_the_tensor(other: Callable[[], nn.Module], words: str) -> None:
    state = WeightAverages(nn.Linear(2, 5), (4.0,)).state_dict()
    with pytest.raises(ValueError, match=words):
        WeightAverages.restored(other(), state)
    with pytest.raises(
        ValueError, match=r"must be what averages.state_dict\(\) returned; this has 'model', 'averages'"
    ):
        WeightAverages.restored(nn.Linear(2, 5), {"model": {}, "averages": state})


# The choice


def choose(values: list[float], mode: str) -> tuple[Mapping[str, float], Mapping[str, Mapping[str, float]]]:
    """Of the values of the last weights and of the averages with γ 4 and 16."""
    answers = iter(values)
    averages = WeightAverages(scalar(), (4.0, 16.0))
    found = measured(averages, lambda: {"value": next(answers), "other": 1.0}, "value", mode)
    return found.metrics, found.each


@pytest.mark.parametrize(("values", "mode", "chosen"), [
    ([3.0, 2.0, 1.0], "min", 16), ([3.0, 2.0, 2.0], "min", 4), ([1.0, 2.0, 3.0], "min", 0),
    ([1.0, 2.0, 3.0], "max", 16), ([1.0, 1.0, 1.0], "max", 0), ([1.0, math.nan, 2.0], "max", 16),
    ([math.nan, 1.0, 2.0], "min", 0), ([math.inf, 1.0, 2.0], "min", 0), ([1.0, math.nan, math.nan], "min", 0),
])  # fmt: skip
def test_the_better_is_reported_and_the_last_weights_beside_it(values: list[float], mode: str, chosen: float) -> None:
    found, each = choose(values, mode)
    best = values[[0, 4, 16].index(chosen)]
    assert str(dict(found)) == str({"value": best, "other": 1.0, "last_value": values[0], "averaged": float(chosen)})
    assert [*each] == ["last", "γ=4", "γ=16"]
    assert str([each[name]["value"] for name in each]) == str(values)


def test_a_metric_that_was_not_measured_cannot_choose() -> None:
    remedy = "'auc' chooses between them, but 'loss' was measured. Let your evaluation return 'auc' too, or tune"
    with pytest.raises(
        ValueError, match=remedy + r".*Sweep\(…, maximize='loss'\), in a loop without .*metric='loss'\)"
    ):
        measured(WeightAverages(scalar(), (4.0,)), lambda: {"loss": 1.0}, "auc", "max")


def test_all_are_measured_with_the_same_random_numbers() -> None:
    averages = WeightAverages(scalar(), (4.0, 16.0))
    torch.manual_seed(1)
    found = measured(averages, lambda: {"value": torch.rand(()).item()}, "value", "min")
    after = torch.rand(())
    assert len({each["value"] for each in found.each.values()}) == 1
    torch.manual_seed(1)
    torch.rand(())
    assert torch.rand(()) == after


# In a training


def test_averages_change_nothing_in_the_training(tmp_path: Path) -> None:
    for policy in (LrSchedule("cosine"), Watchdog(Warmup(0.5), factor=1.01, most=99, window=0.1)):
        alone = begin(Everything(), policy, tmp_path)
        plain = metrics(alone)  # before the next one seeds the streams
        beside = begin(Everything(), Averaged(policy), tmp_path)
        assert [report["last_error"] for report in metrics(beside)] == [report["error"] for report in plain]
        assert numbers(beside.weights.read()) == numbers(alone.weights.read())


NOISY = Quadratic(horizon=20, spread=5.0, noise=1.0)
NOISY_CONFIG: Config = {"learning_rate": 0.5, "momentum": 0.0, "batch_size": 2}


def test_an_average_is_chosen_where_the_gradients_are_noisy(tmp_path: Path) -> None:
    training = begin(NOISY, Averaged(), tmp_path, config=NOISY_CONFIG)
    last = metrics(training)[-1]
    assert last["averaged"] in (4.0, 16.0)
    assert last["loss"] < last["last_loss"]
    assert training.control.chosen == last["averaged"]


def test_the_average_is_that_of_the_weights_after_each_update(tmp_path: Path) -> None:
    """Of the central model, where replicas train."""
    for policy in (None, Sma(replicas=2)):
        training = begin(Everything(), Averaged(policy, gammas=(4.0,)), tmp_path)
        expected = WeightAverages(training.model, (4.0,))
        before = 0
        for item in training:
            if item is None and (gone := training.control.samples - before):
                expected.update(gone)
                before += gone
        assert numbers(training.state()["control"]["averages"]["averages"]) == numbers([expected.values(4.0)])


def test_in_a_loop_of_ones_own_it_is_as_in_ours(tmp_path: Path) -> None:
    config = good(Everything())
    items = told(begin(Everything(), Averaged(), tmp_path))
    other = ByHand(Everything(), Averaged(), config, seed=3, prepared=tmp_path)
    assert [dict(item.metrics) for item in other if item] == [dict(item.metrics) for item in items]


def test_a_checkpoint_is_tested_with_the_weights_that_were_chosen(tmp_path: Path) -> None:
    work = Assignment(trial=0, config=NOISY_CONFIG, seed=3, until=NOISY.horizon, folder=tmp_path / "trial")
    reports = [item for item in carry_out(NOISY, Averaged(), work) if item is not None and item.kind == "report"]
    training = begin(NOISY, Averaged(), tmp_path, config=NOISY_CONFIG)
    list(training)
    state = training.state()
    assert state["control"]["chosen"] == reports[-1].metrics["averaged"] != 0
    model = NOISY.model(NOISY_CONFIG, None)
    model.load_state_dict(measured_weights(state)["model"])
    assert NOISY.evaluate(model, "valid")["loss"] == reports[-1].metrics["loss"]
    found = measured_on_test(NOISY, replace(work, recorded=NOISY.horizon))
    assert found == NOISY.evaluate(model, "test")
    model.load_state_dict(state["weights"]["model"])
    assert found != NOISY.evaluate(model, "test")


def test_a_sweep_records_which_weights_were_reported(tmp_path: Path) -> None:
    simulated(tmp_path / "small", small_sweep(
        workload=NOISY, policy=Averaged(), num_samples=2, space=Space({**NOISY_CONFIG, "learning_rate": uniform(0.4, 0.6)}),
    ))  # fmt: skip
    reports = records(tmp_path / "small", "report")
    assert {*reports[-1]["metrics"]} == {"loss", "last_loss", "averaged", "train_loss"}
    assert all(row["value"] == row["metrics"]["loss"] <= row["metrics"]["last_loss"] for row in reports)
    assert any(row["metrics"]["averaged"] for row in reports)


def train(config: Config, state: Any, control: Any) -> Iterator[Any]:
    """Moves the weight around 1 with a shrinking step, so that averages are nearer."""
    model = scalar()
    put(model, 0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    control = control.attach(model, optimizer, batch_size=1, samples=8)
    if state:
        model.load_state_dict(state["model"])
        control.load_state_dict(state["control"])
    yield
    while not control.done:
        for update in range(8):
            put(model, 1.0 + (-1) ** update / (1 + control.epoch))
            control.update(1.0, 1)
        metrics = control.end_epoch(lambda: {"closeness": -abs(model.weight.item() - 1)})
        yield metrics, {"model": model.state_dict(), "control": control.state_dict()}


def test_a_function_is_tuned_by_its_averages_in_the_direction_of_the_sweep(tmp_path: Path) -> None:
    workload = FromFunction(train, metric="closeness", mode="max", horizon=3)
    work = Assignment(0, {}, 3, until=3, folder=tmp_path / "whole", checkpoint_seconds=0.0)
    whole = [dict(item.metrics) for item in carry_out(workload, Averaged(), work) if item and item.kind == "report"]
    assert all(report["closeness"] > report["last_closeness"] for report in whole)
    cut = replace(work, folder=tmp_path / "cut", until=1)
    found = [dict(item.metrics) for item in carry_out(workload, Averaged(), cut) if item and item.kind == "report"]
    rest = replace(cut, until=3, recorded=1)
    found += [dict(item.metrics) for item in carry_out(workload, Averaged(), rest) if item and item.kind == "report"]
    assert found == whole


def test_a_fork_goes_on_from_the_last_weights_and_averages_anew(tmp_path: Path) -> None:
    parent = begin(Everything(), Averaged(), tmp_path)
    list(parent)
    child = begin(Everything(), Averaged(), tmp_path)
    state = parent.state()
    child.fork(state)
    assert numbers(child.weights.read()["model"]) == numbers(parent.weights.read()["model"])
    assert child.state()["control"]["averages"]["samples"] == 0
    assert child.control.chosen == 0


# Roll-backs and marks


@dataclass(frozen=True)
class Scripted(Policy[int]):
    """Asks for the i-th action after the i-th update; records nothing."""

    actions: tuple[Action, ...]
    first: Action = NOTHING
    seen: list[Signals] = field(default_factory=list, compare=False, repr=False)

    writes: ClassVar[frozenset[str]] = frozenset({"snapshot", "averages"})
    needs: ClassVar[frozenset[str]] = frozenset({"metrics"})

    def start(self, signals: Signals) -> tuple[int, Action]:
        return 0, self.first

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        self.seen.append(signals)
        if signals.metrics or state >= len(self.actions):
            return state, NOTHING
        return state + 1, self.actions[state]


KEEPING = Action(averages=(1.0,), snapshot=True)


class Walk:
    """A scalar weight that the test moves, under a control."""

    def __init__(self, *actions: Action, first: Action = KEEPING, **options: Any) -> None:
        self.model = scalar()
        put(self.model, 0.0)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        options = {"measure": self.measure, "metric": "value", **options}
        self.policy = Scripted(actions, first)
        self.control = Control(
            self.policy, self.model, optimizer, batch_size=1, samples=4, epochs=9, **options
        )  # fmt: skip

    def measure(self) -> Mapping[str, float]:
        return {"value": self.weight}

    def go(self, *values: float) -> None:
        for value in values:
            put(self.model, value)
            self.control.update(1.0, 1)

    @property
    def weight(self) -> float:
        (weight,) = self.model.parameters()
        return weight.item()

    @property
    def average(self) -> float:
        averages: Tensor = self.control.state_dict()["averages"]["averages"][0]["weight"]
        return averages.item()


def test_a_roll_back_restores_the_averages_of_the_snapshot() -> None:
    walk = Walk(NOTHING, Action(snapshot=True), NOTHING, Action(roll_back=True))
    walk.go(1.0, 2.0)
    then = walk.average
    walk.go(50.0)
    assert walk.average != then
    walk.go(60.0)
    assert (walk.weight, walk.average) == (2.0, then)
    walk.go(3.0)
    assert walk.average == pytest.approx((1 * 1 + 3 * 2 + 5 * 3) / 9)


def test_a_roll_back_to_weights_without_averages_starts_them_anew() -> None:
    walk = Walk(Action(averages=(1.0,)), NOTHING, Action(roll_back=True), first=Action(snapshot=True))
    walk.go(1.0, 2.0, 3.0)
    assert (walk.weight, walk.average) == (0.0, 0.0)


def test_averages_stop_and_start_when_asked() -> None:
    walk = Walk(Action(averages=()), Action(averages=(1.0,)), Action(averages=(1.0,)))
    walk.go(1.0)
    assert walk.control.state_dict()["averages"] is None
    assert walk.control.end_epoch({"value": 1.0})["value"] == 1.0
    walk.go(2.0, 3.0, 5.0)
    assert walk.average == pytest.approx((1 * 3 + 3 * 5) / 4)


def race(**last: Any) -> Walk:
    """From one mark two trials; the first is kept under a name, and wins."""
    return Walk(
        NOTHING, Action(mark="winner", roll_back=True, roll_back_to="start", explore=True),
        NOTHING, Action(roll_back=True, roll_back_to="winner", **last),
        first=Action(averages=(1.0,), mark="start", explore=True),
    )  # fmt: skip


def test_a_mark_keeps_the_weights_before_the_roll_back_of_the_same_action() -> None:
    walk = race()
    walk.go(1.0, 2.0)
    assert (walk.weight, walk.average) == (0.0, 0.0)
    walk.go(7.0, 8.0)
    assert (walk.weight, walk.average) == (2.0, pytest.approx((1 + 3 * 2) / 4))
    assert walk.control.position == 2
    assert walk.control.samples == 4


def test_the_end_of_an_exploration_drops_the_marks() -> None:
    walk = race()
    walk.go(1.0, 2.0)
    assert {*walk.control.state_dict()["snapshots"]} == {"", "start", "winner"}
    walk.go(7.0, 8.0)
    assert {*walk.control.state_dict()["snapshots"]} == {""}
    walk = race(explore=True)
    walk.go(1.0, 2.0, 7.0, 8.0)
    assert {*walk.control.state_dict()["snapshots"]} == {"", "start", "winner"}


def test_a_mark_survives_saving_and_loading() -> None:
    walk, other = race(), race()
    walk.go(1.0, 2.0, 7.0)
    put(other.model, 7.0)
    other.control.load_state_dict(walk.control.state_dict())
    for each in (walk, other):
        each.go(8.0)
    assert (other.weight, other.average, other.control.position) == (walk.weight, walk.average, walk.control.position)
    assert numbers(other.control.state_dict()) == numbers(walk.control.state_dict())


def test_a_roll_back_to_an_unknown_mark_is_refused() -> None:
    walk = Walk(Action(roll_back=True, roll_back_to="finish"), first=Action(mark="start"))
    with pytest.raises(ValueError, match=r"roll back to the mark 'finish', but has set only \['start'\]"):
        walk.go(1.0)


def test_the_end_of_an_epoch_in_an_exploration_measures_the_snapshot_and_its_averages() -> None:
    walk = Walk(NOTHING, Action(explore=True), mode="max")
    walk.go(4.0, 2.0, 100.0)
    found = walk.control.end_epoch()
    expected = (4 + 3 * 2) / 4
    assert found == {"value": expected, "last_value": 2.0, "averaged": 1.0, "train_loss": 1.0}
    assert walk.weight == 100.0
    with walk.control.evaluating():
        assert walk.weight == expected
    assert walk.weight == 100.0


def test_a_measurement_amid_an_epoch_is_of_the_present_weights_and_chooses_none_to_save() -> None:
    walk = Walk(NOTHING, Action(measure=True), mode="max")
    walk.go(4.0, 2.0)
    seen = walk.policy.seen[-1]
    assert {name: dict(found) for name, found in seen.each.items()} == {"last": {"value": 2.0}, "γ=1": {"value": 2.5}}
    assert seen.metrics == {"value": 2.5, "last_value": 2.0, "averaged": 1.0}
    assert walk.control.chosen == 0


def controlled(policy: Policy[Any], **options: Any) -> Control:
    model = scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Control(policy, model, optimizer, **{"batch_size": 1, "samples": 4, "epochs": 9, **options})


def test_ready_metrics_and_a_nameless_metric_are_refused_with_the_remedy() -> None:
    control = controlled(Averaged(), metric="value")
    control.update(1.0, 1)
    with pytest.raises(ValueError, match=r"each must be measured; pass a function, control.end_epoch\(lambda"):
        control.end_epoch({"value": 1.0})
    with pytest.raises(ValueError, match="pass its name and direction: metric="):
        controlled(Averaged())
    with pytest.raises(ValueError, match="mode='least'"):
        controlled(Averaged(), metric="value", mode="least")


def test_ready_metrics_stand_beside_those_that_choose() -> None:
    """As the callbacks of Lightning and the Trainer pass them; to evaluate or to save within `evaluating` chooses, too."""
    walk = Walk(mode="max")
    walk.go(4.0, 2.0)
    with walk.control.evaluating():
        assert walk.weight == 2.5
    assert walk.control.chosen == 1.0
    found = walk.control.end_epoch({"value": 9.0, "other": 7.0})
    assert found == {"value": 2.5, "other": 7.0, "last_value": 2.0, "averaged": 1.0, "train_loss": 1.0}
    walk.go(3.0)
    with walk.control.evaluating():
        assert walk.weight == 3.0


def test_only_one_policy_keeps_averages() -> None:
    with pytest.raises(ValueError, match="keeps averages itself"):
        Averaged(Averaged())
    with pytest.raises(ValueError, match="both turn averages"):
        Compose(Averaged(), Averaged(LrSchedule()))


def test_averaged_answers_for_its_policy() -> None:
    inner = AutoLrs(low=0.001, high=0.1)
    assert Averaged(inner).writes == inner.writes | {"averages"}
    assert Averaged(inner).needs == inner.needs
    assert Averaged().resumable
    assert not Averaged(LrSchedule("cosine")).resumable
    composed = Compose(Averaged(LrSchedule("linear")), Sma(replicas=2))
    start = Signals(0, 10, 0, 3, MlpDigits.smallest().knobs(good(MlpDigits.smallest())))
    assert composed.start(start)[1].averages == (4.0, 16.0)
