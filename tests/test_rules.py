"""The rules of a sweep, without an engine: what comes next, and what follows from a report."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search import records
from search.ask_and_tell import AskAndTell
from search.contract import Scheduler, Searcher
from search.history import History, Trial
from search.records import (
    BASELINE,
    FALLBACK,
    FINALIST,
    Began,
    End,
    Enough,
    Goal,
    Judged,
    Lost,
    Over,
    Report,
    Status,
    Suggestion,
    Used,
    fork,
    resume,
    start,
)
from search.rules.conduct import (
    SAME_FAILURES,
    Instead,
    Rules,
    Wait,
    after_loss,
    after_report,
    common_failure,
    early_end,
    has_more,
    next_move,
    rest,
    to_test,
    without_checkpoint,
)
from search.rules.device_budget import DeviceBudget
from search.run_state import OUT_OF_BUDGET
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.run_to_end import RunToEnd
from search.searchers.random import Random
from search.space import Space, uniform
from search.task import Task

SPACE = Space({"x": uniform(0, 1)})


def history_of(*xs: float, horizon: int = 4, **more: Any) -> History:
    history = History(SPACE, horizon=horizon, **more)
    for x in xs:
        history.append(start({"x": x}))
    return history


def report(history: History, trial: int, step: int, loss: float) -> Trial:
    return history.append(Report(trial, step, loss))


# Any loop, with any rules.

AMOUNTS = st.fixed_dictionaries(
    {
        "baseline": st.sampled_from([None, {"x": 0.5}]),
        "points": st.sampled_from([(), ({"x": 0.25},), ({"x": 0.25}, {"x": 0.75}, {"x": 0.25})]),
        "budget": st.sampled_from([None, 3.0, 6.5]),
        "target": st.sampled_from([None, 0.05, 0.3]),
        "finalists": st.integers(0, 2),
        "confirmations": st.integers(1, 2),
        "limit": st.integers(1, 8),
        "scheduler": st.sampled_from([RunToEnd(), Asha(reduction_factor=2), AshaPromote(reduction_factor=2)]),
        "seed": st.integers(0, 3),
    }
)


def driven(tuning: AskAndTell, order: st.DataObject, workers: int = 3) -> None:
    """Several workers, in any order; some trials break."""
    running: list[Trial] = []
    for _ in range(1000):
        while len(running) < workers and (trial := tuning.ask()) is not None:
            running.append(trial)
        if not running:
            return
        trial = running.pop(order.draw(st.integers(0, len(running) - 1)))
        if order.draw(st.integers(0, 30)) == 0:
            tuning.fail(trial, "ValueError: bad luck")
            continue
        step = (trial.step or trial.began) + 1
        if tuning.tell(trial, step, (trial.config["x"] - 0.3) ** 2 + 0.1 / step):
            running.append(trial)
    raise AssertionError("it goes on for ever")


@settings(max_examples=60, deadline=None)
@given(AMOUNTS, st.data())
def test_every_loop_ends_within_its_amounts_and_every_record_follows_from_those_before(
    amounts: dict[str, Any], order: st.DataObject
) -> None:
    tuning = AskAndTell(SPACE, Random(), horizon=4, **amounts)
    driven(tuning, order)
    history, rules = tuning.history, tuning.rules
    started = [trial for trial in history if trial.first_origin != FINALIST]
    assert len(started) <= amounts["limit"]
    assert tuning.over
    assert history.count(Status.RUNNING) == 0
    if started and rules.baseline is not None and not rules.budget:
        assert started[0].first_origin == BASELINE
    if rules.search_budget is not None:
        searched = sum(trial.step for trial in started if trial.suggestion.origin != FINALIST) / history.horizon
        assert searched < max(0.0, rules.search_budget) + 1
    again = History(SPACE, horizon=4, seed=amounts["seed"], limit=amounts["limit"])
    due: list[object] = []
    for record in tuning.records:
        if due:
            assert record == due.pop(0)
        elif isinstance(record, Suggestion):
            move = next_move(again, tuning.searcher, tuning.scheduler, rules)
            assert isinstance(move, Suggestion)
            assert replace(move, trial=record.trial) == record
            assert has_more(again, tuning.searcher, tuning.scheduler, rules)
        elif isinstance(record, Over):
            assert next_move(again, tuning.searcher, tuning.scheduler, rules) == record
        again.append(record)
        if isinstance(record, Report):
            trial = again.trials[record.trial]
            due = list(after_report(trial, again, tuning.scheduler, rules))
            due += [] if due or (end := rest(trial)) is None else [end]
    assert due == []
    assert not has_more(again, tuning.searcher, tuning.scheduler, rules)


@settings(max_examples=30, deadline=None)
@given(AMOUNTS, st.data())
def test_saved_anywhere_the_rules_go_on_as_if_nothing_had_happened(
    amounts: dict[str, Any], order: st.DataObject
) -> None:
    tuning = AskAndTell(SPACE, Random(), horizon=4, **amounts)
    for _ in range(order.draw(st.integers(0, 12))):
        trial = tuning.ask()
        if trial is None:
            break
        for step in tuning.steps(trial):
            if not tuning.tell(trial, step, (trial.config["x"] - 0.3) ** 2 + 0.1 / step):
                break
    again = AskAndTell(SPACE, Random(), horizon=4, **amounts)
    again.load(tuning.save())
    assert again.over == tuning.over
    for _ in range(3):
        one, other = tuning.ask(), again.ask()
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.suggestion == other.suggestion


# What comes next.


@dataclass(frozen=True)
class Says(Searcher):
    """Always the same."""

    what: Suggestion | Enough | None

    def suggest(self, history: History) -> Suggestion | Enough | None:
        return self.what


@dataclass(frozen=True)
class Cuts(Scheduler):
    def judge(self, trial: Trial, history: History) -> Any:
        from search.contract import Verdict

        return Verdict.STOP


def move(history: History, searcher: Searcher | None = None, **rules: Any) -> Any:
    return next_move(history, searcher or Random(), RunToEnd(), Rules(**rules))


def test_the_baseline_goes_first_then_the_points_then_the_searcher() -> None:
    history = history_of()
    rules: dict[str, Any] = {"baseline": {"x": 0.5}, "points": ({"x": 0.1}, {"x": 0.2})}
    origins = [history.append(move(history, **rules)).first_origin for _ in range(4)]
    assert origins == [BASELINE, "point", "point", "random"]


def test_the_others_wait_for_the_first_report() -> None:
    history = history_of(0.1)
    assert move(history, first_alone=True) == Wait()
    report(history, 0, 1, 0.5)
    assert isinstance(move(history, first_alone=True), Suggestion)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (start({"x": 7.0}), "x"),
        (start({"x": 0.5}, task="none"), "suggest() returned task='none': the sweep has no task of this name"),
        (Suggestion("resume", {"x": 0.1}, 0), "suggest() returned a resume of trial 0, which is running"),
        (Suggestion("resume", {"x": 0.1}), "trial None, which does not exist; use resume(trial)"),  # not the last one
    ],
)
def test_what_makes_no_sense_is_not_done_and_something_random_is(says: Suggestion, why: str) -> None:
    @dataclass(frozen=True)
    class Continues(Says):
        continues = True

    answer = move(history_of(0.1), Continues(says))
    assert isinstance(answer, Instead)
    assert why in str(answer.error)
    assert isinstance(answer.move, Suggestion)
    assert answer.move.origin == FALLBACK
    assert answer.move.evidence == answer.why


def test_where_nothing_may_be_started_a_broken_searcher_ends_the_search() -> None:
    @dataclass(frozen=True)
    class Resumes(Says):
        continues = True

    answer = move(history_of(0.1, limit=1), Resumes(Suggestion("resume", {"x": 0.1}, 0)))
    assert isinstance(answer, Instead)
    assert isinstance(answer.move, Over)


def test_enough_ends_the_search_at_once_and_nothing_only_when_nothing_runs() -> None:
    running = history_of(0.1)
    assert move(running, Says(Enough("plenty"))) == Over("Says: plenty")
    assert move(running, Says(None)) == Wait()
    running.append(End(0, Status.COMPLETED))
    assert move(running, Says(None)) == Over("Says has nothing more to suggest")


def test_what_is_over_stays_over_until_the_sweep_is_changed() -> None:
    history = history_of()
    history.append(Over("enough"))
    assert move(history) == Over("enough")
    history.append(Began())
    assert move(history) == Over("enough")
    history.append(Began("num_samples: 1 → 2"))
    assert isinstance(move(history), Suggestion)


def test_records_of_the_run_leave_the_seeds_of_decisions_alone() -> None:
    history = history_of(0.1)
    before = len(history)
    for record in (Began("x"), Lost(0), records.Tested(0), Judged(0), Over("enough")):
        history.append(record)
    assert len(history) == before


# What follows from a report.


def follows(history: History, trial: Trial, scheduler: Scheduler | None = None, **rules: Any) -> list[str]:
    found = after_report(trial, history, scheduler or RunToEnd(), Rules(**rules))
    return [record.status.value if isinstance(record, End) else type(record).__name__ for record in found]


def test_diverged_completed_target_and_verdict() -> None:
    history = history_of(0.1, 0.2, 0.3, 0.4)
    assert follows(history, report(history, 0, 1, math.nan)) == ["diverged"]
    assert follows(history, report(history, 1, 1, 9.0), diverged_beyond=5.0) == ["diverged"]
    assert follows(history, report(history, 2, 1, 1.0), Cuts()) == ["Judged", "stopped"]
    assert follows(history, report(history, 3, 1, 1.0)) == []
    assert follows(history, report(history, 3, 4, 1.0), Cuts()) == ["completed"]
    assert follows(history, report(history_of(0.1), 0, 1, 0.1), target=0.2) == ["Over", "completed"]


def test_after_the_target_was_reached_the_others_stop_but_not_the_baseline() -> None:
    history = history_of(0.1, 0.2)
    history.append(start({"x": 0.5}, origin=BASELINE))
    report(history, 0, 1, 0.1)
    for record in after_report(history.trials[0], history, RunToEnd(), Rules(target=0.2)):
        history.append(record)
    assert follows(history, report(history, 1, 1, 0.9), target=0.2) == ["stopped"]
    assert follows(history, report(history, 2, 1, 0.1), Cuts(), target=0.2) == []


def test_the_metric_of_a_target_has_its_own_sign() -> None:
    history = history_of(0.1)
    over, end = after_report(
        report(history, 0, 1, -0.9), history, RunToEnd(), Rules(target=0.8, goal=Goal("accuracy", "max"))
    )
    assert over == Over("the target is reached: trial 0 at step 1, accuracy 0.9")
    assert end == End(0, Status.COMPLETED, "reached the target of 0.8")


def test_who_is_to_come_so_far_rests_there_and_is_not_judged() -> None:
    history = History(SPACE, horizon=4)
    trial = history.append(start({"x": 0.1}, until=2))
    assert rest(trial) is None
    assert follows(history, report(history, 0, 2, 1.0), Cuts()) == []
    assert rest(trial) == End(0, Status.STOPPED, "reached step 2 as planned")


def test_an_end_of_its_own_counts_once_something_was_told() -> None:
    history = history_of(0.1)
    assert early_end(history.trials[0], history, "no data").status is Status.FAILED
    report(history, 0, 1, 1.0)
    assert early_end(history.trials[0], history, "it converged") == End(
        0, Status.COMPLETED, "ended by itself at step 1 of 4: it converged"
    )


@given(st.integers(0, 3), st.integers(1, 4))
def test_losses_at_one_step_are_counted_and_progress_begins_anew(retries: int, steps: int) -> None:
    history, rules = history_of(0.1, horizon=9), Rules(retries=retries)
    for step in range(1, steps + 1):
        report(history, 0, step, 1.0)
        for _ in range(retries):
            history.append(Lost(0, "killed"))
            assert after_loss(history.trials[0], history, rules, "killed") is None
    history.append(Lost(0, "killed"))
    end = after_loss(history.trials[0], history, rules, "killed")
    assert end == End(0, Status.FAILED, f"WorkerLost: killed ({retries + 1} times at step {steps})")


def test_failures_are_alike_until_a_trial_gets_farther_or_the_run_is_taken_up_again() -> None:
    def failed(count: int, reason: str = "ValueError: no") -> None:
        for _ in range(count):
            history.append(End(history.append(start({"x": 0.5})).number, Status.FAILED, reason))

    history = history_of()
    failed(SAME_FAILURES - 1)
    assert common_failure(history, str) == ""
    failed(1, "ValueError: yes")
    assert common_failure(history, str) == ""
    failed(1)
    assert common_failure(history, str) == "3 of the first 4 trials failed in the same way: ValueError: no"
    history.append(Began())
    assert common_failure(history, str) == ""
    failed(2)
    report(history, history.append(start({"x": 0.5})).number, 1, 1.0)
    failed(3)
    assert common_failure(history, str) == ""


def test_a_fork_without_its_parents_state_goes_on_or_starts_afresh() -> None:
    history = history_of(0.1, 0.2)
    for number in (0, 1):
        report(history, number, 2, 1.0)
        history.append(End(number, Status.STOPPED))
    child = fork(history.trials[0], 2, {"x": 0.3}, until=4)
    afresh = without_checkpoint(child, history)
    assert (afresh.kind, afresh.config, afresh.until, afresh.origin) == ("start", {"x": 0.3}, 4, FALLBACK)
    goes_on = without_checkpoint(replace(child, replaces=1), history)
    assert goes_on == resume(history.trials[1], until=4, origin=FALLBACK, evidence=goes_on.evidence)


def test_the_best_and_the_baseline_are_tested_once() -> None:
    history = History(SPACE, horizon=1)
    history.append(start({"x": 0.5}, origin=BASELINE))
    history.append(start({"x": 0.1}))
    for number, loss in ((0, 0.5), (1, 0.1)):
        report(history, number, 1, loss)
        history.append(End(number, Status.COMPLETED))
    assert [trial.number for trial in to_test(history, Rules(baseline={"x": 0.5}))] == [1, 0]
    history.append(records.Tested(1))
    assert [trial.number for trial in to_test(history, Rules(baseline={"x": 0.5}))] == [0]


# What a loop of one's own gains.


def loop(**more: Any) -> AskAndTell:
    tuning = AskAndTell(SPACE, Random(), horizon=2, **more)
    while (trial := tuning.ask()) is not None:
        for step in tuning.steps(trial):
            if not tuning.tell(trial, step, trial.config["x"] + 1 / step):
                break
    return tuning


def test_a_loop_has_a_baseline_and_points() -> None:
    tuning = loop(baseline={"x": 0.5}, points=[{"x": 0.25}], limit=3)
    assert [trial.first_origin for trial in tuning.history] == [BASELINE, "point", "random"]
    assert tuning.over == "3 configurations have been started"
    with pytest.raises(ValueError, match="x"):
        AskAndTell(SPACE, Random(), horizon=2, points=[{"x": 2.0}])


def test_a_limit_below_what_was_started_is_told_as_such() -> None:
    history = AskAndTell(SPACE, Random(), horizon=2, limit=2).history
    for trial in loop(limit=3).history:
        history.append(trial.suggestion)
        for step, loss in zip(trial.steps, trial.losses, strict=True):
            history.append(Report(trial.number, step, loss))
        history.append(End(trial.number, Status.COMPLETED))
    move = next_move(history, Random(), RunToEnd(), Rules())
    assert move == Over("3 configurations have been started, and 2 were asked for")


def test_a_loop_has_a_budget_of_which_the_finalists_are_a_part() -> None:
    tuning = loop(budget=6.0, finalists=2, confirmations=2)
    origins = [trial.first_origin for trial in tuning.history]
    assert origins == ["random"] * 2 + [FINALIST] * 4
    assert tuning.over == "2 of the 6 full trainings were for the search and are used up; the rest is for the finalists"


def test_a_loop_ends_at_its_target() -> None:
    tuning = loop(target=0.7, limit=50)
    reached = [trial for trial in tuning.history if trial.loss <= 0.7]
    assert [trial.number for trial in reached] == [len(tuning.history.trials) - 1]
    assert tuning.over.startswith(f"the target is reached: trial {reached[0].number} at step 2, loss ")


def test_a_search_that_was_over_goes_on_when_something_is_added() -> None:
    tuning = loop(limit=2)
    assert tuning.over
    tuning.retry(tuning.history.trials[0], "its weights were lost")
    assert tuning.over == ""


def test_a_task_that_the_sweep_has_no_more_is_not_promoted() -> None:
    @dataclass(frozen=True)
    class Promotes(RunToEnd):
        def promote(self, history: History) -> Suggestion | None:
            return Suggestion("resume", {"x": 0.1}, 0, task="small")

    small = Task.changed("small", 0.2, share=0.5)
    history = History(SPACE, horizon=4, tasks=[small, Task("full", 1.0)])
    history.append(start({"x": 0.1}, task="small"))
    history.append(End(0, Status.STOPPED))
    assert next_move(history, Random(), Promotes(), Rules()) == Suggestion("resume", {"x": 0.1}, 0, task="small")
    other = next_move(History(SPACE, horizon=4), Random(), Promotes(), Rules())
    assert isinstance(other, Suggestion)
    assert other.kind == "start"


@pytest.mark.parametrize("spent", [0.0, 9.0])
def test_what_a_raised_budget_lets_go_on_is_left_to_do(spent: float) -> None:
    """`has_more` did not know of such trials, so a run that time ended there was recorded as finished."""
    history = history_of(0.1, limit=1)
    report(history, 0, 1, 0.5)
    history.append(End(0, Status.STOPPED, f"{OUT_OF_BUDGET}$1 is spent, at step 1"))
    history.append(Used("device", 3600.0 * spent, 0, device="a GPU"))
    rules = Rules(device_budget=DeviceBudget(5.0, "$5", lambda device: 1 / 3600))
    move = next_move(history, Random(), RunToEnd(), rules)
    assert (move == resume(history.trials[0], evidence="the budget has been raised", origin="model")) is (not spent)
    assert has_more(history, Random(), RunToEnd(), rules) is (not spent)


def test_a_promotion_beyond_the_budget_is_not_left_to_do() -> None:
    history = history_of(0.1, 0.2, limit=2)
    for trial in range(2):
        report(history, trial, 1, 0.5)
        history.append(End(trial, Status.STOPPED, "reached step 1 as planned"))
    promotes = AshaPromote(reduction_factor=2)
    for budget in (0.5, 1.0):
        rules = Rules(budget=budget)
        move = next_move(history, Random(), promotes, rules)
        assert has_more(history, Random(), promotes, rules) is isinstance(move, Suggestion) is (budget == 1.0)
