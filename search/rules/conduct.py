"""The rules of a sweep: a free worker's next move, and the consequences of a report. Pure functions of the history.

Every driver, engine and loop calls them, records their results, and only then acts:

    match next_move(history, searcher, scheduler, rules):
        case Suggestion() as suggestion: history.append(suggestion)   # … and train it
        case Over() as over: history.append(over)                     # … and ask again: finalists may follow
        case Wait(): ...                                              # … until there are new reports
    for record in after_report(trial, history, scheduler, rules):
        history.append(record)

The order of the rules: others wait for the first report; while the budget lasts, failed trials that the user wants to try
again, what a smaller budget stopped, a baseline that is not on record, the scheduler's promotions, the points, the
searcher; then the search is over, and the finalists train again. After a report: the target, divergence, the end of the
task, the suggested step, a spent budget, the scheduler's verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from search.contract import Scheduler, Searcher, Verdict, generator
from search.history import History, Trial, incumbent
from search.records import (
    BASELINE,
    FALLBACK,
    FINALIST,
    LOSS,
    Config,
    End,
    Enough,
    Goal,
    Judged,
    Over,
    Status,
    Suggestion,
    resume,
    start,
)
from search.rules.answers import WrongAnswer, checked_promotion, checked_suggestion, checked_verdict
from search.rules.baseline import awaits_baseline, baseline_of
from search.rules.device_budget import DeviceBudget, next_unpaid
from search.rules.finalists import confirm, winner
from search.rules.points import points_first
from search.rules.population import population_of
from search.rules.retries import next_retry
from search.run_state import FOR_THE_SEARCH, OUT_OF_BUDGET, TARGET
from search.task import FULL
from search.wording import FAILED_ALIKE

NEARLY = 1e-9  # of a full training: tolerance, because sums of shares are not exact
NO_CHECKPOINT = "no checkpoint of trial"  # how the reason begins with which a fork is replaced
EXHAUSTED = "has nothing more to suggest"  # how the reason ends with which a searcher ends the search
SAME_FAILURES = 3  # this many failures of one kind stop the run, unless a trial has got further


@dataclass(frozen=True)
class Rules:
    """How much to search, and what to do around the search. The history's `limit` bounds the configurations."""

    baseline: Config | None = None  # trained first, in full, for comparison; a later one next, whatever the limit
    points: Sequence[Config] = ()  # configurations to try first
    budget: float | None = None  # limit on all training, in full trainings, finalists included
    device_budget: DeviceBudget | None = None  # limit on device time or money, finalists included
    target: float | None = None  # a full training that reaches this value of the metric ends the search
    diverged_beyond: float | None = None  # a worse value than this counts as diverged, like NaN
    finalists: int = 0  # this many of the best train again at the end …
    confirmations: int = 1  # … this many times each, on fresh seeds
    retries: int = 3  # times that a trial may lose its worker without progress
    first_alone: bool = False  # the other trials wait for the first report
    goal: Goal = LOSS  # the metric of `target` and `diverged_beyond`

    @property
    def search_budget(self) -> float | None:
        """The budget minus the finalists' reserve, in full trainings."""
        return None if self.budget is None else self.budget - self.reserve

    @property
    def reserve(self) -> int:
        """The finalists' full trainings."""
        return self.finalists * self.confirmations

    def has_diverged(self, loss: float) -> bool:
        """Whether the loss is NaN or infinite, or worse than `diverged_beyond`."""
        limit = self.diverged_beyond
        return not math.isfinite(loss) or (limit is not None and loss > self.goal.loss(limit))

    def is_enough(self, loss: float) -> bool:
        return self.target is not None and loss <= self.goal.loss(self.target)


@dataclass(frozen=True)
class Wait:
    """Nothing to do now: ask again when there are new records."""


@dataclass(frozen=True)
class Instead:
    """The searcher failed with `error`; `why` says so in one line, and `move` replaces its suggestion."""

    move: Suggestion | Over
    error: Exception | SystemExit
    why: str


Move = Suggestion | Wait | Over | Instead


def next_move(history: History, searcher: Searcher, scheduler: Scheduler, rules: Rules) -> Move:
    """A free worker's next move.

    Record `Over`, unless it is already on record (`history.run.over`); in that case nothing will ever run again.
    """
    running = history.count(Status.RUNNING)
    if running and awaits_first(history, rules):
        return Wait()
    if not history.run.over:
        move = _search(history, searcher, scheduler, rules)
        if move is not None and is_covered(move, history, rules, rules.reserve):
            return move
        return Wait() if running else Over(_why_nothing(history, searcher, rules, move))
    return _last_move(history, rules) or (Wait() if running else Over(history.run.over))


def awaits_first(history: History, rules: Rules) -> bool:
    """Whether other trials must wait for the first report, because an error may affect all configurations."""
    return rules.first_alone and not history.run.has_reported


def takes_on_stopped(searcher: Searcher, scheduler: Scheduler, rules: Rules) -> bool:
    """Whether a stopped trial may be resumed. For finalists this happens if the search has completed too few."""
    promotes = type(scheduler).promote is not Scheduler.promote
    return promotes or searcher.continues or rules.finalists > 0


def is_covered(move: Suggestion | Over | Instead, history: History, rules: Rules, reserved: float = 0.0) -> bool:
    """Whether a budget of device time covers the training that `move` starts, if it starts one, and `reserved` full ones."""
    suggestion = move.move if isinstance(move, Instead) else move
    if rules.device_budget is None or not isinstance(suggestion, Suggestion):
        return True
    return rules.device_budget.covers(suggestion, history, reserved)


def out_of_budget(trial: Trial, history: History, rules: Rules) -> End | None:
    """The end of a running trial whose device time is spent, however it got here: a report, a loss, another start."""
    return None if rules.device_budget is None else rules.device_budget.end(trial, history)


def may_ask(history: History, searcher: Searcher, rules: Rules) -> bool:
    """Whether the searcher may be asked at all."""
    return not history.run.over and not _budget_is_used(history, rules) and (history.room or searcher.continues)


def has_more(history: History, searcher: Searcher, scheduler: Scheduler, rules: Rules) -> bool:
    """Whether something is left to train, as far as it is known without asking the searcher."""
    if history.count(Status.RUNNING):
        return True
    move = _sure_move(history, scheduler, rules)
    if may_ask(history, searcher, rules) if move is None else is_covered(move, history, rules, rules.reserve):
        return True
    return _last_move(history, rules) is not None


def after_report(trial: Trial, history: History, scheduler: Scheduler, rules: Rules) -> tuple[Over | Judged | End, ...]:
    """The records that follow from the last report of `trial` (already in the history), in order; possibly none."""
    loss, step, whole = trial.loss, trial.step, history.steps(trial.task)
    judged = _is_judged(trial)
    enough = judged and trial.task == FULL and rules.is_enough(loss)
    reached = _target_reached(history)
    value = rules.goal.value(loss)
    over: tuple[Over, ...] = ()
    if enough and not reached:
        over = (Over(f"{TARGET}: trial {trial.number} at step {step}, {rules.goal.metric} {value:.6g}"),)
        reached = True

    def end(status: Status, reason: str) -> End:
        return End(trial.number, status, reason)

    if rules.has_diverged(loss):
        return (*over, end(Status.DIVERGED, f"{rules.goal.metric} = {value} at step {step}"))
    if step >= whole:
        what = "the horizon" if trial.task == FULL else f"the end of the task {trial.task!r}"
        return (*over, end(Status.COMPLETED, f"reached {what}"))
    if enough:
        return (*over, end(Status.COMPLETED, f"reached the target of {rules.target:g}"))
    if judged and reached:
        return (end(Status.STOPPED, f"another one has reached the target, at step {step}"),)
    if is_there(trial):
        return ()  # it rests as soon as its checkpoint is written
    if (spent := out_of_budget(trial, history, rules)) is not None:
        return (spent,)
    if judged and checked_verdict(scheduler.judge(trial, history), scheduler) is Verdict.STOP:
        cut = end(Status.STOPPED, f"{type(scheduler).__name__} at step {step}")
        return (Judged(trial.number, repr(scheduler)), cut)
    return ()


def is_there(trial: Trial) -> bool:
    """Whether it has reached the step at which it is to rest."""
    until = trial.suggestion.until
    return until is not None and trial.step >= until


def rest(trial: Trial) -> End | None:
    """The end of a trial that has reached its step and written its checkpoint; it can then be forked or resumed."""
    if trial.status is Status.RUNNING and is_there(trial):
        return End(trial.number, Status.STOPPED, f"reached step {trial.step} as planned")
    return None


def early_end(trial: Trial, history: History, how: str) -> End:
    """The end of a training that ended by itself, as `how` says; without a report it has failed."""
    if not trial.steps:
        return End(trial.number, Status.FAILED, f"NoReport: the training ended before its first report: {how}")
    whole = history.steps(trial.task)
    return End(trial.number, Status.COMPLETED, f"ended by itself at step {trial.step} of {whole}: {how}")


def after_loss(trial: Trial, history: History, rules: Rules, why: str) -> End | None:
    """The end of a trial that keeps losing its worker at the same step, or whose budget is spent; None: it may try again.

    A loss after progress does not count (a preemption). Record the loss first.
    """
    if (spent := out_of_budget(trial, history, rules)) is not None:
        return spent
    times = history.run.losses[trial.number].count(trial.step)
    if times <= rules.retries:
        return None
    return End(trial.number, Status.FAILED, f"WorkerLost: {why} ({times} times at step {trial.step})")


def leave_lost_task(trial: Trial, history: History) -> End | None:
    """The end of an interrupted trial whose task the sweep no longer has; it cannot continue."""
    if trial.status is not Status.RUNNING or history.task(trial.task) is not None:
        return None
    return End(trial.number, Status.STOPPED, f"the sweep has no task {trial.task!r} any more")


def common_failure(history: History, kind: Callable[[str], str]) -> str:
    """Why the run should stop: its trials fail in the same way before any gets further. "": it should not.

    `kind` maps the reason of a failure to the part that failures of one kind share.
    """
    failures = history.run.failures
    alike = [reason for reason in failures if kind(reason) == kind(failures[-1])]
    if len(alike) < SAME_FAILURES:
        return ""
    count = len(failures)
    them = f"the first {count}" if count == SAME_FAILURES else f"{SAME_FAILURES} of the first {count}"
    return f"{them} {FAILED_ALIKE}: {alike[0]}"


def common_divergence(history: History) -> str:
    """Why the run should stop: no trial has a value, and several diverged at their first report. "": it should not."""
    diverged = history.run.diverged_at_once
    if history.run.is_measured or len(diverged) < SAME_FAILURES:
        return ""
    return (
        f"the first {len(diverged)} trials diverged at their first report ({diverged[-1]}): a NaN or infinite value counts as a "
        "divergence. If nothing is measured yet at that step, report or print the metric only once it has a value; otherwise "
        "lower the learning rates of the space"
    )


def without_checkpoint(suggestion: Suggestion, history: History) -> Suggestion:
    """The substitute for a fork whose parent has lost its checkpoint (a damaged disk, a population made larger).

    The trial that it would have replaced resumes, or the fork's configuration starts afresh.
    """
    why = f"{NO_CHECKPOINT} {suggestion.parent} at step {suggestion.parent_step} to fork from"
    replaced = None if suggestion.replaces is None else history.trials[suggestion.replaces]
    if replaced is not None and replaced.status is Status.STOPPED:
        return resume(replaced, until=suggestion.until, origin=FALLBACK, evidence=why)
    afresh = start(suggestion.config, origin=FALLBACK, until=suggestion.until, evidence=why)
    return replace(afresh, replaces=suggestion.replaces)


def best(history: History, rules: Rules) -> Trial | None:
    """The incumbent; once finalists have trained again, the winner."""
    return winner(history) if history.run.over and rules.finalists else incumbent(history)


def new_baseline(history: History, rules: Rules) -> Suggestion | None:
    """The start of a baseline that is not on record: it needs no room, only a budget that is not used up."""
    if rules.baseline is None or not awaits_baseline(history, rules) or _budget_is_used(history, rules):
        return None
    return start(dict(rules.baseline), origin=BASELINE, evidence="what is compared with")


def to_test(history: History, rules: Rules) -> list[Trial]:
    """The trials to measure on the test part once all decisions are made: the best and the baseline, each once.

    Empty if a budget of device time is spent.
    """
    if rules.device_budget is not None and rules.device_budget.is_spent(history):
        return []
    chosen = [trial for trial in (best(history, rules), baseline_of(history, rules)) if trial is not None]
    completed = [trial for trial in chosen if trial.status is Status.COMPLETED]
    return [trial for trial in completed if trial.number not in history.run.tested]


def _search(
    history: History, searcher: Searcher, scheduler: Scheduler, rules: Rules
) -> Suggestion | Over | Instead | None:
    """The search's next move; None: nothing now."""
    if (move := _sure_move(history, scheduler, rules)) is not None:
        return move
    if not may_ask(history, searcher, rules):
        return None
    try:
        answer = points_first(rules.points, history, searcher)
        if isinstance(answer, Enough):
            return Over(f"{type(searcher).__name__}: {answer.reason}")
        return None if answer is None else checked_suggestion(answer, history, searcher)
    except (Exception, SystemExit) as error:  # a failing searcher must not end the sweep
        return _instead(error, history, searcher)


def _sure_move(history: History, scheduler: Scheduler, rules: Rules) -> Suggestion | None:
    """The search's next move that needs no searcher; None once the search is over or its budget is used up."""
    if history.run.over or _budget_is_used(history, rules):
        return None
    if (move := next_retry(history) or next_unpaid(history) or new_baseline(history, rules)) is not None:
        return move
    return checked_promotion(scheduler.promote(history), history, scheduler)


def _last_move(history: History, rules: Rules) -> Suggestion | None:
    """What trains next once the search is over, if the budget covers it."""
    baseline = new_baseline(history, rules)
    if baseline is not None and is_covered(baseline, history, rules, rules.reserve):
        return baseline
    again = next_retry(history, of_finalists=True) or confirm(history, rules.finalists, rules.confirmations)
    return again if again is not None and is_covered(again, history, rules) else None


def _instead(error: Exception | SystemExit, history: History, searcher: Searcher) -> Instead:
    """Replaces a failed searcher's suggestion by a random configuration, or by the end of the search without room."""
    why = (
        str(error)
        if isinstance(error, WrongAnswer)
        else f"{type(searcher).__name__} failed: {type(error).__name__}: {error}"
    )
    if not history.room:
        return Instead(Over(why), error, why)
    try:
        config = history.space.sample(generator(history, "fallback"))
    except ValueError as again:  # a constraint that fails; every later start would end here again
        return Instead(Over(f"{why}; and no random configuration either: {again}"), error, why)
    return Instead(start(config, origin=FALLBACK, evidence=why), error, why)


def _budget_is_used(history: History, rules: Rules) -> bool:
    """Whether the training so far and the rest of the running trials use up the search's part of the budget."""
    budget = rules.search_budget
    if rules.device_budget is not None and rules.device_budget.is_spent(history):
        return True
    return budget is not None and history.spent + history.committed >= budget - NEARLY


def _why_nothing(history: History, searcher: Searcher, rules: Rules, move: object = None) -> str:
    kept = " but for the finalists" if rules.finalists else ""
    if rules.device_budget is not None:
        if rules.device_budget.is_spent(history):
            return f"{OUT_OF_BUDGET}{rules.device_budget.words} is spent"
        if move is not None:
            return f"{OUT_OF_BUDGET}{rules.device_budget.words} does not cover another training{kept}"
    if _budget_is_used(history, rules):
        if rules.finalists and rules.search_budget is not None:
            share = f"{rules.search_budget:g} of the {rules.budget:g} full trainings"
            return f"{share} {FOR_THE_SEARCH}; the rest is for the finalists"
        return f"the budget of {rules.budget:g} full trainings is used up"
    if (population := population_of(searcher)) is not None and history.trials and not population.places_left(history):
        return f"the {population.population} members of the population have been trained; a larger population would train more"
    if not history.room:
        started, limit = history.started, history.limit or 0
        asked = f", and {limit:,} were asked for" if started > limit else ""
        return f"{started:,} configuration{' has' if started == 1 else 's have'} been started{asked}"
    if all(trial.first_origin == BASELINE for trial in history.trials):
        return f"{type(searcher).__name__} has nothing to suggest: suggest() returned None, so a return may be missing in it"
    return f"{type(searcher).__name__} {EXHAUSTED}"


def _is_judged(trial: Trial) -> bool:
    return trial.first_origin != BASELINE and trial.suggestion.origin != FINALIST


def _target_reached(history: History) -> bool:
    return history.run.over.startswith(TARGET)
