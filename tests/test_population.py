"""Members of a population copy the best, lose nothing on the way, and say where they come from."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.history import History, Trial
from search.records import End, Report, Status, Suggestion, resume, start
from search.rules.perturb import moved, perturbed
from search.rules.population import DEATHS, members, quantiles
from search.searchers.pb2 import Pb2
from search.searchers.pbt import PopulationBasedTraining
from search.searchers.points import Points
from search.space import Space, choice, loguniform, pow2, randint, uniform
from tests.histories import SPACES
from tests.populations import Recording, copied, run

LINE = Space({"x": uniform(0, 1), "rate": loguniform(1e-3, 1.0)})
HORIZON = 20
PBT = PopulationBasedTraining(population=5, interval=4, quantile=0.25)
PB2 = Pb2(population=4, interval=4)
POPULATIONS: list[Any] = [PBT, PB2]

every_population = pytest.mark.parametrize("searcher", POPULATIONS, ids=lambda s: type(s).__name__)


def loss(trial: Trial, step: int) -> float:
    return abs(trial.config["x"] - step / HORIZON) + 0.01 * math.sin(trial.number)


def trained(searcher: Any, *, workers: int = 2, seed: int = 0, space: Space = LINE, **options: Any) -> Recording:
    history = Recording(space, horizon=HORIZON, seed=seed, limit=searcher.population)
    run(searcher, history, options.pop("loss", loss), workers=workers, seed=seed, **options)
    return history


def at_rest(searcher: Any, losses: list[float], step: int) -> History:
    """Members that all rest at one boundary with these losses."""
    history = History(LINE, horizon=HORIZON, seed=3, limit=len(losses))
    for number, value in enumerate(losses):
        trial = history.append(start({"x": (number + 1) / 10, "rate": 0.1}, until=step))
        for at in range(1, step + 1):
            history.append(Report(trial.number, at, value))
        history.append(End(trial.number, Status.STOPPED))
    return history


# Decisions.


@every_population
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_member_reaches_the_horizon_and_starts_are_limited(searcher: Any, workers: int) -> None:
    history = trained(searcher, workers=workers)
    population = members(history)
    assert [member.trial.status for member in population] == [Status.COMPLETED] * searcher.population
    assert all(member.chain[0].parent is None for member in population)
    assert not history.room
    assert sum(len(member.chain) - 1 for member in population) == len(history.trials) - searcher.population > 0


@every_population
@pytest.mark.parametrize("seed", range(4))
def test_copies_go_from_the_top_to_the_bottom_only_and_are_at_the_same_step(searcher: Any, seed: int) -> None:
    def watch(suggestion: Suggestion, history: History) -> None:
        if suggestion.kind != "fork":
            return
        assert suggestion.replaces is not None
        assert suggestion.parent is not None
        step = suggestion.parent_step
        assert step is not None
        top, bottom = quantiles(step, history, searcher.quantile)
        assert suggestion.parent in top
        assert suggestion.replaces in bottom
        assert history.trials[suggestion.replaces].step == step
        assert step % searcher.interval == 0
        assert suggestion.until == min(step + searcher.interval, HORIZON)
        assert LINE.contains(suggestion.config)

    trained(searcher, workers=3, seed=seed, watch=watch)


@every_population
@settings(max_examples=8, deadline=None, derandomize=True)
@given(name=st.sampled_from(["mixed", "conditional", "constrained"]), seed=st.integers(0, 999))
def test_whatever_goes_wrong_suggestions_make_sense_and_it_ends(searcher: Any, name: str, seed: int) -> None:
    space = SPACES[name]
    asked: set[tuple[int, int]] = set()

    def watch(suggestion: Suggestion, history: History) -> None:
        assert space.contains(suggestion.config)
        if suggestion.kind == "start":
            assert history.room
        elif suggestion.kind == "resume":
            assert history.trials[suggestion.trial].status is Status.STOPPED  # type: ignore[index]
        else:
            assert suggestion.parent is not None
            assert suggestion.parent_step is not None
            parent, step = suggestion.parent, suggestion.parent_step
            assert (parent, step) in searcher.forkable(history)
            assert history.trials[parent].status not in (Status.FAILED, Status.DIVERGED)
            assert suggestion.replaces not in {trial.replaces for trial in history}
            gone = asked - set(searcher.forkable(history))
            assert (parent, step) not in gone
        asked.update(searcher.forkable(history))

    def any_loss(trial: Trial, step: int) -> float:
        return float(np.random.default_rng((seed, trial.number, step)).random())

    history = trained(searcher, workers=3, seed=seed, space=space, loss=any_loss, trouble=0.05, watch=watch)
    assert not history.having(Status.RUNNING)
    assert all(
        member.is_lost(searcher.interval) or member.trial.status is Status.COMPLETED for member in members(history)
    )


@every_population
def test_checkpoints_that_may_be_forked_from_never_come_back_once_given_up(searcher: Any) -> None:
    given_up: set[tuple[int, int]] = set()
    before: set[tuple[int, int]] = set()

    def watch(suggestion: Suggestion, history: History) -> None:
        nonlocal before
        now = set(searcher.forkable(history))
        given_up.update(before - now)
        assert not now & given_up
        if suggestion.kind == "fork":
            assert (suggestion.parent, suggestion.parent_step) in now
        before = now

    for seed in range(5):
        given_up.clear()
        before = set()
        trained(searcher, workers=3, seed=seed, trouble=0.04, watch=watch)


@every_population
def test_the_order_in_which_the_others_came_in_does_not_matter(searcher: Any) -> None:
    history = at_rest(searcher, [0.1, 0.5, 0.3, 0.9], 4)
    other = History(LINE, horizon=HORIZON, seed=3, limit=4)
    for trial in history:
        other.append(start(trial.config, until=4))
    for number in (2, 0, 3, 1):
        for at in range(1, 5):
            other.append(Report(number, at, history.trials[number].losses[at - 1]))
        other.append(End(number, Status.STOPPED))
    while (suggestion := searcher.suggest(history)) is not None:
        assert searcher.suggest(other) == suggestion
        history.append(suggestion)
        other.append(suggestion)
    assert [trial.replaces for trial in history if trial.parent is not None] == [3]


@every_population
def test_warm_equals_cold_and_asking_changes_nothing(searcher: Any) -> None:
    history = trained(searcher, workers=3, trouble=0.03)
    for length in range(0, len(history.records), 7):
        fresh = copied(history, history.records[:length])
        assert searcher.suggest(fresh) == searcher.suggest(copied(history, history.records[:length]))
    again = trained(searcher, workers=3, trouble=0.03)
    assert [repr(record) for record in again.records] == [repr(record) for record in history.records]


SCRIPT = """
from tests.test_population import PB2, PBT, at_rest
for searcher in (PBT, PB2):
    history = at_rest(searcher, [0.1, 0.5, 0.3, 0.9, 0.7], 4)
    while (suggestion := searcher.suggest(history)) is not None:
        print(suggestion)
        history.append(suggestion)
"""


def test_another_process_gives_the_same_answers() -> None:
    both = [
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True) for _ in range(2)
    ]
    assert both[0].stdout == both[1].stdout
    assert both[0].stdout.count("fork") >= 2


def test_the_first_to_arrive_goes_on_if_nobody_waits() -> None:
    history = at_rest(PBT, [0.5], 4)
    history.limit = 5
    for _ in range(4):
        history.append(start({"x": 0.5, "rate": 0.1}, until=4))
    assert PBT.suggest(history) is None  # one of five is not yet a comparison
    suggestion = replace(PBT, quorum=0.0).suggest(history)
    assert suggestion is not None
    assert (suggestion.kind, suggestion.trial, suggestion.until) == ("resume", 0, 8)


@every_population
def test_a_slow_member_holds_nobody_up(searcher: Any) -> None:
    history = trained(searcher, workers=searcher.population, slow=1)
    order = [number for record in history.records if isinstance(record, End) for number in [record.trial]]
    others_done = [n for n in order if history.trials[n].status is Status.COMPLETED and 1 not in _chain(history, n)]
    assert len(others_done) >= searcher.population - 1
    assert order.index(1) > max(order.index(n) for n in others_done[: searcher.population - 1])


def _chain(history: History, number: int) -> set[int]:
    found = {number}
    while (replaced := history.trials[number].replaces) is not None:
        number = replaced
        found.add(number)
    return found


@pytest.mark.parametrize("status", [Status.FAILED, Status.DIVERGED])
def test_a_member_that_died_is_replaced_by_a_fork_of_a_leading_one(status: Status) -> None:
    history = at_rest(PBT, [0.1, 0.5, 0.3, 0.4], 4)
    history.append(resume(history.trials[3], until=8))
    history.append(End(3, status))
    suggestion = PBT.suggest(history)
    assert suggestion is not None
    assert (suggestion.kind, suggestion.parent, suggestion.parent_step, suggestion.replaces) == ("fork", 0, 4, 3)


def test_a_member_whose_every_successor_dies_is_given_up() -> None:
    history = at_rest(PBT, [0.1, 0.5, 0.3, 0.4], 4)
    history.append(resume(history.trials[3], until=8))
    history.append(End(3, Status.FAILED))
    forks = 0
    while (
        (suggestion := PBT.suggest(history)) is not None
        and suggestion.kind == "fork"
        and suggestion.replaces not in (1,)
    ):
        forks += 1
        history.append(End(history.append(suggestion).number, Status.FAILED))
    assert forks == DEATHS


def test_equal_losses_replace_nobody() -> None:
    history = at_rest(PBT, [0.5] * 5, 4)
    kinds = []
    while (suggestion := PBT.suggest(history)) is not None:
        kinds.append(suggestion.kind)
        history.append(suggestion)
    assert kinds == ["resume"] * 5


def test_a_fork_child_counts_where_it_trained_only() -> None:
    history = trained(PBT)
    for trial in history:
        assert all(step > trial.began for step in trial.steps)
        if trial.parent is not None:
            assert history.trials[trial.parent].loss_at(trial.began) is not None


def test_points_become_the_first_members() -> None:
    searcher = Points([{"x": 0.25, "rate": 0.5}], then=PBT)
    history = History(LINE, horizon=HORIZON, limit=5)
    first = searcher.suggest(history)
    assert isinstance(first, Suggestion)
    assert (first.origin, first.until, dict(first.config)) == ("point", 4, {"x": 0.25, "rate": 0.5})
    assert searcher.continues


# Exploring.


def test_every_kind_of_setting_moves_on_its_own_scale_and_inside_its_bounds() -> None:
    assert moved(0.1, uniform(0, 1), up=True) == pytest.approx(0.12)
    assert moved(0.9, uniform(0, 1), up=True) == 1.0
    assert moved(1e-3, loguniform(1e-3, 1), up=False) == 1e-3
    assert (moved(2, randint(1, 9), up=True), moved(1, randint(1, 9), up=False)) == (3, 1)
    assert moved(100, randint(1, 200), up=False) == 80
    assert (moved(64, pow2(16, 256), up=True), moved(16, pow2(16, 256), up=False)) == (128, 16)
    assert (moved(3, choice([1, 3, 9]), up=True), moved(1, choice([1, 3, 9]), up=False)) == (9, 1)
    assert moved("b", choice(["a", "b", "c"]), up=True) == "b"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(-10, 10), st.floats(0.01, 10), st.data())
def test_a_number_of_either_sign_moves_up_and_down(low: float, width: float, drawn: st.DataObject) -> None:
    """A negative one went down for up, and 0 stayed."""
    parameter = uniform(low, low + width)
    value = drawn.draw(st.floats(parameter.low, parameter.high))
    down, up = moved(value, parameter, up=False), moved(value, parameter, up=True)
    assert down < value or value == parameter.low or 0 < abs(value) < 1e-300
    assert up > value or value == parameter.high or 0 < abs(value) < 1e-300
    if value > 0:  # a run that was begun before goes on alike
        assert (down, up) == (max(value * 0.8, parameter.low), min(value * 1.2, parameter.high))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 999), st.floats(0, 1))
def test_a_variation_lies_in_the_space(name: str, seed: int, resample: float) -> None:
    space, rng = SPACES[name], np.random.default_rng(seed)
    config = space.sample(rng)
    assert space.contains(perturbed(config, space, rng, resample=resample))


def test_a_quarter_of_the_settings_is_drawn_afresh() -> None:
    rng = np.random.default_rng(0)
    drawn = 0
    for _ in range(1000):
        value = perturbed({"x": 0.5, "rate": 0.1}, LINE, rng, resample=0.25)["x"]
        drawn += value not in (0.5 * 0.8, 0.5 * 1.2)
    assert 200 < drawn < 300


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: PopulationBasedTraining(population=1),
            "PopulationBasedTraining(population=1): must be a whole number, 2",
        ),
        (lambda: PopulationBasedTraining(interval=0), "1 or more"),
        (lambda: PopulationBasedTraining(quantile=0.6), "at most 0.5"),
        (lambda: PopulationBasedTraining(quorum=1.5), "0 or more and at most 1"),
        (lambda: PopulationBasedTraining(resample=-1), "must be a share, 0 or more and at most 1"),
        (lambda: Pb2(population=True), "Pb2(population=True)"),
        (lambda: Pb2().check(Space({"a": choice(["x", "y"])})), "use PopulationBasedTraining()"),
    ],
)
def test_wrong_settings_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert sentence in str(caught.value)


@pytest.mark.parametrize("searcher", [PBT, PB2], ids=repr)
def test_a_member_that_converged_is_neither_replaced_nor_waited_for(searcher: Any) -> None:
    searcher = replace(searcher, population=4, interval=3, quorum=1.0)
    history = Recording(SPACES["continuous"], horizon=12, limit=4)
    converged: list[int] = []
    running = []
    while True:
        while (suggestion := searcher.suggest(history)) is not None:
            running.append(history.append(suggestion))
        if not running:
            break
        trial = running.pop(0)
        for step in range(max(trial.step, trial.began) + 1, history.goal(trial) + 1):
            history.append(Report(trial.number, step, trial.number % 4 + 1 / step))
            if trial.number == 0 and step == 4:
                converged.append(0)
                break
        ended = trial.number in converged or trial.step >= history.horizon
        history.append(End(trial.number, Status.COMPLETED if ended else Status.STOPPED))
    assert converged == [0]
    assert all(trial.replaces != 0 for trial in history)
    last = [member.trial for member in members(history)]
    assert [trial.status for trial in last] == [Status.COMPLETED] * 4
    for trial in history:
        if trial.parent is not None:
            assert trial.began in history.trials[trial.parent].steps
