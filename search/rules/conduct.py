"""The rules of a sweep: what a free worker does next, and what follows from a report. Pure functions of the history.

Every driver, engine and loop asks them, records what they answer, and only then acts on it:

    match next_move(history, searcher, scheduler, rules):
        case Suggestion() as suggestion: history.append(suggestion)   # … and train it
        case Over() as over: history.append(over)                     # … and ask again: finalists may follow
        case Wait(): ...                                              # … until more was reported
    for record in after_report(trial, history, scheduler, rules):
        history.append(record)

The order of the rules: others wait for the first report; while the budget lasts, the scheduler's promotions, the
baseline, the points, the searcher; then the search is over, and the finalists are trained again. After a report: the
target, divergence, the end of the task, the step that was asked for, the scheduler's verdict.
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
from search.rules.finalists import confirm, winner
from search.rules.points import points_first
from search.task import FULL

NEARLY = 1e-9  # of a full training: sums of shares are not exact
SAME_FAILURES = 3  # so many failures of one kind, before any trial has got farther, stop the run
TARGET = "the target is reached"


@dataclass(frozen=True)
class Rules:
    """How much is searched, and what is done around it. How many configurations may start is the history's `limit`."""

    baseline: Config | None = None  # trained first, in full, and compared with
    points: Sequence[Config] = ()  # configurations to try first
    budget: float | None = None  # what may be trained in all, in full trainings, finalists included
    target: float | None = None  # a full training that reaches this value of the metric ends the search
    diverged_beyond: float | None = None  # a value worse than this counts as diverged, like NaN
    finalists: int = 0  # so many of the best are trained again at the end …
    confirmations: int = 1  # … so many times each, on fresh seeds
    retries: int = 3  # times that a trial may lose its worker without having made progress
    first_alone: bool = False  # the others wait for the first report
    goal: Goal = LOSS  # the metric of `target` and `diverged_beyond`

    @property
    def search_budget(self) -> float | None:
        """The budget less what is kept for the finalists, in full trainings."""
        return None if self.budget is None else self.budget - self.finalists * self.confirmations

    def has_diverged(self, loss: float) -> bool:
        """NaN and infinities always have; finite losses by `diverged_beyond`."""
        limit = self.diverged_beyond
        return not math.isfinite(loss) or (limit is not None and loss > self.goal.loss(limit))

    def is_enough(self, loss: float) -> bool:
        return self.target is not None and loss <= self.goal.loss(self.target)


@dataclass(frozen=True)
class Wait:
    """Nothing at the moment: ask again when more was recorded."""


@dataclass(frozen=True)
class Instead:
    """The searcher broke with `error`, as `why` says in one line; `move` is made in its place."""

    move: Suggestion | Over
    error: Exception
    why: str


Move = Suggestion | Wait | Over | Instead


def next_move(history: History, searcher: Searcher, scheduler: Scheduler, rules: Rules) -> Move:
    """What a free worker does now.

    `Over` is to be recorded, unless it is on record already (`history.run.over`); then nothing more will ever be run.
    """
    running = history.count(Status.RUNNING)
    if running and awaits_first(history, rules):
        return Wait()
    if not history.run.over:
        move = _search(history, searcher, scheduler, rules)
        if move is not None:
            return move
        return Wait() if running else Over(_why_nothing(history, searcher, rules))
    again = confirm(history, rules.finalists, rules.confirmations)
    if again is not None:
        return again
    return Wait() if running else Over(history.run.over)


def awaits_first(history: History, rules: Rules) -> bool:
    """Whether others have to wait for the first report: what all configurations share may be wrong."""
    return rules.first_alone and not history.run.has_reported


def takes_on_stopped(searcher: Searcher, scheduler: Scheduler, rules: Rules) -> bool:
    """Whether a stopped trial may be taken on. Finalists are, if the search has completed too few."""
    promotes = type(scheduler).promote is not Scheduler.promote
    return promotes or searcher.continues or rules.finalists > 0


def may_ask(history: History, searcher: Searcher, rules: Rules) -> bool:
    """Whether the searcher has a say at all."""
    return not history.run.over and not _budget_is_used(history, rules) and (history.room or searcher.continues)


def after_report(trial: Trial, history: History, scheduler: Scheduler, rules: Rules) -> tuple[Over | Judged | End, ...]:
    """The records that follow from the last report of `trial`, which is in the history, in their order; maybe none."""
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
        return ()  # it rests once its checkpoint is there
    if judged and scheduler.judge(trial, history) is Verdict.STOP:
        cut = end(Status.STOPPED, f"{type(scheduler).__name__} at step {step}")
        return (Judged(trial.number, repr(scheduler)), cut)
    return ()


def is_there(trial: Trial) -> bool:
    """Whether it has come as far as it was to come before it rests."""
    until = trial.suggestion.until
    return until is not None and trial.step >= until


def rest(trial: Trial) -> End | None:
    """A trial that has come as far as it was to, and whose checkpoint is written, can be forked or resumed."""
    if trial.status is Status.RUNNING and is_there(trial):
        return End(trial.number, Status.STOPPED, f"reached step {trial.step} as planned")
    return None


def early_end(trial: Trial, history: History, how: str) -> End:
    """The training came to an end of its own, `how` it says itself; one that has told nothing has failed."""
    if not trial.steps:
        return End(trial.number, Status.FAILED, f"NoReport: the training ended before its first report: {how}")
    whole = history.steps(trial.task)
    return End(trial.number, Status.COMPLETED, f"ended by itself at step {trial.step} of {whole}: {how}")


def after_loss(trial: Trial, history: History, rules: Rules, why: str) -> End | None:
    """A worker was lost, which is in the history: who loses it again and again at the same step is given up.

    A loss after progress costs nothing (a preemption).
    """
    times = history.run.losses[trial.number].count(trial.step)
    if times <= rules.retries:
        return None
    return End(trial.number, Status.FAILED, f"WorkerLost: {why} ({times} times at step {trial.step})")


def leave_lost_task(trial: Trial, history: History) -> End | None:
    """An interrupted trial of a task that the sweep has no more cannot go on."""
    if trial.status is not Status.RUNNING or history.task(trial.task) is not None:
        return None
    return End(trial.number, Status.STOPPED, f"the sweep has no task {trial.task!r} any more")


def common_failure(history: History, kind: Callable[[str], str]) -> str:
    """Why the run should stop: its trials fail in the same way, before any gets farther. Empty: they do not.

    `kind` takes the reason of a failure to what it has in common with others of its kind.
    """
    failures = history.run.failures
    if not failures or [kind(reason) for reason in failures].count(kind(failures[-1])) < SAME_FAILURES:
        return ""
    count = len(failures)
    them = f"the first {count}" if count == SAME_FAILURES else f"{SAME_FAILURES} of the first {count}"
    return f"{them} trials failed in the same way: {failures[-1]}"


def without_checkpoint(suggestion: Suggestion, history: History) -> Suggestion:
    """In place of a fork whose parent has lost its checkpoint (a damaged disk, a population that was made larger).

    What it would have replaced goes on, or its configuration starts afresh.
    """
    why = f"no checkpoint of trial {suggestion.parent} at step {suggestion.parent_step} to fork from"
    replaced = None if suggestion.replaces is None else history.trials[suggestion.replaces]
    if replaced is not None and replaced.status is Status.STOPPED:
        return resume(replaced, until=suggestion.until, origin=FALLBACK, evidence=why)
    afresh = start(suggestion.config, origin=FALLBACK, until=suggestion.until, evidence=why)
    return replace(afresh, replaces=suggestion.replaces)


def best(history: History, rules: Rules) -> Trial | None:
    """The incumbent; the winner once finalists are trained again."""
    return winner(history) if history.run.over and rules.finalists else incumbent(history)


def baseline_of(history: History) -> Trial | None:
    return next((trial for trial in history.trials if trial.first_origin == BASELINE), None)


def to_test(history: History, rules: Rules) -> list[Trial]:
    """Who is measured on the test part, when all decisions have been made: the best and the baseline, once."""
    chosen = [trial for trial in (best(history, rules), baseline_of(history)) if trial is not None]
    completed = [trial for trial in chosen if trial.status is Status.COMPLETED]
    return [trial for trial in completed if trial.number not in history.run.tested]


def _search(
    history: History, searcher: Searcher, scheduler: Scheduler, rules: Rules
) -> Suggestion | Over | Instead | None:
    """What the search wants; None: nothing at the moment."""
    if _budget_is_used(history, rules):
        return None
    promoted = scheduler.promote(history)
    if promoted is not None and history.task(promoted.task) is not None:
        return promoted
    if not may_ask(history, searcher, rules):
        return None
    if rules.baseline is not None and history.room and baseline_of(history) is None:
        return start(dict(rules.baseline), origin=BASELINE, evidence="what is compared with")
    try:
        answer = points_first(rules.points, history, searcher)
        if isinstance(answer, Enough):
            return Over(f"{type(searcher).__name__}: {answer.reason}")
        return None if answer is None else _checked(answer, history)
    except Exception as error:  # a searcher that breaks must not cost the sweep
        return _instead(error, history, searcher)


def _checked(suggestion: Suggestion, history: History) -> Suggestion | None:
    """The suggestion if it can be carried out, None if there is no room; raises ValueError if it makes no sense."""
    if not history.allows(suggestion):
        return None
    if history.task(suggestion.task) is None:
        raise ValueError(f"no task {suggestion.task!r}")
    if suggestion.kind == "resume":
        trial = history.trials[suggestion.trial if suggestion.trial is not None else -1]
        if trial.status is not Status.STOPPED:
            raise ValueError(f"trial {trial.number} cannot be resumed: it is {trial.status.value}")
        if suggestion.until is not None and suggestion.until <= trial.step:
            raise ValueError(
                f"trial {trial.number} is at step {trial.step} already, and cannot be taken to step {suggestion.until}"
            )
        return suggestion
    return replace(suggestion, config=history.space.check(suggestion.config))


def _instead(error: Exception, history: History, searcher: Searcher) -> Instead:
    """The searcher broke: a random configuration, or the end of the search if none may be started."""
    why = f"{type(searcher).__name__} failed: {type(error).__name__}: {error}"
    if not history.room:
        return Instead(Over(why), error, why)
    try:
        config = history.space.sample(generator(history, "fallback"))
    except ValueError as again:  # a constraint that cannot be asked; the next start would come here again
        return Instead(Over(f"{why}; and no random configuration either: {again}"), error, why)
    return Instead(start(config, origin=FALLBACK, evidence=why), error, why)


def _budget_is_used(history: History, rules: Rules) -> bool:
    """What was trained and what the running trials will still take have reached the search's part of the budget."""
    budget = rules.search_budget
    return budget is not None and history.spent + history.committed >= budget - NEARLY


def _why_nothing(history: History, searcher: Searcher, rules: Rules) -> str:
    if _budget_is_used(history, rules):
        kept = " but for the finalists" if rules.finalists else ""
        return f"the budget of {rules.budget:g} full trainings is used up{kept}"
    if not history.room:
        limit = history.limit or 0
        return f"{limit:,} configuration{' has' if limit == 1 else 's have'} been started"
    return f"{type(searcher).__name__} has nothing more to suggest"


def _is_judged(trial: Trial) -> bool:
    return trial.first_origin != BASELINE and trial.suggestion.origin != FINALIST


def _target_reached(history: History) -> bool:
    return history.run.over.startswith(TARGET)
