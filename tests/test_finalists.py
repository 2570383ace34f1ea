"""Who is trained again and who wins, and what tasks cost: functions of a history."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest

from search.history import History, incumbent
from search.records import BASELINE, FINALIST, End, Report, Status, fork, start
from search.rules.conduct import Rules
from search.rules.finalists import confirm, confirmed, depends_on_seed, finalists, score, winner
from search.rules.to_start import repetitions_to_start
from search.space import Space, uniform
from search.task import FULL, Task

SPACE = Space({"x": uniform(0, 1)})
TASKS = [Task.changed("small", 0.1, data_share=0.1), *Task.epochs(0.5, 1.0)]


def history_of(losses: Sequence[float], *, origin: str = "model", task: str = FULL) -> History:
    """Completed trials of two steps, one for each final loss."""
    history = History(SPACE, horizon=2, tasks=TASKS)
    for number, loss in enumerate(losses):
        add(history, number / 100, loss, origin=origin, task=task)
    return history


def add(history: History, x: float, loss: float, *, cost_seconds: float = 1.0, **how: Any) -> None:
    trial = history.append(start({"x": x}, **how))
    for step in range(1, history.steps(trial.task) + 1):
        history.append(Report(trial.number, step, loss, cost_seconds))
    history.append(End(trial.number, Status.COMPLETED if math.isfinite(loss) else Status.DIVERGED))


def play(history: History, count: int, confirmations: int, losses: Sequence[float]) -> list[float]:
    """Run what `confirm` asks for, with these losses; the configurations it asked for."""
    asked = []
    for loss in losses:
        suggestion = confirm(history, count, confirmations)
        assert suggestion is not None
        assert (suggestion.origin, suggestion.until, suggestion.task) == (FINALIST, None, FULL)
        asked.append(suggestion.config["x"])
        add(history, suggestion.config["x"], loss, origin=FINALIST)
    assert confirm(history, count, confirmations) is None
    return asked


def test_fresh_runs_name_the_winner_and_the_first_score_does_not_count() -> None:
    history = history_of([0.5, 0.1, 0.3, 0.9])
    assert [finalist.trial.number for finalist in finalists(history, 3)] == [1, 2, 0]
    assert play(history, 3, 2, [0.6, 0.4, 0.5, 0.6, 0.4, 0.3]) == [0.01, 0.02, 0.0] * 2
    assert [finalist.mean for finalist in confirmed(history)] == [0.6, 0.4, 0.4]
    best = winner(history)
    assert best is not None
    assert best.number == 0  # equal means: the earlier trial
    assert incumbent(history) is history.trials[1]


def test_a_repetition_is_no_new_configuration() -> None:
    history = history_of([0.5, 0.1])
    play(history, 2, 1, [0.05, 0.01])
    assert [finalist.trial.number for finalist in finalists(history, 5)] == [1, 0]
    best = incumbent(history)
    assert best is not None
    assert best.number == 1
    assert history.room
    assert History(SPACE, horizon=2, limit=2).room


def test_a_fresh_run_that_diverges_loses_and_all_diverged_leave_the_first_scores() -> None:
    history = history_of([0.5, 0.1])
    play(history, 2, 1, [math.nan, 0.6])
    best = winner(history)
    assert best is not None
    assert best.number == 0
    history = history_of([0.5, 0.1])
    play(history, 2, 1, [math.nan, math.inf])
    assert winner(history) is incumbent(history)


FIRST = [0.5, 0.4]


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        ([FIRST], False),
        ([FIRST, FIRST], False),
        ([[0.6, 0.3], [0.6, 0.3]], False),  # of one another
        ([[0.5, 0.41]], True),
        ([FIRST, [0.6, 0.3], [0.7, 0.2]], True),  # a coarse metric may repeat itself once
        ([], None),
    ],
)
def test_runs_that_are_copies_show_that_the_seed_has_no_effect(again: list[list[float]], expected: bool | None) -> None:
    history = History(SPACE, horizon=2)
    for losses, origin in [(FIRST, "model"), *((losses, FINALIST) for losses in again)]:
        add_curve(history, losses, origin=origin)
    assert depends_on_seed(history) is expected


def test_copies_move_neither_the_score_nor_the_winner() -> None:
    """The first run differs from its repetitions, as one does that was resumed without all of its state."""
    history = History(SPACE, horizon=2)
    add_curve(history, [0.5, 0.4], origin="model", x=0.0)
    add_curve(history, [0.5, 0.45], origin="model", x=0.2)
    for x, losses in ((0.0, [0.5, 0.6]), (0.2, [0.5, 0.45])) * 2:
        add_curve(history, losses, origin=FINALIST, x=x)
    first = history.trials[0]
    assert depends_on_seed(history) is False
    assert winner(history) is first
    assert score(history, first) == 0.4
    odd, none = (finalist.odd for finalist in confirmed(history))
    assert odd == (first, 2)
    assert none is None


@pytest.mark.parametrize(
    ("again", "metrics", "left_out"),
    [
        ([0.5, 0.4, 0.3], {}, True),
        ([0.5, 0.4, 0.2], {}, False),
        ([0.5, 0.5, 0.3], {}, False),  # a coarse metric may repeat itself
        ([0.5, 0.5, 0.3], {"accuracy": 0.83}, True),
    ],
)
def test_further_repetitions_are_left_out_after_a_copy(
    again: list[float], metrics: dict[str, float], left_out: bool
) -> None:
    history = History(SPACE, horizon=3)
    first = [0.5, 0.5, 0.3] if again[1] == 0.5 else [0.5, 0.4, 0.3]
    add_curve(history, first, origin="model", metrics=metrics)
    add(history, 0.7, 0.6)
    assert confirm(history, 2, 2) is not None
    add_curve(history, again, origin=FINALIST, metrics=metrics)
    assert (confirm(history, 2, 2) is None) is left_out
    assert confirm(history, 2, 2, also_copies=True) is not None
    assert repetitions_to_start(history, Rules(finalists=2, confirmations=2), 0) == (0 if left_out else 3)


def test_equal_values_of_one_number_may_be_chance_but_not_of_several_metrics() -> None:
    for metrics, expected in (({}, True), ({"loss": 0.5}, True), ({"loss": 0.5, "accuracy": 0.83}, False)):
        history = History(SPACE, horizon=2)
        for origin in ("model", FINALIST):
            add_curve(history, [0.5, 0.5], origin=origin, metrics=metrics)
        assert depends_on_seed(history) is expected


def add_curve(
    history: History, losses: Sequence[float], *, origin: str, metrics: dict[str, float] | None = None, x: float = 0.3
) -> None:
    trial = history.append(start({"x": x}, origin=origin))
    for step, loss in enumerate(losses, start=1):
        history.append(Report(trial.number, step, loss, metrics=metrics or {}))
    history.append(End(trial.number, Status.COMPLETED))


def test_equal_configurations_are_one_finalist() -> None:
    history = history_of([0.5, 0.4])
    add(history, 0.0, 0.2)
    assert [finalist.trial.number for finalist in finalists(history, 5)] == [2, 1]


def test_later_and_better_trials_make_the_finalists_out_of_date() -> None:
    history = history_of([0.5, 0.4])
    play(history, 2, 1, [0.45, 0.55])
    add(history, 0.7, 0.1)
    best = winner(history)
    assert best is not None
    assert best.number == 4
    assert play(history, 2, 1, [0.2]) == [0.7]
    assert winner(history) is best


def test_cheap_tasks_and_forks_are_no_finalists() -> None:
    history = history_of([0.1, 0.2], task="small")
    assert confirm(history, 2, 1) is None
    assert winner(history) is None
    add(history, 0.5, 0.9)
    child = history.append(fork(history.trials[2], 1, {"x": 0.6}))
    history.append(Report(child.number, 2, 0.01))
    history.append(End(child.number, Status.COMPLETED))
    assert [finalist.trial.number for finalist in finalists(history, 5)] == [2]


def test_resting_trials_are_completed_only_if_the_search_completed_nothing_itself() -> None:
    history = history_of([0.1], origin=BASELINE)
    for x, loss in ((0.5, 0.4), (0.6, 0.3), (0.7, 0.2)):
        trial = history.append(start({"x": x}, until=1))
        history.append(Report(trial.number, 1, loss))
        history.append(End(trial.number, Status.STOPPED))
    for expected in (3, 2):
        suggestion = confirm(history, 2, 1)
        assert suggestion is not None
        assert (suggestion.kind, suggestion.trial, suggestion.until) == ("resume", expected, None)
        history.append(suggestion)
    assert confirm(history, 2, 1) is None  # who is best is not known before they are through
    for number, loss in ((3, 0.15), (2, 0.05)):
        history.append(Report(number, 2, loss))
        history.append(End(number, Status.COMPLETED))
    assert play(history, 2, 1, [0.1, 0.1]) == [0.6, 0.0]  # the baseline is a finalist if it is among the best
    another = history_of([0.3])
    trial = another.append(start({"x": 0.9}, until=1))
    another.append(Report(trial.number, 1, 0.1))
    another.append(End(trial.number, Status.STOPPED))
    assert play(another, 2, 1, [0.2]) == [0.0]


# What tasks cost.


def test_costs_go_from_the_declared_to_the_measured_share() -> None:
    history = History(SPACE, horizon=2, tasks=TASKS)
    small = TASKS[0]
    assert history.cost_of(small) == history.cost_of("small") == 0.1
    assert history.cost_of("0.5 of the epochs") == 0.5
    costs = []
    for number in range(20):
        add(history, number / 100, 0.5, task="small", cost_seconds=4.0)
        add(history, number / 100, 0.5, cost_seconds=10.0)
        costs.append(history.cost_of(small))
    assert costs == sorted(costs)
    assert costs[0] == pytest.approx(0.2)  # one of each: half way, on a log scale
    assert 0.37 < costs[-1] < 0.4
    assert history.spent == pytest.approx(20 * (1 + costs[-1]))


def test_results_of_a_task_are_those_at_its_end_or_on_the_way() -> None:
    history = history_of([0.5, math.nan])
    add(history, 0.3, 0.2, task="small")
    trial = history.append(start({"x": 0.4}, until=1))
    history.append(Report(trial.number, 1, 0.7))
    small, half, full = TASKS
    assert history.results(small) == {2: 0.2}
    assert history.results(half) == {0: 0.5, 3: 0.7}
    assert history.results(full) == {0: 0.5}


def test_costs_do_not_depend_on_the_order_of_arrival() -> None:
    rng = random.Random(0)
    reports = [(n, step, rng.random()) for n in range(12) for step in (1, 2)]
    orders = []
    for seed in range(5):
        history = History(SPACE, horizon=2, tasks=TASKS)
        for number in range(12):
            history.append(start({"x": number / 100}, task="small" if number % 3 else FULL))
        waiting = {n: [r for r in reports if r[0] == n] for n in range(12)}
        shuffle = random.Random(seed)
        while waiting:
            number = shuffle.choice(sorted(waiting))
            _, step, cost = waiting[number].pop(0)
            history.append(Report(number, step, 0.5, cost))
            waiting = {n: left for n, left in waiting.items() if left}
        orders.append((history.cost_of("small"), history.spent))
    assert len(set(orders)) == 1


def test_committed_is_what_running_trials_still_need() -> None:
    history = History(SPACE, horizon=4, tasks=[Task.changed("small", 0.2, data_share=0.1), *Task.epochs(0.5, 1.0)])
    history.append(start({"x": 0.1}, until=2))
    history.append(start({"x": 0.2}))
    history.append(start({"x": 0.3}, task="small"))
    assert history.committed == pytest.approx(0.5 + 1.0 + 0.2)
    history.append(Report(1, 1, 0.5))
    assert history.committed == pytest.approx(0.5 + 0.75 + 0.2)
    assert history.spent == pytest.approx(0.25)
    history.append(End(1, Status.STOPPED))
    assert history.committed == pytest.approx(0.7)


def test_a_fork_pays_its_own_steps_only() -> None:
    history = history_of([0.5])
    before = history.spent
    child = history.append(fork(history.trials[0], 1, {"x": 0.9}))
    assert history.committed == pytest.approx(0.5)
    history.append(Report(child.number, 2, 0.4))
    assert history.spent - before == pytest.approx(0.5)


def test_a_drawing_looks_through_thousands_of_trials_once_and_never_at_an_old_state() -> None:
    """Each question about the finalists sorted all trials again, and the display of a long run asked five of them."""
    keys = 0

    class Counted(dict[str, Any]):
        def items(self) -> Any:
            nonlocal keys
            keys += 1
            return super().items()

    history = History(SPACE, horizon=1)
    for number in range(50):
        trial = history.append(start(Counted(x=number / 100)))
        history.append(Report(number, 1, number / 100))
        history.append(End(number, Status.COMPLETED))
    repeated = history.append(start(history.trials[0].config, origin=FINALIST))
    keys = 0
    for _ in range(5):
        assert [finalist.losses for finalist in confirmed(history)] == [()]
        assert score(history, trial) == trial.loss
        assert depends_on_seed(history) is None
    assert keys < 2 * 50
    history.append(Report(repeated.number, 1, 0.5))
    history.append(End(repeated.number, Status.COMPLETED))
    assert [finalist.losses for finalist in confirmed(history)] == [(0.5,)]
