"""The search space: what it accepts, what it refuses and in which words."""

from __future__ import annotations

import json
import math
import pickle
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.space import (
    Choice,
    Fixed,
    Float,
    Int,
    Pow2,
    Space,
    choice,
    lograndint,
    loguniform,
    pow2,
    randint,
    uniform,
    when,
)

RICH = Space(
    {
        "optimizer": choice(["sgd", "rmsprop", "adam"]),
        "lr": loguniform(1e-5, 1),
        "momentum": when(uniform(0, 0.9), optimizer=("sgd", "rmsprop")),
        "nesterov": when(choice([True, False]), optimizer="sgd"),
        "batch": pow2(16, 1024),
        "layers": randint(1, 4),
        "width": lograndint(1, 300),
        "epochs": 20,
    },
    constraints={"fits in memory": lambda c: c["batch"] * c["layers"] <= 2048},
)

few = settings(max_examples=25, deadline=None, derandomize=True)


@st.composite
def spaces(draw: Any) -> Space:
    """Spaces of every kind of parameter, with conditions."""
    kinds = [uniform(-1, 3), loguniform(1e-3, 2), randint(-2, 5), lograndint(1, 40), pow2(2, 16)]
    kinds += [choice(["a", "b", None]), choice([True, 1.5]), choice(["only"]), 7]
    picked = draw(st.lists(st.sampled_from(range(len(kinds))), min_size=1, max_size=5))
    parameters: dict[str, Any] = {f"p{i}": kinds[kind] for i, kind in enumerate(picked)}
    if draw(st.booleans()):
        parameters["child"] = when(uniform(0, 1), parent="on")
        parameters["parent"] = choice(["on", "off"])
    if draw(st.booleans()):
        parameters["grandchild"] = when(when(randint(1, 3), child_of=(2, 3)), other="x")
        parameters["child_of"] = when(randint(1, 3), other=["x", "y"])
        parameters["other"] = choice(["x", "y", "z"])
    return Space(parameters)


def is_plain(value: object) -> bool:
    return value is None or type(value) in (bool, int, float, str)


@few
@given(spaces(), st.integers(0, 10**6))
def test_a_sample_is_contained_and_plain(space: Space, seed: int) -> None:
    config = space.sample(np.random.default_rng(seed))
    assert space.why_not(config) is None
    assert space.check(config) == config
    assert all(is_plain(value) for value in config.values())


@few
@given(spaces(), st.integers(0, 10**6))
def test_the_unit_cube_and_back_is_the_same_configuration(space: Space, seed: int) -> None:
    config = space.sample(np.random.default_rng(seed))
    unit = space.to_unit(config)
    back = space.from_unit(unit)
    assert unit.shape == (space.dimension,)
    assert (unit >= 0).all()
    assert (unit <= 1).all()
    assert back.keys() == config.keys()
    for name, value in config.items():
        assert back[name] == (pytest.approx(value) if isinstance(value, float) else value)


@few
@given(spaces(), st.data())
def test_every_corner_of_the_cube_is_a_configuration(space: Space, data: Any) -> None:
    unit = data.draw(st.lists(st.sampled_from([0.0, 1.0, 0.5]), min_size=space.dimension, max_size=space.dimension))
    assert space.contains(space.from_unit(np.array(unit)))


@few
@given(spaces())
def test_the_description_is_json_and_stable(space: Space) -> None:
    described = space.describe()
    assert json.loads(json.dumps(described)) == described
    assert Space(as_definition(space)).describe() == described
    assert pickle.loads(pickle.dumps(space)) == space


def as_definition(space: Space) -> dict[str, Any]:
    return {
        name: when(parameter, **space.conditions[name]) if space.conditions[name] else parameter
        for name, parameter in space.parameters.items()
    }


@few
@given(spaces())
def test_the_grid_is_feasible_without_repeats_and_as_long_as_it_says(space: Space) -> None:
    if space.grid_size(3) > 3000:
        return
    configs = list(space.grid(3))
    assert len(configs) == space.grid_size(3)
    assert len({repr(sorted(config.items())) for config in configs}) == len(configs)
    assert all(space.contains(config) for config in configs)


def test_a_finite_grid_is_the_whole_space() -> None:
    space = Space({"o": choice(["a", "b"]), "n": when(randint(1, 3), o="a"), "b": pow2(1, 4), "e": 5})
    assert space.is_finite
    assert space.size == (3 + 1) * 3 == len(list(space.grid(100)))
    assert not RICH.is_finite
    assert math.isinf(RICH.size)


def test_constraints_hold_for_samples_and_grid_and_break_contains() -> None:
    rng = np.random.default_rng(0)
    assert all(c["batch"] * c["layers"] <= 2048 for c in (RICH.sample(rng) for _ in range(200)))
    assert all(c["batch"] * c["layers"] <= 2048 for c in RICH.grid(2))
    config = {"optimizer": "adam", "lr": 0.1, "batch": 1024, "layers": 4, "width": 3, "epochs": 20}
    assert '"fits in memory" is not met' in str(RICH.why_not(config))
    assert "fits in memory" in repr(RICH)
    assert RICH.describe()["constraints"] == ["fits in memory"]


def test_a_finite_space_with_one_feasible_configuration_finds_it() -> None:
    space = Space({"a": randint(1, 90), "b": randint(1, 90)}, {"corner": lambda c: c["a"] + c["b"] == 180})
    assert space.sample(np.random.default_rng(0)) == {"a": 90, "b": 90}


def test_check_gives_plain_values_in_order_and_fills_in_what_is_fixed() -> None:
    config = {"width": 64.0, "lr": np.float32(0.5), "optimizer": np.str_("adam"), "layers": np.int64(2), "batch": 16}
    checked = RICH.check(config)
    assert checked == {"optimizer": "adam", "lr": 0.5, "batch": 16, "layers": 2, "width": 64, "epochs": 20}
    assert list(checked) == ["optimizer", "lr", "batch", "layers", "width", "epochs"]
    assert all(is_plain(value) for value in checked.values())


def test_integer_ends_are_included_and_the_repr_says_so() -> None:
    space = Space({"n": randint(1, 3)})
    drawn = {space.sample(np.random.default_rng(seed))["n"] for seed in range(60)}
    assert drawn == {1, 2, 3}
    assert repr(randint(1, 3)) == "Int(low=1, high=3 included)"
    assert repr(pow2(2, 8)) == "Pow2(low=2, high=8 included)"


def test_integers_are_equally_likely() -> None:
    space = Space({"n": randint(0, 4)})
    rng = np.random.default_rng(0)
    counts = np.bincount([space.sample(rng)["n"] for _ in range(5000)])
    assert counts.min() > 850


def test_inactive_parameters_lie_in_the_middle() -> None:
    config = {"optimizer": "adam", "lr": 1e-5, "batch": 16, "layers": 1, "width": 300}
    unit = dict(zip(RICH.coordinates, RICH.to_unit(config), strict=True))
    assert unit["momentum"] == unit["nesterov"] == 0.5
    assert unit["lr"] == 0.0


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"optimizr": "sgd"}, 'did you mean "optimizer"'),
        ({"optimizer": "sdg"}, "did you mean 'sgd'"),
        ({"lr": 5}, '"lr" = 5 is not allowed: it must be a number from 1e-05 to 1.0'),
        ({"lr": math.nan}, '"lr" = nan'),
        ({"lr": "0.1"}, "\"lr\" = '0.1'"),
        ({"lr": True}, '"lr" = True'),
        ({"layers": 2.5}, "a whole number from 1 to 4, both included"),
        ({"layers": 5}, '"layers" = 5'),
        ({"batch": 48}, "a power of two from 16 to 1024"),
        ({"batch": 2048}, '"batch" = 2048'),
        ({"epochs": 21}, "it is always 20."),
        ({"momentum": 0.5}, '"momentum" = 0.5 is not active here, only when optimizer in'),
        ({"optimizer": "rmsprop"}, '"momentum" is missing'),
    ],
)
def test_why_not_names_the_parameter_the_value_and_what_is_allowed(config: dict[str, Any], sentence: str) -> None:
    good = {"optimizer": "adam", "lr": 0.1, "batch": 16, "layers": 1, "width": 3, "epochs": 20}
    assert RICH.contains(good)
    why = str(RICH.why_not({**good, **config}))
    assert sentence in why
    assert re.search(r"[^.?][.?]$", why), "it ended with two marks"
    with pytest.raises(ValueError):
        RICH.check({**good, **config})


def test_true_is_not_one() -> None:
    space = Space({"flag": choice([True, False]), "n": choice([0, 1])})
    assert space.check({"flag": np.bool_(True), "n": 1.0}) == {"flag": True, "n": 1}
    assert not space.contains({"flag": 1, "n": 1})
    assert not space.contains({"flag": True, "n": True})


NAN, INF = math.nan, math.inf
BAD: list[tuple[dict[Any, Any], str]] = [
    (
        {"lr": loguniform(0, 1)},
        'Float("lr", low=0.0, high=1.0, log=True): low must be > 0 on a log scale; try low=1e-5.',
    ),
    ({"lr": loguniform(-1, 1)}, "low must be > 0 on a log scale"),
    ({"lr": uniform(5, 1)}, "try low=1.0, high=5.0"),
    ({"lr": uniform(1, 1)}, "for one value write just 1.0"),
    ({"lr": uniform(NAN, 1)}, "low must be finite, not nan"),
    ({"lr": uniform(0, NAN)}, "high must be finite, not nan"),
    ({"lr": uniform(0, INF)}, "high must be finite, not inf"),
    ({"lr": uniform(-INF, 0)}, "low must be finite, not -inf"),
    ({"lr": uniform(-1.7e308, 1.7e308)}, "too wide"),
    ({"lr": uniform(True, 2)}, "low must be a number, not True"),
    ({"lr": uniform("1e-3", 1)}, "not the text '1e-3'"),
    ({"lr": uniform(0, None)}, "high must be a number, not None"),
    ({"lr": uniform(0, [1])}, "high must be a number"),
    ({"lr": uniform(0, 10**400)}, "must be finite"),
    ({"n": randint(1, 2.5)}, "high must be a whole number, not 2.5; try high=2"),
    ({"n": randint(1.0, 3)}, "low must be a whole number, not 1.0; try low=1"),
    ({"n": randint(3, 1)}, "try low=1, high=3"),
    ({"n": randint(3, 3)}, "for one value write just 3"),
    ({"n": randint(False, 3)}, "low must be a number, not False"),
    ({"n": randint("1", 3)}, "not the text '1'"),
    ({"n": randint(1, INF)}, "high must be finite"),
    ({"n": randint(0, 10**15)}, "use larger units"),
    ({"n": lograndint(0, 10)}, "try low=1"),
    ({"n": lograndint(-5, 10)}, "low must be >= 1"),
    ({"b": pow2(16, 100)}, "high=100 is not a power of two; try high=64 or high=128"),
    ({"b": pow2(3, 64)}, "low=3 is not a power of two"),
    ({"b": pow2(0, 64)}, "try low=1"),
    ({"b": pow2(0.5, 64)}, "low must be a whole number"),
    ({"b": pow2(64, 16)}, "try low=16, high=64"),
    ({"b": pow2(64, 64)}, "for one value write just 64"),
    ({"o": choice([])}, "there is no option"),
    ({"o": choice(["a", "b", "a"])}, "'a' is listed twice"),
    ({"o": choice([1, True])}, "True is listed twice (as 1)"),
    ({"o": choice([1, 1.0])}, "1.0 is listed twice"),
    ({"o": choice("adam")}, "the options must be a list"),
    ({"o": choice({"a", "b"})}, "in an order that stays"),
    ({"o": choice([[64, 64], (64, 64)])}, "[64, 64] is listed twice"),
    ({"o": choice([[0.1, NAN]])}, "use a finite number or None"),
    ({"o": choice([[{"a": 1}]])}, "in [{'a': 1}]: {'a': 1} is a dict"),
    (
        {"o": choice([{"a": 1}])},
        "write a choice of names, such as choice(['small', 'large']), and look them up in the training",
    ),
    ({"o": choice([math.sin, math.cos])}, "a name that the workload looks up"),
    ({"o": choice([0.1, NAN])}, "use a finite number or None"),
    ({"x": NAN}, "use a finite number or None"),
    ({"x": INF}, "use a finite number or None"),
    ({"x": [0.1, 0.2]}, "try choice([...])"),
    ({"x": (0.1, 0.2)}, "not one plain value"),
    ({"x": {"low": 0, "high": 1}}, "flat names such as 'model.width'"),
    ({"x": uniform}, "use uniform, loguniform"),
    ({"x": object()}, "use uniform, loguniform"),
    ({}, "there is nothing to search"),
    ({1: uniform(0, 1)}, "the name 1 must be non-empty text"),
    ({"": uniform(0, 1)}, "must be non-empty text"),
    ({None: uniform(0, 1)}, "must be non-empty text"),
    ({"o": choice(["a"]), "m": when(uniform(0, 1), p="a")}, 'there is no parameter "p"'),
    ({"optimizer": choice(["a"]), "m": when(uniform(0, 1), optimzer="a")}, 'did you mean "optimizer"'),
    ({"o": choice(["sgd"]), "m": when(uniform(0, 1), o="sdg")}, "did you mean 'sgd'"),
    ({"o": randint(1, 3), "m": when(uniform(0, 1), o=4)}, '"o" cannot be 4'),
    ({"o": choice(["r", "s"]), "m": when(uniform(0, 1), o="q")}, "it is one of 'r', 's'."),
    ({"o": uniform(0, 1), "m": when(uniform(0, 1), o=0.5)}, "use a choice as parent"),
    ({"o": choice(["a"]), "m": when(uniform(0, 1), o=[])}, "no value is named"),
    ({"o": choice(["a"]), "m": when(uniform(0, 1))}, "names no condition"),
    ({"o": choice(["a"]), "m": when(when(uniform(0, 1), o="a"), o="a")}, "is named twice"),
    ({"m": when(choice([1, 2]), m=1)}, "in a circle (m → m)"),
    ({"a": when(choice([1, 2]), b=1), "b": when(choice([1, 2]), a=1)}, "in a circle (a → b → a)"),
    ({"o": choice(["a"]), "m": when(uniform(1, 0), o="a")}, 'Float("m", low=1.0, high=0.0): low must be < high'),
]


@pytest.mark.parametrize(("parameters", "sentence"), BAD, ids=[f"{i}-{text[:40]}" for i, (_, text) in enumerate(BAD)])
def test_a_bad_space_is_refused_when_it_is_built_with_a_remedy(parameters: dict[Any, Any], sentence: str) -> None:
    """Fault F20."""
    with pytest.raises(ValueError) as caught:
        Space(parameters)
    message = str(caught.value)
    assert sentence in message
    assert message.endswith((".", "?"))
    assert not message.endswith(("..", "?."))
    named = [name for name in parameters if isinstance(name, str) and name]
    assert not named or any(f'"{name}"' in message or f"({name} " in message for name in named)


@pytest.mark.parametrize(
    ("constraints", "sentence"),
    [
        ({"x": "a <= 2"}, "must be a function of the configuration"),
        ({"": lambda c: True}, "must be non-empty text"),
        ({3: lambda c: True}, "must be non-empty text"),
        ([lambda c: True], "must be a dict"),
        ({"never": lambda c: False}, '"never" failed 100000 of 100000; loosen it'),
        ({"typo": lambda c: c["aa"] > 0}, 'there is no parameter "aa"; did you mean "a"?'),
    ],
)
def test_a_bad_constraint_is_refused_when_the_space_is_built(constraints: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Space({"a": uniform(0, 1)}, constraints)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: when(uniform(0, 1), lambda c: c["o"] == "a"), 'write when(uniform(0, 1), optimizer="sgd")'),
        (lambda: when(uniform(0, 1), {"o": "a"}), "'o': 'a'}): a condition is the name of another parameter"),
        (lambda: when(optimizer="sgd"), "when(optimizer='sgd'): a condition is the name"),
        (lambda: uniform(0, 1).prior(0.1, 0.5), "too many positional arguments; write .prior(0.1, confidence=0.5)"),
        (lambda: Space(lr=uniform(0, 1)), "it takes a dict; write Space({'lr': …})"),
        (lambda: Space(), "missing a required argument: 'parameters'; write Space({\"lr\": "),
        (lambda: Space({"a": 1}, constraint=len), "'constraint'; write Space({\"lr\": "),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_to_write(call: Any, sentence: str) -> None:
    """A bare TypeError of Python named no remedy."""
    with pytest.raises(TypeError) as caught:
        call()
    assert sentence in str(caught.value)


def test_a_prior_may_stand_behind_the_condition() -> None:
    inside, behind = when(uniform(0, 1).prior(0.3), o="a"), when(uniform(0, 1), o="a").prior(0.3)
    assert inside == behind
    with pytest.raises(ValueError, match="one value needs no prior"):
        when(0.3, o="a").prior(0.3)


def test_a_parent_may_have_the_name_of_an_argument() -> None:
    space = Space({"parameter": choice(["a", "b"]), "x": when(uniform(0, 1), parameter="a")})
    assert space.contains({"parameter": "b"})


@pytest.mark.parametrize("parameters", [None, [("lr", 1)], "lr"])
def test_a_space_is_made_of_a_dict(parameters: Any) -> None:
    with pytest.raises(ValueError, match="must be a dict"):
        Space(parameters)


def test_a_space_of_fixed_values_is_one_configuration() -> None:
    space = Space({"lr": 0.1, "optimizer": "sgd"})
    assert space.dimension == 0
    assert space.size == 1
    assert space.sample(np.random.default_rng(0)) == {"lr": 0.1, "optimizer": "sgd"}


def test_numpy_bounds_and_options_become_plain() -> None:
    space = Space({"a": uniform(np.float32(0), np.int64(2)), "b": randint(np.int32(1), 4), "c": choice(np.arange(3))})
    assert space.parameters["a"] == Float(0.0, 2.0)
    assert space.parameters["b"] == Int(1, 4)
    assert space.parameters["c"] == Choice((0, 1, 2))
    assert json.loads(json.dumps(space.describe())) == space.describe()


def test_the_functions_make_the_parameters() -> None:
    assert loguniform(1, 2) == Float(1, 2, log=True)
    assert lograndint(1, 2) == Int(1, 2, log=True)
    assert pow2(1, 2) == Pow2(1, 2)
    assert Space({"x": np.float64(3)}).parameters["x"] == Fixed(3.0)


@pytest.mark.parametrize("width", [0.1, 0.025])  # feasible: one in a thousand; one in 64,000
def test_a_tight_constraint_never_stops_the_sampling(width: float) -> None:
    def tight(config: dict[str, Any]) -> bool:
        return all(abs(config[name] - 0.3) < width / 2 for name in "xyz")

    space = Space({name: uniform(0, 1) for name in "xyz"}, {"tight": tight})
    samples = [space.sample(np.random.default_rng(seed)) for seed in range(40)]
    assert all(map(space.contains, samples))
    assert samples == [space.sample(np.random.default_rng(seed)) for seed in range(40)]
    assert len({tuple(sample.values()) for sample in samples}) == 40


def test_the_size_of_many_conditional_pairs_is_their_product() -> None:
    pairs: dict[str, Any] = {}
    for pair in range(24):
        pairs |= {f"o{pair}": choice(["a", "b"]), f"n{pair}": when(randint(1, 3), **{f"o{pair}": "a"})}
    assert Space(pairs).size == 4**24
    together = {"o": choice(["a", "b"]), "n": when(randint(1, 3), o="a"), "m": when(randint(1, 2), o="a")}
    assert Space(together).size == 7


@pytest.mark.parametrize(("low", "high"), [(1e-4, 0.5), (1e-3, 0.3), (1e-5, 1e-1)])
def test_the_ends_of_the_unit_interval_are_the_bounds_themselves(low: float, high: float) -> None:
    """PB2 suggested 0.00010000000000000009 and 0.49999999999999994 at the bounds of loguniform(1e-4, 0.5)."""
    for parameter in (loguniform(low, high), uniform(low, high)):
        assert (parameter.from_unit(0.0), parameter.from_unit(1.0)) == (low, high)
