"""What is said when a sweep begins or continues: where it went, its defaults, and which trials are tried again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.console.plurals import plural
from orchestrator.definition import module_values
from orchestrator.definition.earlier import called
from orchestrator.definition.warnings import warnings
from search.domain.parameters import Fixed
from search.history import History, lessons
from search.rules.earlier import tried_first
from search.rules.retries import retriable
from search.space import Space
from search.wording import shown

if TYPE_CHECKING:
    from orchestrator.driver import Driver

MOST = 10  # trials to name


def renamed_to(folder: Path, target: Path | None, *, is_dry: bool = False) -> str:
    """Where the run went that had this name, if this is a new one, or would be (`is_dry`)."""
    if target is None:
        return ""
    new, how = ("a start makes a new run", "use") if is_dry else ("this is a new run", "stop this one and use")
    return f"{folder} was renamed to {target.name}; {new}. To continue that one, {how} --name {target.name}."


def chosen(driver: Driver, *, simulated: bool) -> list[str]:
    """The defaults that a new sweep has chosen, with the reasons; and what is probably a mistake."""
    sweep, texts, told = driver.sweep, list[str](), module_values.warnings(driver.sweep, simulated=simulated)
    if not driver.found:
        texts = [f"Default {part} {shown(getattr(sweep, part))}: {why}." for part, why in sweep.chosen.items()]
        told = [*warnings(sweep), *told]
    return [*texts, *(f"Warning: {warning}" for warning in told)]


def taught(driver: Driver) -> list[str]:
    """What each earlier run of `transfer` is for: which of its configurations start first, and who learns from it."""
    sweep, texts = driver.sweep, []
    for given, earlier in zip(sweep.transfer, driver.history.earlier, strict=True):
        run = called(given)
        if results := len(lessons(earlier, sweep.space)):
            use, searcher = sweep.searcher.use_of_earlier(), shown(sweep.searcher)
            if count := tried_first(earlier, sweep.space, sweep.baseline_config):
                texts.append(
                    f"The best {plural(count, 'configuration')} of {run} {'start' if count > 1 else 'starts'} first."
                )
            if use:
                texts.append(f"{searcher} learns from {plural(results, 'result')} of {run}, {use}.")
        else:
            texts.append(f"Warning: {run} teaches nothing: {_why_nothing(earlier, sweep.space)}")
    return texts


def _why_nothing(earlier: History, space: Space) -> str:
    """Why no result of an earlier sweep counts, with what to do."""
    outside = lessons(earlier, None)
    if not outside:
        return "no full training of it has a result."
    best = min(outside, key=lambda trial: trial.loss).config
    fixed = [
        name
        for name, each in space.parameters.items()
        if isinstance(each, Fixed) and best.get(name, each.value) != each.value
    ]
    keep = f"To learn from it, give {fixed[0]!r} a range that holds the old values, and a prior. " if fixed else ""
    return (
        f"no full training of it has a result in the present space. Its best one is {dict(best)}: {space.why_not(best)} "
        f"{keep}To train its best again, write points_to_evaluate=[…] with values that the space allows."
    )


def another_try(driver: Driver, how: str, *, is_asked: bool) -> str:
    """Of a sweep that continues: which failed trials are tried again, or `how` to ask for it. Empty if none has failed."""
    if not driver.found:
        return ""
    if waiting := list(driver.history.run.to_retry):
        return f"Trying again {listed(waiting)}: from the last checkpoint if there is one, else from the start."
    if is_asked:
        return "No failed trial is left to try again."
    failed = retriable(driver.history)
    if not failed:
        return ""
    them = f"{listed([trial.number for trial in failed])} failed. Once the cause is repaired, {how} tries"
    return f"{them[0].upper()}{them[1:]} {'it' if len(failed) == 1 else 'them'} again."


def listed(trials: list[int]) -> str:
    """
    >>> listed([3]), listed([3, 5])
    ('trial 3', '2 trials (3, 5)')
    """
    names = ", ".join(str(number) for number in trials[:MOST]) + (", …" if len(trials) > MOST else "")
    return f"trial {trials[0]}" if len(trials) == 1 else f"{plural(len(trials), 'trial')} ({names})"
