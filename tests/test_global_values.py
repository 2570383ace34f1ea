"""The global values that a training's code uses."""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from tests import support
from trainables.global_values import globals_of, is_users

RATE, TABLE, OTHER = 0.1, {"a": 1}, 2


class Answers:
    """Answers anything, as a proxy or a mock does."""

    def __getattr__(self, name: str) -> Answers:
        return Answers()


class Kind(enum.Enum):
    SMALL = 1


class Options:
    width = 8
    _private = 1

    @property
    def doubled(self) -> int:
        return self.width * TABLE["a"]

    @staticmethod
    def rate() -> float:
        return RATE


class Slotted:
    __slots__ = ("depth",)


class Called:
    def __init__(self) -> None:
        self.depth = 3

    def __call__(self, config: Any) -> int:
        return self.depth

    def method(self, config: Any) -> int:
        return self.depth


PROXY, SLOTTED = Answers(), Slotted()


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inner(*given: Any) -> Any:
        return function(*given)

    return inner


@logged
def helper(config: Any) -> Any:
    return Options, PROXY, SLOTTED, Kind.SMALL, len(OTHER)  # type: ignore[arg-type]


def around(bound: int) -> Callable[[Any], Any]:
    def train(config: Any) -> Any:
        return helper(config), bound, support.SPACE

    return train


def names(code: Any) -> set[str]:
    return {each.name for each in globals_of(code)[0]}


def test_functions_classes_closures_wrappers_and_modules_are_followed() -> None:
    found = names(partial(around(3)))
    assert {"bound", "OTHER", "Options.width", "TABLE", "RATE", "PROXY", "SLOTTED", "support.SPACE"} <= found
    assert not {"Options._private", "Options.doubled", "helper", "support"} & found


def test_the_attributes_of_an_object_that_is_called_are_values() -> None:
    assert names(Called()) == {"Called.depth"}
    assert names(Called().method) == {"self.depth"}


def test_a_value_is_read_as_it_is_now() -> None:
    code = {"__name__": "__main__", "COUNT": 1}
    exec("def train(config): return COUNT", code)
    (count,), _ = globals_of(code["train"])
    assert (count.module, count.path, count.read()) == ("__main__", ("COUNT",), 1)
    code["COUNT"] = 2
    assert count.read() == 2


def test_libraries_and_our_own_packages_are_not_the_users() -> None:
    assert [is_users(name) for name in ("__main__", "tests.support", "torch.nn", "json", "search.space", "absent")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
