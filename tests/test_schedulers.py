"""One exam that every scheduler sits: add a line to SCHEDULERS. Alone: pytest tests/test_schedulers.py -k Name.

It asks for no more than the contract: a scheduler may also go by a limit of the loss. A good trial has a loss of -100.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import search.schedulers
from search.contract import Scheduler, Verdict
from search.history import History, Trial
from search.records import End, Report, Status, fork, start
from search.rules.rungs import milestones
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.hyperband import Hyperband, brackets
from search.schedulers.median import Median
from search.schedulers.run_to_end import RunToEnd
from search.space import Space, uniform
from tests.contributed import example
from tests.histories import SPACES, random_history, records
from tests.support import assert_listed, concrete

SCHEDULERS = [
    RunToEnd(),
    Median(grace_period=1, min_trials=3),
    Asha(grace_period=1, reduction_factor=2),
    AshaPromote(grace_period=1, reduction_factor=2),
    Hyperband(reduction_factor=2),
]
EXAMINED = [*SCHEDULERS, example("Threshold")(step=3, loss=0.5)]
GOOD = -100.0

every_scheduler = pytest.mark.parametrize("scheduler", EXAMINED, ids=lambda s: type(s).__name__)
few = settings(max_examples=20, deadline=None, derandomize=True)
LINE = Space({"x": uniform(0, 1)})


def empty(horizon: int) -> History:
    return History(LINE, horizon=horizon)


def begin(history: History, x: float = 0.5) -> Trial:
    return history.append(start({"x": x}))


def report(scheduler: Scheduler, history: History, trial: Trial, step: int, loss: float) -> Verdict:
    """One report and the judgement; a stopped trial rests."""
    history.append(Report(trial.number, step, loss))
    if not math.isfinite(loss):
        history.append(End(trial.number, Status.DIVERGED))
        return Verdict.STOP
    if step >= history.horizon:
        history.append(End(trial.number, Status.COMPLETED))
        return Verdict.STOP
    verdict = scheduler.judge(trial, history)
    if verdict is Verdict.STOP or step >= (trial.suggestion.until or history.horizon):
        history.append(End(trial.number, Status.STOPPED))
        return Verdict.STOP
    return verdict


def sweep(
    scheduler: Scheduler, *, trials: int, horizon: int, workers: int = 1, every: int = 1, seed: int = 0
) -> tuple[History, list[Any]]:
    """A whole sweep on random curves, with a few workers in turn; the history and all that was decided."""
    history, decided = empty(horizon), []
    rng = np.random.default_rng(seed)
    quality = rng.random(trials)
    running: list[Trial] = []
    while True:
        while len(running) < workers:
            suggestion = scheduler.promote(history)
            if suggestion is None and len(history.trials) == trials:
                break
            decided.append(suggestion)
            running.append(history.append(suggestion or start({"x": float(quality[len(history.trials)])})))
        if not running:
            return history, decided
        trial = running.pop(0)
        step = min(trial.step + every, horizon)
        loss = float(quality[trial.number]) + 1 / step + 0.05 * math.sin(7 * trial.number + step)
        verdict = report(scheduler, history, trial, step, loss)
        decided.append((trial.number, step, verdict))
        if verdict is Verdict.CONTINUE:
            running.append(trial)


def test_every_scheduler_sits_the_exam() -> None:
    assert_listed(concrete(search.schedulers, Scheduler), SCHEDULERS, "SCHEDULERS of tests/test_schedulers.py")


@every_scheduler
@pytest.mark.parametrize("horizon", [1, 3, 20])
def test_the_plan_names_the_steps_at_which_it_stops_trials(scheduler: Scheduler, horizon: int) -> None:
    history, rng = empty(horizon), np.random.default_rng(0)
    stopped = set()
    for _ in range(40):
        trial = begin(history, float(rng.random()))
        for step in range(1, horizon + 1):
            if report(scheduler, history, trial, step, float(rng.random())) is Verdict.STOP and step < horizon:
                stopped.add(step)
                break
    words = scheduler.cuts(horizon)
    assert bool(stopped) == bool(words), (
        f"it stopped trials at steps {sorted(stopped)}, and cuts({horizon}) says {words!r}"
    )
    if stopped:
        named = set(map(int, re.findall(r"\d+", re.split(r", [a-z]| \(", words)[0])))  # in "at steps 1, 4 and 16, …"
        assert min(stopped) == min(named)
        assert stopped <= (set(range(min(named), horizon)) if words.startswith("from ") else named)


@every_scheduler
def test_judging_changes_nothing_and_repeats_itself(scheduler: Scheduler) -> None:
    @few
    @given(st.sampled_from(sorted(SPACES)), st.integers(0, 999), st.integers(1, 30))
    def exam(name: str, seed: int, trials: int) -> None:
        history = random_history(SPACES[name], seed=seed, trials=trials)
        copy = random_history(SPACES[name], seed=seed, trials=trials)
        before = records(history)
        verdicts = [scheduler.judge(trial, history) for trial in history]
        promotion = scheduler.promote(history)
        assert records(history) == before
        assert [scheduler.judge(trial, history) for trial in history] == verdicts
        assert [scheduler.judge(trial, copy) for trial in copy] == verdicts
        assert scheduler.promote(copy) == promotion
        if promotion is not None:
            assert promotion.kind == "resume"
            assert promotion.trial is not None
            trial = history.trials[promotion.trial]
            assert trial.status is Status.STOPPED
            assert promotion.until is not None
            assert trial.step < promotion.until <= history.horizon

    exam()


@every_scheduler
@pytest.mark.parametrize("every", [1, 5])
def test_a_replayed_sweep_is_decided_in_the_same_way(scheduler: Scheduler, every: int) -> None:
    first, decided = sweep(scheduler, trials=30, horizon=16, workers=3, every=every)
    again, decided_again = sweep(scheduler, trials=30, horizon=16, workers=3, every=every)
    assert decided == decided_again
    assert records(first) == records(again)


@every_scheduler
def test_rungs_that_grew_with_the_history_equal_those_of_a_replay(scheduler: Scheduler) -> None:
    """What was memoised while the history grew is what a fresh replay finds."""
    history, _ = sweep(scheduler, trials=25, horizon=16, workers=4, every=3)
    fresh = empty(16)
    for trial in history:
        fresh.append(start(trial.config))
    for step in sorted({step for trial in history for step in trial.steps}):
        for trial in history:
            if (loss := trial.loss_at(step)) is not None:
                fresh.append(Report(trial.number, step, loss))
    for step in (1, 2, 4, 8, 16):
        assert dict(fresh.reached(step)) == dict(history.reached(step))


@every_scheduler
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_broken_loss_harms_nobody_else(scheduler: Scheduler, broken: float) -> None:
    """The rules end such a trial as diverged, and do not ask the scheduler."""
    history = empty(9)
    for _ in range(6):
        trial = begin(history)
        history.append(Report(trial.number, 1, broken))
        history.append(End(trial.number, Status.DIVERGED))
    sound = begin(history)
    history.append(Report(sound.number, 1, GOOD))
    if scheduler.resumes:
        history.append(End(sound.number, Status.STOPPED))
        promotion = scheduler.promote(history)
        assert promotion is not None
        assert promotion.trial == sound.number
    else:
        assert scheduler.judge(sound, history) is Verdict.CONTINUE


@every_scheduler
def test_the_first_trial_is_not_stopped_for_being_alone(scheduler: Scheduler) -> None:
    history = empty(16)
    trial = begin(history)
    for step in range(1, 16):
        history.append(Report(trial.number, step, GOOD))
        assert scheduler.resumes or scheduler.judge(trial, history) is Verdict.CONTINUE


@every_scheduler
def test_a_trial_without_reports_goes_on(scheduler: Scheduler) -> None:
    history = empty(9)
    assert scheduler.judge(begin(history), history) is Verdict.CONTINUE
    assert scheduler.promote(history) is None


@every_scheduler
def test_trials_of_another_task_do_not_count(scheduler: Scheduler) -> None:
    verdicts = []
    for loss in (0.0, 9.0):
        history = empty(16)
        for number in range(8):
            history.append(start({"x": 0.5}, task="cheap"))
            history.append(Report(number, 1, loss))
        trial = begin(history)
        history.append(Report(trial.number, 1, 5.0))
        verdicts.append(scheduler.judge(trial, history))
    assert verdicts[0] is verdicts[1]


def test_milestones_are_grace_times_powers_of_the_factor_below_the_top() -> None:
    assert milestones(1, 4, 100) == [1, 4, 16, 64]
    assert milestones(3, 3, 81) == [3, 9, 27]
    assert milestones(1, 4, 1) == []
    assert milestones(10, 4, 9) == []


def judged_at_first_rung(losses: list[float], scheduler: Scheduler) -> list[Verdict]:
    history = empty(64)
    return [report(scheduler, history, begin(history), 1, loss) for loss in losses]


def test_asha_stops_what_is_not_in_the_best_quarter_of_those_before() -> None:
    go, stop = Verdict.CONTINUE, Verdict.STOP
    assert judged_at_first_rung([5.0], Asha()) == [go]  # first arrival
    assert judged_at_first_rung([5.0, 5.0, 5.0], Asha()) == [go, go, go]  # ties
    assert judged_at_first_rung([5.0, 6.0, 4.0], Asha()) == [go, stop, go]
    assert judged_at_first_rung([1.0, 2.0, 3.0, 4.0, 5.0, 2.0], Asha()) == [go, stop, stop, stop, stop, go]
    # quartile of 1..5 is 2.0: just above it stops
    assert judged_at_first_rung([1.0, 2.0, 3.0, 4.0, 5.0, 2.01], Asha())[-1] is stop


def test_asha_uses_the_percentile_of_ray_tune() -> None:
    rng = np.random.default_rng(0)
    losses = [float(loss) for loss in rng.random(40)]
    for index, verdict in enumerate(judged_at_first_rung(losses, Asha(reduction_factor=3))):
        if index:
            cutoff = np.nanpercentile([-loss for loss in losses[:index]], (1 - 1 / 3) * 100)
            assert (verdict is Verdict.STOP) == (-losses[index] < cutoff)


def test_asha_judges_at_milestones_only() -> None:
    history = empty(64)
    good, bad = begin(history), begin(history)
    for step in range(1, 5):
        report(Asha(), history, good, step, 0.0)
    assert report(Asha(), history, bad, 1, 0.0) is Verdict.CONTINUE
    assert report(Asha(), history, bad, 2, 9.0) is Verdict.CONTINUE
    assert report(Asha(), history, bad, 3, 9.0) is Verdict.CONTINUE
    assert report(Asha(), history, bad, 4, 9.0) is Verdict.STOP


@pytest.mark.parametrize("every", [1, 3, 5])
def test_asha_also_works_for_trials_that_report_every_few_steps(every: int) -> None:
    history, _ = sweep(Asha(), trials=60, horizon=64, every=every)
    assert history.count(Status.STOPPED) > 30
    assert history.count(Status.COMPLETED) >= 1
    promoted, _ = sweep(AshaPromote(), trials=60, horizon=64, every=every)
    assert promoted.count(Status.STOPPED) > 30
    assert promoted.count(Status.COMPLETED) >= 1


def test_a_report_beyond_two_milestones_is_judged_at_the_higher_and_enters_both() -> None:
    history = empty(64)
    report(Asha(), history, begin(history), 1, 0.1)
    jumper = begin(history)
    assert report(Asha(), history, jumper, 5, 0.9) is Verdict.CONTINUE  # alone at 4, though behind at 1
    assert dict(history.reached(1)) == {0: 0.1, 1: 0.9}
    assert dict(history.reached(4)) == {1: 0.9}


def test_a_fork_enters_only_rungs_beyond_its_beginning() -> None:
    history = empty(64)
    parent = begin(history)
    for step in range(1, 6):
        history.append(Report(parent.number, step, 1.0))
    child = history.append(fork(parent, 5, {"x": 0.1}))
    history.append(Report(child.number, 6, 0.5))
    assert child.number not in history.reached(4)
    assert child.number in history.reached(6)


def test_asha_saves_most_of_the_training() -> None:
    """Total resource: random order lets about 1/rf of a rung pass, so each rung costs about as much as the first."""
    spent = []
    for seed in range(5):
        history, _ = sweep(Asha(), trials=256, horizon=64, seed=seed)
        spent.append(sum(trial.step for trial in history))
        for lower, upper in ((1, 4), (4, 16), (16, 64)):
            assert len(history.reached(upper)) <= len(history.reached(lower)) / 4 + 12
    assert np.mean(spent) < 0.15 * 256 * 64


def test_max_t_ends_every_trial_there() -> None:
    for scheduler in (Asha(max_t=8), AshaPromote(max_t=8)):
        history, _ = sweep(scheduler, trials=40, horizon=64)
        assert max(trial.step for trial in history) == 8
        assert history.count(Status.COMPLETED) == 0


def test_promotion_rests_at_every_milestone_and_resumes_only_the_top_of_a_rung() -> None:
    decisions: list[tuple[int, int, int]] = []

    class Watched(AshaPromote):
        def promote(self, history: History) -> Any:
            suggestion = super().promote(history)
            if suggestion is not None:
                trial = history.trials[suggestion.trial]  # type: ignore[index]
                rung = history.at(trial.step)
                better = sum(loss < rung[trial.number] for loss in rung.values())
                decisions.append((trial.step, better, len(rung)))
                assert suggestion.until == min(trial.step * 4, history.horizon)
            return suggestion

    history, _ = sweep(Watched(), trials=64, horizon=64, workers=4)
    assert {step for step, _, _ in decisions} == {1, 4, 16}
    assert all(better < size // 4 for _, better, size in decisions)
    assert {trial.step for trial in history} <= {1, 4, 16, 64}


def test_without_mistaken_promotions_the_rungs_have_exactly_the_sizes_of_successive_halving() -> None:
    history = empty(64)
    for number in range(64):
        report(AshaPromote(), history, begin(history), 1, float(number))
    while (suggestion := AshaPromote().promote(history)) is not None:
        trial = history.append(suggestion)
        for step in range(trial.step + 1, suggestion.until + 1):  # type: ignore[operator]
            report(AshaPromote(), history, trial, step, float(trial.number))
    assert [len(history.reached(step)) for step in (1, 4, 16, 64)] == [64, 16, 4, 1]
    assert [trial.number for trial in history.having(Status.COMPLETED)] == [0]


def test_nothing_is_promoted_from_a_rung_smaller_than_the_factor() -> None:
    history = empty(64)
    for number in range(3):
        report(AshaPromote(), history, begin(history), 1, float(number))
    assert AshaPromote().promote(history) is None
    report(AshaPromote(), history, begin(history), 1, 9.0)
    suggestion = AshaPromote().promote(history)
    assert suggestion is not None
    assert (suggestion.trial, suggestion.until) == (0, 4)
    history.append(suggestion)
    assert AshaPromote().promote(history) is None  # its place is taken while it runs


def test_the_top_rung_is_promoted_first() -> None:
    history = empty(16)
    for number in range(4):
        trial = begin(history)
        for step in range(1, 5):
            history.append(Report(trial.number, step, float(number)))
        history.append(End(trial.number, Status.STOPPED))
    for number in range(4):
        report(AshaPromote(), history, begin(history), 1, -1.0 - number)
    suggestion = AshaPromote().promote(history)
    assert suggestion is not None
    assert (suggestion.trial, suggestion.until) == (0, 16)


def test_the_median_rule_compares_the_best_loss_with_the_median_of_running_means() -> None:
    def judged(best: float, others: int = 5) -> Verdict:
        history = empty(9)
        for number in range(others):
            trial = begin(history)
            for step, loss in ((1, 4.0 + number), (2, 2.0 + number), (3, 0.0)):  # means at 2: 3, 4, 5, 6, 7
                history.append(Report(trial.number, step, loss))
        trial = begin(history)
        history.append(Report(trial.number, 1, best))
        history.append(Report(trial.number, 2, 50.0))
        return Median().judge(trial, history)

    assert judged(5.1) is Verdict.STOP
    assert judged(5.0) is Verdict.CONTINUE  # ties go on
    assert judged(1.0) is Verdict.CONTINUE
    assert judged(99.0, others=4) is Verdict.CONTINUE  # too few to say


def test_the_median_rule_gives_every_trial_its_grace() -> None:
    history = empty(9)
    for _ in range(6):
        trial = begin(history)
        for step in range(1, 6):
            history.append(Report(trial.number, step, 0.0))
    late = begin(history)
    verdicts = []
    for step in range(1, 5):
        history.append(Report(late.number, step, 9.0))
        verdicts.append(Median(grace_period=3).judge(late, history))
    assert verdicts == [Verdict.CONTINUE] * 2 + [Verdict.STOP] * 2


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Asha(grace_period=0), "Asha(grace_period=0): must be a whole number, 1 or more."),
        (lambda: Asha(reduction_factor=1), "2 or more"),
        (lambda: AshaPromote(reduction_factor=2.5), "AshaPromote(reduction_factor=2.5)"),  # type: ignore[arg-type]
        (lambda: Asha(max_t=0), "1 or more"),
        (lambda: Asha(grace_period=8, max_t=4), "max_t must be at least as large"),
        (lambda: Median(grace_period=0), "1 or more"),
        (lambda: Median(min_trials=True), "1 or more"),
    ],
)
def test_wrong_settings_are_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert sentence in str(caught.value)


@pytest.mark.parametrize("scheduler", [Asha(), AshaPromote()], ids=lambda s: type(s).__name__)
def test_five_thousand_trials_are_judged_without_looking_at_all_of_them(scheduler: Scheduler) -> None:
    """Between milestones the history is not touched; at one, only its rung is."""
    history = empty(64)
    for number in range(5000):
        trial = begin(history, number / 5000)
        history.append(Report(trial.number, 1, number / 5000))
    history.append(Report(7, 2, 0.1))

    class Untouchable(History):
        def reached(self, step: int) -> Any:
            raise AssertionError("looked at a rung between milestones")

    history.__class__ = Untouchable
    assert scheduler.judge(history.trials[7], history) is Verdict.CONTINUE


def test_the_brackets_of_hyperband_are_those_of_the_paper() -> None:
    table = [[f"{rung.trials}@{rung.step}" for rung in bracket] for bracket in brackets(81, 3)]
    assert table == [
        ["81@1", "27@3", "9@9", "3@27", "1@81"],
        ["34@3", "11@9", "3@27", "1@81"],
        ["15@9", "5@27", "1@81"],
        ["8@27", "2@81"],
        ["5@81"],
    ]
    assert [bracket[0].step for bracket in brackets(100, 3, 10)] == [11, 33, 100]


def test_trials_are_assigned_to_brackets_in_hyperbands_proportions() -> None:
    history = empty(81)
    scheduler = Hyperband()
    counts = [0] * 5
    for number in range(286):
        counts[scheduler.bracket(begin(history), history)] += 1
        if number == 28:  # a fifth of a round
            assert counts == [16, 7, 3, 2, 1]
    assert counts == [162, 68, 30, 16, 10]


@pytest.mark.parametrize("workers", [1, 7])
def test_a_synchronous_round_has_exactly_the_rungs_of_the_table(workers: int) -> None:
    scheduler = Hyperband(synchronous=True)
    history, _ = sweep(scheduler, trials=143, horizon=81, workers=workers)
    for index, bracket in enumerate(brackets(81, 3)):
        members = [trial for trial in history if scheduler.bracket(trial, history) == index]
        assert [(sum(t.step >= rung.step for t in members), rung.step) for rung in bracket] == list(bracket)
    assert history.count(Status.COMPLETED) == 1 + 1 + 1 + 2 + 5


def test_asynchronous_hyperband_compares_within_a_bracket_and_rests_at_its_rungs_only() -> None:
    scheduler = Hyperband()
    history, _ = sweep(scheduler, trials=143, horizon=81, workers=3)
    for trial in history:
        bracket = brackets(81, 3)[scheduler.bracket(trial, history)]
        assert trial.step in {rung.step for rung in bracket}
    assert 8 <= history.count(Status.COMPLETED) <= 20


def test_a_failed_trial_does_not_hold_up_a_synchronous_round() -> None:
    scheduler, history = Hyperband(reduction_factor=2, synchronous=True), empty(4)
    size = sum(bracket[0].trials for bracket in brackets(4, 2))
    for number in range(size):
        trial = begin(history, number / size)
        if number % 3 == 0:
            history.append(End(trial.number, Status.FAILED))
            continue
        while trial.status is Status.RUNNING:
            report(scheduler, history, trial, trial.step + 1, float(number))
    while (suggestion := scheduler.promote(history)) is not None:
        trial = history.append(suggestion)
        while trial.status is Status.RUNNING:
            report(scheduler, history, trial, trial.step + 1, float(trial.number))
    assert history.count(Status.COMPLETED) >= 3


def test_schedulers_that_take_resting_trials_on_say_so() -> None:
    for scheduler in concrete(search.schedulers, Scheduler):
        assert scheduler.resumes is (scheduler.promote is not Scheduler.promote), scheduler
