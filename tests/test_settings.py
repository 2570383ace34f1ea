"""One way to refuse a setting: the place, the name, the value and what it must be."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from math import inf, nan

import numpy as np
import pytest

from search import settings
from search.settings import flag, number, one_of, share, whole

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
