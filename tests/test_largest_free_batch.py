"""The batch grows as far as branching finds it free, and what each question found is said."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from tests.averaged import after, weights
from tests.trainings import timeless
from trainables.estimates.critical_batch import Arms, compared
from trainables.estimates.noise_scale import Gradient
from trainables.policies.largest_free_batch import LargestFreeBatch, said
from trainables.training.loop import Training
from trainables.values import Action, Knobs, Signals
from trainables.workloads.mlp_digits import MlpDigits

pytestmark = pytest.mark.usefixtures("one_thread")

EPOCH, START = 20_000, Knobs(0.1, 16)


# A simulated training by McCandlish's law


@dataclass
class Simulated:
    """A training whose loss falls with the samples of effect, n / (1 + B / B_crit); it obeys the policy's actions."""

    policy: LargestFreeBatch
    critical: Callable[[float], float]  # B_crit, after so many samples
    noise: float = 0.0  # of a measured loss, as a standard deviation
    breaks: float = math.inf  # the rate at which it diverges
    knobs: Knobs = START
    told: list[Action] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    samples: int = 0
    effect: float = 0.0
    marks: dict[str, float] = field(default_factory=dict)
    exploring: bool = False
    state: Any = None

    def train(self, epochs: int, horizon: int | None = None) -> Simulated:
        self.horizon = horizon or epochs
        self.state, action = self.policy.start(self.signals())
        assert action.averages == (4.0, 16.0, 39.0)
        while self.samples < epochs * EPOCH:
            cost = 1 + self.knobs.batch_size / self.critical(self.samples)
            self.effect += self.knobs.batch_size / cost if self.knobs.learning_rate < self.breaks else math.nan
            self.samples += self.knobs.batch_size
            self.batches.append(self.knobs.batch_size)
            self.obey(Signals(**self.place(), gradient=Gradient(16, 8, 2.0, 3.0)))
        return self

    def obey(self, signals: Signals) -> None:
        self.state, action = self.policy.act(self.state, signals)
        if action.mark:
            self.marks[action.mark] = self.effect
        if action.roll_back:
            self.effect = self.marks[action.roll_back_to]
            if not action.explore:
                self.marks = {name: effect for name, effect in self.marks.items() if not name}
        if action.snapshot:
            self.marks[""] = self.effect
        if action.snapshot or action.roll_back:
            self.exploring = action.explore
        self.knobs = action.knobs or self.knobs
        if action.why:
            assert not self.exploring
            assert all(map(math.isfinite, action.evidence.values()))
            self.told.append(action)
        if action.measure:
            self.obey(self.measured())

    def place(self) -> dict[str, Any]:
        return {
            "samples": self.samples, "samples_per_epoch": EPOCH, "step": 0, "horizon": self.horizon, "knobs": self.knobs
        }  # fmt: skip

    def signals(self) -> Signals:
        return Signals(**self.place())

    def measured(self) -> Signals:
        loss = 5 * (1 + self.effect / 1000) ** -0.3 + random.Random(f"{self.effect}").gauss(0, self.noise)
        metrics = {"accuracy": 0.5, "valid_loss": loss}
        before = {"valid_loss": loss - 1}  # an average that reaches back behind the arm tells nothing
        return Signals(**self.place(), metrics=metrics, each={"last": metrics, "γ=4": before, "γ=39": metrics})


POLICY = LargestFreeBatch(largest=4096)


@pytest.mark.parametrize("critical", [200, 700, 3000])
def test_it_stops_at_the_batch_that_costs_a_tenth_more_samples(critical: int) -> None:
    trained = Simulated(POLICY, lambda _: critical).train(40)
    limit = 1.1 * 16 + 0.1 * critical
    assert limit / 2 < trained.batches[-1] <= limit
    assert trained.told[-1].evidence["critical_batch"] == pytest.approx(critical, rel=0.35)
    assert limit / 1.5 < trained.told[-1].evidence["predicted_free_batch"] < 1.5 * limit
    assert "batches up to" in trained.told[-1].why


def test_the_batch_grows_with_the_critical_batch_and_the_rate_by_its_root() -> None:
    trained = Simulated(POLICY, lambda samples: 1 + samples / 10).train(40)
    assert sorted(set(trained.batches)) == [16 * 2**doublings for doublings in range(len(set(trained.batches)))]
    assert max(trained.batches) >= 1024
    assert trained.knobs.learning_rate == pytest.approx(0.1 * math.sqrt(trained.knobs.batch_size / 16))
    assert len(trained.batches) < 0.25 * len(Simulated(POLICY, lambda _: 1.0).train(40).batches)


@pytest.mark.parametrize("critical", [20.0, 700.0, 1e9])
def test_what_is_not_kept_is_a_few_per_cent_of_the_samples(critical: float) -> None:
    trained = Simulated(POLICY, lambda _: critical).train(40)
    assert trained.told[-1].evidence["undone_samples"] < 0.11 * trained.samples


def test_questions_come_after_as_many_samples_again() -> None:
    trained = Simulated(POLICY, lambda _: 1.0).train(40)
    assert set(trained.batches) == {16, 32}
    assert len(trained.told) == pytest.approx(math.log2(40 * EPOCH / (200 * 16)), abs=1)
    for action in trained.told:
        assert re.match("batches up to 1[678] cost nothing here by now; 32 would cost ", action.why), action.why


def test_the_noise_decides_seldom_and_only_near_the_limit() -> None:
    for noise in (0.0005, 0.002):
        trained = Simulated(POLICY, lambda _: 700.0, noise).train(40)
        assert 16 <= trained.batches[-1] <= 512


def test_a_rate_that_breaks_the_training_is_not_free() -> None:
    trained = Simulated(POLICY, lambda _: 1e9, breaks=0.13).train(10)
    assert trained.knobs == START
    assert math.isfinite(trained.effect)
    assert "32 would cost at least 2 times the samples" in trained.told[-1].why


def test_the_rate_may_grow_as_the_batch_does() -> None:
    trained = Simulated(replace(POLICY, scaling="linear"), lambda _: 1e9).train(1)
    assert trained.knobs.learning_rate / 0.1 == trained.knobs.batch_size / 16 > 2
    assert set(trained.marks) <= {"", "start"}


def test_the_largest_batch_and_the_noise_scale_limit_what_is_asked() -> None:
    assert max(Simulated(replace(POLICY, largest=100), lambda _: 1e9).train(20).batches) == 64
    assert max(Simulated(replace(POLICY, largest=None), lambda _: 1e9).train(40).batches) <= EPOCH // 10
    by_noise = replace(POLICY, ask="noise scale")  # of the gradients above: 16
    assert by_noise.needs == {"metrics", "gradient"}
    assert set(Simulated(by_noise, lambda _: 1e9).train(20).batches) == {16}
    assert set(Simulated(by_noise, lambda _: 1e9, knobs=Knobs(0.1, 4)).train(20).batches) == {4, 8, 16}


def test_a_cool_down_ends_at_nothing_and_is_no_beginning_of_a_longer_training() -> None:
    trained = Simulated(replace(POLICY, cool=0.25), lambda _: 1e9).train(20)
    assert trained.knobs.learning_rate < 0.01 * trained.state["rate"]
    assert not trained.exploring
    assert not trained.policy.resumable
    assert POLICY.resumable
    short, long = Simulated(POLICY, lambda _: 700.0).train(5), Simulated(POLICY, lambda _: 700.0).train(5, horizon=50)
    assert short.batches == long.batches


# What two arms say


def test_arms_by_the_law_give_its_critical_batch_and_cost() -> None:
    law = lambda batch: 1 + batch / 640  # noqa: E731
    base = [1 - share / law(64) for share in (1 / 3, 2 / 3, 1)]
    other = [1 - share / law(128) for share in (1 / 3, 2 / 3, 1)]
    arms = compared(64, 2, 1.0, base, other, first=16)
    assert arms.critical_batch() == pytest.approx(640)
    assert arms.cost_of(2560) == pytest.approx(law(2560) / law(16))
    assert arms.largest_free(0.1) == pytest.approx(1.1 * 16 + 64)
    for tolerance in (0.01, 0.1, 0.17, 0.18, 0.5, 9.0):
        assert arms.is_free(tolerance) == (law(128) / law(16) <= 1 + tolerance)


def test_noise_widens_the_interval_and_is_no_cost() -> None:
    arms = Arms(64, 2, 64, progress=0.1, difference=0.02, error=0.015)
    assert arms.critical_batch(1) < arms.critical_batch() < arms.critical_batch(-1)
    assert arms.is_free(0.1)
    assert not replace(arms, error=0.005).is_free(0.1)
    assert not replace(arms, progress=-0.1).is_free(0.1)
    assert not replace(arms, progress=0.01, difference=-0.01).is_free(0.1)  # too short to tell
    assert replace(arms, progress=-0.1).critical_batch() == 0


@pytest.mark.parametrize(("other", "words"), [
    ([0.9, 0.8, 0.7], "batches up to 128 cost nothing here by now; none larger than 128 was asked about"),
    ([0.902, 0.804, 0.708], "batches up to 128 cost nothing here by now; 512 would cost about 1.2 times the samples"),
    ([0.91, 0.82, 0.73], "batches up to 122 cost nothing here by now; 128 would cost about 1.1 times the samples, 512 would cost about 1.8"),
    ([1.0, 1.2, math.inf], "batches up to 70 cost nothing here by now; 128 would cost at least 2 times the samples"),
])  # fmt: skip
def test_the_answer_is_a_sentence(other: list[float], words: str) -> None:
    why, evidence = said(compared(64, 2, 1.0, [0.9, 0.8, 0.7], other), 0.1)
    assert why.startswith(words), why
    assert evidence["asked_batch"] == 128


def test_a_question_in_which_the_loss_hardly_fell_says_so_and_the_batch_stays() -> None:
    """It grew, with "batches up to 128 cost nothing; 128 would cost at least 2 times the samples"."""
    why, evidence = said(Arms(64, 2, 64, progress=-0.001, difference=0.009, error=0.014), 0.1)
    assert why == "the loss fell by no more than the noise of a question, which hides what batches of 128 cost"
    assert evidence["free_batch"] == 64


@pytest.mark.parametrize(("settings", "words"), [
    ({"largest": 0}, "largest=0"), ({"first": 0}, "first=0"), ({"share": 0.0}, "share=0.0"), ({"points": 0}, "points=0"),
    ({"tolerance": 0.0}, "tolerance=0.0"), ({"scaling": "cubic"}, "scaling='cubic'"),
    ({"gammas": (-1.0,)}, "gammas=-1"), ({"ask": "never"}, "ask='never'"), ({"cool": 1.0}, "cool=1.0"),
    ({"data": "old"}, "data='old'"),
])  # fmt: skip
def test_settings_are_checked(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LargestFreeBatch(**settings)


def test_a_metric_that_is_not_measured_is_refused_in_words() -> None:
    with pytest.raises(
        ValueError, match=r"metric='perplexity'\): must be a validation loss, one of 'accuracy', 'valid_loss'"
    ):
        Simulated(replace(POLICY, metric="perplexity"), lambda _: 1.0).train(1)


# In real trainings


def digits(**settings: Any) -> Training:
    policy = LargestFreeBatch(**{"largest": 64, "first": 5, "updates": 2, "points": 2, **settings})
    return Training(
        MlpDigits(horizon=2, hidden=4, data_share=0.144),
        policy,
        {"learning_rate": 0.1, "batch_size": 8, "momentum": 0.5},
        seed=3,
    )


@pytest.mark.parametrize(("given", "free"), [
    ({"tolerance": 1e-9}, [False, False]), ({"tolerance": 9.0}, [True]),
])  # fmt: skip
def test_a_training_killed_at_any_update_goes_on_with_the_same_bits(given: dict[str, Any], free: list[bool]) -> None:
    whole = digits(**given)
    expected, states = [], []
    for item in whole:
        if item is None:
            states.append((len(expected), whole.state()))
        else:
            expected.append(replace(item, cost_seconds=0.0))
    answers = [item.metrics for item in expected if item.kind == "decision"]
    assert [answer["free_batch"] == answer["asked_batch"] for answer in answers] == free
    for told, state in states:
        again = digits(**given)
        again.load(state)
        assert [replace(item, cost_seconds=0.0) for item in again if item is not None] == expected[told:]
        assert timeless(again.state()) == timeless(whole.state())


def test_a_larger_batch_that_is_not_free_leaves_the_training_as_it_was() -> None:
    """Weights and data go on as if nobody had asked; 144 samples are whole batches of both sizes."""
    asking = digits(tolerance=1e-9, first=18)
    for item in asking:
        if item is not None and item.kind == "decision":
            break
    assert item is not None
    assert (item.position, item.samples) == (18 * 8 + 32, 18 * 8 + 64)
    plain = Training(asking.workload, None, asking.config, seed=3)
    after(plain, 22)
    assert torch.equal(weights(asking), weights(plain))
    after(asking, 10), after(plain, 10)  # to the end of the first one's epoch
    assert torch.equal(weights(asking), weights(plain))
