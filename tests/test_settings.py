"""One way to refuse a setting: the place, the name, the value and what it must be."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from math import inf, nan

import numpy as np
import pytest
import torch

from orchestrator import FromFunction, Sweep
from orchestrator.tune.outside import SearchAlgorithm, TrialScheduler
from search import Tpe, settings, wording
from search.ask_and_tell import AskAndTell
from search.schedulers.asha import Asha
from search.searchers.points import Points
from search.searchers.random import Random
from search.settings import flag, number, one_of, share, whole
from search.space import Space, loguniform
from search.wording import shown
from tests.support import small_sweep
from trainables import (
    Averaged,
    Compose,
    Control,
    LightningControl,
    LrRange,
    LrSchedule,
    Plateau,
    Quadratic,
    RateRace,
    Sma,
    TransformersControl,
    Warmup,
    Watchdog,
)
from trainables.training.loop import train

REFUSED: list[tuple[Callable[[], None], str]] = [
    (lambda: whole("Asha", 1, grace_period=0), "Asha(grace_period=0): must be a whole number, 1 or more."),
    (lambda: whole("Asha", 1, a=2, b=True), "Asha(b=True): must be a whole number, 1 or more."),
    (lambda: whole("Asha", 1, a=1.0), "Asha(a=1.0): must be a whole number, 1 or more."),
    (lambda: whole("Asha", 1, a="3"), "Asha(a='3'): must be a whole number, 1 or more."),
    (lambda: whole("Asha", 1, a=np.int64(3)), "must be a whole number"),
    (lambda: number("A", "(-inf, inf)", a=nan), "A(a=nan): must be a finite number."),
    (lambda: number("A", "(-inf, inf)", a=inf), "A(a=inf): must be a finite number."),
    (lambda: number("A", "(0, inf)", a=0), "A(a=0): must be a number, more than 0."),
    (lambda: number("A", "[0, 1)", a=1), "A(a=1): must be a number, 0 or more and less than 1."),
    (lambda: number("A", "[0, 1)", a=None), "A(a=None): must be a number"),
    (lambda: share("Task('small'", "(0, 1]", cost=2), "Task('small', cost=2): must be a share, more than 0 and at most 1."),
    (lambda: one_of("A", ("x", "y"), rule="z"), "A(rule='z'): must be one of 'x', 'y'."),
    (lambda: flag("A", on=1), "A(on=1): must be True or False."),
]  # fmt: skip


@pytest.mark.parametrize(("check", "words"), REFUSED)
def test_what_is_refused_is_named_with_its_value_and_its_range(check: Callable[[], None], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        check()
    assert words in str(caught.value)


def test_the_ends_of_an_interval_belong_to_it_where_it_says_so() -> None:
    number("A", "[0, 1]", a=0, b=1, c=0.5)
    number("A", "[1, inf]", a=inf)
    number("A", "(0, inf)", a=1e300)
    whole("A", 0, a=0, b=10**20)
    one_of("A", ("x",), a="x")
    flag("A", a=True)


def test_the_examples_are_right() -> None:
    assert doctest.testmod(settings).failed == 0
    assert doctest.testmod(wording).failed == 0


SPACE, MODEL = Space({"lr": loguniform(1e-3, 1.0)}), torch.nn.Linear(1, 1)
CLASSES: list[tuple[Callable[[], object], str]] = [
    (lambda: Averaged(LrSchedule), "Averaged(policy=LrSchedule): that is the class; write LrSchedule()."),
    (lambda: Averaged(Warmup), "Averaged(policy=Warmup): that is the class; write Warmup(…)."),
    (lambda: Watchdog(LrSchedule), "Watchdog(policy=LrSchedule): that is the class; write LrSchedule()."),
    (lambda: Warmup(1, then=Plateau), "Warmup(then=Plateau): that is the class; write Plateau()."),
    (lambda: LrRange(then=Plateau), "LrRange(then=Plateau): that is the class; write Plateau()."),
    (lambda: Sweep("a", FromFunction, SPACE), "Sweep(workload=FromFunction): that is the class; write FromFunction(…)."),
    (lambda: Compose(Plateau, Sma(2)), "Compose(policies=Plateau): that is the class; write Plateau()."),
    (lambda: train(Quadratic(), RateRace, {}), "train(policy=RateRace): that is the class; write RateRace()."),
    (lambda: Control(RateRace, MODEL, torch.optim.SGD(MODEL.parameters()), batch_size=1, samples=1, epochs=1),
     "Control(policy=RateRace): that is the class; write RateRace()."),
    (lambda: LightningControl(RateRace), "LightningControl(policy=RateRace): that is the class; write RateRace()."),
    (lambda: TransformersControl(RateRace), "TransformersControl(policy=RateRace): that is the class; write RateRace()."),
    (lambda: Points([], Random), "Points(then=Random): that is the class; write Random()."),
    (lambda: AskAndTell(SPACE, Tpe, horizon=1), "AskAndTell(searcher=Tpe): that is the class; write Tpe()."),
    (lambda: AskAndTell(SPACE, Tpe(), Asha, horizon=1), "AskAndTell(scheduler=Asha): that is the class; write Asha()."),
    (lambda: SearchAlgorithm(Tpe, SPACE, metric="x", mode="min", horizon=1), "SearchAlgorithm(searcher=Tpe): that is the"),
    (lambda: TrialScheduler(Asha, None), "TrialScheduler(scheduler=Asha): that is the class; write Asha()."),
    (lambda: small_sweep(policy=lambda config: RateRace), "must return a Policy or None, not RateRace; write RateRace()."),
    (lambda: Averaged("cosine"), "Averaged(policy='cosine'): must be a policy, such as LrSchedule()."),
]  # fmt: skip


@pytest.mark.parametrize(("make", "words"), CLASSES)
def test_a_class_in_place_of_an_instance_is_refused_with_the_remedy(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)


@pytest.mark.parametrize(("thing", "words"), [
    (RateRace(), "RateRace()"),
    (Averaged(RateRace(low=0.1, high=1.0, gammas=()), gammas=(2.0,)),
     "Averaged(policy=RateRace(low=0.1, high=1.0, gammas=()), gammas=(2.0,))"),
    (Compose(Warmup(2), Sma(2)), f"Compose({shown(Warmup(2))}, {shown(Sma(2))})"),
    (Averaged(Compose(LrSchedule(), Sma(2))), f"Averaged(policy=Compose(LrSchedule(), {shown(Sma(2))}))"),
    (Compose, "Compose"), (print, None), ("text", "'text'"), (Asha, "Asha"),
])  # fmt: skip
def test_a_message_shows_what_was_set(thing: object, words: str | None) -> None:
    assert shown(thing) == (words or repr(thing))
