"""--dry-run: print what a sweep would do and cost, without starting or writing anything."""

from __future__ import annotations

import heapq
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from orchestrator.console.plurals import plural
from orchestrator.console.slow_decision import slow_decisions_told
from orchestrator.definition import module_values, warm_up
from orchestrator.definition.checks import feasible_share
from orchestrator.definition.concurrency import at_once_here
from orchestrator.definition.warnings import warnings
from orchestrator.definition.wording import WIDEST, named, trained
from orchestrator.driver import Driver
from orchestrator.driving.continuation import new_baseline_words
from orchestrator.money.prices import held_by_trial
from orchestrator.reading.asked_twice import ask_twice, fresh_copy, judge_twice
from orchestrator.reading.beginning import renamed_to
from orchestrator.reading.influence_needs import needs_rows
from orchestrator.reading.out_of_time import is_used_up, time_row
from orchestrator.reading.planned_cost import configurations, forecast_rows, limit_rows
from orchestrator.reading.room import no_room
from orchestrator.reading.short_training import short_training
from orchestrator.record.ledger import FILE, Ledger
from orchestrator.record.remarks import moved_to
from orchestrator.record.resume_check import nothing_learned, what_changed
from orchestrator.record.warm_start import TRANSFER, earlier_histories, found
from search.domain.written import written
from search.history import History, Trial
from search.records import BASELINE, Began, Config
from search.rules.population import population_of
from search.space import Fixed
from search.task import FULL
from search.wording import shown
from search.work import Reported
from trainables.contract import CommandLine, Policy

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep
    from orchestrator.worker.job import Order
    from search.contract import Scheduler, Searcher

SMALL_SHARE = 1 / 200  # of the space: below this, suggestions crowd into the small allowed part
FIRST = 5  # trainings to show
MOST_REPORTS = 500  # to walk through in search of them: a second or two


def print_plan(sweep: Sweep, folder: Path, *, retry_failed: bool = False) -> None:
    """Print the plan; raises the error with which a start would refuse the sweep."""
    with slow_decisions_told(sweep, lambda kind, text: print(f"{kind}: {text}", file=sys.stderr, flush=True)):
        _print_plan(sweep, folder, retry_failed)


def _print_plan(sweep: Sweep, folder: Path, retry_failed: bool) -> None:
    first, over = first_trials(
        sweep, folder, retry_failed=retry_failed
    )  # before printing, because it may refuse the sweep
    history, changed = _record(sweep, folder)
    most = configurations(sweep, history)
    console = Console(soft_wrap=True, highlight=False)
    many = "as many configurations as the budget allows" if most is None else plural(most, "configuration")
    console.print(Text.assemble((sweep.name, "bold"), f" in {folder}: {many} of {trained(sweep.workload)}"))
    console.print(
        f"  tunes      {sweep.metric_name} ({'higher' if sweep.maximise else 'lower'} is better)", markup=False
    )
    for part in ("searcher", "scheduler"):
        why = f"  (default: {sweep.chosen[part]})" if part in sweep.chosen else ""
        console.print(f"  {part:<10} {shown(getattr(sweep, part))}{why}", markup=False)
    if cuts := sweep.scheduler.cuts(sweep.workload.horizon):
        console.print(f"  cuts       {cuts}", markup=False)
        if beyond := warm_up.beyond_the_first_cut(sweep):
            console.print(f"             {beyond}", markup=False)
    if command := _command(sweep, [trial.config for trial, _ in first]):
        console.print(f"  command    {command}", markup=False)
    if sweep.policy is not None:
        console.print(f"  policy     {_policy(sweep)}", markup=False)
    at_once = f"at most {sweep.max_concurrent} at once" if sweep.max_concurrent else "as many trials at once as fit"
    console.print(f"  resources  {_resources(sweep)} for each trial, {at_once}", markup=False)
    console.print("  space")
    for line in _space(sweep):
        console.print(f"    {line}", markup=False)
    for line in [
        *_tasks(sweep),
        *limit_rows(sweep, history),
        *([] if population_of(sweep.searcher) else needs_rows(sweep.space, most)),  # its members share configurations
        *time_row(sweep, folder),
        *([] if changed is None else _recorded(sweep, history, changed, goes_on=bool(first))),
        *forecast_rows(sweep, folder, history, at_once_here(sweep)),
    ]:
        console.print(f"  {line}", markup=False)
    for warning in [
        renamed_to(folder, None if folder.exists() else moved_to(folder), is_dry=True),
        no_room(sweep, folder, history),
        *warnings(sweep),
        *module_values.warnings(sweep),
        sweep.workload.doubt(),
        sweep.workload.space_doubt(sweep.space),
        *short_training(sweep),
    ]:
        if warning:
            console.print(f"  warning    {warning}", markup=False)
    if first:
        workers = at_once_here(sweep)
        console.print(
            f"  the {'first' if changed is None else 'next'} {plural(len(first), 'training')} (with {plural(workers, 'worker')}, "
            "if all steps take equally long and all results are equal):"
        )
    for trial, until in first:
        console.print(f"    {_training(sweep, trial, until)}", markup=False)
    if not first and is_used_up(sweep, folder):
        console.print("  the time is used up.")
    elif all(trial.first_origin == BASELINE for trial, _ in first):
        left = "then nothing is left to do" if first else "nothing is left to do"
        console.print(f"  {left}{': ' * bool(over)}{over}.", markup=False)
    console.print("Nothing was started.")


def _command(sweep: Sweep, configs: list[Config]) -> str:
    """How a script is called for the first of the configurations; empty for any other training."""
    if not isinstance(sweep.workload, CommandLine) or not (configs := [*configs, *sweep.examples]):
        return ""
    words = sweep.workload.arguments(configs[0])
    plain = [word if re.fullmatch(r"[\w@%+=:,./{}-]+", word) else shlex.quote(word) for word in words]
    plain = [" ".join(word.split()) for word in plain]  # in one line
    plain = [word if len(word) <= WIDEST else f"{word[: WIDEST - 1]}…" for word in plain]
    kept = range(len(words)) if len(" ".join(plain)) <= WIDEST else _kept(sweep, words)
    shown = [plain[place] if place in kept else "…" for place in range(len(words))]
    return " ".join(word for word, before in zip(shown, ["", *shown], strict=False) if word != "…" or before != "…")


def _kept(sweep: Sweep, words: Sequence[str]) -> set[int]:
    """The places of a long command's words that are shown: the first ones, and those that differ between configurations."""
    same = set(words).intersection(*(sweep.workload.arguments(config) for config in sweep.examples))
    kept, length = set(), 0
    for place, word in enumerate(words):
        length += len(word) + 1
        if length <= WIDEST // 2:
            kept.add(place)
        elif word not in same:
            kept |= {place - 1, place} if words[place - 1].startswith("-") else {place}
    return kept


def _policy(sweep: Sweep) -> str:
    """The policy with what was set; a function by its name, place and what it returns."""
    if isinstance(sweep.policy, Policy):
        return shown(sweep.policy)
    kinds = dict.fromkeys(type(policy).__name__ for policy in sweep.example_policies)
    drawn = f", in {len(sweep.examples)} random configurations" if len(kinds) > 1 else ""
    return f"{named(sweep.policy)}, which returns {_either(list(kinds)) or 'None'}{drawn}"


def _either(words: list[str]) -> str:
    """a, b or c."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _resources(sweep: Sweep) -> str:
    """The resources of a trial in words: "4 CPUs, 1 GPU, 8 GiB of memory"."""
    counted = [(sweep.resources.get(name, 0), name.upper()) for name in ("cpu", "gpu")]
    words = [f"{amount:g} {unit}{'s' * (amount > 1)}" for amount, unit in counted if amount]
    if memory := sweep.memory_bytes:
        words.append(f"{memory / 2**30:.3g} GiB of memory")
    return ", ".join(words) or "nothing"


def first_trials(sweep: Sweep, folder: Path, *, retry_failed: bool = False) -> tuple[list[tuple[Trial, int]], str]:
    """The driver's first trainings, each with its last step, and why the search would be over then; "": it would not.

    A real driver gives the orders, on a copy of the record, without training.

    Each step counts as one second and gives the same value, so later orders, which depend on results, may differ. Raises
    the error with which a start would refuse the sweep.
    """
    with tempfile.TemporaryDirectory() as place:
        again = Path(place) / sweep.name
        again.mkdir()
        if (folder / FILE).exists() and not nothing_learned(sweep, folder):
            recorded = Ledger.read(folder)
            try:  # not file by file: a driver may be moving records from its log to the ledger
                recorded.query("VACUUM INTO :copy", copy=str(again / FILE))
            finally:
                recorded.close()
        for run in sweep.transfer:
            if isinstance(run, History):
                continue
            earlier = found(run, folder).absolute()
            if earlier == (folder.parent / run).absolute() and not Path(run).is_absolute():  # named beside this
                (again.parent / run).symlink_to(earlier)
        ledger = Ledger.write(again)
        try:
            fresh = fresh_copy(sweep.searcher), fresh_copy(sweep.scheduler)
            driver = Driver(sweep, ledger, retry_failed=retry_failed)
            return _walk(driver, *fresh), driver.over
        finally:
            ledger.close()


def _walk(driver: Driver, searcher: Searcher, scheduler: Scheduler) -> list[tuple[Trial, int]]:
    """The first trainings, each with its last step: the engine of `simulate.py` without the training.

    `searcher`, `scheduler`: copies that nobody has asked yet.
    """

    def following() -> Order | None:
        ask_twice(driver, searcher)
        return driver.next()

    begun: list[tuple[Trial, int]] = []
    driver.workers = workers = at_once_here(driver.sweep)
    free, reports, seconds, value = list(range(workers)), 0, 0.0, _unremarkable(driver.sweep)
    due: list[tuple[float, int, int, int, int]] = []  # heap: time, worker, trial, step to report, last step
    while len(begun) < FIRST and reports < MOST_REPORTS:
        while free and len(begun) < FIRST and (order := following()) is not None:
            if order.assignment is None or order.kind != "train":
                driver.finish_job(order, {})
                continue
            trial, until = driver.history.trials[order.trial], order.assignment.until
            begun.append((copy(trial), until))  # as it is now: a later order may be to go on with it
            heapq.heappush(due, (seconds + 1, free.pop(0), trial.number, max(trial.step, trial.began) + 1, until))
        if not due:
            break
        seconds, worker, number, step, until = heapq.heappop(due)
        reports += 1
        metrics = {driver.sweep.metric_name: value}
        progress = Reported(step=step, metrics=metrics, cost_seconds=1.0)
        goes_on = driver.receive(number, [progress], done=step >= until)
        judge_twice(driver, driver.history.trials[number], scheduler)
        if goes_on and step < until:
            heapq.heappush(due, (seconds + 1, worker, number, step + 1, until))
        else:
            free = sorted([*free, worker])
    return begun


def _unremarkable(sweep: Sweep) -> float:
    """A value of the metric that neither reaches the target nor counts as diverged."""
    target = None if sweep.target is None else sweep.loss(sweep.target)
    limit = None if sweep.diverged_beyond is None else sweep.loss(sweep.diverged_beyond)
    if target is not None and limit is not None:
        return sweep.value((target + limit) / 2)
    return sweep.value(target + 1 if target is not None else limit - 1 if limit is not None else 1.0)


def _training(sweep: Sweep, trial: Trial, until: int) -> str:
    values = ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in trial.config.items()
    )
    task = "" if trial.task == FULL else f", task {trial.task}"
    steps = f", to step {until}" if until < sweep.workload.horizon and not task else ""
    again = f", trial {trial.number} goes on" if trial.suggestion.kind == "resume" else ""
    return f"{values}  ({trial.suggestion.origin}{task}{steps}{again})"


def _space(sweep: Sweep) -> list[str]:
    """Each parameter with its condition, and the share of the space that meets the constraints."""
    space, lines = sweep.space, []
    for name, parameter in space.parameters.items():
        words = [
            f"{parent} is {' or '.join(repr(value) for value in values)}"
            for parent, values in space.conditions[name].items()
        ]
        fixed = ", the same in all trials" if isinstance(parameter, Fixed) else ""
        lines.append(f"{name:<18} {written(parameter)}{fixed}" + (f", only if {' and '.join(words)}" if words else ""))
    constraints = space.describe()["constraints"]
    if constraints:
        share = feasible_share(space)
        advice = "; narrow the ranges, or tune a ratio instead of two separate values" if share < SMALL_SHARE else ""
        about = f"{share:.3g}" if share else "less than 0.0005"
        lines.append(f"{about} of the space meets {', '.join(repr(name) for name in constraints)}{advice}")
    return lines


def _tasks(sweep: Sweep) -> list[str]:
    """Each task: its steps, its changes, its declared cost, and whether a promotion resumes or starts over."""
    horizon, lines = sweep.workload.horizon, []
    for task in sorted(sweep.tasks, key=lambda task: task.cost):
        differs = "".join(f", {name}={value!r}" for name, value in task.changes.items())
        cost = task.steps(horizon) / horizon if task.resumes else task.cost
        then = "" if task.name == FULL else "; can be resumed later" if task.resumes else "; a promotion starts over"
        lines.append(f"task       {task.name}: {task.steps(horizon)} steps{differs}, costs {cost:.3g}{then}")
    return lines


def _recorded(sweep: Sweep, history: History, changed: str, *, goes_on: bool) -> list[str]:
    """What the run has so far, and what has changed since."""
    trials, reports = len(history.trials), sum(len(trial.steps) for trial in history)
    lines = [f"on record  {trials} trials, {reports} steps{': the command will continue them' if goes_on else ''}"]
    told = new_baseline_words(history, sweep.rules)
    lines += [f"changed    {changed}"] if changed and reports else []
    return [*lines, *([f"baseline   {told}"] if told else [])]


def _record(sweep: Sweep, folder: Path) -> tuple[History, str | None]:
    """The history of the run, and what has changed since; an empty history and None of a new run."""
    tasks, limit, horizon = sweep.tasks, sweep.limit, sweep.workload.horizon
    if not (folder / FILE).exists():
        earlier, _ = earlier_histories(sweep, folder, [])
        return History(sweep.space, horizon=horizon, seed=sweep.seed, tasks=tasks, limit=limit, earlier=earlier), None
    ledger = Ledger.read(folder)
    try:
        earlier, _ = earlier_histories(sweep, folder, ledger.rows("event", f"WHERE kind = '{TRANSFER}'"))
        history = ledger.history(
            sweep.space, horizon, sweep.seed, sweep.goal, tasks=tasks, limit=limit, earlier=earlier
        )
        change = what_changed(sweep, ledger, ledger.sweeps())
        history.append(Began(change, *held_by_trial(sweep.resources)))  # a search that was over may go on
        return history, change
    finally:
        ledger.close()
